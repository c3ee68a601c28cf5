package flow_test

import (
	"fmt"
	"strings"
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// trip is a plan whose steps book a hotel and a flight, both of which can be
// undone, then ask for a visa, and pay at last.
func trip(t tb, options ...stepOption) []byte {
	t.Helper()
	booked := append([]stepOption{compensable()}, options...)
	return planned(t, []string{"pay"},
		step("flight", append([]stepOption{output("seat")}, booked...)...),
		step("hotel", append([]stepOption{output("room"), required("city")}, booked...)...),
		step("pay", required("room"), required("seat"), required("visa"), output("receipt")),
		step("visa", output("visa")),
	)
}

func beginTrip(t *testing.T, options ...stepOption) *life {
	t.Helper()
	return begin(t, trip(t, options...), map[string]string{"city": `"Oslo"`})
}

// calls are the calls that the last commit asks for, as step and attempt.
func calls(l *life) string {
	var out []string
	for _, inv := range l.state.Effects(l.log[len(l.log)-1]).Invocations {
		kind := "call"
		if inv.GetCompensate() {
			kind = "undo"
		}
		out = append(out, fmt.Sprintf("%s %s#%d", kind, inv.GetWork().GetStepId(), inv.GetWork().GetAttempt()))
	}
	return strings.Join(out, " ")
}

func wantCalls(t *testing.T, l *life, want string) {
	t.Helper()
	if got := calls(l); got != want {
		t.Errorf("calls %q, want %q", got, want)
	}
}

func item(l *life, stepID string) flow.Item { return l.step(stepID).Items[0] }

func wantItem(t *testing.T, l *life, stepID, want string) {
	t.Helper()
	if got := flow.WorkStatusName(item(l, stepID).Status); got != want {
		t.Errorf("%s is %s, want %s", stepID, got, want)
	}
}

func TestWhatSucceededIsUndoneInReverse(t *testing.T) {
	t.Parallel()
	l := beginTrip(t)
	l.do(complete(ref("hotel", 1), succeeded("room", "12", "code", `"h1"`)))
	l.do(complete(ref("flight", 1), succeeded("seat", `"4A"`)))
	l.do(complete(ref("visa", 1), succeeded("visa", "1")))
	l.do(complete(ref("pay", 1), failed("card declined")))
	wantStatus(t, l, "active", "")
	wantItem(t, l, "flight", "compensating")
	wantItem(t, l, "hotel", "succeeded")
	wantCalls(t, l, "undo flight#1")
	l.do(undone(ref("flight", 1), succeeded()))
	wantItem(t, l, "flight", "compensated")
	wantCalls(t, l, "undo hotel#1")

	inv := l.state.Effects(l.log[len(l.log)-1]).Invocations[0]
	if inv.GetEndpoint() != "http://worker/undo/hotel" || string(inv.GetArguments()["city"]) != `"Oslo"` ||
		string(inv.GetOutputs()["code"]) != `"h1"` || inv.GetType() != sluicev1.StepType_STEP_TYPE_SYNC ||
		inv.GetDeadlineNs() != l.now+30*second+3600*second {
		t.Errorf("the call is %v", inv)
	}
	l.do(undone(ref("hotel", 1), succeeded()))
	wantStatus(t, l, "failed", `goal "pay" failed: card declined`)
	wantTrace(t, l,
		"flow_started step_started:flight work_started:flight#1 step_started:hotel work_started:hotel#1 step_started:visa work_started:visa#1",
		"work_succeeded:hotel#1 step_completed:hotel attribute_set:room",
		"work_succeeded:flight#1 step_completed:flight attribute_set:seat",
		"work_succeeded:visa#1 step_completed:visa attribute_set:visa step_started:pay work_started:pay#1",
		"work_failed:pay#1 step_failed:pay work_compensating:flight#1",
		"work_compensated:flight#1 work_compensating:hotel#1",
		"work_compensated:hotel#1 flow_failed flow_deactivated")
	if l.state.Completed != l.now || l.state.EndedRevision != 7 {
		t.Errorf("ended at %d by revision %d", l.state.Completed, l.state.EndedRevision)
	}
}

// A pause holds up no compensation, and is not what the flow shows then.
func TestACancelEndsAPause(t *testing.T) {
	t.Parallel()
	l := beginTrip(t)
	l.do(complete(ref("hotel", 1), succeeded("room", "12")))
	l.asks(pause(), codeOK)
	wantStatus(t, l, "paused", "")
	l.do(cancel())
	wantStatus(t, l, "active", "")
	if got := flow.Turned(l.log[len(l.log)-1]); got != "active" {
		t.Errorf("the commit makes it %q", got)
	}
	wantCalls(t, l, "undo hotel#1")
	l.asks(resume(), codeConflict)
	l.do(undone(ref("hotel", 1), succeeded()))
	if got := flow.Turned(l.log[len(l.log)-1]); got != "" {
		t.Errorf("the last commit makes it %q", got)
	}
	wantStatus(t, l, "canceled", "asked")
}

// As long as something is compensated nothing else starts, and the flow can be
// neither canceled nor deleted nor timed out.
func TestNothingElseHappensWhileItIsCompensated(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	start := startFlow(trip(t), map[string]string{"city": `"Oslo"`})
	start.GetStartFlow().TimeoutMs = 3000
	l.do(start)
	l.do(complete(ref("hotel", 1), succeeded("room", "12")))
	v := l.do(cancel())
	if v.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_OK || !strings.Contains(v.Reply.GetDetail(), "being compensated") {
		t.Errorf("cancel: %v", v.Reply)
	}
	if again := l.do(cancel()); again.Kind != flow.Nothing || again.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_CONFLICT {
		t.Errorf("cancel again: %v %v", again.Kind, again.Reply)
	}
	if gone := l.do(retire(0)); gone.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_CONFLICT {
		t.Errorf("delete: %v", gone.Reply)
	}
	l.now += 3 * second // the flow's own deadline
	l.do(wake())
	// An open item of a step that nobody can undo is closed.
	l.do(complete(ref("visa", 1), succeeded("visa", "1")))
	wantItem(t, l, "visa", "active")
	wantTrace(t, l,
		"flow_started step_started:flight work_started:flight#1 step_started:hotel work_started:hotel#1 step_started:visa work_started:visa#1",
		"work_succeeded:hotel#1 step_completed:hotel attribute_set:room",
		"work_compensating:hotel#1",
		"completion_ignored:visa#1")
	marks := l.state.Effects(l.log[2]).Marks
	if len(marks) != 1 || marks[0].Kind != flow.Closed || marks[0].Claims.StepID != "visa" {
		t.Errorf("marks %+v, want that of visa's token alone: flight's may succeed and be undone", marks)
	}
	// One that succeeds meanwhile is undone next.
	l.do(complete(ref("flight", 1), succeeded("seat", `"4A"`)))
	wantCalls(t, l, "")
	l.do(undone(ref("hotel", 1), succeeded()))
	wantCalls(t, l, "undo flight#1")
	wantStatus(t, l, "active", "")
	l.do(undone(ref("flight", 1), succeeded()))
	wantStatus(t, l, "canceled", "asked")
	if !l.state.Deactivated {
		t.Error("nothing can act any more, but the flow is not deactivated")
	}
}

func TestCallsThatUndoAreRetriedAsTheStepIs(t *testing.T) {
	t.Parallel()
	l := beginTrip(t, work(func(w *sluicev1.WorkConfig) { w.MaxRetries, w.TimeoutMs = 2, 60_000 }))
	l.do(complete(ref("hotel", 1), succeeded("room", "12")))
	l.do(complete(ref("flight", 1), failed("full"))) // pay cannot be reached any more
	wantCalls(t, l, "undo hotel#1")
	first := l.log[len(l.log)-1]

	l.do(undone(ref("hotel", 1), notCompleted("503", 5000)))
	c := item(l, "hotel").Compensation
	if delay := c.NextRetry - l.now; delay < 5*second || delay > 5*second+second/2 || c.Error != "503" || c.RetryCount != 1 {
		t.Errorf("compensation %+v, due in %d ns", c, delay)
	}
	if len(l.state.Effects(first).Invocations) != 0 {
		t.Error("the attempt that is over is called again")
	}
	if marks := l.state.Effects(l.log[len(l.log)-1]).Marks; len(marks) != 0 {
		t.Errorf("marks %+v: the token has its outcome", marks)
	}
	l.now = c.NextRetry
	l.do(wake())
	wantCalls(t, l, "undo hotel#2")
	l.do(undone(ref("hotel", 1), failed("late"))) // of an attempt that is over
	wantItem(t, l, "hotel", "compensating")
	l.now += 90 * second // the call's 30 s and the attempt's 60 s
	l.do(wake())
	if c := item(l, "hotel").Compensation; c.Error != "no answer in time" || c.NextRetry == 0 {
		t.Errorf("compensation %+v after its deadline", c)
	}
	l.now = item(l, "hotel").Compensation.NextRetry
	l.do(wake())
	l.do(undone(ref("hotel", 3), notCompleted("502", 0)))
	wantItem(t, l, "hotel", "compensation_failed")
	if got := item(l, "hotel").Compensation.Error; got != "not completed after 3 attempts: 502" {
		t.Errorf("error %q", got)
	}
	wantStatus(t, l, "failed", `goal "pay" failed: required input no longer available`)
	l.do(undone(ref("hotel", 2), succeeded())) // nobody waits for it any more
	wantItem(t, l, "hotel", "compensation_failed")
}

func TestOneThatCannotBeUndoneHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	l := beginTrip(t)
	l.do(complete(ref("hotel", 1), succeeded("room", "12")))
	l.do(complete(ref("flight", 1), succeeded("seat", "1")))
	l.do(cancel())
	l.do(undone(ref("flight", 1), failed("404")))
	wantItem(t, l, "flight", "compensation_failed")
	wantCalls(t, l, "undo hotel#1")
	l.do(undone(ref("hotel", 1), succeeded()))
	wantStatus(t, l, "canceled", "asked")
}

