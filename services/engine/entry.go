package engine

import (
	"context"
	"errors"
	"log/slog"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/journal"
)

// entry is a flow in memory, with what the next commit needs to know of the
// last one.
type entry struct {
	state    *flow.State
	sequence uint64 // of the last commit in FLOWS; 0 for none
	checksum []byte
	snapshot uint64 // where a load begins; 0 for none
	broken   string // why the history was given up
	timer    timer
	bytes    int                 // of its history, from where a load begins
	counted  int                 // what it takes in the cache
	refused  []*sluicev1.Command // to other flows, for which COMMANDS had no room
}

// timer is the flow's schedule in TIMERS as this engine knows it.
type timer struct {
	known    bool
	at       int64 // Unix nanoseconds; 0 means that there is none
	sequence uint64
	revision uint64 // of the flow when it was stored; known after readTimer alone
	armed    int64  // the deadline that the heap in memory holds
}

// newEntry is a flow that has no commits, if the fence agrees.
func (e *Engine) newEntry(flowID string) *entry {
	return &entry{state: flow.New(flowID, e.plans), timer: timer{known: true}}
}

// load reads a flow from the log. A history that does not hang together is
// given up: its end is written, once, and it goes no further.
func (e *Engine) load(ctx context.Context, flowID string) (*entry, error) {
	loaded, err := e.journal.Load(ctx, flowID)
	switch {
	case errors.Is(err, journal.ErrBroken):
		e.metrics.broken.Inc()
		e.log.ErrorContext(ctx, "a history does not hang together: its flow is ended",
			slog.String("flow_id", flowID), slog.Any("error", err))
		if err := e.giveUp(ctx, loaded, err.Error()); err != nil {
			return nil, err
		}
		return e.load(ctx, flowID)
	case err != nil:
		return nil, err //nolint:wrapcheck // it says all
	}
	return &entry{
		state: loaded.State, sequence: loaded.Sequence, checksum: loaded.Checksum,
		snapshot: loaded.Snapshot, broken: loaded.Broken,
		timer: timer{known: !loaded.State.Exists()}, bytes: loaded.Bytes,
	}, nil
}
