package flow_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// checkChildren looks at what a log asks of other flows: each attempt of a flow
// step has a child of its own, and while the flow runs exactly those are wanted
// whose attempts run. No flow step is called as others are.
func checkChildren(t *rapid.T, l *life) {
	named := map[string]bool{}
	for _, c := range l.log {
		fx := l.state.Effects(c)
		for _, inv := range fx.Invocations {
			if inv.GetType() == sluicev1.StepType_STEP_TYPE_FLOW {
				t.Fatalf("a flow step is called: %v", inv)
			}
		}
		for _, cmd := range fx.Commands {
			if s := cmd.GetStartFlow(); s != nil && !l.state.Wants(s.GetParent().GetWork()) {
				t.Fatalf("a child is started that nobody wants: %v", cmd)
			}
			if s := cmd.GetCancelChild(); s != nil && l.state.Wants(s.GetParent().GetWork()) {
				t.Fatalf("a child is canceled that is wanted: %v", cmd)
			}
		}
		for _, e := range c.GetEvents() {
			id := e.GetWorkStarted().GetChildFlowId()
			if id == "" {
				continue
			}
			if named[id] {
				t.Fatalf("two attempts have the child %s", id)
			}
			named[id] = true
		}
	}
}

// drawFamily draws a parent whose steps start flows, and flows in those.
func drawFamily(t *rapid.T) []byte {
	leaf := step("leaf", output("x"), work(func(w *sluicev1.WorkConfig) { w.MaxRetries = rapid.Int32Range(0, 1).Draw(t, "leaf retries") }))
	child := planned(t, []string{"leaf"}, leaf)
	if rapid.Bool().Draw(t, "nested") {
		child = planned(t, []string{"mid"}, step("mid", output("x"), starts(child), retries(rapid.Int32Range(0, 1).Draw(t, "mid retries"))))
	}
	limits := work(func(w *sluicev1.WorkConfig) {
		w.MaxRetries = rapid.Int32Range(0, 3).Draw(t, "retries")
		w.TimeoutMs = rapid.SampledFrom([]int64{0, 3000}).Draw(t, "timeout")
		w.DeadlineMs = rapid.SampledFrom([]int64{0, 9000}).Draw(t, "deadline")
		w.Parallelism = rapid.Int32Range(1, 3).Draw(t, "parallelism")
	})
	options := []stepOption{output("x")}
	if rapid.Bool().Draw(t, "several") {
		options = append(options, each(constant("list", `[1,2,3]`)))
	}
	steps := []*sluicev1.PlannedStep{step("a", append(options, starts(child), limits)...)}
	if rapid.Bool().Draw(t, "another step") {
		steps = append(steps, step("b"))
	}
	goals := []string{"a"}
	if len(steps) > 1 {
		goals = []string{"a", "b"}
	}
	return planned(t, goals, steps...)
}

// A flow and its children are driven by commands that come late, twice, out of
// order, or not at all until somebody looks what is open: they all end, each
// work item by one child's outcome at most, and nobody is left behind.
func TestFamiliesEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := newFamily(t)
		f.do("f", startFlow(drawFamily(t), nil))
		for round := 0; len(f.running()) > 0 || len(f.sent) > 0; round++ {
			if round > 3000 {
				t.Fatalf("%q still run:\n%s", f.running(), f.life("f").trace())
			}
			f.turn(t, round)
		}
		for id, l := range f.lives {
			checkHistory(t, l)
			if l.state.HasOpen() {
				t.Fatalf("flow %s ended and says that something is open", id)
			}
		}
		checkOutcomes(t, f)
	})
}

