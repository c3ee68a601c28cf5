package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/engine"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func TestChainCompletes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.begin("order-1", chain(t))
	for step, output := range map[string]string{"a": "x"} {
		w.send(subject.SourceHook, success(w.invocation("order-1", step), output, "1"))
	}
	w.send(subject.SourceHook, success(w.invocation("order-1", "b"), "y", "2"))
	inv := w.invocation("order-1", "c")
	if want := "http://gateway.test/webhook/order-1/c/" + inv.GetToken(); inv.GetWebhookUrl() != want {
		t.Errorf("webhook URL %q, want %q", inv.GetWebhookUrl(), want)
	}
	if claims := verifyToken(t, w.keys, inv); claims.Run != inv.GetWork().GetRun() {
		t.Errorf("claims %+v", claims)
	}
	w.send(subject.SourceHook, success(inv, "z", "3"))
	history := w.ended("order-1")
	if len(history) != 4 {
		t.Errorf("%d commits, want one for each transition: 4", len(history))
	}
	loaded, err := w.journal.Load(t.Context(), "order-1")
	if err != nil || flow.StatusName(loaded.State.Status) != "completed" || string(loaded.State.Attributes["z"].Value) != "3" {
		t.Errorf("state %v (%v)", loaded.State.Status, err)
	}
	w.idle()
}

func TestSecondAttemptsSayWhichTheyAre(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.begin("f", planned(t, []string{"a"}, asyncStep("a", out("x"))))
	first := w.invocation("f", "a")
	w.send(subject.SourceReport, &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_ReportCall{ReportCall: &sluicev1.ReportCall{
		Work: first.GetWork(), Outcome: &sluicev1.Outcome{NotCompleted: true, Error: "503"},
	}}})
	second := w.invocation("f", "a")
	if second.GetToken() != first.GetToken() || second.GetWork().GetAttempt() != 2 ||
		!strings.HasSuffix(second.GetWebhookUrl(), "?attempt=2") {
		t.Errorf("second invocation: attempt %d, URL %s", second.GetWork().GetAttempt(), second.GetWebhookUrl())
	}
}

func TestStartIsIdempotent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.begin("f", chain(t))
	for digest, want := range map[string]sluicev1.ReplyCode{
		"request": sluicev1.ReplyCode_REPLY_CODE_REPEATED, "another": sluicev1.ReplyCode_REPLY_CODE_CONFLICT,
	} {
		if got := w.ask(startCommand("f", chain(t), digest)).GetCode(); got != want {
			t.Errorf("%s: %v, want %v", digest, got, want)
		}
	}
	w.idle()
	if got := w.messages(w.bus.Invocations(0)); got != 1 {
		t.Errorf("%d invocations, want 1", got)
	}
}

// Rules 1, 4 and 5: an engine that died between its commit and the effects left
// a command that is not acked. The next one emits the effects and commits
// nothing.
func TestRedeliveryEmitsEffectsAgain(t *testing.T) {
	t.Parallel()
	// INVOCATIONS takes nothing, so that the engine commits and gets no further.
	cfg := testkit.BusConfig(t, testkit.JetStream(t))
	cfg.InvocationsMaxBytes = 1 << 20
	w := worldOn(t, testkit.BusOn(t, cfg))
	w.fillInvocations()
	stop := w.start()
	w.send(subject.SourceAPI, startCommand("f", chain(t), "request"))
	var before []journal.Stored
	w.until("the start is committed", func() bool {
		before, _ = w.journal.History(t.Context(), "f")
		return len(before) == 1
	})
	if w.messages(w.bus.Commands(0)) != 1 {
		t.Error("the command was acked before its effects were stored")
	}
	stop()
	w.purgeInvocations()
	w.start()
	if got := w.invocation("f", "a"); got.GetWork().GetAttempt() != 1 {
		t.Errorf("attempt %d is invoked", got.GetWork().GetAttempt())
	}
	w.idle()
	after, err := w.journal.History(t.Context(), "f")
	if err != nil || len(after) != len(before) {
		t.Errorf("%d commits after the repeat, want %d (%v)", len(after), len(before), err)
	}
}