// A success of whichever attempt undoes it: the first call was only slow.
func TestALateAnswerOfAnEarlierCallCounts(t *testing.T) {
	t.Parallel()
	l := beginTrip(t)
	l.do(complete(ref("hotel", 1), succeeded("room", "12")))
	l.do(cancel())
	l.now = fxTimer(t, l)
	l.do(wake()) // no answer in time
	l.do(undone(ref("hotel", 1), succeeded()))
	wantItem(t, l, "hotel", "compensated")
	if v := l.do(undone(ref("hotel", 1), succeeded())); v.Kind != flow.Nothing {
		t.Errorf("reported twice: %v", v.Kind)
	}
}

func TestASuccessAfterTheEndIsUndone(t *testing.T) {
	t.Parallel()
	l := beginTrip(t)
	l.do(cancel())
	wantStatus(t, l, "canceled", "asked")
	ended := l.state.EndedRevision
	if l.state.Deactivated {
		t.Fatal("a worker may still succeed, but the flow is deactivated")
	}
	fx := l.state.Effects(l.log[1])
	if fx.Ended || len(fx.Marks) != 1 || fx.Marks[0].Claims.StepID != "visa" || fx.Timer != start+3600*second {
		t.Errorf("effects of the ending: %+v", fx)
	}
	if v := l.do(retire(ended)); v.Kind != flow.Nothing || l.state.Retired {
		t.Errorf("retired: %v", v.Kind)
	}
	if v := l.do(retire(0)); v.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_CONFLICT ||
		!strings.Contains(v.Reply.GetDetail(), "2027-01-15T09:00:00Z") {
		t.Errorf("deleted by hand: %v", v.Reply)
	}
	l.do(complete(ref("hotel", 1), succeeded("room", "12")))
	wantCalls(t, l, "undo hotel#1")
	l.do(complete(ref("visa", 1), succeeded("visa", "1")))
	l.do(complete(ref("flight", 1), failed("full")))
	l.do(undone(ref("hotel", 1), succeeded()))
	wantTrace(t, l,
		"flow_started step_started:flight work_started:flight#1 step_started:hotel work_started:hotel#1 step_started:visa work_started:visa#1",
		"flow_canceled",
		"work_succeeded:hotel#1 work_compensating:hotel#1",
		"completion_ignored:visa#1",
		"work_failed:flight#1",
		"work_compensated:hotel#1 flow_deactivated")
	if fx := l.state.Effects(l.log[len(l.log)-1]); !fx.Ended || !fx.EndedLate || fx.Timer != 0 {
		t.Errorf("effects of the deactivation: %+v", fx)
	}
	if _, ok := l.state.Attributes["room"]; ok || l.state.Completed != start {
		t.Error("the late success was applied to the flow")
	}
	l.floor = l.seq // all its commands are acked
	if v := l.do(retire(ended)); v.Kind != flow.Folded || !l.state.Retired {
		t.Errorf("not retired: %v", v.Kind)
	}
}

