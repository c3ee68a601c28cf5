package flow_test

import (
	"strings"
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// waits makes a step wait.
func waits(w *sluicev1.Wait) stepOption {
	return func(s *sluicev1.PlannedStep) {
		s.Type, s.Endpoint, s.CallTimeoutMs, s.Compensate, s.Script = sluicev1.StepType_STEP_TYPE_WAIT, "", 0, "", nil
		s.Wait = w
	}
}

func duration(ms int64) *sluicev1.Wait { return &sluicev1.Wait{DurationMs: ms} }

func (l *life) wantStatus(status sluicev1.FlowStatus) {
	l.t.Helper()
	if l.state.Status != status {
		l.t.Fatalf("the flow is %s: %s\n%s", flow.StatusName(l.state.Status), l.state.Error, l.trace())
	}
}

func (l *life) wantAttribute(name, value string) {
	l.t.Helper()
	if got := string(l.state.Attributes[name].Value); got != value {
		l.t.Fatalf("%s is %s, want %s", name, got, value)
	}
}

func TestAWaitEndsByItselfAtItsTime(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"b"},
		step("a", waits(duration(5000)), output("at"), typedOutput("over", "boolean"), typedOutput("ms", "number")),
		step("b", required("at"))), nil)
	it := &l.step("a").Items[0]
	if it.Token != "" || it.Deadline != 0 || it.Until != start+5*second || len(l.state.Effects(l.log[0]).Invocations) > 0 {
		t.Errorf("the wait began as %+v", it)
	}
	l.now += 5*second - 1
	l.do(wake())
	if l.step("a").Status != sluicev1.StepStatus_STEP_STATUS_ACTIVE {
		t.Fatalf("it is over too soon:\n%s", l.trace())
	}
	l.fire()
	l.wantAttribute("at", `"2027-01-15T08:00:05Z"`)
	l.wantAttribute("over", "true")
	l.wantAttribute("ms", "1800000005000")
	if l.step("b").Status != sluicev1.StepStatus_STEP_STATUS_ACTIVE {
		t.Errorf("nothing follows:\n%s", l.trace())
	}
	for _, c := range l.log {
		if marks := l.state.Effects(c).Marks; len(marks) > 0 {
			t.Errorf("Redis is told of tokens that nobody has: %v", marks)
		}
	}
}

func TestAWaitForAPastMomentIsOverAtOnce(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", output("at"), waits(&sluicev1.Wait{UntilNs: new(start - 1000*second)}))), nil)
	if l.due != start {
		t.Fatalf("it asks to be woken at %d, want at once (%d)", l.due, start)
	}
	l.fire()
	l.wantStatus(sluicev1.FlowStatus_FLOW_STATUS_COMPLETED)
}

func TestAWaitThatIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		wait   *sluicev1.Wait
		status sluicev1.FlowStatus
		value  string
		reason string
	}{
		"fails": {
			&sluicev1.Wait{DurationMs: 5000, TimeoutMs: 3000}, sluicev1.FlowStatus_FLOW_STATUS_FAILED, "", "in vain for 3000 ms",
		},
		"gives what its step says": {
			&sluicev1.Wait{DurationMs: 5000, TimeoutMs: 3000, OnTimeout: &sluicev1.WaitOutputs{Outputs: map[string][]byte{"at": []byte(`"late"`)}}},
			sluicev1.FlowStatus_FLOW_STATUS_COMPLETED, `"late"`, "",
		},
		"not when its time comes first": {
			&sluicev1.Wait{DurationMs: 3000, TimeoutMs: 3000}, sluicev1.FlowStatus_FLOW_STATUS_COMPLETED, `"2027-01-15T08:00:03Z"`, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := begin(t, planned(t, []string{"a"}, step("a", output("at"), waits(tt.wait))), nil)
			l.now += 1000 * second // the engine was away
			l.do(wake())
			l.wantStatus(tt.status)
			l.wantAttribute("at", tt.value)
			if !strings.Contains(l.state.Error, tt.reason) {
				t.Errorf("the flow failed with %q", l.state.Error)
			}
		})
	}
}

