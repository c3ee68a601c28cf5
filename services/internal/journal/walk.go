package journal

import (
	"context"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/services/internal/bus"
)

const (
	// walkGap is how many messages of others a server passes over in the time of one
	// read by sequence: it compares the subject of each, for it has no index of
	// where those of a flow are.
	walkGap = 500
	// walkMost bounds a walk, for many commits come faster in pages.
	walkMost = page
)

// between reads the commits of a flow from a sequence to its last one. Where many
// messages of others are likely between them, each is read by itself.
func (j *Journal) between(ctx context.Context, flowID string, from uint64, last *bus.Stored) ([]Stored, error) {
	commits, err := j.walk(ctx, flowID, from, last)
	if err != nil || commits != nil {
		return commits, err
	}
	return j.read(ctx, flowID, from, last.Sequence)
}

// walk reads commits from the last one to the first: each was stored with the
// sequence of the one before it, which is its fence. It returns none where that is
// no gain, or where anything is not as it should be: pages show what there is.
func (j *Journal) walk(ctx context.Context, flowID string, from uint64, last *bus.Stored) ([]Stored, error) {
	stream := j.bus.Flows(j.bus.Shard(j.bus.Partition(flowID)))
	steps := min((last.Sequence-from)/walkGap, walkMost)
	var commits []Stored
	for msg := last; steps > 0; steps-- {
		before, known := fence(msg)
		if !known || before >= msg.Sequence || !j.isOf(flowID, msg) {
			return nil, nil
		}
		commit, err := parseStored(msg)
		if err != nil {
			return nil, nil //nolint:nilerr // read again, and then it counts
		}
		commits = append(commits, commit)
		if msg.Sequence == from || from == 1 && before == 0 {
			slices.Reverse(commits)
			return commits, nil
		}
		if before < from {
			return nil, nil
		}
		if msg, err = j.bus.At(ctx, stream, before); err != nil || msg == nil {
			return nil, err //nolint:wrapcheck // it says all
		}
	}
	return nil, nil
}

func (j *Journal) isOf(flowID string, msg *bus.Stored) bool {
	_, _, of, err := j.bus.Space.ParseFlow(msg.Subject)
	return err == nil && of == flowID
}

// fence is the sequence of the flow's last commit when this one was stored.
func fence(msg *bus.Stored) (sequence uint64, known bool) {
	sequence, err := strconv.ParseUint(msg.Header.Get(jetstream.ExpectedLastSubjSeqHeader), 10, 64)
	return sequence, err == nil
}