// turn lets something happen to a family. What is lost early is asked again later,
// as a sweep does.
func (f *family) turn(t *rapid.T, round int) {
	wild := round < 60
	if len(f.sent) > 0 && rapid.IntRange(0, 3).Draw(t, "deliver") > 0 {
		i := rapid.IntRange(0, len(f.sent)-1).Draw(t, "which")
		cmd := f.sent[i]
		switch {
		case wild && rapid.IntRange(0, 5).Draw(t, "lost") == 0:
			f.sent = slices.Delete(f.sent, i, i+1)
			return
		case !wild || rapid.IntRange(0, 4).Draw(t, "again") > 0:
			f.sent = slices.Delete(f.sent, i, i+1)
		}
		f.do(cmd.GetFlowId(), reparse(t, cmd))
		return
	}
	running := f.running()
	if len(running) == 0 {
		return
	}
	id := rapid.SampledFrom(running).Draw(t, "flow")
	l := f.life(id)
	if wild && rapid.IntRange(0, 9).Draw(t, "by hand") == 0 && (id == "f" || l.state.Status != sluicev1.FlowStatus_FLOW_STATUS_CANCELED) {
		steps := l.state.Plan.Steps
		if len(steps) == 0 {
			return
		}
		s := steps[rapid.IntRange(0, len(steps)-1).Draw(t, "step")]
		f.do(id, rapid.SampledFrom([]*sluicev1.Command{
			cancel(), pause(), resume(), retry(), override(doRetry, s.ID), override(doSkip, s.ID), override(doComplete, s.ID, "x", "7"), override(doFail, s.ID),
		}).Draw(t, "control"))
		return
	}
	if l.state.Status == sluicev1.FlowStatus_FLOW_STATUS_PAUSED {
		f.do(id, resume())
		return
	}
	if open := openItems(l); len(open) > 0 && rapid.Bool().Draw(t, "work") {
		w := rapid.SampledFrom(open).Draw(t, "answered")
		if l.state.Plan.Steps[l.state.Plan.Index[w.GetStepId()]].Proto.GetType() == sluicev1.StepType_STEP_TYPE_ASYNC {
			outcome := succeeded("x", "1")
			if wild {
				outcome = drawOutcome(t, l.state.Plan.Steps[l.state.Plan.Index[w.GetStepId()]].Proto)
			}
			f.do(id, complete(w, outcome))
			return
		}
	}
	if l.wakeAt != 0 && rapid.Bool().Draw(t, "time") {
		f.now, l.wakeAt = max(f.now, l.wakeAt), 0
		f.do(id, wake())
		return
	}
	f.sent = append(f.sent, l.state.Open()...) // the sweep
	if parent := f.lives[l.state.ParentFlow]; l.state.Parent != nil && !l.state.Final() && !parent.state.Wants(l.state.Parent.GetWork()) {
		f.sent = append(f.sent, &sluicev1.Command{FlowId: id, Kind: &sluicev1.Command_CancelChild{CancelChild: &sluicev1.CancelChild{
			Parent: l.state.Parent, RequestDigest: l.state.RequestDigest, Reason: "nobody wants it",
		}}})
	}
}

// checkOutcomes compares what work items succeeded with with what their children
// came to.
func checkOutcomes(t *rapid.T, f *family) {
	for _, l := range f.lives {
		byHand := false
		for _, c := range l.log {
			for _, e := range c.GetEvents() {
				byHand = byHand || e.GetStepOverridden() != nil
			}
		}
		for _, c := range l.log {
			for _, e := range c.GetEvents() {
				i, ok := l.state.Plan.Index[e.GetStepId()]
				if e.GetWorkSucceeded() == nil || byHand || !ok || l.state.Plan.Steps[i].Proto.GetType() != sluicev1.StepType_STEP_TYPE_FLOW {
					continue
				}
				completed := 0
				for _, other := range f.lives {
					w := other.state.Parent.GetWork()
					if other.state.ParentFlow == l.state.ID && w.GetStepId() == e.GetStepId() && w.GetItem() == e.GetItem() &&
						flow.StatusName(other.state.Status) == "completed" {
						completed++
					}
				}
				if completed == 0 {
					t.Fatalf("%s succeeded, and no child of it completed:\n%s", key(e), l.trace())
				}
			}
		}
	}
}
