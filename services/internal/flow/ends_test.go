package flow_test

import (
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// What one goal gives, another one needs: both are reached, and the flow goes on
// until both are.
func TestOneGoalThatFeedsAnother(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a", "b"}, step("a", output("x")), step("b", required("x"), output("y"))), nil)
	l.do(complete(ref("a", 1), succeeded("x", "1")))
	wantStatus(t, l, "active", "")
	l.do(complete(ref("b", 1), succeeded("y", "2")))
	wantStatus(t, l, "completed", "")
}

func TestARequiredInputWhoseProviderWasSkipped(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"b"}, step("a", output("x"), predicate), step("b", required("x"), output("y"))), nil)
	l.do(answered("a", 1, false))
	wantStatus(t, l, "failed", `goal "b" failed: required input no longer available`)
	if st := l.step("b"); st.Status != sluicev1.StepStatus_STEP_STATUS_FAILED || len(st.Unsatisfied) != 1 || st.Unsatisfied[0] != "x" {
		t.Errorf("b is %v and lacks %v", st.Status, st.Unsatisfied)
	}
}

func TestAnOptionalInputWhoseProviderFailed(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{"7": `{"x":7}`, "": "null"} {
		l := begin(t, planned(t, []string{"b"}, step("a", output("x")), step("b", optional("x", value), output("y"))), nil)
		if st := l.step("b"); st.Status != sluicev1.StepStatus_STEP_STATUS_PENDING {
			t.Fatalf("b is %v while a may still give x", st.Status)
		}
		l.do(complete(ref("a", 1), failed("down")))
		if got := jsonOf(l.step("b").Inputs); got != want {
			t.Errorf("with the default %q, b starts with %s, want %s", value, got, want)
		}
		l.do(complete(ref("b", 1), succeeded("y", "1")))
		wantStatus(t, l, "completed", "")
	}
}

// Two steps give the same attribute: the one that fails, or is slow, holds up
// nothing that the other one makes possible.
func TestASecondProvider(t *testing.T) {
	t.Parallel()
	twice := planned(t, []string{"c"}, step("a", output("x")), step("b", output("x")), step("c", required("x"), output("y")))
	t.Run("fails", func(t *testing.T) {
		t.Parallel()
		l := begin(t, twice, nil)
		l.do(complete(ref("a", 1), failed("down")))
		wantStatus(t, l, "active", "")
		l.do(complete(ref("b", 1), succeeded("x", "2")))
		l.do(complete(ref("c", 1), succeeded("y", "3")))
		wantStatus(t, l, "completed", "")
	})
	t.Run("fails after the first", func(t *testing.T) {
		t.Parallel()
		l := begin(t, twice, nil)
		l.do(complete(ref("b", 1), succeeded("x", "2")))
		l.do(complete(ref("a", 1), failed("down")))
		l.do(complete(ref("c", 1), succeeded("y", "3")))
		wantStatus(t, l, "completed", "")
	})
	t.Run("is slow", func(t *testing.T) {
		t.Parallel()
		l := begin(t, twice, nil)
		l.do(complete(ref("a", 1), succeeded("x", "1")))
		l.do(complete(ref("c", 1), succeeded("y", "3")))
		wantStatus(t, l, "completed", "")
		if got := string(l.state.Attributes["x"].Value); got != "1" {
			t.Errorf("x is %s", got)
		}
	})
	t.Run("both fail", func(t *testing.T) {
		t.Parallel()
		l := begin(t, twice, nil)
		l.do(complete(ref("a", 1), failed("down")))
		l.do(complete(ref("b", 1), failed("down too")))
		wantStatus(t, l, "failed", `goal "c" failed: required input no longer available`)
	})
}

// A flow that ended, however it did, waits for no deadline any more.
func TestAnEndedFlowHasNoDeadline(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]*sluicev1.Command{
		"completed": complete(ref("a", 1), succeeded("x", "1")),
		"failed":    complete(ref("a", 1), failed("down")),
		"canceled":  cancel(),
	} {
		l := newLife(t)
		cmd := startFlow(planned(t, []string{"a"}, step("a", output("x"))), nil)
		cmd.GetStartFlow().TimeoutMs = 5000
		l.do(cmd)
		if due, ok := l.state.NextDeadline(); !ok || due != start+5*second {
			t.Fatalf("next deadline is %d, want the flow's", due)
		}
		l.do(last)
		if due, ok := l.state.NextDeadline(); ok {
			t.Errorf("%s, and its next deadline is %d", name, due)
		}
	}
}

// A work item that waits for its retry counts as one of those that run.
func TestARetryThatWaitsKeepsItsPlace(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", each(required("n")), output("x"), parallel(1))), map[string]string{"n": "[1,2]"})
	l.do(report(itemRef("a", 0, 1), notCompleted("503", 0)))
	if got := l.step("a").Items[1].Attempt; got != 0 {
		t.Errorf("the other one has begun, attempt %d", got)
	}
	l.fire()
	l.do(complete(itemRef("a", 0, 2), succeeded("x", "1")))
	if got := l.step("a").Items[1].Attempt; got != 1 {
		t.Errorf("the other one has not begun when there is a place, attempt %d", got)
	}
}

func TestACancelReachesAllWorkItems(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", each(required("n")), output("x"), parallel(2))), map[string]string{"n": "[1,2,3]"})
	l.do(report(itemRef("a", 1, 1), notCompleted("503", 0)))
	l.do(cancel())
	wantStatus(t, l, "canceled", "asked")
	fx := l.state.Effects(l.log[len(l.log)-1])
	if len(fx.Marks) != 2 || len(fx.Invocations) != 0 {
		t.Errorf("%d tokens are closed, want those of the two that began; %d calls", len(fx.Marks), len(fx.Invocations))
	}
	if due, ok := l.state.NextDeadline(); ok {
		t.Errorf("the retry is still due at %d", due)
	}
	if v := l.do(complete(itemRef("a", 0, 1), succeeded("x", "1"))); l.step("a").Items[0].Outputs != nil {
		t.Errorf("a success after the cancel is applied: %v", v.Kind)
	}
}
