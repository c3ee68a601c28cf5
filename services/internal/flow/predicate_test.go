package flow_test

import (
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// lastInvocations are the invocations that the last commit asks for.
func lastInvocations(l *life) []*sluicev1.Invocation {
	return l.state.Effects(l.log[len(l.log)-1]).Invocations
}

func TestAPredicateIsAskedOnceBeforeTheStepStarts(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", required("x"), optional("y", ""), output("z"), predicate)), map[string]string{"x": "12"})
	if got := l.trace(); got != "flow_started predicate_asked:a" {
		t.Fatalf("trace %s", got)
	}
	asked := lastInvocations(l)
	if len(asked) != 1 || !asked[0].GetScript().GetPredicate() || string(asked[0].GetArguments()["x"]) != "12" ||
		len(asked[0].GetScript().GetNames()) != 2 {
		t.Fatalf("invocations %v", asked)
	}
	if l.step("a").Status != sluicev1.StepStatus_STEP_STATUS_PENDING {
		t.Errorf("the step is %v", l.step("a").Status)
	}
	for _, other := range []*sluicev1.Command{answered("a", 0, false), answered("a", 2, false), wake()} {
		if v := l.do(other); v.Kind != flow.Nothing {
			t.Errorf("%v: verdict %v", other, v.Kind)
		}
	}
	l.do(answered("a", 1, true))
	if v := l.do(answered("a", 1, false)); v.Kind != flow.Nothing {
		t.Errorf("a second answer: verdict %v", v.Kind)
	}
	l.do(complete(ref("a", 1), succeeded("z", "1")))
	want := "flow_started predicate_asked:a\n" +
		"predicate_held:a step_started:a work_started:a#1\n" +
		"work_succeeded:a#1 step_completed:a attribute_set:z flow_completed flow_deactivated"
	if got := l.trace(); got != want {
		t.Errorf("trace\n%s\nwant\n%s", got, want)
	}
}

// The question is asked again for who was told of its commit and died, as long as
// it is open.
func TestAnOpenQuestionIsEmittedAgain(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", predicate)), nil)
	first := l.log[0]
	if n := len(l.state.Effects(first).Invocations); n != 1 {
		t.Errorf("open: %d invocations", n)
	}
	l.do(answered("a", 1, true))
	if n := len(l.state.Effects(first).Invocations); n != 0 {
		t.Errorf("answered: %d invocations", n)
	}
}

func TestAFalsePredicateSkipsTheStep(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"b"},
		step("a", output("x"), predicate), step("b", optional("x", "7"))), nil)
	l.do(answered("a", 1, false))
	if st := l.step("a"); st.Status != sluicev1.StepStatus_STEP_STATUS_SKIPPED || st.Error != "predicate returned false" {
		t.Errorf("a is %v, %q", st.Status, st.Error)
	}
	if got := jsonOf(l.step("b").Inputs); got != `{"x":7}` {
		t.Errorf("b starts with %s", got)
	}
}

func TestAGoalSkippedByItsPredicateIsReached(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", output("x"), predicate)), nil)
	l.do(answered("a", 1, false))
	if l.state.Status != sluicev1.FlowStatus_FLOW_STATUS_COMPLETED {
		t.Errorf("the flow is %v: %s", l.state.Status, l.state.Error)
	}
}

func TestAFailingPredicateFailsTheStep(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", output("x"), predicate)), nil)
	l.do(unanswered("a", 1, "line 3: no such key: amount"))
	if st := l.step("a"); st.Status != sluicev1.StepStatus_STEP_STATUS_FAILED || st.Error != "predicate: line 3: no such key: amount" {
		t.Errorf("a is %v, %q", st.Status, st.Error)
	}
	if l.state.Status != sluicev1.FlowStatus_FLOW_STATUS_FAILED {
		t.Errorf("the flow is %v", l.state.Status)
	}
}

// A step that is needed no more while its predicate is asked does not start.
func TestAnAnswerThatNobodyNeedsChangesNothing(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"c"},
		step("a", output("x")), step("b", output("x"), predicate), step("c", required("x"))), nil)
	l.do(complete(ref("a", 1), succeeded("x", "1")))
	if st := l.step("b"); st.Status != sluicev1.StepStatus_STEP_STATUS_SKIPPED || st.Error != "outputs not needed" {
		t.Errorf("b is %v, %q", st.Status, st.Error)
	}
	if v := l.do(answered("b", 1, true)); v.Kind != flow.Nothing {
		t.Errorf("verdict %v", v.Kind)
	}
}

// An answer that finds a full log is kept, and the step starts when there is room.
func TestAnAnswerInAFullLogIsKept(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", output("x"), predicate)), nil)
	l.full = true
	l.do(answered("a", 1, true))
	if st := l.step("a"); st.Status != sluicev1.StepStatus_STEP_STATUS_PENDING || l.due == 0 {
		t.Fatalf("a is %v, due %d", st.Status, l.due)
	}
	l.full = false
	l.now = l.due
	l.do(wake())
	if st := l.step("a"); st.Status != sluicev1.StepStatus_STEP_STATUS_ACTIVE {
		t.Errorf("a is %v", st.Status)
	}
}

func TestAnAnswerAfterTheFlowsDeadlineComesTooLate(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	cmd := startFlow(planned(t, []string{"a"}, step("a", predicate)), nil)
	cmd.GetStartFlow().TimeoutMs = 1000
	l.do(cmd)
	l.now += 2 * second
	l.do(answered("a", 1, true))
	if l.state.Status != sluicev1.FlowStatus_FLOW_STATUS_FAILED {
		t.Errorf("the flow is %v", l.state.Status)
	}
}

func TestAScriptStep(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", required("n"), typedOutput("x", "number"), scripted)), map[string]string{"n": "1"})
	inv := lastInvocations(l)
	if len(inv) != 1 || inv[0].GetScript().GetPredicate() || inv[0].GetScript().GetScript().GetLanguage() != "lua" ||
		inv[0].GetWork().GetAttempt() != 1 || string(inv[0].GetArguments()["n"]) != "1" {
		t.Fatalf("invocations %v", inv)
	}
	result := scriptResult(inv[0].GetWork(), &sluicev1.Outcome{Success: true, Outputs: map[string][]byte{"x": []byte("2")}})
	l.do(result)
	if v := l.do(result); v.Kind != flow.Nothing {
		t.Errorf("a second result: verdict %v", v.Kind)
	}
	if got := jsonOf(l.step("a").Outputs); got != `{"x":2}` || l.state.Status != sluicev1.FlowStatus_FLOW_STATUS_COMPLETED {
		t.Errorf("outputs %s, the flow is %v", got, l.state.Status)
	}
}

// A script that fails, fails for good: it would fail again.
func TestAFailingScriptIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	for _, outcome := range []*sluicev1.Outcome{
		{Error: "line 2: boom"}, {Success: true, Outputs: map[string][]byte{"x": []byte(`"text"`)}},
	} {
		l := begin(t, planned(t, []string{"a"}, step("a", typedOutput("x", "number"), scripted)), nil)
		l.do(scriptResult(ref("a", 1), outcome))
		if st := l.step("a"); st.Status != sluicev1.StepStatus_STEP_STATUS_FAILED || st.Items[0].RetryCount != 0 {
			t.Errorf("%v: a is %v", outcome, st.Status)
		}
	}
}
