package flow_test

import (
	"strconv"
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

func wantIgnored(t *testing.T, l *life, reason string) {
	t.Helper()
	events := l.log[len(l.log)-1].GetEvents()
	if got := events[len(events)-1].GetCompletionIgnored(); got == nil || got.GetReason() != reason {
		t.Errorf("last event is %v, want completion_ignored %q", events[len(events)-1], reason)
	}
}

func TestOneTokenOneOutcome(t *testing.T) {
	t.Parallel()
	twoSteps := planned(t, []string{"b"}, step("a", output("x")), step("b", required("x")))
	l := begin(t, twoSteps, nil)
	l.do(complete(ref("a", 1), succeeded("x", "1")))
	if v := l.do(complete(ref("a", 1), succeeded("x", "1"))); v.Kind != flow.Nothing {
		t.Errorf("an equal payload again: %v, want no commit", v.Kind)
	}
	if v := l.do(complete(ref("a", 1), succeeded("x", "2"))); v.Kind != flow.Folded {
		t.Errorf("another payload: %v, want it written down", v.Kind)
	}
	wantIgnored(t, l, "the work item succeeded already")
	if got := string(l.state.Attributes["x"].Value); got != "1" {
		t.Errorf("x is %s", got)
	}
	before := len(l.log)
	if v := l.do(complete(ref("a", 1), succeeded("x", "2"))); v.Kind != flow.Nothing || len(l.log) != before {
		t.Errorf("the ignored payload again: %v, want no commit", v.Kind)
	}
}

func TestIgnoredOutcomesDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"b"}, step("a", output("x")), step("b", required("x"))), nil)
	l.do(complete(ref("a", 1), succeeded("x", "1")))
	before := len(l.log)
	for i := range 40 {
		l.do(complete(ref("a", 1), failed(strconv.Itoa(i))))
	}
	if got := len(l.log) - before; got != 16 {
		t.Errorf("%d ignored outcomes were written down, want 16", got)
	}
}

func TestFailureOfASupersededAttemptIsIgnored(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", output("x"))), nil)
	l.do(complete(ref("a", 1), notCompleted("busy", 0)))
	if v := l.do(complete(ref("a", 1), notCompleted("busy", 0))); v.Kind != flow.Nothing {
		t.Errorf("the same not-completed again: %v, want no commit", v.Kind)
	}
	l.do(complete(ref("a", 1), failed("late")))
	wantIgnored(t, l, "attempt 1 is superseded")
	l.now = l.step("a").Items[0].NextRetry
	l.do(wake())
	l.do(complete(ref("a", 1), failed("later")))
	wantIgnored(t, l, "attempt 1 is superseded")
	l.do(complete(ref("a", 3), failed("from the future")))
	wantIgnored(t, l, "attempt 3 has not started")
	l.do(complete(ref("a", 2), failed("now")))
	wantStatus(t, l, "failed", `goal "a" failed: now`)
}

func TestLateOutcomeIsRecordedNotApplied(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", output("x"))), nil)
	l.do(cancel())
	l.do(complete(ref("a", 1), succeeded("x", "1")))
	wantIgnored(t, l, "the flow is canceled")
	if _, ok := l.state.Attributes["x"]; ok {
		t.Error("an outcome was applied after the end")
	}
	if mark := l.state.Effects(l.log[len(l.log)-1]).Marks; len(mark) != 1 || mark[0].Kind != flow.Closed {
		t.Errorf("marks %+v, want the token closed", mark)
	}
	if v := l.do(report(ref("a", 1), failed("late report"))); v.Kind != flow.Nothing {
		t.Errorf("a late report: %v, want it dropped", v.Kind)
	}
}

