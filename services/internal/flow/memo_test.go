package flow_test

import (
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

func memoizable(s *sluicev1.PlannedStep) { s.Memoizable = true }

// recalled is what equal work came to.
func recalled(w *sluicev1.WorkRef, o *sluicev1.Outcome) *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_MemoResult{MemoResult: &sluicev1.MemoResult{Work: w, Outcome: o}}}
}

// recall is the key under which the outcome of a flow's first work item may be
// known, and reports false where there is none.
func recall(t *testing.T, n string, options ...stepOption) (flow.MemoKey, bool) {
	t.Helper()
	l := begin(t, planned(t, []string{"a"}, step("a", append([]stepOption{required("n"), output("x")}, options...)...)), map[string]string{"n": n})
	fx := l.state.Effects(l.log[0])
	if len(fx.Invocations) != 1 {
		t.Fatalf("%d invocations", len(fx.Invocations))
	}
	key, ok := fx.Recalls[fx.Invocations[0]]
	return key, ok
}

// Work is equal where the step does the same and the inputs are equal as JSON,
// however the step is named, retried and limited.
func TestEqualWork(t *testing.T) {
	t.Parallel()
	want, ok := recall(t, `{"a":1,"b":[2.50]}`, memoizable)
	if !ok {
		t.Fatal("a memoizable step has no key")
	}
	if _, ok := recall(t, "1"); ok {
		t.Error("another one has")
	}
	for name, of := range map[string]struct {
		n     string
		how   stepOption
		equal bool
	}{
		"the order of fields":        {`{"b":[2.5],"a":1}`, nil, true},
		"retries, limits and labels": {`{"a":1,"b":[2.50]}`, func(s *sluicev1.PlannedStep) { s.Work.MaxRetries, s.Work.TimeoutMs, s.Definition = 9, 9, []byte("{}") }, true},
		"a revision":                 {`{"a":1,"b":[2.50]}`, func(s *sluicev1.PlannedStep) { s.RegistryRevision = 9 }, true},
		"another value":              {`{"a":1,"b":[2.51]}`, nil, false},
		"more digits":                {`{"a":1.00000000000000000001,"b":[2.50]}`, nil, false},
		"another endpoint":           {`{"a":1,"b":[2.50]}`, func(s *sluicev1.PlannedStep) { s.Endpoint = "http://worker/b" }, false},
		"another output":             {`{"a":1,"b":[2.50]}`, output("y"), false},
		"a script":                   {`{"a":1,"b":[2.50]}`, scripted, false},
		"credentials":                {`{"a":1,"b":[2.50]}`, func(s *sluicev1.PlannedStep) { s.HasCredentials, s.RegistryRevision = true, 9 }, false},
	} {
		options := []stepOption{memoizable}
		if of.how != nil {
			options = append(options, of.how)
		}
		if key, ok := recall(t, of.n, options...); !ok || (key == want) != of.equal {
			t.Errorf("%s: has a key %v, the same %v", name, ok, key == want)
		}
	}
}

// memos are what the flow's log says that may be remembered.
func (l *life) memos() []flow.Memo {
	var all []flow.Memo
	for _, c := range l.log {
		all = append(all, l.state.Effects(c).Memos...)
	}
	return all
}

func TestWhatIsRemembered(t *testing.T) {
	t.Parallel()
	one := func(options ...stepOption) *life {
		return begin(t, planned(t, []string{"a"}, step("a", append(options, required("n"), output("x"))...)), map[string]string{"n": "1"})
	}
	for name, tt := range map[string]struct {
		end  *sluicev1.Command
		want int
	}{
		"a completion":         {complete(ref("a", 1), succeeded("x", "7")), 1},
		"a report":             {report(ref("a", 1), succeeded("x", "7")), 1},
		"an outcome by hand":   {override(doComplete, "a", "x", "7"), 0},
		"what was remembered":  {recalled(ref("a", 1), succeeded("x", "7")), 0},
		"a failure":            {complete(ref("a", 1), failed("no")), 0},
		"one that comes to it": {complete(ref("a", 1), notCompleted("busy", 0)), 0},
	} {
		l := one(memoizable)
		l.do(tt.end)
		memos := l.memos()
		if len(memos) != tt.want {
			t.Errorf("%s: %d are remembered", name, len(memos))
		}
		if key, _ := recall(t, "1", memoizable); len(memos) > 0 && memos[0].Key != key {
			t.Errorf("%s: under another key", name)
		}
	}
	l := one()
	l.do(complete(ref("a", 1), succeeded("x", "7")))
	if len(l.memos()) > 0 {
		t.Error("the success of a step that is not memoizable is remembered")
	}
}

func TestAMemoCompletesItsWork(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"b"}, step("a", output("x"), memoizable), step("b", required("x"))), nil)
	l.do(recalled(ref("a", 1), succeeded("x", "7")))
	wantTrace(t, l, "flow_started step_started:a work_started:a#1",
		"work_succeeded:a#1 step_completed:a attribute_set:x step_started:b work_started:b#1")
	events := l.log[1].GetEvents()
	if !events[0].GetWorkSucceeded().GetMemoized() {
		t.Error("its event does not say so")
	}
	l.do(complete(ref("b", 1), succeeded()))
	if last := l.log[2].GetEvents()[0].GetWorkSucceeded(); last == nil || last.GetMemoized() {
		t.Errorf("the next one: %v", last)
	}
	for name, cmd := range map[string]*sluicev1.Command{
		"twice":           recalled(ref("a", 1), succeeded("x", "8")),
		"after the end":   recalled(ref("b", 1), succeeded()),
		"of another flow": recalled(&sluicev1.WorkRef{Run: 1, StepId: "a", Attempt: 1}, succeeded()),
	} {
		if v := l.do(cmd); v.Kind != flow.Nothing && v.Kind != flow.Absent {
			t.Errorf("%s: %v", name, v.Kind)
		}
	}
	for name, cmd := range map[string]*sluicev1.Command{
		"of nothing": recalled(ref("nobody", 1), succeeded()), "a failure": recalled(ref("a", 1), failed("no")), "empty": recalled(nil, nil),
	} {
		if v := l.do(cmd); v.Kind != flow.Impossible {
			t.Errorf("%s: %v", name, v.Kind)
		}
	}
}
