package engine

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// longestHold is how long an ending that is not old enough stays put back: less
// than a consumer forgets.
const longestHold = time.Hour

// runRetention asks to retire the flows whose endings have grown old, until ctx
// ends.
func (e *Engine) runRetention(ctx context.Context, shard int, kind subject.Kind) error {
	return e.consume(ctx, e.bus.Flows(shard), bus.ConsumerRetention(kind), func(ctx context.Context, msg jetstream.Msg) {
		meta, err := msg.Metadata()
		if err != nil {
			e.ack(ctx, msg)
			return
		}
		if meta.NumDelivered == 1 { // else it is an old one, which says nothing of now
			e.clock.observe(meta.Timestamp)
		}
		age := time.Duration(e.clock.now() - meta.Timestamp.UnixNano())
		if left := e.cfg.HistoryRetention - age; left > 0 {
			// Not counted as put back: this is what it waits for.
			if err := msg.NakWithDelay(min(left, longestHold)); err != nil {
				e.log.DebugContext(ctx, "an ending comes again early", slog.Any("error", err))
			}
			return
		}
		if err := e.retire(ctx, msg); err != nil {
			e.log.WarnContext(ctx, "a flow is not retired yet", slog.Any("error", err))
			e.putBack(ctx, msg, time.Second, "retention")
			return
		}
		e.ack(ctx, msg)
	})
}

func (e *Engine) retire(ctx context.Context, msg jetstream.Msg) error {
	_, _, flowID, err := e.bus.Space.ParseFlow(msg.Subject())
	if err != nil {
		return fmt.Errorf("read an ending: %w", err)
	}
	// One whose headers are garbled does not say which ending it is: whichever the
	// flow has is asked for, and whoever loads the flow finds the damage.
	return e.askToRetire(ctx, flowID, revisionOf(msg.Headers()))
}

// askToRetire asks to retire a flow if its ending is that of the revision; 0 means
// any.
func (e *Engine) askToRetire(ctx context.Context, flowID string, revision uint64) error {
	cmd := &sluicev1.Command{FlowId: flowID, Kind: &sluicev1.Command_RetireFlow{
		RetireFlow: &sluicev1.RetireFlow{EndingRevision: revision},
	}}
	return e.bus.PublishCommand(ctx, subject.SourceEngine, cmd, nil) //nolint:wrapcheck // it says all
}

// retireOverdue asks to retire a flow that is deactivated later than it ended. If
// its ending has grown old since, who asked then was refused; else retention will
// come to it.
func (e *Engine) retireOverdue(ctx context.Context, s *flow.State) error {
	if e.clock.now()-s.Completed < int64(e.cfg.HistoryRetention) {
		return nil
	}
	return e.askToRetire(ctx, s.ID, s.EndedRevision)
}
