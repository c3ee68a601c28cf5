package engine_test

import (
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/engine"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func undoable() option {
	return func(s *sluicev1.PlannedStep) { s.Compensate = "http://worker.test/undo/" + s.GetId() }
}

func callTimeout(ms int64) option {
	return func(s *sluicev1.PlannedStep) { s.CallTimeoutMs = ms }
}

// booking is a plan of steps a and b, which can be undone, and c.
func booking(t *testing.T, options ...option) []byte {
	t.Helper()
	more := append([]option{undoable()}, options...)
	return planned(t, []string{"c"},
		asyncStep("a", append(more, out("x"))...), asyncStep("b", append(more, in("x"), out("y"))...), asyncStep("c", in("y"), out("z")))
}

func cancelCommand() *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_CancelFlow{CancelFlow: &sluicev1.CancelFlow{Reason: "test"}}}
}

// undone reports what a call that undoes a success came to.
func undone(inv *sluicev1.Invocation, o *sluicev1.Outcome) *sluicev1.Command {
	return &sluicev1.Command{FlowId: inv.GetFlowId(), Kind: &sluicev1.Command_ReportCall{ReportCall: &sluicev1.ReportCall{
		Work: inv.GetWork(), Outcome: o, Compensate: true,
	}}}
}

func done() *sluicev1.Outcome { return &sluicev1.Outcome{Success: true} }

// booked brings a flow to where a and b succeeded, and returns their invocations.
func (w *world) booked(id string, planBytes []byte) (a, b *sluicev1.Invocation) {
	w.t.Helper()
	w.begin(id, planBytes)
	a = w.invocation(id, "a")
	w.send(subject.SourceHook, success(a, "x", "1"))
	b = w.invocation(id, "b")
	w.send(subject.SourceHook, success(b, "y", "2"))
	w.invocation(id, "c")
	return a, b
}

func (w *world) status(id string) string {
	w.t.Helper()
	loaded, err := w.journal.Load(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return flow.StatusName(loaded.State.Status)
}

func TestWhatSucceededIsCompensatedBeforeTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	a, b := w.booked("f", booking(t, retries(2, 50)))
	if reply := w.ask(cancelCommand()); reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_OK || reply.GetDetail() == "" {
		t.Errorf("cancel: %v", reply)
	}
	undoB := w.invocation("f", "b")
	if !undoB.GetCompensate() || undoB.GetToken() != b.GetToken() || undoB.GetEndpoint() != "http://worker.test/undo/b" ||
		string(undoB.GetArguments()["x"]) != "1" || string(undoB.GetOutputs()["y"]) != "2" || undoB.GetWebhookUrl() != "" {
		t.Errorf("the call is %v", undoB)
	}
	w.send(subject.SourceReport, undone(undoB, &sluicev1.Outcome{NotCompleted: true, Error: "503"}))
	again := w.invocation("f", "b") // after the step's backoff
	if again.GetToken() != b.GetToken() || again.GetWork().GetAttempt() != 2 {
		t.Errorf("attempt %d", again.GetWork().GetAttempt())
	}
	if got := w.status("f"); got != "active" {
		t.Errorf("the flow is %s before all is compensated", got)
	}
	w.send(subject.SourceReport, undone(again, done()))
	undoA := w.invocation("f", "a")
	if undoA.GetToken() != a.GetToken() {
		t.Error("another token")
	}
	w.send(subject.SourceReport, undone(undoA, &sluicev1.Outcome{Error: "404"}))
	history := w.ended("f")
	if got := w.status("f"); got != "canceled" {
		t.Errorf("the flow is %s", got)
	}
	if count(history, func(e *sluicev1.Event) bool { return e.GetWorkCompensated() != nil }) != 1 ||
		count(history, func(e *sluicev1.Event) bool { return e.GetCompensationFailed() != nil }) != 1 {
		t.Error("not one that is compensated and one that could not be")
	}
	w.idle()
}