// Whoever does not answer until its attempt is over is not waited for.
func TestLateWorkersAreWaitedForUntilTheirAttemptIsOver(t *testing.T) {
	t.Parallel()
	l := beginTrip(t, work(func(w *sluicev1.WorkConfig) { w.TimeoutMs = 60_000 }))
	l.now += second
	l.do(report(ref("hotel", 1), notCompleted("503", 0))) // the call may have come through all the same
	l.do(cancel())
	canceled := l.now
	if next := fxTimer(t, l); next != start+60*second {
		t.Errorf("flight is waited for until %d ns after the start", next-start)
	}
	l.now = start + 60*second
	l.do(wake())
	wantItem(t, l, "flight", "failed")
	if next := fxTimer(t, l); next != canceled+60*second || l.state.Deactivated {
		t.Errorf("hotel is waited for until %d ns after the cancel", next-canceled)
	}
	l.now = canceled + 60*second
	l.do(wake())
	if got := item(l, "hotel").Error; got != "not completed after 1 attempts, and the flow is canceled: no outcome in time" {
		t.Errorf("error of hotel: %q", got)
	}
	if !l.state.Deactivated {
		t.Error("nobody is waited for any more, but the flow is not deactivated")
	}
	l.do(complete(ref("hotel", 1), succeeded("room", "12")))
	wantItem(t, l, "hotel", "failed")
}

