package flow_test

import (
	"slices"
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

const (
	codeOK       = sluicev1.ReplyCode_REPLY_CODE_OK
	codeConflict = sluicev1.ReplyCode_REPLY_CODE_CONFLICT
	codeInvalid  = sluicev1.ReplyCode_REPLY_CODE_INVALID
	codeUnknown  = sluicev1.ReplyCode_REPLY_CODE_UNKNOWN_STEP
)

// asks sends a command and compares the reply.
func (l *life) asks(cmd *sluicev1.Command, want sluicev1.ReplyCode) {
	l.t.Helper()
	if v := l.do(cmd); v.Reply.GetCode() != want || (want != codeOK) != (v.Kind == flow.Nothing) {
		l.t.Fatalf("%v: %v %s, verdict %v, want %v", cmd.GetKind(), v.Reply.GetCode(), v.Reply.GetDetail(), v.Kind, want)
	}
}

// anew is a work item in its nth generation.
func anew(stepID string, attempt, generation uint32) *sluicev1.WorkRef {
	w := ref(stepID, attempt)
	w.Generation = generation
	return w
}

func chainOfThree(t *testing.T) *life {
	t.Helper()
	return begin(t, planned(t, []string{"c"},
		step("a", output("x")), step("b", required("x"), output("y")), step("c", required("y"), output("z"))), nil)
}

func TestAPauseLetsNothingStart(t *testing.T) {
	t.Parallel()
	l := chainOfThree(t)
	l.asks(pause(), codeOK)
	wantStatus(t, l, "paused", "")
	l.asks(pause(), codeConflict)
	l.do(complete(ref("a", 1), succeeded("x", "1"))) // what runs may end
	if l.step("a").Status != sluicev1.StepStatus_STEP_STATUS_COMPLETED || l.step("b").Status != sluicev1.StepStatus_STEP_STATUS_PENDING {
		t.Errorf("a is %v, b is %v", l.step("a").Status, l.step("b").Status)
	}
	if _, due := l.state.NextDeadline(); due || l.due != 0 {
		t.Error("a paused flow with nothing at work wants to be woken")
	}
	l.asks(resume(), codeOK)
	l.asks(resume(), codeConflict)
	l.do(complete(ref("b", 1), succeeded("y", "1")))
	l.do(complete(ref("c", 1), succeeded("z", "1")))
	wantStatus(t, l, "completed", "")
	wantTrace(t, l,
		"flow_started step_started:a work_started:a#1",
		"flow_paused",
		"work_succeeded:a#1 step_completed:a attribute_set:x",
		"flow_resumed step_started:b work_started:b#1",
		"work_succeeded:b#1 step_completed:b attribute_set:y step_started:c work_started:c#1",
		"work_succeeded:c#1 step_completed:c attribute_set:z flow_completed flow_deactivated")
	if p := l.log[1].GetEvents()[0].GetFlowPaused(); p.GetBy() != "ann" || p.GetReason() != "look" {
		t.Errorf("paused %v", p)
	}
}

func TestTimeGoesOnInAPause(t *testing.T) {
	t.Parallel()
	t.Run("attempts end and retries wait", func(t *testing.T) {
		t.Parallel()
		l := begin(t, planned(t, []string{"a"}, step("a", output("x"), work(func(w *sluicev1.WorkConfig) { w.TimeoutMs = 5000 }))), nil)
		l.asks(pause(), codeOK)
		l.now += 5 * second
		l.do(wake())
		if it := l.step("a").Items[0]; it.Error != "no outcome in time" || it.NextRetry == 0 {
			t.Fatalf("work item %+v", it)
		}
		l.now += 3600 * second
		if v := l.do(wake()); v.Kind != flow.Nothing || l.due != 0 {
			t.Fatalf("verdict %v, due %d", v.Kind, l.due)
		}
		l.asks(resume(), codeOK)
		l.wantNext(l.step("a").Items[0].NextRetry)
		l.do(wake())
		l.do(complete(ref("a", 2), succeeded("x", "1")))
		wantStatus(t, l, "completed", "")
	})
	t.Run("the flow times out, and may be canceled", func(t *testing.T) {
		t.Parallel()
		for _, end := range []*sluicev1.Command{wake(), cancel()} {
			l := newLife(t)
			cmd := startFlow(planned(t, []string{"a"}, step("a")), nil)
			cmd.GetStartFlow().TimeoutMs = 5000
			l.do(cmd)
			l.asks(pause(), codeOK)
			l.now += 5 * second
			l.do(end)
			if !l.state.Final() {
				t.Errorf("%v: still %v", end.GetKind(), l.state.Status)
			}
		}
	})
	t.Run("a failure fails the flow when it goes on", func(t *testing.T) {
		t.Parallel()
		l := begin(t, planned(t, []string{"a"}, step("a")), nil)
		l.asks(pause(), codeOK)
		l.do(complete(ref("a", 1), failed("no")))
		wantStatus(t, l, "paused", "")
		l.asks(resume(), codeOK)
		wantStatus(t, l, "failed", `goal "a" failed: no`)
	})
}

func TestARetryMakesAFailedFlowGoOn(t *testing.T) {
	t.Parallel()
	l := chainOfThree(t)
	l.asks(retry(), codeConflict) // nothing failed
	l.do(complete(ref("a", 1), failed("no")))
	wantStatus(t, l, "failed", `goal "c" failed: required input no longer available`)
	ended := l.state.EndedRevision
	l.asks(resume(), codeConflict)
	l.asks(retry(), codeOK)
	wantStatus(t, l, "active", "")
	if s := l.state; s.Completed != 0 || s.EndedRevision != 0 || s.Deactivated || l.step("c").Status != sluicev1.StepStatus_STEP_STATUS_PENDING {
		t.Errorf("completed %d, ended in %d, c is %v", s.Completed, s.EndedRevision, l.step("c").Status)
	}
	it := l.step("a").Items[0]
	if it.Generation != 1 || it.Attempt != 2 || it.Token == "" || it.RetryCount != 0 || it.Error != "" {
		t.Errorf("work item %+v", it)
	}
	fx := l.state.Effects(l.log[2])
	if len(fx.Invocations) != 1 || fx.Invocations[0].GetWork().GetGeneration() != 1 || fx.Ended || flow.Kind(l.log[2]) != "advanced" {
		t.Errorf("effects %+v, kind %s", fx, flow.Kind(l.log[2]))
	}
	// The ending is emitted once more, and closes nothing of what runs now.
	if fx := l.state.Effects(l.log[1]); fx.Ended || slices.ContainsFunc(fx.Marks, func(m flow.Mark) bool { return m.Claims.Generation == 1 }) {
		t.Errorf("effects of the ending that was none: %+v", fx)
	}
	if v := l.do(retire(ended)); v.Kind != flow.Nothing {
		t.Errorf("its old ending retires it: %v", v.Kind)
	}
	// The old token has its outcome: an equal one is a repeat, another is ignored.
	if v := l.do(complete(ref("a", 1), failed("no"))); v.Kind != flow.Nothing {
		t.Errorf("the old outcome again: %v", v.Kind)
	}
	l.do(complete(ref("a", 1), succeeded("x", "1")))
	if l.step("a").Items[0].Status != sluicev1.WorkStatus_WORK_STATUS_ACTIVE {
		t.Fatal("the old token still counts")
	}
	l.do(complete(anew("a", 2, 1), succeeded("x", "1"))) // the same payload, under the new token
	l.do(complete(ref("b", 1), succeeded("y", "1")))
	l.do(complete(ref("c", 1), succeeded("z", "1")))
	wantStatus(t, l, "completed", "")
	l.asks(retry(), codeConflict)
	for _, e := range l.log[2].GetEvents() {
		if o := e.GetStepOverridden(); o != nil && (o.GetAction() != "retry" || o.GetBy() != "ann" || o.GetReason() != "mended" || e.GetStepId() != "a") {
			t.Errorf("overridden %v", e)
		}
	}
}

func TestWhatWasOpenWhenTheFlowFailedBeginsAnew(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	cmd := startFlow(planned(t, []string{"a", "b"}, step("a", output("x")), step("b", output("y"))), nil)
	cmd.GetStartFlow().TimeoutMs = 60_000
	l.do(cmd)
	l.now += 50 * second
	l.do(complete(ref("a", 1), failed("no")))
	l.now += 3600 * second
	l.asks(retry(), codeOK)
	if it := l.step("b").Items[0]; it.Generation != 1 || it.Attempt != 2 || it.Status != sluicev1.WorkStatus_WORK_STATUS_ACTIVE {
		t.Errorf("b's work item %+v: its token was closed with the flow", it)
	}
	if l.state.Deadline != l.now+60*second {
		t.Errorf("the flow has %d s, want as many as it had: 60", (l.state.Deadline-l.now)/second)
	}
	l.now += 60 * second
	l.do(wake())
	wantStatus(t, l, "failed", "the flow did not end within 60000 ms")
	l.asks(retry(), codeOK) // no step failed, but it is worth a try
	l.do(complete(anew("a", 3, 2), succeeded("x", "1")))
	l.do(complete(anew("b", 3, 2), succeeded("y", "1")))
	wantStatus(t, l, "completed", "")
}

func TestRepairByHand(t *testing.T) {
	t.Parallel()
	failedFirst := func(l *life) { l.do(complete(ref("a", 1), failed("no"))) }
	resting := func(l *life) { l.do(report(ref("a", 1), notCompleted("busy", 3_600_000))) }
	for name, tt := range map[string]struct {
		before func(l *life)
		cmd    *sluicev1.Command
		want   string // trace of the commit
		status string
		marks  []flow.MarkKind
	}{
		"complete a step that runs": {
			cmd:    override(doComplete, "a", "x", "1"),
			want:   "step_overridden:a#1 work_succeeded:a#1 step_completed:a attribute_set:x step_started:b work_started:b#1",
			status: "active", marks: []flow.MarkKind{flow.Closed},
		},
		"complete a step that failed": {
			before: failedFirst, cmd: override(doComplete, "a", "x", "1"),
			want:   "flow_resumed step_overridden:a#1 work_succeeded:a#1 step_completed:a attribute_set:x step_started:b work_started:b#1",
			status: "active",
		},
		"complete one that has not started": {
			cmd:  override(doComplete, "b", "y", "1"),
			want: "step_overridden:b step_completed:b attribute_set:y step_started:c work_started:c#1", status: "active",
		},
		"complete one that failed because of another": {
			before: failedFirst, cmd: override(doComplete, "b", "y", "1"),
			want: "flow_resumed step_overridden:b step_completed:b attribute_set:y step_started:c work_started:c#1", status: "active",
		},
		"fail a step that runs": {
			cmd:    override(doFail, "a"),
			want:   "step_overridden:a#1 work_failed:a#1 step_failed:a step_failed:b step_failed:c flow_failed flow_deactivated",
			status: "failed", marks: []flow.MarkKind{flow.Closed, flow.Closed},
		},
		"fail the goal before it started": {
			cmd: override(doFail, "c"), want: "step_overridden:c step_failed:c flow_failed flow_deactivated", status: "failed",
			marks: []flow.MarkKind{flow.Closed},
		},
		"skip the goal": {
			cmd: override(doSkip, "c"), want: "step_overridden:c step_skipped:c flow_completed flow_deactivated", status: "completed",
			marks: []flow.MarkKind{flow.Closed},
		},
		"skip a step that runs": {
			cmd:    override(doSkip, "a"),
			want:   "step_overridden:a work_failed:a#1 step_skipped:a step_failed:b step_failed:c flow_failed flow_deactivated",
			status: "failed", marks: []flow.MarkKind{flow.Closed},
		},
		"skip a work item": {
			cmd:    ofItem(override(doSkip, "a"), 0),
			want:   "step_overridden:a#1 work_succeeded:a#1 step_completed:a step_failed:b step_failed:c flow_failed flow_deactivated",
			status: "failed", marks: []flow.MarkKind{flow.Closed},
		},
		"retry an attempt that runs": {
			cmd: override(doRetry, "a"), want: "step_overridden:a#1 work_started:a#2", status: "active", marks: []flow.MarkKind{flow.Superseded},
		},
		"retry before its time": {
			before: resting, cmd: override(doRetry, "a"), want: "step_overridden:a#1 work_started:a#2", status: "active",
			marks: []flow.MarkKind{flow.Superseded},
		},
		"retry a step that failed": {
			before: failedFirst, cmd: override(doRetry, "a"), want: "flow_resumed step_overridden:a#1 work_started:a#2", status: "active",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := chainOfThree(t)
			if tt.before != nil {
				tt.before(l)
			}
			l.asks(tt.cmd, codeOK)
			last := len(l.log) - 1
			one := life{log: l.log[last:]}
			if got := one.trace(); got != tt.want {
				t.Errorf("%s\nwant\n%s", got, tt.want)
			}
			if got := flow.StatusName(l.state.Status); got != tt.status {
				t.Errorf("the flow is %s, want %s", got, tt.status)
			}
			var kinds []flow.MarkKind
			for _, m := range l.state.Effects(l.log[last]).Marks {
				kinds = append(kinds, m.Kind)
			}
			if !slices.Equal(kinds, tt.marks) {
				t.Errorf("marks %v, want %v", kinds, tt.marks)
			}
		})
	}
}

func TestRepairsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	completed := func(l *life) { l.do(complete(ref("a", 1), succeeded("x", "1"))) }
	failedFirst := func(l *life) { l.do(complete(ref("a", 1), failed("no"))) }
	canceled := func(l *life) { l.do(cancel()) }
	for name, tt := range map[string]struct {
		before func(l *life)
		cmd    *sluicev1.Command
		want   sluicev1.ReplyCode
	}{
		"an unknown step":                 {nil, override(doSkip, "nobody"), codeUnknown},
		"an unknown work item":            {nil, ofItem(override(doRetry, "a"), 1), codeUnknown},
		"an item of a step to come":       {nil, ofItem(override(doRetry, "b"), 0), codeUnknown},
		"retry of a step to come":         {nil, override(doRetry, "b"), codeConflict},
		"retry of a completed step":       {completed, override(doRetry, "a"), codeConflict},
		"complete it":                     {completed, override(doComplete, "a"), codeConflict},
		"skip it":                         {completed, override(doSkip, "a"), codeConflict},
		"fail it":                         {completed, ofItem(override(doFail, "a"), 0), codeConflict},
		"fail a failed one":               {failedFirst, override(doFail, "a"), codeConflict},
		"retry what failed of another":    {failedFirst, override(doRetry, "c"), codeConflict},
		"a canceled flow":                 {canceled, override(doRetry, "a"), codeConflict},
		"pause of a canceled flow":        {canceled, pause(), codeConflict},
		"retry of a canceled flow":        {canceled, retry(), codeConflict},
		"resume of one that runs":         {nil, resume(), codeConflict},
		"an output that is no JSON":       {nil, override(doComplete, "a", "x", "{"), codeInvalid},
		"an output of another type":       {nil, override(doComplete, "n", "number", `"1"`), codeInvalid},
		"an output of the right type":     {nil, override(doComplete, "n", "number", "1"), codeOK},
		"outputs of a step that is to be": {nil, override(doComplete, "b"), codeOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := begin(t, planned(t, []string{"c", "n"}, step("a", output("x")), step("b", required("x"), output("y")),
				step("c", required("y"), output("z")), step("n", typedOutput("number", "number"))), nil)
			if tt.before != nil {
				tt.before(l)
			}
			l.asks(tt.cmd, tt.want)
		})
	}
	if v := newLife(t).do(override(doRetry, "a")); v.Kind != flow.Absent || v.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_NOT_FOUND {
		t.Errorf("a flow that is not there: %v", v)
	}
	if v := chainOfThree(t).do(override(0, "a")); v.Kind != flow.Impossible {
		t.Errorf("no action: %v", v)
	}
}