// Rules 1, 4 and 5: an engine committed that a success is to be undone, and died
// before it asked for the call. The next one asks.
func TestAnEngineDiesBeforeItAsksToCompensate(t *testing.T) {
	t.Parallel()
	cfg := testkit.BusConfig(t, testkit.JetStream(t))
	cfg.InvocationsMaxBytes = 1 << 20
	w := worldOn(t, testkit.BusOn(t, cfg))
	stop := w.start()
	_, b := w.booked("f", booking(t))
	w.idle()
	w.fillInvocations()
	w.send(subject.SourceAPI, cancelCommand())
	w.until("the compensation is committed", func() bool {
		history, err := w.journal.History(t.Context(), "f")
		return err == nil && count(history, func(e *sluicev1.Event) bool { return e.GetWorkCompensating() != nil }) == 1
	})
	stop()
	w.purgeInvocations()
	w.start()
	undo := w.invocation("f", "b")
	if !undo.GetCompensate() || undo.GetToken() != b.GetToken() || undo.GetWork().GetAttempt() != 1 {
		t.Errorf("the call is %v", undo)
	}
	w.send(subject.SourceReport, undone(undo, done()))
	w.send(subject.SourceReport, undone(w.invocation("f", "a"), done()))
	if n := count(w.ended("f"), func(e *sluicev1.Event) bool { return e.GetWorkCompensating() != nil }); n != 2 {
		t.Errorf("%d calls are in the history, want 2", n)
	}
	w.idle()
}

// Nobody says what came of a call, and no engine is there when its time is over:
// it is made again, under the same key.
func TestALostCompensationIsMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start()
	_, b := w.booked("f", booking(t, timeout(5000), callTimeout(500), retries(-1, 10)))
	w.ask(cancelCommand())
	first := w.invocation("f", "b")
	w.idle()
	stop()
	w.until("its schedule fires while nobody is there", func() bool {
		last, err := w.bus.Last(t.Context(), w.bus.Timers(0), w.bus.Space.Wake(w.bus.Partition("f"), "f"))
		return err == nil && last != nil
	})
	w.start()
	second := w.invocation("f", "b")
	if second.GetToken() != b.GetToken() || second.GetWork().GetAttempt() != first.GetWork().GetAttempt()+1 {
		t.Errorf("attempt %d after %d", second.GetWork().GetAttempt(), first.GetWork().GetAttempt())
	}
	w.send(subject.SourceReport, undone(first, done())) // the first was only slow
	undoA := w.invocation("f", "a")
	w.send(subject.SourceReport, undone(undoA, done()))
	w.ended("f")
}

// A flow that ended is kept, past its retention too, while a worker may report a
// success that has to be undone.
func TestALateSuccessIsCompensatedAndThenTheFlowGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(func(c *engine.Config) { c.HistoryRetention = time.Second })
	w.begin("f", booking(t))
	inv := w.invocation("f", "a")
	w.ask(cancelCommand())
	w.ended("f")
	remove := &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_RetireFlow{RetireFlow: &sluicev1.RetireFlow{By: "me"}}}
	if reply := w.ask(remove); reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_CONFLICT {
		t.Errorf("deleted by hand: %v", reply)
	}
	w.until("its retention came and went", func() bool {
		consumer, err := w.bus.JS.Consumer(t.Context(), w.bus.Flows(0), "retention-canceled")
		return err == nil && consumer.CachedInfo().Delivered.Stream > 0 && consumer.CachedInfo().NumAckPending == 0
	})
	w.idle()
	w.send(subject.SourceHook, success(inv, "x", "1"))
	undo := w.invocation("f", "a")
	if !undo.GetCompensate() || string(undo.GetOutputs()["x"]) != "1" {
		t.Errorf("the call is %v", undo)
	}
	if got := w.status("f"); got != "canceled" {
		t.Errorf("the flow is %s", got)
	}
	w.send(subject.SourceReport, undone(undo, done()))
	w.until("its history is gone", func() bool { return w.messages(w.bus.Flows(0)) == 0 })
}

// The schedule of a flow that ended and waits for a worker is stored at once: the
// sweep that stores what is far ahead is for flows that run. And one that is lost
// is found again.
func TestAFlowThatWaitsForALateWorkerHasItsSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start()
	w.begin("f", booking(t, timeout(86_400_000)))
	w.invocation("f", "a")
	w.ask(cancelCommand())
	w.idle()
	scheduled := func() bool {
		last, err := w.bus.Last(t.Context(), w.bus.Timers(0), w.bus.Space.Timer(w.bus.Partition("f"), "f"))
		return err == nil && last != nil
	}
	if !scheduled() {
		t.Fatal("there is no schedule")
	}
	stop()
	stream, err := w.bus.JS.Stream(t.Context(), w.bus.Timers(0))
	if err == nil {
		err = stream.Purge(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	w.start(func(c *engine.Config) { c.SweepInterval = time.Second })
	w.until("it is stored again", scheduled)
}
