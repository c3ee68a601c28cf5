package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/engine"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/registry"
	"github.com/sluiceflow/sluice/services/internal/schedule"
)

// newTimedWorld is a world whose engines have a step "a" and start the flows of
// schedules.
func newTimedWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	var err error
	if w.registry, err = registry.Open(t.Context(), w.bus); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.registry.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	_, err = w.registry.Create(t.Context(), step.Definition{
		ID: "a", Type: step.KindAsync, HTTP: &step.HTTP{Endpoint: "http://worker.test/a"},
		Attributes: map[string]step.Attribute{
			"n": {Role: step.RoleRequired, Type: step.TypeNumber}, "x": {Role: step.RoleOutput, Type: step.TypeNumber},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if w.schedules, err = schedule.OpenStore(t.Context(), w.bus); err != nil {
		t.Fatal(err)
	}
	return w
}

// everySecond starts a flow of step a each second.
func everySecond(overlap schedule.Overlap) schedule.Definition {
	return schedule.Definition{EveryMS: 1000, Overlap: overlap, Flow: schedule.Flow{
		Goals: []string{"a"}, Init: map[string]json.RawMessage{"n": json.RawMessage("1")}, Labels: map[string]string{"team": "pay"},
	}}
}

// hourly has been due once, after being due hours ago n times that nobody saw.
func hourly(overlap schedule.Overlap, n int) schedule.Record {
	d := everySecond(overlap)
	d.EveryMS = time.Hour.Milliseconds()
	anchor := time.Now().Add(-time.Duration(n)*time.Hour - 20*time.Minute).UTC().Truncate(time.Millisecond)
	return schedule.Record{ID: "s", Definition: d, Anchor: anchor, After: anchor}
}

func (w *world) put(r schedule.Record) {
	w.t.Helper()
	if _, err := w.schedules.Put(w.t.Context(), r, 0); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) scheduled(id string) schedule.Entry {
	w.t.Helper()
	e, err := w.schedules.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// untilScheduled waits until a schedule is so.
func (w *world) untilScheduled(what string, is func(schedule.Entry) bool) schedule.Entry {
	w.t.Helper()
	var e schedule.Entry
	w.until(what, func() bool {
		e = w.scheduled("s")
		return is(e)
	})
	return e
}

// starts are the flows in the log that have a label of a schedule, with how often
// each started.
func (w *world) starts() map[string]*sluicev1.FlowStarted {
	w.t.Helper()
	stream, err := w.bus.JS.Stream(w.t.Context(), w.bus.Flows(0))
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[string]*sluicev1.FlowStarted{}
	for sequence := uint64(1); sequence <= stream.CachedInfo().State.LastSeq; sequence++ {
		msg, err := stream.GetMsg(w.t.Context(), sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		_, _, flowID, err := w.bus.Space.ParseFlow(msg.Subject)
		if err != nil {
			w.t.Fatal(err)
		}
		if _, known := found[flowID]; known {
			continue
		}
		history, err := w.journal.History(w.t.Context(), flowID)
		if err != nil {
			w.t.Fatal(err)
		}
		if n := count(history, func(e *sluicev1.Event) bool { return e.GetFlowStarted() != nil }); n != 1 {
			w.t.Errorf("flow %s started %d times", flowID, n)
		}
		found[flowID] = history[0].Commit.GetEvents()[0].GetFlowStarted()
	}
	return found
}

func TestASchedulesFlow(t *testing.T) {
	t.Parallel()
	w := newTimedWorld(t)
	e := w.startOn(w.bus, nil)
	w.put(schedule.Record{ID: "s", Definition: everySecond(schedule.Allow)})
	r := w.untilScheduled("three flows are started", func(e schedule.Entry) bool { return e.Started >= 3 })
	if err := w.schedules.Delete(t.Context(), "s", w.scheduled("s").Revision); err != nil && fault.KindOf(err) != fault.Conflict {
		t.Fatal(err)
	}
	started := w.starts()[r.Last.FlowID]
	if started == nil {
		t.Fatalf("flow %s is not in the log", r.Last.FlowID)
	}
	planned := r.Last.PlannedAt
	want := fmt.Sprint(map[string]string{
		"team": "pay", schedule.LabelSchedule: "s", schedule.LabelPlannedAt: planned.Format(time.RFC3339Nano),
	})
	if got := fmt.Sprint(started.GetLabels()); got != want || started.GetStartAtNs() != planned.UnixNano() {
		t.Errorf("labels %s, want %s; start at %d", got, want, started.GetStartAtNs())
	}
	if r.Last.StartedAt.Before(planned) || planned.Sub(r.Anchor)%time.Second != 0 || r.Last.FlowID != schedule.FlowID("s", planned) {
		t.Errorf("last: %+v, anchor %s", r.Last, r.Anchor)
	}
	if n := e.figure(t, "sluice_engine_schedule_times_total"); n < 3 {
		t.Errorf("%v times are counted", n)
	}
}

// A time that passed while no engine was there is started once, late, and says
// so; it stands for those before it.
func TestAMissedTimeIsStartedOnceAndLate(t *testing.T) {
	t.Parallel()
	w := newTimedWorld(t)
	w.put(hourly(schedule.Skip, 5))
	w.start()
	r := w.untilScheduled("the flow is started", func(e schedule.Entry) bool { return e.Started > 0 })
	started := w.starts()
	if r.Missed != 4 || !r.Last.Late || len(started) != 1 || started[r.Last.FlowID].GetLabels()[schedule.LabelLate] != "true" {
		t.Errorf("missed %d, last %+v, flows %v", r.Missed, r.Last, started)
	}
	if inv := w.invocation(r.Last.FlowID, "a"); string(inv.GetArguments()["n"]) != "1" {
		t.Errorf("arguments %v", inv.GetArguments())
	}
}

// What a killed engine leaves behind: it decided and asked for nothing yet; it
// asked; the flow is in the log; it is there and over. Whoever comes next starts
// the flow that is missing, and no other.
func TestAnEngineIsKilledAtEachStageOfAStart(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"decided", "asked", "stored", "over"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			w := newTimedWorld(t)
			r := hourly(schedule.Skip, 1)
			r.Settle(time.Now())
			if !r.Decide(time.Now(), true) {
				t.Fatal("it is not due")
			}
			id := schedule.FlowID("s", r.Starting.PlannedAt)
			digest, err := schedule.RequestDigest("s", r.Starting.PlannedAt)
			if err != nil {
				t.Fatal(err)
			}
			ask := func() {
				w.send(subject.SourceEngine, startCommand(id, planned(t, []string{"a"}, asyncStep("a", out("x"))), string(digest)))
			}
			stop := w.start() // there is no schedule yet
			switch stage {
			case "asked":
				stop()
				ask()
			case "stored":
				ask()
				w.invocation(id, "a")
			case "over":
				ask()
				w.send(subject.SourceHook, success(w.invocation(id, "a"), "x", "1"))
				w.ended(id)
			}
			stop()
			w.put(r)
			w.start()
			w.start()
			got := w.untilScheduled("the start is written down", func(e schedule.Entry) bool { return e.Started > 0 })
			if got.Starting != nil || got.Last.FlowID != id || got.Started != 1 || got.Failed != 0 {
				t.Errorf("%+v", got.Record)
			}
			w.idle()
			if started := w.starts(); len(started) != 1 || started[id] == nil {
				t.Errorf("flows: %v", started)
			}
		})
	}
}

// Two engines that both believe that everything is theirs, and are replaced again
// and again: each time has one flow at most, and each that has none was missed.
func TestTwoEnginesStartNothingTwice(t *testing.T) {
	t.Parallel()
	w := newTimedWorld(t)
	w.put(schedule.Record{ID: "s", Definition: everySecond(schedule.Allow)})
	first := w.startOn(w.bus, engine.OwnAll)
	second := w.startOn(w.bus, engine.OwnAll)
	for round := range uint64(4) {
		w.untilScheduled("flows are started", func(e schedule.Entry) bool { return e.Started > 2*round })
		first.stop()
		first, second = second, w.startOn(w.bus, engine.OwnAll)
	}
	first.stop()
	second.stop()
	w.start()
	r := w.untilScheduled("what was begun is done", func(e schedule.Entry) bool { return e.Starting == nil && e.Started > 8 })
	flows := uint64(0)
	for id := range w.starts() {
		if strings.HasPrefix(id, "s@") && !afterLast(id, r) {
			flows++
		}
	}
	passed := uint64(r.After.Sub(r.Anchor) / time.Second)
	if flows != r.Started || r.Started+r.Missed != passed || r.Failed+r.Skipped != 0 {
		t.Errorf("%d flows of %d starts, %d missed of %d times: %+v", flows, r.Started, r.Missed, passed, r.Record)
	}
}

// afterLast reports whether a flow is of a time after the record's last: ids of
// one schedule are in the order of time.
func afterLast(id string, r schedule.Entry) bool { return id > r.Last.FlowID }

func TestSchedulesThatOverlap(t *testing.T) {
	t.Parallel()
	for _, overlap := range []schedule.Overlap{schedule.Skip, schedule.Queue} {
		t.Run(string(overlap), func(t *testing.T) {
			t.Parallel()
			w := newTimedWorld(t)
			w.start()
			w.put(schedule.Record{ID: "s", Definition: everySecond(overlap)})
			first := w.untilScheduled("the first is started", func(e schedule.Entry) bool { return e.Started == 1 }).Last
			w.untilScheduled("two times pass", func(e schedule.Entry) bool { return int(e.Skipped)+len(e.Queue) >= 2 })
			held := w.scheduled("s")
			if held.Started != 1 || (overlap == schedule.Queue) != (len(held.Queue) > 0) {
				t.Fatalf("beside a flow that runs: %+v", held.Record)
			}
			w.send(subject.SourceHook, success(w.invocation(first.FlowID, "a"), "x", "1"))
			second := w.untilScheduled("the next is started", func(e schedule.Entry) bool { return e.Started == 2 }).Last
			if overlap == schedule.Queue && !second.PlannedAt.Equal(held.Queue[0].PlannedAt) {
				t.Errorf("after %s the one of %s is started", first.PlannedAt, second.PlannedAt)
			}
			if overlap == schedule.Skip && second.PlannedAt.Before(first.PlannedAt.Add(3*time.Second)) {
				t.Errorf("after %s the one of %s is started", first.PlannedAt, second.PlannedAt)
			}
		})
	}
}

// Where no flow runs, an engine whose own clock is off goes by the log's.
func TestSchedulesGoByTheLogsClock(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"fast": 5 * time.Minute, "slow": -5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTimedWorld(t)
			soon := hourly(schedule.Allow, 0)
			soon.ID, soon.Anchor = "soon", time.Now().Add(3*time.Minute-time.Hour).UTC().Truncate(time.Millisecond)
			soon.After = soon.Anchor
			w.put(soon) // due in three minutes
			w.startOn(w.bus, func(e *engine.Engine) { engine.Skew(e, ahead) })
			w.put(schedule.Record{ID: "s", Definition: everySecond(schedule.Allow)})
			r := w.untilScheduled("flows are started", func(e schedule.Entry) bool { return e.Started > 1 })
			if apart := time.Since(r.Last.StartedAt); apart < -time.Minute || apart > time.Minute {
				t.Errorf("started at %s, and it is %s", r.Last.StartedAt, time.Now())
			}
			if early := w.scheduled("soon"); early.Started > 0 || early.Starting != nil {
				t.Errorf("due in three minutes: %+v", early.Record)
			}
		})
	}
}

