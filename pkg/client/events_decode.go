package client

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

const (
	checksumHeader = "Sluice-Checksum"
	checksumSize   = 16
)

var errChecksum = errors.New("its bytes are not those of its checksum")

// decode reads the events of a commit; its errors are [*CommitError].
func decode(msg jetstream.Msg) ([]event.Event, error) {
	if isMailbox(msg) {
		return nil, nil // it is no flow's
	}
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

// isMailbox reports whether a commit is of a mailbox: their ids end its subject.
func isMailbox(msg jetstream.Msg) bool {
	id, err := subject.Unescape(msg.Subject()[strings.LastIndexByte(msg.Subject(), '.')+1:])
	return err == nil && subject.IsMailbox(id)
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