func TestWorkersWithoutALimitAreWaitedForForADay(t *testing.T) {
	t.Parallel()
	l := beginTrip(t, work(func(w *sluicev1.WorkConfig) { w.TimeoutMs = 0 }))
	l.do(cancel())
	if next := fxTimer(t, l); next != start+86_400*second {
		t.Errorf("waits for %d ns", next-start)
	}
}

func TestAFlowThatCompletedKeepsWhatItHas(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"},
		step("a", compensable(), output("x")), step("b", compensable(), output("y")), step("c", optional("y", ""))), nil)
	l.do(complete(ref("a", 1), succeeded("x", "1")))
	wantStatus(t, l, "completed", "")
	if !l.state.Deactivated {
		t.Error("it is not deactivated")
	}
	wantCalls(t, l, "")
}

// The log has no room: what succeeded is undone all the same, for the ending makes
// room, but retries wait.
func TestCompensationsInAFullLog(t *testing.T) {
	t.Parallel()
	l := beginTrip(t)
	l.do(complete(ref("hotel", 1), succeeded("room", "12")))
	l.full = true
	l.do(cancel())
	wantCalls(t, l, "undo hotel#1")
	l.do(undone(ref("hotel", 1), notCompleted("503", 0)))
	l.now = item(l, "hotel").Compensation.NextRetry
	if v := l.do(wake()); v.Kind != flow.Nothing || l.due <= l.now {
		t.Errorf("retried in a full log: %v, looks again in %d ns", v.Kind, l.due-l.now)
	}
	l.full, l.now = false, l.due
	l.do(wake())
	wantCalls(t, l, "undo hotel#2")
}

func TestWhatNoCallCanCarryIsNotUndone(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	l.commit, l.arguments = 4000, 3000
	l.do(startFlow(trip(t), map[string]string{"city": `"` + strings.Repeat("o", 2500) + `"`}))
	l.do(wake()) // its inputs need a commit of their own
	l.do(complete(ref("hotel", 1), succeeded("room", `"`+strings.Repeat("r", 2500)+`"`)))
	l.do(cancel())
	wantItem(t, l, "hotel", "compensation_failed")
	if got := item(l, "hotel").Compensation.Error; !strings.Contains(got, "more than a call can carry (4000)") {
		t.Errorf("error %q", got)
	}
	wantStatus(t, l, "canceled", "asked")
}

func TestReportsOfWhatIsNotUndone(t *testing.T) {
	t.Parallel()
	l := beginTrip(t)
	l.do(complete(ref("hotel", 1), succeeded("room", "12")))
	for name, cmd := range map[string]*sluicev1.Command{
		"that succeeded, in a flow that runs": undone(ref("hotel", 1), succeeded()),
		"that is open":                        undone(ref("flight", 1), failed("no")),
		"that has not started":                undone(ref("flight", 7), succeeded()),
	} {
		if v := l.do(cmd); v.Kind != flow.Nothing {
			t.Errorf("of a work item %s: %v", name, v.Kind)
		}
	}
	foreign := ref("hotel", 1)
	foreign.Item = 7
	if v := l.do(undone(foreign, succeeded())); v.Kind != flow.Impossible {
		t.Errorf("of a work item that does not exist: %v", v.Kind)
	}
	l.do(cancel())
	if v := l.do(undone(ref("hotel", 2), succeeded())); v.Kind != flow.Nothing {
		t.Errorf("of an attempt that has not begun: %v", v.Kind)
	}
}