// What cannot be planned, or has its id taken, shows once, and the schedule goes
// on.
func TestAStartThatCannotBe(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(w *world, r *schedule.Record)
		want   string
	}{
		"an unknown goal": {func(_ *world, r *schedule.Record) { r.Flow.Goals = []string{"nobody"} }, "unknown goals: nobody"},
		"a missing input": {func(_ *world, r *schedule.Record) { r.Flow.Init = nil }, "missing inputs: n"},
		"an id that is taken": {func(w *world, r *schedule.Record) {
			w.begin(schedule.FlowID("s", r.Next(r.After, 1)[0]), chain(w.t))
		}, "was started by another request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTimedWorld(t)
			e := w.startOn(w.bus, nil)
			r := hourly(schedule.Skip, 1)
			tt.change(w, &r)
			w.put(r)
			got := w.untilScheduled("it is given up", func(e schedule.Entry) bool { return e.Failed > 0 })
			if !strings.Contains(got.Error.Message, tt.want) || got.Started != 0 || got.Starting != nil || !got.Error.PlannedAt.Equal(got.After) {
				t.Errorf("%+v, error %+v", got.Record, got.Error)
			}
			w.until("it is counted", func() bool { return e.figure(t, "sluice_engine_schedule_times_total") == 1 })
			// The next time is another try.
			fixed := got.Record
			fixed.Redefine(everySecond(schedule.Skip))
			if _, err := w.schedules.Put(t.Context(), fixed, got.Revision); err != nil {
				t.Fatal(err)
			}
			again := w.untilScheduled("it goes on", func(e schedule.Entry) bool { return e.Started > 0 })
			if again.Error != nil || again.Failed != 1 {
				t.Errorf("%+v", again.Record)
			}
		})
	}
}

