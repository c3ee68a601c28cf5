package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/engine"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// garble flips a bit that no checksum of the server covers, in the length of a
// message's headers: it is delivered with other headers, and data, than it had.
func (w *world) garble(server *testkit.NATS, stream string, sequence uint64, bit int) {
	w.t.Helper()
	server.Stop()
	r := testkit.RecordOf(w.t, server.Store(), stream, sequence)
	if r.Headers == r.HeaderLength {
		w.t.Fatalf("sequence %d of %s has no headers", sequence, stream)
	}
	testkit.FlipBit(w.t, r.File, r.HeaderLength, bit)
	w.back(server)
}

// back starts a server again, and waits until it answers.
func (w *world) back(server *testkit.NATS) {
	w.t.Helper()
	server.Start()
	w.until("NATS answers", func() bool {
		_, err := w.bus.JS.Stream(w.t.Context(), w.bus.Flows(0))
		return err == nil
	})
}

// A commit with garbled headers ends its flow, and concerns no other. Where it is
// the last one, the sweep finds it; else whoever loads the flow.
func TestAGarbledCommitEndsItsFlow(t *testing.T) {
	t.Parallel()
	for name, sequence := range map[string]uint64{"the first": 1, "the last": 2} {
		for _, bit := range []int{0, 1, 4, 7} {
			t.Run(fmt.Sprintf("%s, bit %d", name, bit), func(t *testing.T) {
				t.Parallel()
				server := testkit.NewNATS(t)
				w := worldOn(t, testkit.ConnectBus(t, server.URL()))
				stop := w.start()
				w.begin("f", chain(t))
				w.send(subject.SourceHook, success(w.invocation("f", "a"), "x", "1"))
				w.invocation("f", "b")
				w.begin("other", chain(t))
				inv := w.invocation("other", "a")
				w.idle()
				stop()
				w.garble(server, "FLOWS_0", sequence, bit)
				w.start(func(c *engine.Config) { c.SweepInterval = time.Second })
				if sequence == 1 {
					w.send(subject.SourceAPI, &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_CancelFlow{CancelFlow: &sluicev1.CancelFlow{}}})
				}
				w.until("the damaged flow has ended", func() bool {
					loaded, err := w.journal.Load(t.Context(), "f")
					return err == nil && strings.Contains(loaded.Broken, "damaged")
				})
				last, err := w.bus.Last(t.Context(), w.bus.Flows(0), w.bus.Space.Fence(w.bus.Partition("f"), "f"))
				if err != nil || !strings.Contains(last.Subject, "failed") || last.Header.Get(bus.HeaderRevision) != "3" {
					t.Errorf("it ended by %+v (%v)", last, err)
				}
				w.send(subject.SourceHook, success(inv, "x", "1"))
				w.invocation("other", "b")
			})
		}
	}
}

// A command with garbled headers is a dead letter, and those behind it are carried
// out.
func TestAGarbledCommandIsADeadLetter(t *testing.T) {
	t.Parallel()
	for _, bit := range []int{0, 3, 5, 7} {
		t.Run(fmt.Sprintf("bit %d", bit), func(t *testing.T) {
			t.Parallel()
			server := testkit.NewNATS(t)
			w := worldOn(t, testkit.ConnectBus(t, server.URL()))
			for _, id := range []string{"f", "g"} {
				w.send(subject.SourceAPI, startCommand(id, chain(t), "request"))
			}
			w.garble(server, "COMMANDS_0", 1, bit)
			w.start()
			w.invocation("g", "a")
			w.idle()
			letters, _, err := dead.Open(w.bus).List(t.Context(), dead.Command, 0, 10)
			if err != nil || len(letters) != 1 || letters[0].GetSequence() != 1 {
				t.Errorf("dead letters %v (%v)", letters, err)
			}
		})
	}
}

// A command's record has no bit that gives it another subject: such a message
// would break each connection that it is delivered on.
func TestACommandHasItsOwnSubjectOrIsNotDelivered(t *testing.T) {
	t.Parallel()
	server := testkit.NewNATS(t)
	w := worldOn(t, testkit.ConnectBus(t, server.URL()))
	for _, id := range []string{"f", "g"} {
		w.send(subject.SourceAPI, startCommand(id, chain(t), "request"))
	}
	server.Stop()
	r := testkit.RecordOf(t, server.Store(), "COMMANDS_0", 1)
	testkit.FlipBit(t, r.File, r.Subject-2, 0) // in the length of its subject
	w.back(server)
	reconnects := w.bus.NC.Stats().Reconnects
	w.start()
	w.invocation("g", "a")
	if n := w.bus.NC.Stats().Reconnects - reconnects; n > 0 {
		t.Errorf("the connection broke %d times", n)
	}
}