// One wait for each item, as many at once as may be.
func TestWaitsForEach(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", each(constant("n", "[1,2,3]")), output("at"), parallel(2), waits(duration(1000)))), nil)
	l.fire()
	if got := l.step("a").Items[2].Status; got != sluicev1.WorkStatus_WORK_STATUS_ACTIVE {
		t.Errorf("the third wait is %s after the others", flow.WorkStatusName(got))
	}
	l.fire()
	l.wantStatus(sluicev1.FlowStatus_FLOW_STATUS_COMPLETED)
	l.wantAttribute("at", `[{"n":1,"at":"2027-01-15T08:00:01Z"},{"n":2,"at":"2027-01-15T08:00:01Z"},{"n":3,"at":"2027-01-15T08:00:02Z"}]`)
}

// A wait goes on while its flow is paused, and what follows waits.
func TestAWaitInAPause(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"b"}, step("a", output("at"), waits(duration(5000))), step("b", required("at"))), nil)
	l.do(pause())
	l.fire()
	l.wantAttribute("at", `"2027-01-15T08:00:05Z"`)
	if st := l.step("b"); st.Status != sluicev1.StepStatus_STEP_STATUS_PENDING {
		t.Errorf("b is %s in a pause", flow.StepStatusName(st.Status))
	}
	l.do(resume())
	if st := l.step("b"); st.Status != sluicev1.StepStatus_STEP_STATUS_ACTIVE {
		t.Errorf("b is %s", flow.StepStatusName(st.Status))
	}
}

func TestWaitsByHand(t *testing.T) {
	t.Parallel()
	begun := func(t *testing.T) *life {
		t.Helper()
		l := begin(t, planned(t, []string{"a"}, step("a", output("at"), waits(&sluicev1.Wait{DurationMs: 5000, TimeoutMs: 4000}))), nil)
		l.now += second
		return l
	}
	for name, tt := range map[string]struct {
		cmd    *sluicev1.Command
		status sluicev1.FlowStatus
	}{
		"complete": {override(doComplete, "a", "at", `"now"`), sluicev1.FlowStatus_FLOW_STATUS_COMPLETED},
		"skip":     {override(doSkip, "a"), sluicev1.FlowStatus_FLOW_STATUS_COMPLETED},
		"fail":     {override(doFail, "a"), sluicev1.FlowStatus_FLOW_STATUS_FAILED},
		"cancel":   {cancel(), sluicev1.FlowStatus_FLOW_STATUS_CANCELED},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := begun(t)
			l.do(tt.cmd)
			l.wantStatus(tt.status)
			if marks := l.state.Effects(l.log[len(l.log)-1]).Marks; due(l) || len(marks) > 0 {
				t.Errorf("something is due, or Redis is told: %v", marks)
			}
		})
	}
	t.Run("a retry waits anew", func(t *testing.T) {
		t.Parallel()
		l := begun(t)
		l.do(override(doRetry, "a"))
		if it := l.step("a").Items[0]; it.Attempt != 2 || it.Deadline != start+5*second || it.Until != start+6*second {
			t.Errorf("it waits as %+v", it)
		}
		l.fire()
		l.fire()
		l.wantStatus(sluicev1.FlowStatus_FLOW_STATUS_FAILED)
		l.do(retry())
		if it := l.step("a").Items[0]; it.Generation != 1 || it.Until != l.now+5*second {
			t.Errorf("it waits as %+v after the flow failed", it)
		}
	})
}

func TestAWaitInAFlowThatTimesOut(t *testing.T) {
	t.Parallel()
	cmd := startFlow(planned(t, []string{"a"}, step("a", waits(duration(5000)))), nil)
	cmd.GetStartFlow().TimeoutMs = 3000
	l := newLife(t)
	l.do(cmd)
	l.fire()
	l.wantStatus(sluicev1.FlowStatus_FLOW_STATUS_FAILED)
}

// Nobody has a token of a wait: what comes with one all the same does nothing.
func TestAWaitTakesNoCompletion(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", output("at"), waits(duration(5000)))), nil)
	l.do(complete(ref("a", 1), succeeded("at", "1")))
	l.do(report(ref("a", 1), failed("no")))
	l.do(scriptResult(ref("a", 1), succeeded("at", "2")))
	l.wantStatus(sluicev1.FlowStatus_FLOW_STATUS_ACTIVE)
	l.fire()
	l.wantAttribute("at", `"2027-01-15T08:00:05Z"`)
}

func due(l *life) bool {
	_, ok := l.state.NextDeadline()
	return ok
}