// Rule 2: two engines that both believe that a partition is their own never both
// commit.
func TestTwoEnginesNeverBothCommit(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{1, 16} {
		t.Run(fmt.Sprintf("of %d", partitions), func(t *testing.T) {
			t.Parallel()
			cfg := testkit.BusConfig(t, testkit.JetStream(t))
			cfg.Partitions = partitions
			w := worldOn(t, testkit.BusOn(t, cfg))
			for range 2 {
				w.startOn(w.bus, engine.OwnAll)
			}
			bothWork(t, w)
		})
	}
}

// bothWork runs flows through both engines, and checks that each transition was
// committed once.
func bothWork(t *testing.T, w *world) {
	t.Helper()
	const flows = 40
	plan := chain(t)
	for i := range flows {
		w.begin(fmt.Sprintf("f%d", i), plan)
	}
	outputs := map[string]string{"a": "x", "b": "y", "c": "z"}
	for done := 0; done < 3*flows; done++ {
		inv, ok := w.nextInvocation(t.Context())
		if !ok {
			done--
			continue
		}
		cmd := success(inv, outputs[inv.GetWork().GetStepId()], "1")
		w.send(subject.SourceHook, cmd)
		w.send(subject.SourceHook, cmd) // twice, so that both engines have it
	}
	for i := range flows {
		id := fmt.Sprintf("f%d", i)
		history := w.ended(id)
		applied := count(history, func(e *sluicev1.Event) bool { return e.GetWorkSucceeded() != nil })
		if applied != 3 {
			t.Errorf("%s: %d outcomes applied, want 3", id, applied)
		}
		for n, c := range history {
			if c.Commit.GetRevision() != uint64(n+1) {
				t.Fatalf("%s: revision %d at place %d", id, c.Commit.GetRevision(), n)
			}
		}
	}
	w.idle()
}

// Rule 6: a timer survives all engines being down while it was due.
func TestTimersSurviveTheEngine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start()
	w.begin("f", planned(t, []string{"a"}, asyncStep("a", out("x"), timeout(4000), retries(1, 10))))
	first := w.invocation("f", "a")
	w.idle()
	stop()
	w.until("its schedule fires while nobody is there", func() bool {
		last, err := w.bus.Last(t.Context(), w.bus.Timers(0), w.bus.Space.Wake(w.bus.Partition("f"), "f"))
		return err == nil && last != nil
	})
	w.start()
	second := w.invocation("f", "a")
	if second.GetWork().GetAttempt() != first.GetWork().GetAttempt()+1 {
		t.Errorf("attempt %d after the timeout", second.GetWork().GetAttempt())
	}
	history := w.ended("f") // the second attempt times out too, and there are no more
	if n := count(history, func(e *sluicev1.Event) bool { return e.GetWorkTimedOut() != nil }); n != 2 {
		t.Errorf("%d timeouts, want 2", n)
	}
	w.idle()
}

// A deadline that is far ahead is stored by the sweep, and only for flows that
// still run then.
func TestTheSweepStoresWhatIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start()
	day := planned(t, []string{"a"}, asyncStep("a", out("x"), timeout(86_400_000)))
	w.begin("ended", day)
	w.send(subject.SourceHook, success(w.invocation("ended", "a"), "x", "1"))
	w.begin("waits", day)
	w.ended("ended")
	w.idle()
	if got := w.messages(w.bus.Timers(0)); got != 0 {
		t.Fatalf("%d schedules for deadlines that are a day ahead", got)
	}
	stop()
	w.start(func(c *engine.Config) { c.SweepInterval = time.Second })
	w.until("the running flow has its schedule", func() bool {
		last, err := w.bus.Last(t.Context(), w.bus.Timers(0), w.bus.Space.Timer(w.bus.Partition("waits"), "waits"))
		return err == nil && last != nil
	})
	w.idle()
	if got := w.messages(w.bus.Timers(0)); got != 1 {
		t.Errorf("%d schedules, want that of the running flow", got)
	}
}

// Rule 6: the server forgets a schedule that fired into a full store. The flow
// is woken all the same.
func TestTheSweepWakesWhatIsOverdue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start()
	w.begin("f", planned(t, []string{"a"}, asyncStep("a", out("x"), timeout(2000), retries(0, 10))))
	w.invocation("f", "a")
	w.idle()
	stop()
	stream, err := w.bus.JS.Stream(t.Context(), w.bus.Timers(0))
	if err == nil {
		err = stream.Purge(t.Context()) // its schedule is lost
	}
	if err != nil {
		t.Fatal(err)
	}
	w.start(func(c *engine.Config) { c.SweepInterval = time.Second })
	history := w.ended("f")
	if n := count(history, func(e *sluicev1.Event) bool { return e.GetWorkTimedOut() != nil }); n != 1 {
		t.Errorf("%d timeouts, want 1", n)
	}
}

func TestQuickFlowsStoreOneSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.begin("f", chain(t))
	w.send(subject.SourceHook, success(w.invocation("f", "a"), "x", "1"))
	w.send(subject.SourceHook, success(w.invocation("f", "b"), "y", "1"))
	w.idle()
	timer, err := w.bus.Last(t.Context(), w.bus.Timers(0), w.bus.Space.Timer(w.bus.Partition("f"), "f"))
	if err != nil || timer == nil || timer.Sequence != 1 {
		t.Fatalf("schedule %+v (%v), want the first and only one", timer, err)
	}
	w.send(subject.SourceHook, success(w.invocation("f", "c"), "z", "1"))
	w.ended("f")
	w.until("the ended flow's schedule is gone", func() bool { return w.messages(w.bus.Timers(0)) == 0 })
}

// Rule 9: what can never be carried out is a dead letter, and blocks nobody.
func TestPoisonGoesToDead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.begin("f", chain(t))
	inv := w.invocation("f", "a")
	garbage := &nats.Msg{Subject: w.bus.Space.Command(subject.SourceHook, w.bus.Partition("f"), "f"), Data: []byte("\xff\xff\xff")}
	if err := w.bus.Publish(t.Context(), garbage); err != nil {
		t.Fatal(err)
	}
	foreign := success(inv, "x", "1")
	foreign.GetCompleteWork().Work = &sluicev1.WorkRef{Run: inv.GetWork().GetRun(), StepId: "nope", Attempt: 1}
	w.send(subject.SourceHook, foreign)
	w.send(subject.SourceReport, success(inv, "x", "9")) // a completion may not come from the dispatcher
	w.send(subject.SourceHook, success(inv, "x", "1"))
	w.invocation("f", "b")
	w.idle()
	w.until("three dead letters are kept", func() bool { return w.messages(w.bus.Dead()) == 3 })
}

func TestEndedFlowsAreRetired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(func(c *engine.Config) { c.HistoryRetention = time.Second })
	w.begin("f", planned(t, []string{"a"}, asyncStep("a", out("x"))))
	w.send(subject.SourceHook, success(w.invocation("f", "a"), "x", "1"))
	w.until("its history is gone", func() bool { return w.messages(w.bus.Flows(0)) == 0 })
	w.begin("f", planned(t, []string{"a"}, asyncStep("a", out("x")))) // the id may be used again
}

func TestDeletionByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.begin("f", chain(t))
	remove := &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_RetireFlow{RetireFlow: &sluicev1.RetireFlow{By: "me"}}}
	if got := w.ask(remove).GetCode(); got != sluicev1.ReplyCode_REPLY_CODE_CONFLICT {
		t.Errorf("of a running flow: %v", got)
	}
	cancel := &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_CancelFlow{CancelFlow: &sluicev1.CancelFlow{Reason: "test"}}}
	if got := w.ask(cancel).GetCode(); got != sluicev1.ReplyCode_REPLY_CODE_OK {
		t.Errorf("cancel: %v", got)
	}
	if got := w.ask(remove).GetCode(); got != sluicev1.ReplyCode_REPLY_CODE_OK {
		t.Errorf("of an ended flow: %v", got)
	}
	w.until("its history is gone", func() bool { return w.messages(w.bus.Flows(0)) == 0 })
	if got := w.ask(cancel).GetCode(); got != sluicev1.ReplyCode_REPLY_CODE_NOT_FOUND {
		t.Errorf("of a flow that is gone: %v", got)
	}
}