func TestImpossibleCommands(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a")), nil)
	before := len(l.log)
	foreign := wake()
	foreign.FlowId = "g"
	item := ref("a", 1)
	item.Item = 7
	for name, cmd := range map[string]*sluicev1.Command{
		"of another flow":     foreign,
		"without a kind":      {FlowId: "f"},
		"unknown work item":   report(item, succeeded()),
		"no outcome":          complete(ref("a", 1), nil),
		"no digest":           complete(ref("a", 1), &sluicev1.Outcome{Success: true}),
		"report without work": report(nil, succeeded()),
	} {
		if v := l.do(cmd); v.Kind != flow.Impossible || v.Reason == "" {
			t.Errorf("%s: %v %q, want Impossible with a reason", name, v.Kind, v.Reason)
		}
	}
	broken := newLife(t)
	if v := broken.do(startFlow([]byte{0xff}, nil)); v.Kind != flow.Impossible {
		t.Errorf("a plan that is none: %v", v.Kind)
	}
	if len(l.log) != before {
		t.Error("an impossible command led to a commit")
	}
}

// A completion with a valid token was told that it is stored, so that it cannot
// be decided stands in the history, once; a redriven one is decided all the same.
func TestPoisonedCompletionsAreWrittenDownOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		work *sluicev1.WorkRef
		do   func(l *life, cmd *sluicev1.Command) flow.Verdict
	}{
		{"of a step that is not in the plan", ref("nope", 1), (*life).do},
		{"of a step that has not started", ref("b", 1), (*life).do},
		{"that panics", ref("a", 1), (*life).poison},
		{"of no work item, that panics", ref("nope", 1), (*life).poison},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := begin(t, planned(t, []string{"b"}, step("a", output("x")), step("b", required("x"))), nil)
			cmd := complete(tt.work, succeeded("x", "1"))
			for range 3 {
				if v := tt.do(l, cmd); v.Kind != flow.Impossible || v.Reason == "" {
					t.Errorf("%v %q, want Impossible with a reason", v.Kind, v.Reason)
				}
			}
			if len(l.log) != 2 || len(l.log[1].GetEvents()) != 1 {
				t.Fatalf("%d commits, want one that notes it", len(l.log)-1)
			}
			e := l.log[1].GetEvents()[0]
			ignored := e.GetCompletionIgnored()
			if !ignored.GetDead() || ignored.GetOutcome() != "succeeded" || ignored.GetReason() == "" || len(ignored.GetDigest()) == 0 ||
				e.GetStepId() != tt.work.GetStepId() || e.Item == nil || len(e.GetToken()) == 0 || e.GetAttempt() != 1 {
				t.Errorf("event %v", e)
			}
			if len(l.log[1].GetCause()) != 0 {
				t.Error("it counts as carried out, so that it would be acked without its dead letter")
			}
			for i := range 40 {
				tt.do(l, complete(tt.work, failed(strconv.Itoa(i))))
			}
			if got := len(l.log) - 1; got != 16 {
				t.Errorf("%d were written down, want 16", got)
			}
		})
	}
}

func TestRedrivenCompletionsAreDecided(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"b"}, step("a", output("x")), step("b", required("x"))), nil)
	ofA, ofB := complete(ref("a", 1), succeeded("x", "1")), complete(ref("b", 1), succeeded())
	l.poison(ofA)
	l.do(ofB)
	for _, cmd := range []*sluicev1.Command{ofA, ofB} {
		if v := l.do(cmd); v.Kind != flow.Folded {
			t.Errorf("once it can be decided: %v", v.Kind)
		}
		if v := l.do(cmd); v.Kind != flow.Nothing {
			t.Errorf("redriven twice: %v, want no commit", v.Kind)
		}
	}
	if got := flow.StatusName(l.state.Status); got != "completed" {
		t.Errorf("the flow is %s", got)
	}
}

func TestPoisonOfOthersIsNotWrittenDown(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a")), nil)
	earlier := ref("a", 1)
	earlier.Run = 1
	foreign := complete(ref("a", 1), succeeded())
	foreign.FlowId = "g"
	for _, cmd := range []*sluicev1.Command{
		wake(), cancel(), complete(nil, succeeded()), complete(ref("a", 1), nil), complete(earlier, succeeded()), foreign,
	} {
		if v := l.poison(cmd); v.Kind != flow.Impossible {
			t.Errorf("%v: %v", cmd, v.Kind)
		}
	}
	if v := newLife(t).poison(complete(ref("a", 1), succeeded())); v.Kind != flow.Impossible {
		t.Errorf("of no flow: %v", v.Kind)
	}
	if len(l.log) != 1 {
		t.Errorf("%d commits", len(l.log))
	}
}