// A schedule that is paused or deleted starts nothing any more.
func TestASchedulesEnd(t *testing.T) {
	t.Parallel()
	w := newTimedWorld(t)
	w.start()
	paused := schedule.Record{ID: "s", Definition: everySecond(schedule.Allow)}
	paused.Pause(true)
	w.put(paused)
	gone := schedule.Record{ID: "gone", Definition: everySecond(schedule.Allow)}
	w.put(gone)
	w.until("the other one starts flows", func() bool { return w.scheduled("gone").Started > 1 })
	w.until("it is deleted", func() bool {
		return w.schedules.Delete(t.Context(), "gone", w.scheduled("gone").Revision) == nil
	})
	if r := w.scheduled("s"); r.Started != 0 {
		t.Errorf("a paused one: %+v", r.Record)
	}
	w.put(schedule.Record{ID: "other", Definition: everySecond(schedule.Allow)})
	w.until("time passes", func() bool { return w.scheduled("other").Started > 1 })
	seen := 0
	for id := range w.starts() {
		if strings.HasPrefix(id, "gone@") {
			seen++
		}
	}
	w.until("more time passes", func() bool { return w.scheduled("other").Started > 3 })
	for id := range w.starts() {
		if strings.HasPrefix(id, "gone@") {
			seen--
		}
	}
	if seen != 0 {
		t.Errorf("%d more flows of a schedule that is gone", -seen)
	}
	if _, err := w.schedules.Get(t.Context(), "gone"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("it is back: %v", err)
	}
}