// Rule 12: a history that does not hang together ends its flow, with the reason.
func TestBrokenHistoryEndsItsFlow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start()
	w.begin("f", chain(t))
	inv := w.invocation("f", "a")
	w.send(subject.SourceHook, success(inv, "x", "1"))
	w.invocation("f", "b")
	w.idle()
	stop()
	stream, err := w.bus.JS.Stream(t.Context(), w.bus.Flows(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.begin("other", chain(t)) // the partition goes on
	cancel := &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_CancelFlow{CancelFlow: &sluicev1.CancelFlow{}}}
	reply := w.ask(cancel)
	if reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_CONFLICT || !strings.Contains(reply.GetDetail(), "damaged") {
		t.Errorf("reply %v", reply)
	}
	last, err := w.bus.Last(t.Context(), w.bus.Flows(0), w.bus.Space.Fence(w.bus.Partition("f"), "f"))
	if err != nil || !strings.Contains(last.Subject, "failed") || last.Header.Get(bus.HeaderBroken) == "" {
		t.Errorf("last commit on %s (%v)", last.Subject, err)
	}
	remove := &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_RetireFlow{RetireFlow: &sluicev1.RetireFlow{By: "me"}}}
	if reply := w.ask(remove); reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_OK {
		t.Errorf("of its deletion: %v", reply)
	}
	if last, err := w.bus.Last(t.Context(), w.bus.Flows(0), w.bus.Space.Fence(w.bus.Partition("f"), "f")); err != nil || last != nil {
		t.Errorf("it was deleted, and %v is there (%v)", last, err)
	}
}

// A NATS server that goes away and comes back needs no restart of anybody.
func TestNATSComesBack(t *testing.T) {
	t.Parallel()
	server := testkit.NewNATS(t)
	w := worldOn(t, testkit.BusOn(t, testkit.BusConfig(t, server.URL())))
	w.start()
	w.begin("f", chain(t))
	inv := w.invocation("f", "a")
	server.Stop()
	server.Start()
	w.until("NATS is connected", func() bool { return w.bus.Connected() == nil })
	w.until("the completion is stored", func() bool {
		return w.bus.PublishCommand(t.Context(), subject.SourceHook, success(inv, "x", "1"), nil) == nil
	})
	w.invocation("f", "b")
}

// A store that came back may have lost schedules: they are looked for at once,
// or as soon as the engine owns again what it lost meanwhile.
func TestTheSweepFollowsANewServer(t *testing.T) {
	t.Parallel()
	server := testkit.NewNATS(t)
	w := worldOn(t, testkit.BusOn(t, testkit.BusConfig(t, server.URL())))
	r := w.startOn(w.bus, nil) // it sweeps after a minute, and then every hour
	w.begin("f", planned(t, []string{"a"}, asyncStep("a", out("x"), timeout(86_400_000))))
	w.invocation("f", "a")
	w.idle()
	if n := w.messages(w.bus.Timers(0)); n != 0 {
		t.Fatalf("%d schedules before the sweep", n)
	}
	server.Stop()
	w.until("the engine has lost what it owned", func() bool { return r.figure(t, "sluice_engine_partitions") == 0 })
	server.Start()
	w.until("its schedule is stored", func() bool {
		last, err := w.bus.Last(t.Context(), w.bus.Timers(0), w.bus.Space.Timer(w.bus.Partition("f"), "f"))
		return err == nil && last != nil
	})
}

// Flows that fit into no cache together are loaded for each command.
func TestFlowsThatDoNotFitIntoTheCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(func(c *engine.Config) { c.FlowCacheBytes = 1 })
	const flows = 40 // more than partitions, so that some share one
	for n := range flows {
		w.begin(fmt.Sprintf("flow-%d", n), chain(t))
	}
	for _, output := range []string{"x", "y", "z"} {
		for _, inv := range w.invocations(flows) {
			w.send(subject.SourceHook, success(inv, output, "1"))
		}
	}
	for n := range flows {
		if history := w.ended(fmt.Sprintf("flow-%d", n)); len(history) != 4 {
			t.Errorf("flow %d has %d commits, want 4", n, len(history))
		}
	}
}

func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*engine.Config){
		"WEBHOOK_BASE_URL":  func(c *engine.Config) { c.WebhookBaseURL = "localhost" },
		"HISTORY_RETENTION": func(c *engine.Config) { c.HistoryRetention = 0 },
		"FLOW_CACHE_SIZE":   func(c *engine.Config) { c.FlowCacheSize = 0 },
		"FLOW_CACHE_BYTES":  func(c *engine.Config) { c.FlowCacheBytes = 0 },
		"MAX_WORK_ITEMS":    func(c *engine.Config) { c.MaxWorkItems = 2_000_000 },
		"SWEEP_INTERVAL":    func(c *engine.Config) { c.SweepInterval = 0 },
	} {
		cfg := config()
		spoil(&cfg)
		if _, err := engine.New(t.Context(), cfg, engine.Deps{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v does not name it", name, err)
		}
	}
}
