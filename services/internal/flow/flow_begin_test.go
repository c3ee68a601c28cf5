package flow_test

import (
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// startLater is a flow of one step that was started for ten seconds from now, and
// may take five.
func startLater(t *testing.T) *life {
	t.Helper()
	l := newLife(t)
	cmd := startFlow(planned(t, []string{"a"}, step("a", output("x"))), nil)
	cmd.GetStartFlow().StartAtNs, cmd.GetStartFlow().TimeoutMs = start+10*second, 5000
	l.asks(cmd, codeOK)
	return l
}

func TestAFlowBeginsWhenItIsDue(t *testing.T) {
	t.Parallel()
	l := startLater(t)
	wantStatus(t, l, "active", "")
	if l.wakeAt != start+10*second {
		t.Fatalf("it wants to be woken at %d", l.wakeAt-start)
	}
	l.now += 9 * second
	if v := l.do(wake()); v.Kind != flow.Nothing {
		t.Errorf("a wake that is not due: %v", v.Kind)
	}
	l.fire()
	if l.now != start+10*second || l.wakeAt != start+15*second {
		t.Errorf("it began at %d and times out at %d", l.now-start, l.wakeAt-start)
	}
	l.fire()
	wantStatus(t, l, "failed", "the flow did not end within 5000 ms")
	wantTrace(t, l, "flow_started", "flow_begun step_started:a work_started:a#1", "flow_failed flow_deactivated")
}

// A flow whose engines were all down when it was due begins as soon as one is
// back, with all its time.
func TestAFlowThatBeginsLateHasAllItsTime(t *testing.T) {
	t.Parallel()
	l := startLater(t)
	l.now += 60 * second
	l.do(wake())
	if at, _ := l.state.NextDeadline(); at != start+65*second || l.state.Begun != start+60*second {
		t.Errorf("it times out at %d and began at %d", at-start, l.state.Begun-start)
	}
	l.do(complete(ref("a", 1), succeeded("x", "1")))
	wantStatus(t, l, "completed", "")
}

// The past is at once.
func TestAStartInThePast(t *testing.T) {
	t.Parallel()
	for _, at := range []int64{start - second, start} {
		l := newLife(t)
		cmd := startFlow(planned(t, []string{"a"}, step("a", output("x"))), nil)
		cmd.GetStartFlow().StartAtNs, cmd.GetStartFlow().TimeoutMs = at, 5000
		l.do(cmd)
		wantTrace(t, l, "flow_started step_started:a work_started:a#1")
		if l.state.StartAt != at || l.state.Deadline != start+5*second {
			t.Errorf("started for %d, times out at %d", l.state.StartAt-start, l.state.Deadline-start)
		}
	}
}

func TestAFlowIsCanceledBeforeItBegins(t *testing.T) {
	t.Parallel()
	l := startLater(t)
	l.asks(cancel(), codeOK)
	wantStatus(t, l, "canceled", "asked")
	if _, due := l.state.NextDeadline(); due {
		t.Error("it still wants to begin")
	}
	l.fire()
	wantTrace(t, l, "flow_started", "flow_canceled flow_deactivated")
}

// In a pause a flow does not begin, and does not time out for it.
func TestAPauseBeforeTheBeginning(t *testing.T) {
	t.Parallel()
	l := startLater(t)
	l.asks(pause(), codeOK)
	l.now += 60 * second
	if v := l.do(wake()); v.Kind != flow.Nothing || l.due != 0 {
		t.Errorf("in a pause: %v, due %d", v.Kind, l.due)
	}
	l.asks(resume(), codeOK)
	wantTrace(t, l, "flow_started", "flow_paused", "flow_resumed flow_begun step_started:a work_started:a#1")

	l = startLater(t)
	l.asks(pause(), codeOK)
	l.asks(resume(), codeOK)
	if at, _ := l.state.NextDeadline(); at != start+10*second {
		t.Errorf("after a pause that ended early it begins at %d", at-start)
	}
}

// What a person repairs before the beginning stands then.
func TestARepairBeforeTheBeginning(t *testing.T) {
	t.Parallel()
	l := startLater(t)
	l.asks(override(doComplete, "a", "x", "7"), codeOK)
	wantStatus(t, l, "active", "")
	l.fire()
	wantStatus(t, l, "completed", "")
	wantResult(t, l, `{"x":7}`)
}

// In a full log a flow begins, and its steps wait for room.
func TestAFlowBeginsInAFullLog(t *testing.T) {
	t.Parallel()
	l := startLater(t)
	l.full = true
	l.fire()
	wantTrace(t, l, "flow_started", "flow_begun")
	l.full = false
	l.do(wake())
	if l.step("a").Status != sluicev1.StepStatus_STEP_STATUS_ACTIVE {
		t.Errorf("the step is %v", l.step("a").Status)
	}
}
