package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/fault"
)

const (
	headerSchedule       = "Nats-Schedule"
	headerScheduleTarget = "Nats-Schedule-Target"
	maxPurges            = 8192
)

// farAhead is from when on a deadline, in nanoseconds from now, is left to the
// sweep to store: most flows end long before, and a schedule that is stored and
// taken out again costs as much as a step. The sweep passes each running flow
// many times until then.
const farAhead = int64(6 * time.Hour)

// timerPurge asks to take an ended flow's schedule out of the stream.
type timerPurge struct {
	flowID   string
	sequence uint64
}

// scheduleTimer publishes the schedule that a flow in that revision needs, behind
// the one with the expected sequence, and does not wait.
func (e *Engine) scheduleTimer(flowID string, revision uint64, at int64, expected uint64) (jetstream.PubAckFuture, error) {
	partition := e.bus.Partition(flowID)
	data, err := proto.Marshal(wakeCommand(flowID, at, true))
	if err != nil {
		return nil, fault.New(fault.Internal, "engine.scheduleTimer", err)
	}
	future, err := e.bus.JS.PublishMsgAsync(&nats.Msg{
		Subject: e.bus.Space.Timer(partition, flowID),
		Data:    data,
		Header: nats.Header{
			headerSchedule:                      {"@at " + time.Unix(0, at).UTC().Format(time.RFC3339Nano)},
			headerScheduleTarget:                {e.bus.Space.Wake(partition, flowID)},
			bus.HeaderRevision:                  {strconv.FormatUint(revision, 10)},
			jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(expected, 10)},
		},
	})
	if err != nil {
		return nil, fault.New(fault.Unavailable, "engine.scheduleTimer", err)
	}
	return future, nil
}

func wakeCommand(flowID string, due int64, scheduled bool) *sluicev1.Command {
	return &sluicev1.Command{FlowId: flowID, Kind: &sluicev1.Command_Wake{
		Wake: &sluicev1.Wake{DueNs: due, Scheduled: scheduled},
	}}
}

// needsTimer reports whether the flow's schedule has to be stored so that it is
// woken at due: where none is known, or only a later one.
func (t *timer) needsTimer(due int64) bool {
	return due != 0 && (!t.known || t.at == 0 || due < t.at)
}

// readTimer learns from the leader which schedule the flow has.
func (e *Engine) readTimer(ctx context.Context, flowID string, t *timer) error {
	partition := e.bus.Partition(flowID)
	last, err := e.bus.Last(ctx, e.bus.Timers(e.bus.Shard(partition)), e.bus.Space.Timer(partition, flowID))
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	t.known, t.at, t.sequence, t.revision = true, 0, 0, 0
	if last == nil {
		return nil
	}
	t.sequence = last.Sequence
	t.revision = revisionOf(last.Header)
	text, _ := strings.CutPrefix(last.Header.Get(headerSchedule), "@at ")
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		e.log.WarnContext(ctx, "a schedule could not be read and is replaced",
			slog.String("flow_id", flowID), slog.Any("error", err))
		return nil
	}
	t.at = at.UnixNano()
	return nil
}

// revisionOf is the revision of its flow that a message names, 0 for none.
func revisionOf(h nats.Header) uint64 {
	revision, err := strconv.ParseUint(h.Get(bus.HeaderRevision), 10, 64)
	if err != nil {
		return 0
	}
	return revision
}

// ensureTimer stores the flow's schedule where what is stored is later than due.
// It returns an error of kind [fault.Unavailable] when it could not.
func (e *Engine) ensureTimer(ctx context.Context, flowID string, revision uint64, t *timer, due int64) error {
	for range 5 {
		if !t.needsTimer(due) {
			return nil
		}
		if !t.known {
			if err := e.readTimer(ctx, flowID, t); err != nil {
				return err
			}
			continue
		}
		future, err := e.scheduleTimer(flowID, revision, due, t.sequence)
		if err != nil {
			return err
		}
		ack, err := await(ctx, future)
		switch {
		case err == nil:
			e.metrics.timers.WithLabelValues("stored").Inc()
			t.at, t.sequence = due, ack.Sequence
		case errors.Is(err, errConflict):
			t.known = false
		default:
			return err
		}
	}
	return fault.Newf(fault.Unavailable, "engine.ensureTimer", "the schedule of flow %s keeps changing", flowID)
}

// runPurges takes the schedules of ended flows out of their streams. It is not
// waited for: one that survives fires once and is ignored.
func (e *Engine) runPurges(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-e.purges:
			if err := e.purgeTimer(ctx, p); err != nil && ctx.Err() == nil {
				e.log.DebugContext(ctx, "a schedule was not taken out", slog.Any("error", err))
			}
		}
	}
}

func (e *Engine) purgeTimer(ctx context.Context, p timerPurge) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	partition := e.bus.Partition(p.flowID)
	// The request by hand: a lookup of the stream before each would double it.
	request := fmt.Sprintf(`{"filter":%q,"seq":%d}`, e.bus.Space.Timer(partition, p.flowID), p.sequence+1)
	_, err := e.bus.NC.RequestWithContext(ctx, "$JS.API.STREAM.PURGE."+e.bus.Timers(e.bus.Shard(partition)), []byte(request))
	if err != nil {
		return fmt.Errorf("purge the schedule of flow %s: %w", p.flowID, err)
	}
	e.metrics.timers.WithLabelValues("purged").Inc()
	return nil
}

// runWakes turns schedules that fired into commands, until ctx ends.
func (e *Engine) runWakes(ctx context.Context, shard int) error {
	return e.consume(ctx, e.bus.Timers(shard), bus.ConsumerWakes, func(ctx context.Context, msg jetstream.Msg) {
		cmd := &sluicev1.Command{}
		partition, flowID, err := e.bus.Space.ParseWake(msg.Subject())
		if err == nil {
			err = proto.Unmarshal(msg.Data(), cmd)
		}
		if err != nil || cmd.GetWake() == nil || cmd.GetFlowId() != flowID {
			e.bury(ctx, msg, dead.Wake, partition, dead.Poisoned(dead.Garbage, "a wake that cannot be read: %v", err))
			return
		}
		out, err := e.bus.CommandMsg(subject.SourceEngine, cmd)
		if err == nil {
			err = e.bus.Publish(ctx, out)
		}
		if err != nil {
			e.log.WarnContext(ctx, "a wake could not be stored, it comes again", slog.Any("error", err))
			e.putBack(ctx, msg, time.Second, "commands_full")
			return
		}
		e.metrics.timers.WithLabelValues("fired").Inc()
		e.ack(ctx, msg)
	})
}
