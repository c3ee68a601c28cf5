package flow_test

import (
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// limited is a step with a deadline of ten seconds, attempts of four and a
// pause of one before each retry.
func limited(change ...func(*sluicev1.WorkConfig)) *sluicev1.PlannedStep {
	return step("a", output("x"), work(func(w *sluicev1.WorkConfig) {
		w.DeadlineMs, w.TimeoutMs, w.MaxRetries = 10_000, 4000, -1
		for _, c := range change {
			c(w)
		}
	}))
}

func TestWorkItemFailsAtItsDeadline(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, limited()), nil)
	began := l.now
	for l.state.Status == sluicev1.FlowStatus_FLOW_STATUS_ACTIVE {
		l.now = fxTimer(t, l)
		l.do(wake())
	}
	if l.now != began+10*second {
		t.Errorf("it ended %d ms after it began", (l.now-began)/1_000_000)
	}
	wantTrace(t, l,
		"flow_started step_started:a work_started:a#1",
		"work_timed_out:a#1 retry_scheduled:a#1",
		"work_started:a#2",
		"work_timed_out:a#2",
		"work_timed_out:a#2 work_failed:a#2 step_failed:a flow_failed flow_deactivated")
	wantStatus(t, l, "failed", `goal "a" failed: not completed within 10000 ms, after 2 attempts: no outcome in time`)
	for i, want := range map[int]string{1: "timeout", 4: "deadline"} {
		if got := l.log[i].GetEvents()[0].GetWorkTimedOut().GetLimit(); got != want {
			t.Errorf("the limit of revision %d is %q, want %q", i+1, got, want)
		}
	}
}

// No attempt goes past the work item's deadline, and its worker is told so.
func TestAttemptsEndWithTheirWorkItem(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*sluicev1.WorkConfig){
		"of a longer timeout": func(w *sluicev1.WorkConfig) { w.TimeoutMs = 60_000 },
		"without a timeout":   func(w *sluicev1.WorkConfig) { w.TimeoutMs = 0 },
	} {
		l := begin(t, planned(t, []string{"a"}, limited(change)), nil)
		until := l.now + 10*second
		if inv := l.state.Effects(l.log[0]).Invocations; inv[0].GetDeadlineNs() != until {
			t.Errorf("an attempt %s ends %d ns from its work item", name, inv[0].GetDeadlineNs()-until)
		}
		l.now += 7 * second
		l.do(report(ref("a", 1), notCompleted("busy", 0)))
		l.now = fxTimer(t, l)
		l.do(wake())
		if it := l.step("a").Items[0]; it.Attempt != 2 || it.Deadline != until {
			t.Errorf("attempt %d %s ends %d ns from its work item", it.Attempt, name, it.Deadline-until)
		}
		l.now = until
		l.do(wake())
		wantStatus(t, l, "failed", `goal "a" failed: not completed within 10000 ms, after 2 attempts: no outcome in time`)
	}
}

// Where the next attempt would begin past the deadline, none is scheduled, and
// the work item stays open until then: an earlier attempt may still succeed.
func TestNoRetryBeginsPastTheDeadline(t *testing.T) {
	t.Parallel()
	until := start + 10*second
	begun := func() *life {
		l := begin(t, planned(t, []string{"a"}, limited()), nil)
		l.do(complete(ref("a", 1), notCompleted("busy", 9_999)))
		if it := l.step("a").Items[0]; it.NextRetry != 0 || l.due != until {
			t.Errorf("the next retry is due at %d, and the flow %d ns from its deadline", it.NextRetry, l.due-until)
		}
		return l
	}
	l := begun()
	marks := l.state.Effects(l.log[1]).Marks
	if len(marks) != 1 || marks[0].Kind != flow.Superseded || marks[0].Attempt != 1 {
		t.Errorf("marks %+v, want the attempt superseded", marks)
	}
	l.do(complete(ref("a", 1), failed("late")))
	wantIgnored(t, l, "attempt 1 is superseded")
	l.now = until
	l.do(wake())
	wantStatus(t, l, "failed", `goal "a" failed: not completed within 10000 ms, after 1 attempts: busy`)

	l = begun()
	l.now = until - 1
	l.do(complete(ref("a", 1), succeeded("x", "1")))
	wantStatus(t, l, "completed", "")
}

func TestOutcomesAreJudgedByTheDeadlineAtTheirStoredTime(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		after int64 // of the first attempt's start
		want  string
	}{{10*second - 1, "completed"}, {10 * second, "failed"}} {
		l := begin(t, planned(t, []string{"a"}, limited()), nil)
		at := flow.Position{Sequence: 10, Time: l.now + tt.after}
		l.now += 3600 * second // no engine was there
		l.deliver(delivery{complete(ref("a", 1), succeeded("x", "1")), at})
		if got := flow.StatusName(l.state.Status); got != tt.want {
			t.Errorf("a success after %d ns: the flow is %s, want %s", tt.after, got, tt.want)
		}
	}
	late := begin(t, planned(t, []string{"a"}, limited()), nil)
	late.now += 10 * second
	late.do(complete(ref("a", 1), succeeded("x", "1")))
	wantIgnored(t, late, "the work item failed already")
}

func TestRetriesThatAreUsedUpDoNotWaitForTheDeadline(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, limited(func(w *sluicev1.WorkConfig) { w.MaxRetries = 0 })), nil)
	l.do(complete(ref("a", 1), notCompleted("busy", 0)))
	wantStatus(t, l, "failed", `goal "a" failed: not completed after 1 attempts: busy`)
}

// A deadline is an ending: it needs no room in the log, which a retry does.
func TestDeadlinesComeInAFullLogToo(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, limited()), nil)
	l.do(complete(ref("a", 1), notCompleted("busy", 0)))
	l.full, l.now = true, l.now+9*second
	l.do(wake())
	if got := l.step("a").Items[0].Attempt; got != 1 {
		t.Fatalf("attempt %d runs in a full log", got)
	}
	l.now += second
	l.do(wake())
	wantStatus(t, l, "failed", `goal "a" failed: not completed within 10000 ms, after 1 attempts: busy`)
}

// The deadline of a work item counts from its own first attempt.
func TestWorkItemsHaveTheirOwnDeadlines(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, func() *sluicev1.PlannedStep {
		s := limited(func(w *sluicev1.WorkConfig) { w.TimeoutMs = 0 })
		each(constant("n", "[1,2]"))(s)
		return s
	}()), nil)
	l.now += 6 * second
	l.do(complete(itemRef("a", 0, 1), succeeded("x", "1")))
	if next, _ := l.state.NextDeadline(); next != l.now+10*second {
		t.Errorf("the second work item's deadline is in %d ns", next-l.now)
	}
	l.now += 10 * second
	l.do(wake())
	wantError(t, l, "a", "work item 1 failed: not completed within 10000 ms, after 1 attempts: no outcome in time")
}