func TestAnAttemptThatWasGivenUpByHandMaySucceed(t *testing.T) {
	t.Parallel()
	l := chainOfThree(t)
	l.asks(pause(), codeOK)
	l.asks(override(doRetry, "a"), codeOK) // the next attempt waits
	l.do(complete(ref("a", 1), failed("no")))
	if it := l.step("a").Items[0]; it.Status != sluicev1.WorkStatus_WORK_STATUS_PENDING {
		t.Fatalf("the work item is %v: a failure of an attempt that was given up counts", it.Status)
	}
	l.do(complete(ref("a", 1), succeeded("x", "1")))
	l.asks(resume(), codeOK)
	if l.step("b").Status != sluicev1.StepStatus_STEP_STATUS_ACTIVE {
		t.Errorf("b is %v", l.step("b").Status)
	}
}

func TestARetryKeepsTheElementsOfWorkItems(t *testing.T) {
	t.Parallel()
	fresh := func(t *testing.T) *life {
		t.Helper()
		return begin(t, planned(t, []string{"square"}, step("square", each(required("n")), output("area"), parallel(2))),
			map[string]string{"n": "[3, 4, 5]"})
	}
	t.Run("of those that failed", func(t *testing.T) {
		t.Parallel()
		l := fresh(t)
		l.do(complete(itemRef("square", 0, 1), succeeded("area", "9")))
		l.do(complete(itemRef("square", 1, 1), failed("no")))
		l.do(complete(itemRef("square", 2, 1), failed("no")))
		wantStatus(t, l, "failed", `goal "square" failed: work item 1 failed: no`)
		l.asks(retry(), codeOK)
		fx := l.state.Effects(l.log[len(l.log)-1])
		if len(fx.Invocations) != 2 || string(fx.Invocations[0].GetArguments()["n"]) != "4" || string(fx.Invocations[1].GetArguments()["n"]) != "5" {
			t.Fatalf("invocations %v", fx.Invocations)
		}
		for item, area := range map[int]string{1: "16", 2: "25"} {
			w := itemRef("square", item, 2)
			w.Generation = 1
			l.do(complete(w, succeeded("area", area)))
		}
		wantResult(t, l, `{"area":[{"n":3,"area":9},{"n":4,"area":16},{"n":5,"area":25}]}`)
	})
	t.Run("of one that never started", func(t *testing.T) {
		t.Parallel()
		l := fresh(t)
		l.asks(ofItem(override(doComplete, "square", "area", "25"), 2), codeOK)
		l.asks(ofItem(override(doFail, "square"), 1), codeOK)
		l.do(complete(itemRef("square", 0, 1), succeeded("area", "9")))
		l.asks(ofItem(override(doSkip, "square"), 1), codeOK)
		wantResult(t, l, `{"area":[{"n":3,"area":9},{"n":4},{"n":5,"area":25}]}`)
	})
	t.Run("of a step that is completed as a whole", func(t *testing.T) {
		t.Parallel()
		l := fresh(t)
		l.asks(override(doComplete, "square", "area", "1"), codeInvalid)
		l.asks(override(doComplete, "square", "area", "[]"), codeOK)
		wantResult(t, l, `{"area":[]}`)
	})
}

