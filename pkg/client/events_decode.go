package client

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/event"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

const (
	checksumHeader = "Sluice-Checksum"
	checksumSize   = 16
)

var errChecksum = errors.New("its bytes are not those of its checksum")

// decode reads the events of a commit; its errors are [*CommitError].
func decode(msg jetstream.Msg) ([]event.Event, error) {
	events, err := decodeCommit(msg)
	if err == nil {
		return events, nil
	}
	broken := &CommitError{Err: err}
	if meta, err := msg.Metadata(); err == nil {
		broken.Stream, broken.Sequence = meta.Stream, meta.Sequence.Stream
	}
	return nil, broken
}

func decodeCommit(msg jetstream.Msg) ([]event.Event, error) {
	sum := sha256.Sum256(msg.Data())
	if said := msg.Headers().Get(checksumHeader); said != "" && said != hex.EncodeToString(sum[:checksumSize]) {
		return nil, errChecksum
	}
	var commit sluicev1.Commit
	if err := proto.Unmarshal(msg.Data(), &commit); err != nil {
		return nil, err
	}
	return event.FromCommit(&commit)
}