// An ending with garbled headers is retired like any other.
func TestAGarbledEndingIsRetired(t *testing.T) {
	t.Parallel()
	server := testkit.NewNATS(t)
	w := worldOn(t, testkit.ConnectBus(t, server.URL()))
	stop := w.start()
	w.begin("f", planned(t, []string{"a"}, asyncStep("a", out("x"))))
	w.send(subject.SourceHook, success(w.invocation("f", "a"), "x", "1"))
	w.ended("f")
	w.idle()
	stop()
	w.garble(server, "FLOWS_0", 2, 0)
	// The ending was put back for an hour: it is delivered anew.
	if err := w.bus.JS.DeleteConsumer(t.Context(), "FLOWS_0", bus.ConsumerRetention(subject.KindCompleted)); err != nil {
		t.Fatal(err)
	}
	if err := w.bus.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.start(func(c *engine.Config) { c.HistoryRetention = time.Second })
	w.until("its history is gone", func() bool {
		last, err := w.bus.Last(t.Context(), w.bus.Flows(0), w.bus.Space.Fence(w.bus.Partition("f"), "f"))
		return err == nil && last == nil
	})
}

// A wake with garbled headers is a dead letter; a schedule is stored anew.
func TestAGarbledScheduleIsReplaced(t *testing.T) {
	t.Parallel()
	server := testkit.NewNATS(t)
	w := worldOn(t, testkit.ConnectBus(t, server.URL()))
	stop := w.start()
	w.begin("f", planned(t, []string{"a"}, asyncStep("a", out("x"), timeout(3000), retries(0, 10))))
	w.invocation("f", "a")
	w.idle()
	stop()
	w.garble(server, "TIMERS_0", 1, 0)
	w.start(func(c *engine.Config) { c.SweepInterval = time.Second })
	history := w.ended("f")
	if n := count(history, func(e *sluicev1.Event) bool { return e.GetWorkTimedOut() != nil }); n != 1 {
		t.Errorf("%d timeouts, want 1", n)
	}
}

// A store that lost the end of a flow may hold the schedule of a commit that is
// lost, far behind what the flow waits for now: the sweep sees whose it is.
func TestTheSweepWakesWhatIsDueBeforeALostSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start()
	w.begin("f", planned(t, []string{"a"}, asyncStep("a", out("x"), timeout(3_600_000), retries(1, 1))))
	inv := w.invocation("f", "a")
	w.send(subject.SourceReport, &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_ReportCall{ReportCall: &sluicev1.ReportCall{
		Work: inv.GetWork(), Outcome: &sluicev1.Outcome{NotCompleted: true, Error: "busy"},
	}}})
	w.invocation("f", "a") // the second attempt, for an hour
	w.until("its schedule is stored", func() bool {
		last, err := w.bus.Last(t.Context(), w.bus.Timers(0), w.bus.Space.Timer(w.bus.Partition("f"), "f"))
		return err == nil && last != nil && last.Header.Get(bus.HeaderRevision) == "3"
	})
	w.idle()
	stop()
	w.losesLast("f")
	w.purgeInvocations()
	w.start(func(c *engine.Config) { c.SweepInterval = time.Second })
	w.until("the retry has started again", func() bool {
		loaded, err := w.journal.Load(t.Context(), "f")
		return err == nil && loaded.State.Steps[0].Items[0].Attempt == 2
	})
}

// losesLast takes the last commit of a flow away.
func (w *world) losesLast(flowID string) {
	w.t.Helper()
	last, err := w.bus.Last(w.t.Context(), w.bus.Flows(0), w.bus.Space.Fence(w.bus.Partition(flowID), flowID))
	if err != nil || last == nil {
		w.t.Fatalf("the last commit: %+v (%v)", last, err)
	}
	var stream jetstream.Stream
	if stream, err = w.bus.JS.Stream(w.t.Context(), w.bus.Flows(0)); err == nil {
		err = stream.DeleteMsg(w.t.Context(), last.Sequence)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}
