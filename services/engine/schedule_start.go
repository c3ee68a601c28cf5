package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/schedule"
)

// startAgain is how long a flow that was asked for may not be there before it is
// asked for again.
const startAgain = 5 * time.Second

// advance decides about a schedule what the time has brought, stores that, and
// then does it. An error of kind [fault.Conflict] says that somebody else changed
// the schedule.
func (s *schedules) advance(ctx context.Context, sc *scheduled) error {
	if sc.Starting == nil {
		free, err := s.free(ctx, &sc.Record)
		if err != nil {
			return err
		}
		before, decided := sc.Record, sc.Record
		if !decided.Decide(s.now(), free) {
			return nil
		}
		if err := s.write(ctx, sc, decided); err != nil {
			return err
		}
		s.e.metrics.planned.WithLabelValues("missed").Add(float64(sc.Missed - before.Missed))
		s.e.metrics.planned.WithLabelValues("skipped").Add(float64(sc.Skipped - before.Skipped))
	}
	if sc.Starting == nil {
		return nil
	}
	return s.start(ctx, sc)
}

// write stores a record over the one that it was made of. What was not stored is
// not known either.
func (s *schedules) write(ctx context.Context, sc *scheduled, changed schedule.Record) error {
	revision, err := s.store.Put(ctx, changed, sc.Revision)
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	sc.Record, sc.Revision, sc.doubtful = changed, revision, false
	return nil
}

// free reports whether the flow that the schedule started last has ended, where
// that counts. One whose history is gone has, for it was in the log.
func (s *schedules) free(ctx context.Context, r *schedule.Record) (bool, error) {
	if !r.NeedsLast() {
		return true, nil
	}
	loaded, err := s.e.journal.Load(ctx, r.Last.FlowID)
	switch {
	case errors.Is(err, journal.ErrBroken):
		return true, nil
	case err != nil:
		return false, err //nolint:wrapcheck // it says all
	}
	return loaded.Broken != "" || !loaded.State.Exists() || loaded.State.Final(), nil
}

// start asks for the flow that is to be started until it is in the log, and then
// writes that down.
func (s *schedules) start(ctx context.Context, sc *scheduled) error {
	planned := sc.Starting.PlannedAt
	id := schedule.FlowID(sc.ID, planned)
	digest, err := schedule.RequestDigest(sc.ID, planned)
	if err != nil {
		return fault.New(fault.Internal, "engine.start", err)
	}
	loaded, err := s.e.journal.Load(ctx, id)
	switch {
	case err != nil && !errors.Is(err, journal.ErrBroken):
		return err //nolint:wrapcheck // it says all
	case err != nil, loaded.Broken != "", loaded.State.Exists() && string(loaded.State.RequestDigest) == string(digest):
		return s.started(ctx, sc)
	case loaded.State.Exists():
		return s.giveUp(ctx, sc, "flow "+id+" was started by another request")
	case sc.askedFor.Equal(planned) && time.Since(sc.asked) < startAgain:
		return nil // it is on its way
	}
	if err := s.e.bus.Full(); err != nil {
		return err //nolint:wrapcheck // it says all
	}
	cmd, err := s.command(sc, id, digest)
	switch {
	case fault.KindOf(err) == fault.Unavailable:
		return err
	case err != nil:
		return s.giveUp(ctx, sc, err.Error())
	}
	return s.ask(ctx, sc, cmd)
}

// ask stores the command. Within the stream's duplicate window it is stored once,
// so that a flow that came and went meanwhile is not started again.
func (s *schedules) ask(ctx context.Context, sc *scheduled, cmd *sluicev1.Command) error {
	msg, err := s.e.bus.CommandMsg(subject.SourceEngine, cmd)
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	msg.Header = nats.Header{jetstream.MsgIDHeader: {"schedule " + cmd.GetFlowId()}}
	if err := s.e.bus.Publish(ctx, msg); err != nil {
		return err //nolint:wrapcheck // it says all
	}
	sc.asked, sc.askedFor = time.Now(), sc.Starting.PlannedAt
	return nil
}

// command plans the flow with the steps as they are now.
func (s *schedules) command(sc *scheduled, id string, digest []byte) (*sluicev1.Command, error) {
	made, err := s.steps.Index().Build(sc.Flow.Goals, sc.Flow.Init, s.defaults)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(made)
	if err != nil {
		return nil, fault.New(fault.Internal, "engine.command", err)
	}
	init := make(map[string][]byte, len(sc.Flow.Init))
	for name, value := range sc.Flow.Init {
		init[name] = value
	}
	labels := map[string]string{
		schedule.LabelSchedule:  sc.ID,
		schedule.LabelPlannedAt: sc.Starting.PlannedAt.UTC().Format(time.RFC3339Nano),
	}
	if sc.Starting.Late {
		labels[schedule.LabelLate] = "true"
	}
	for name, value := range sc.Flow.Labels {
		if _, own := labels[name]; !own {
			labels[name] = value
		}
	}
	cmd := &sluicev1.Command{FlowId: id, Kind: &sluicev1.Command_StartFlow{StartFlow: &sluicev1.StartFlow{
		Plan: text, Init: init, Labels: labels, TimeoutMs: sc.Flow.TimeoutMS, RequestDigest: digest,
		CallbackUrl: sc.Flow.CallbackURL, CallbackSecret: []byte(sc.Flow.CallbackSecret),
		StartAtNs: sc.Starting.PlannedAt.UnixNano(),
	}}}
	if size, limit := proto.Size(cmd), int(s.e.bus.NC.MaxPayload()/2); size > limit {
		return nil, fault.Newf(fault.Invalid, "engine.command", "the plan takes %d bytes together with init, and may take %d", size, limit)
	}
	return cmd, nil
}

// started writes down that the flow is in the log.
func (s *schedules) started(ctx context.Context, sc *scheduled) error {
	begun := sc.Record
	begun.Begun(s.now())
	if err := s.write(ctx, sc, begun); err != nil {
		return err
	}
	s.e.metrics.planned.WithLabelValues("started").Inc()
	if sc.Last.Late {
		s.e.log.WarnContext(ctx, "a flow of a schedule was started late", slog.String("schedule_id", sc.ID),
			slog.String("flow_id", sc.Last.FlowID), slog.Time("planned_at", sc.Last.PlannedAt), slog.Uint64("missed", sc.Missed))
	}
	return nil
}

// giveUp writes down that the flow cannot be started. The schedule goes on with
// its next time.
func (s *schedules) giveUp(ctx context.Context, sc *scheduled, why string) error {
	given := sc.Record
	given.GiveUp(why, s.now())
	if err := s.write(ctx, sc, given); err != nil {
		return err
	}
	s.e.metrics.planned.WithLabelValues("failed").Inc()
	s.e.log.WarnContext(ctx, "a flow of a schedule could not be started", slog.String("schedule_id", sc.ID),
		slog.Time("planned_at", sc.Error.PlannedAt), slog.String("reason", why))
	return nil
}