func TestCommandsForNoFlow(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	for _, cmd := range []*sluicev1.Command{wake(), cancel(), retire(0), complete(ref("a", 1), succeeded())} {
		if v := l.do(cmd); v.Kind != flow.Absent {
			t.Errorf("%T: %v, want Absent", cmd.GetKind(), v.Kind)
		}
	}
	l = begin(t, planned(t, []string{"a"}, step("a")), nil)
	old := ref("a", 1)
	old.Run = 1
	if v := l.do(complete(old, succeeded())); v.Kind != flow.Absent {
		t.Errorf("an outcome of an earlier flow with this id: %v, want Absent", v.Kind)
	}
}

// Rule 4: a command is known by its place and time.
func TestRepeatsAreKnownByPlaceAndTime(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a")), nil)
	first := delivery{complete(ref("a", 1), notCompleted("busy", 0)), l.position()}
	l.deliver(first)
	before := len(l.log)
	if v := l.deliver(first)[0]; v.Kind != flow.Repeat || v.Revision != 2 || len(l.log) != before {
		t.Errorf("delivered again: %+v", v)
	}
	// A store that lost its tail gives the sequence out again.
	l.now += second
	reused := delivery{complete(ref("a", 1), failed("other")), flow.Position{Sequence: first.at.Sequence, Time: l.now}}
	if v := l.deliver(reused)[0]; v.Kind != flow.Folded {
		t.Errorf("another command at the same sequence: %+v, want it decided", v)
	}
	// Once the floor has passed it, a command that was stored before is a repeat.
	l.floor = l.seq
	l.now += second
	l.do(complete(ref("a", 1), failed("third")))
	if v := l.deliver(reused)[0]; v.Kind != flow.Repeat || v.Revision != 0 {
		t.Errorf("below the floor: %+v, want a repeat whose commit is forgotten", v)
	}
	fresh := delivery{complete(ref("a", 1), failed("fourth")), flow.Position{Sequence: 1, Time: l.now + second}}
	if v := l.deliver(fresh)[0]; v.Kind != flow.Folded {
		t.Errorf("below the floor but stored after it: %+v, want it decided", v)
	}
}

func TestRepeatWithinOneBatch(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a")), nil)
	d := delivery{cancel(), l.position()}
	verdicts := l.deliver(d, d)
	if verdicts[0].Kind != flow.Folded || verdicts[1].Kind != flow.Repeat || verdicts[1].Revision != 2 {
		t.Errorf("verdicts %+v", verdicts)
	}
	if got := len(l.log[1].GetCause()); got != 1 {
		t.Errorf("the commit names %d commands, want 1", got)
	}
}

func TestRetirement(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a")), nil)
	if v := l.do(retire(0)); v.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_CONFLICT {
		t.Errorf("of a running flow: %v", v)
	}
	l.do(cancel())
	if v := l.do(retire(1)); v.Kind != flow.Nothing {
		t.Errorf("for another ending: %v, want nothing", v.Kind)
	}
	if v := l.do(retire(2)); v.Kind != flow.Postponed {
		t.Errorf("while its commands are not acked: %v, want it put back", v.Kind)
	}
	l.floor = l.seq
	if v := l.do(retire(2)); v.Kind != flow.Folded {
		t.Errorf("once they are: %v", v.Kind)
	}
	last := l.log[len(l.log)-1]
	if fx := l.state.Effects(last); !fx.Retired || flow.Kind(last) != "retired" {
		t.Errorf("effects %+v, kind %s", fx, flow.Kind(last))
	}
	if v := l.do(retire(0)); v.Kind != flow.Nothing || v.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_REPEATED {
		t.Errorf("again: %v", v)
	}
}
