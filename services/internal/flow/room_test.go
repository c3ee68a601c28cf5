package flow_test

import (
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// wantDue checks when the last turn asked to be woken, in seconds from now.
func wantDue(t *testing.T, l *life, least, most int64) {
	t.Helper()
	if after := l.due - l.now; after < least*second || after > most*second {
		t.Errorf("to be woken in %d ms, want %d to %d s", after/1_000_000, least, most)
	}
}

func TestStepsWaitForRoom(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	l.full = true
	l.do(startFlow(planned(t, []string{"b"}, step("a", output("x")), step("b", required("x"), output("y"))), nil))
	wantDue(t, l, 10, 15)
	l.now = l.due
	if v := l.do(wake()); v.Kind != flow.Nothing {
		t.Errorf("a wake in a full log is %v", v.Kind)
	}
	wantDue(t, l, 10, 15)
	l.full = false
	l.do(wake())
	l.full = true
	outcome := delivery{complete(ref("a", 1), succeeded("x", "1")), l.position()}
	l.deliver(outcome)
	wantDue(t, l, 10, 15)
	l.full = false
	if v := l.deliver(outcome)[0]; v.Kind != flow.Repeat {
		t.Errorf("a repeat is %v", v.Kind)
	}
	wantDue(t, l, 0, 0) // the engine that had it first may have died: nobody else would wake the flow
	l.do(wake())
	wantTrace(t, l,
		"flow_started",
		"step_started:a work_started:a#1",
		"work_succeeded:a#1 step_completed:a attribute_set:x",
		"step_started:b work_started:b#1")
}

func TestRetriesWaitForRoom(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	cmd := startFlow(planned(t, []string{"a"}, step("a"), step("b")), nil)
	cmd.GetStartFlow().Plan = planned(t, []string{"a", "b"}, step("a"), step("b", work(func(w *sluicev1.WorkConfig) {
		w.TimeoutMs, w.MaxRetries = 5000, 0
	})))
	l.do(cmd)
	l.do(complete(ref("a", 1), notCompleted("busy", 0)))
	l.full, l.now = true, l.due
	l.do(wake())
	wantDue(t, l, 10, 15)
	l.now = l.due
	l.do(wake()) // the other's timeout is settled all the same, and fails its goal
	wantTrace(t, l,
		"flow_started step_started:a work_started:a#1 step_started:b work_started:b#1",
		"work_not_completed:a#1 retry_scheduled:a#1",
		"work_timed_out:b#1 work_failed:b#1 step_failed:b flow_failed flow_deactivated")
	if l.due != 0 {
		t.Errorf("an ended flow is to be woken at %d", l.due)
	}
}

func TestRetriesThatWaitedStart(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a")), nil)
	l.do(complete(ref("a", 1), notCompleted("busy", 0)))
	l.full, l.now = true, l.due
	l.do(wake())
	l.full, l.now = false, l.due
	l.do(wake())
	wantTrace(t, l,
		"flow_started step_started:a work_started:a#1",
		"work_not_completed:a#1 retry_scheduled:a#1",
		"work_started:a#2")
}

// A cycle of optional inputs is broken when nothing else runs, but what only
// waits for room counts as running.
func TestTiesAreNotBrokenForLackOfRoom(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	l.full = true
	l.do(startFlow(planned(t, []string{"a"},
		step("a", required("x"), output("z")),
		step("b", optional("y", ""), output("x")),
		step("c", optional("x", ""), output("y")),
	), nil))
	wantTrace(t, l, "flow_started")
	wantDue(t, l, 10, 15)
	l.full, l.now = false, l.due
	l.do(wake())
	wantTrace(t, l, "flow_started", "step_started:b work_started:b#1 step_started:c work_started:c#1")
}
