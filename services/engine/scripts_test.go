package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/engine"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func TestMain(m *testing.M) {
	if testkit.Script() {
		return
	}
	m.Run()
}

func scriptStep(id, language, source string, options ...option) *sluicev1.PlannedStep {
	return asyncStep(id, append(options, func(s *sluicev1.PlannedStep) {
		s.Type, s.Endpoint, s.CallTimeoutMs = sluicev1.StepType_STEP_TYPE_SCRIPT, "", 0
		s.Script = &sluicev1.Script{Language: language, Source: source}
	})...)
}

func asks(language, source string) option {
	return func(s *sluicev1.PlannedStep) { s.Predicate = &sluicev1.Script{Language: language, Source: source} }
}

// timeLimit is how much processor time a script of the engine may take.
func timeLimit(d time.Duration) func(*engine.Config) {
	return func(cfg *engine.Config) { cfg.Scripts.TimeLimit = d }
}

// state is the flow as its history makes it.
func (w *world) state(id string) *flow.State {
	w.t.Helper()
	loaded, err := w.journal.Load(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return loaded.State
}

func (w *world) wantEnd(id string, status sluicev1.FlowStatus) []journal.Stored {
	w.t.Helper()
	history := w.ended(id)
	if s := w.state(id); s.Status != status {
		w.t.Errorf("flow %s is %v: %s", id, s.Status, s.Error)
	}
	return history
}

func TestScriptsAndPredicates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.begin("f", planned(t, []string{"e"},
		scriptStep("a", "cel", `{"n": 20, "list": [1, 2]}`, out("n"), out("list")),
		scriptStep("b", "lua", `return {m = n + #list}`, in("n"), in("list"), out("m"), asks("ale", `(> n 10)`)),
		scriptStep("c", "ale", `{:k (* m 2)}`, in("m"), out("k"), asks("lua", `m == 22`)),
		scriptStep("d", "cel", `1`, in("k"), out("result"), asks("cel", `k > 100`)),
		scriptStep("e", "cel", `{"z": result == null ? k : -1}`, in("k"), out("z"), func(s *sluicev1.PlannedStep) {
			s.Attributes = append(s.Attributes, &sluicev1.StepAttribute{
				Name: "result", Role: sluicev1.AttributeRole_ATTRIBUTE_ROLE_OPTIONAL, Type: "any",
			})
		})))
	history := w.wantEnd("f", sluicev1.FlowStatus_FLOW_STATUS_COMPLETED)
	s := w.state("f")
	if got := string(s.Attributes["z"].Value); got != "44" {
		t.Errorf("z is %s", got)
	}
	if d := s.Steps[s.Plan.Index["d"]]; d.Status != sluicev1.StepStatus_STEP_STATUS_SKIPPED || d.Error != "predicate returned false" {
		t.Errorf("d is %v: %s", d.Status, d.Error)
	}
	if n := count(history, func(e *sluicev1.Event) bool { return e.GetPredicateAsked() != nil }); n != 3 {
		t.Errorf("%d predicates were asked", n)
	}
	w.idle()
	w.until("all scripts are acked", func() bool { return w.messages(w.bus.Invocations(0)) == 0 })
}

func TestFailingScriptsFailTheirSteps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(timeLimit(time.Second))
	for id, c := range map[string]struct {
		step *sluicev1.PlannedStep
		want string
	}{
		"thrown":    {scriptStep("a", "lua", "local x\nerror('boom')"), "line 2: boom"},
		"endless":   {scriptStep("a", "ale", "(let-rec [f (lambda (x) (f x))] (f 1))"), "did not end"},
		"predicate": {scriptStep("a", "lua", "1", asks("cel", "1 / n > 0"), in("n")), "predicate: line 1: division by zero"},
		"shape":     {scriptStep("a", "cel", "{1: 2}"), "names are strings"},
	} {
		cmd := startCommand(id, planned(t, []string{"a"}, c.step), "request")
		cmd.GetStartFlow().Init = map[string][]byte{"n": []byte("0")}
		w.ask(cmd)
		history := w.wantEnd(id, sluicev1.FlowStatus_FLOW_STATUS_FAILED)
		s := w.state(id)
		if got := s.Steps[0].Error; !strings.Contains(got, c.want) {
			t.Errorf("%s: step failed with %q, want %q", id, got, c.want)
		}
		if n := count(history, func(e *sluicev1.Event) bool { return e.GetRetryScheduled() != nil }); n > 0 {
			t.Errorf("%s: %d retries of what fails again", id, n)
		}
	}
}

// Flows whose scripts run to their limit keep no other flow waiting.
func TestEndlessScriptsKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(timeLimit(time.Hour), func(cfg *engine.Config) { cfg.DrainTimeout = time.Millisecond })
	endless := planned(t, []string{"a"}, scriptStep("a", "lua", "while true do end"))
	for i := range 60 {
		w.begin(fmt.Sprintf("endless%d", i), endless)
	}
	for i := range 5 {
		id := fmt.Sprintf("f%d", i)
		w.begin(id, planned(t, []string{"a"}, scriptStep("a", "lua", "1", out("result"))))
		w.wantEnd(id, sluicev1.FlowStatus_FLOW_STATUS_COMPLETED)
	}
}

// A script comes back when its engine goes away in the middle of it.
func TestScriptsSurviveTheEngine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.startOn(w.bus, nil, timeLimit(time.Hour), func(cfg *engine.Config) { cfg.DrainTimeout = time.Millisecond })
	w.begin("f", planned(t, []string{"a"}, scriptStep("a", "lua", "1", asks("lua", "while true do end"))))
	w.until("the predicate is held", func() bool {
		consumer, err := w.bus.JS.Consumer(t.Context(), w.bus.Invocations(0), bus.ConsumerScripts)
		return err == nil && consumer.CachedInfo().NumAckPending == 1
	})
	r.stop()
	w.start(timeLimit(100 * time.Millisecond))
	w.wantEnd("f", sluicev1.FlowStatus_FLOW_STATUS_FAILED)
	if got := w.state("f").Steps[0].Error; !strings.Contains(got, "did not end") {
		t.Errorf("the step failed with %q", got)
	}
}

// A result that comes twice, since the ack of its script was lost, counts once.
func TestAScriptThatIsDeliveredAgainCountsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.begin("f", planned(t, []string{"b"},
		scriptStep("a", "cel", "1", out("result"), asks("cel", "true")), asyncStep("b", in("result"))))
	inv := w.invocation("f", "b")
	for _, attempt := range []uint32{0, 1} {
		again := &sluicev1.ScriptResult{
			Work:      &sluicev1.WorkRef{Run: inv.GetWork().GetRun(), StepId: "a", Generation: 1 - attempt, Attempt: attempt},
			Predicate: attempt == 0, Outcome: &sluicev1.Outcome{Error: "another one"},
		}
		w.send("engine", &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_ScriptResult{ScriptResult: again}})
	}
	w.idle()
	w.send("hook", success(inv, "y", "1"))
	w.wantEnd("f", sluicev1.FlowStatus_FLOW_STATUS_COMPLETED)
}

func TestGarbageInPlaceOfAScriptIsADeadLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	for _, data := range []string{"\xff\xff", ""} {
		if err := w.bus.Publish(t.Context(), &nats.Msg{Subject: w.bus.Space.InvokeScript("a", 0, "f"), Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	w.until("both are dead letters", func() bool { return w.messages(w.bus.Dead()) == 2 })
	w.until("both are acked", func() bool { return w.messages(w.bus.Invocations(0)) == 0 })
}
