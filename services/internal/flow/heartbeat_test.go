package flow_test

import (
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// beating starts a flow whose worker must be heard every ten seconds.
func beating(t *testing.T) *life {
	t.Helper()
	return begin(t, planned(t, []string{"a"}, step("a", output("x"),
		work(func(w *sluicev1.WorkConfig) { w.HeartbeatTimeoutMs, w.MaxRetries = 10_000, 1 }))), nil)
}

func (l *life) wantNext(at int64) {
	l.t.Helper()
	if next, _ := l.state.NextDeadline(); next != at {
		l.t.Fatalf("next deadline is %d s after the start, want %d", (next-start)/second, (at-start)/second)
	}
}

func TestASilentWorkerIsAskedAboutAndThenGivenUp(t *testing.T) {
	t.Parallel()
	l := beating(t)
	l.wantNext(start + 10*second)
	l.now = start + 10*second
	if v := l.do(wake()); v.Kind != flow.Nothing || len(l.silent) != 1 {
		t.Fatalf("verdict %v, asked about %v", v.Kind, l.silent)
	}
	if w := l.silent[0]; w.GetRun() != run || w.GetStepId() != "a" || w.GetAttempt() != 1 {
		t.Errorf("asked about %v", w)
	}
	l.wantNext(start + 20*second) // where nobody answers
	l.do(heard(l.now, start-second, 0, ref("a", 1)))
	wantTrace(t, l,
		"flow_started step_started:a work_started:a#1",
		"work_timed_out:a#1 retry_scheduled:a#1")
	it := &l.step("a").Items[0]
	if it.Error != "no heartbeat in time" || l.log[1].GetEvents()[0].GetWorkTimedOut().GetLimit() != "heartbeat" {
		t.Errorf("error %q, event %v", it.Error, l.log[1].GetEvents()[0])
	}
	l.now = it.NextRetry
	l.do(wake())
	second2 := l.now
	l.wantNext(second2 + 10*second)
	// What was heard of the first attempt says nothing about the second.
	l.now = second2 + 10*second
	l.do(wake())
	about := heard(l.now, start, l.now-second, ref("a", 2))
	about.GetWake().GetHeard().GetHeartbeats()[0].Attempt = 1
	l.do(about)
	wantStatus(t, l, "failed", `goal "a" failed: not completed after 2 attempts: no heartbeat in time`)
}

func TestHeartbeatsKeepAnAttempt(t *testing.T) {
	t.Parallel()
	due := start + 10*second
	for name, tt := range map[string]struct {
		asked, since, last int64
		attempt            uint32 // that the heartbeat says; 9 says what runs
		next               int64  // 0 when the attempt is given up
	}{
		"heard of late":                     {due, start, due - 3*second, 9, due + 7*second},
		"heard of late, attempt not said":   {due, start, due - 3*second, 0, due + 7*second},
		"heard long ago":                    {due, start, start - 5*second, 9, 0},
		"heard exactly a period ago":        {due, start - second, start, 9, 0},
		"never, and Redis was always there": {due, start, 0, 9, 0},
		"never, but Redis was away":         {due, due - 4*second, 0, 9, due + 6*second},
		"never, and Redis just came":        {due, due, 0, 9, due + 10*second},
		"asked before it was due":           {due - second, start, 0, 9, due},
		"heard after it was asked":          {due - second, start, due + second, 9, due + 9*second},
		"asked in the time to come":         {due + 3600*second, start, due - second, 9, due + 9*second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := beating(t)
			l.now = due
			l.do(wake())
			about := heard(tt.asked, tt.since, tt.last, ref("a", 1))
			if tt.attempt != 9 {
				about.GetWake().GetHeard().GetHeartbeats()[0].Attempt = tt.attempt
			}
			l.silent = nil
			v := l.do(about)
			if tt.next == 0 {
				if v.Kind != flow.Folded || l.step("a").Items[0].Status != sluicev1.WorkStatus_WORK_STATUS_NOT_COMPLETED {
					t.Errorf("verdict %v, the work item is %v", v.Kind, l.step("a").Items[0].Status)
				}
				return
			}
			if v.Kind != flow.Nothing || len(l.log) != 1 {
				t.Fatalf("verdict %v, %d commits: a heartbeat is in the log", v.Kind, len(l.log))
			}
			if tt.next > due {
				l.wantNext(tt.next)
			} else if len(l.silent) != 1 {
				t.Error("it is due, and nobody is asked")
			}
		})
	}
}

func TestAnswersThatComeLateDecideNothing(t *testing.T) {
	t.Parallel()
	silent := func(change func(*sluicev1.WorkRef)) *sluicev1.Command {
		w := ref("a", 1)
		change(w)
		return heard(start+10*second, start, 0, w)
	}
	l := beating(t)
	l.now = start + 10*second
	for name, cmd := range map[string]*sluicev1.Command{
		"another run":        silent(func(w *sluicev1.WorkRef) { w.Run++ }),
		"another attempt":    silent(func(w *sluicev1.WorkRef) { w.Attempt++ }),
		"another generation": silent(func(w *sluicev1.WorkRef) { w.Generation++ }),
		"no such item":       silent(func(w *sluicev1.WorkRef) { w.Item++ }),
		"no such step":       silent(func(w *sluicev1.WorkRef) { w.StepId = "b" }),
	} {
		if v := l.do(cmd); v.Kind != flow.Nothing {
			t.Errorf("%s: verdict %v", name, v.Kind)
		}
	}
	late := silent(func(*sluicev1.WorkRef) {})
	l.do(complete(ref("a", 1), succeeded("x", "1"))) // whoever sends an outcome lives
	if v := l.do(late); v.Kind != flow.Nothing {
		t.Errorf("after the outcome: verdict %v", v.Kind)
	}
	wantStatus(t, l, "completed", "")
}

func TestTheAttemptsTimeoutHoldsBesideHeartbeats(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", work(func(w *sluicev1.WorkConfig) {
		w.HeartbeatTimeoutMs, w.TimeoutMs = 10_000, 15_000
	}))), nil)
	l.now = start + 10*second
	l.do(wake())
	l.do(heard(l.now, start, l.now, ref("a", 1)))
	l.wantNext(start + 15*second)
	l.now = start + 15*second
	l.do(wake())
	if limit := l.log[1].GetEvents()[0].GetWorkTimedOut().GetLimit(); limit != "timeout" || len(l.silent) != 0 {
		t.Errorf("limit %q, asked about %v", limit, l.silent)
	}
}