func TestWhatIsUndoneDoesNotGoOn(t *testing.T) {
	t.Parallel()
	l := beginTrip(t)
	l.do(complete(ref("hotel", 1), succeeded("room", "12")))
	l.do(complete(ref("flight", 1), failed("full")))
	wantItem(t, l, "hotel", "compensating")
	for _, cmd := range []*sluicev1.Command{pause(), resume(), retry(), override(doSkip, "pay"), override(doComplete, "flight")} {
		l.asks(cmd, codeConflict)
	}
	l.do(undone(ref("hotel", 1), succeeded()))
	wantStatus(t, l, "failed", `goal "pay" failed: required input no longer available`)
	for _, cmd := range []*sluicev1.Command{retry(), override(doRetry, "flight"), override(doComplete, "flight")} {
		l.asks(cmd, codeConflict)
	}
}

// Nothing succeeded, but a worker may yet: the flow goes on only once that is out
// of the question.
func TestAFlowThatWaitsForLateWorkersDoesNotGoOnYet(t *testing.T) {
	t.Parallel()
	l := beginTrip(t, work(func(w *sluicev1.WorkConfig) { w.TimeoutMs = 60_000 }))
	l.do(complete(ref("flight", 1), failed("full")))
	l.asks(retry(), codeConflict)
	l.now += 60 * second
	l.do(wake())
	l.asks(retry(), codeOK)
	for _, id := range []string{"flight", "hotel", "visa"} {
		if it := item(l, id); it.Generation != 1 || it.Status != sluicev1.WorkStatus_WORK_STATUS_ACTIVE {
			t.Errorf("%s: %+v", id, it)
		}
	}
}

func TestAPredicateIsAskedAgainWhenItsStepBeginsAgain(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", output("x"), predicate)), nil)
	l.asks(pause(), codeOK)
	l.do(unanswered("a", 1, "line 1: no such name"))
	l.asks(resume(), codeOK)
	wantStatus(t, l, "failed", `goal "a" failed: predicate: line 1: no such name`)
	l.asks(retry(), codeOK)
	l.do(answered("a", 1, true)) // of the first question
	if st := l.step("a"); st.Status != sluicev1.StepStatus_STEP_STATUS_PENDING {
		t.Fatalf("a is %v", st.Status)
	}
	l.asks(pause(), codeOK)
	l.do(answered("a", 2, true))
	if st := l.step("a"); st.Status != sluicev1.StepStatus_STEP_STATUS_PENDING {
		t.Fatalf("a is %v in the pause", st.Status)
	}
	l.asks(resume(), codeOK)
	l.do(complete(ref("a", 1), succeeded("x", "1")))
	wantStatus(t, l, "completed", "")
}
