package flow_test

import (
	"maps"
	"slices"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// starts makes a step one that starts a flow of that plan. Attributes that were
// added before keep their names in it.
func starts(child []byte) stepOption {
	return func(s *sluicev1.PlannedStep) {
		s.Type, s.Endpoint, s.CallTimeoutMs = sluicev1.StepType_STEP_TYPE_FLOW, "", 0
		s.Script, s.Compensate = nil, ""
		s.Child = &sluicev1.ChildPlan{Plan: child, Inputs: map[string]string{}, Outputs: map[string]string{}}
		for _, a := range s.GetAttributes() {
			if a.GetRole() == sluicev1.AttributeRole_ATTRIBUTE_ROLE_OUTPUT {
				s.Child.Outputs[a.GetName()] = a.GetName()
			} else {
				s.Child.Inputs[a.GetName()] = a.GetName()
			}
		}
	}
}

func retries(n int32) stepOption {
	return work(func(w *sluicev1.WorkConfig) { w.MaxRetries, w.TimeoutMs = n, 0 })
}

// childEnded is what a flow is told of a child.
func childEnded(w *sluicev1.WorkRef, o *sluicev1.Outcome) *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_ChildEnded{ChildEnded: &sluicev1.ChildEnded{
		Work: w, ChildFlowId: "child", Outcome: o,
	}}}
}

// cancelled is what a child is told that nobody wants, here in place of its start.
func cancelled() *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_CancelChild{CancelChild: &sluicev1.CancelChild{
		ParentFlowId: "p", Parent: &sluicev1.ParentLink{Work: ref("s", 1)}, RequestDigest: []byte("request"), Reason: "not wanted",
	}}}
}

func parentHeard(w *sluicev1.WorkRef) *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_ParentHeard{ParentHeard: &sluicev1.ParentHeard{Work: w}}}
}

// answer gives an attempt its outcome: by webhook, or as the end of its child.
func answer(l *life, w *sluicev1.WorkRef, o *sluicev1.Outcome) *sluicev1.Command {
	def := l.state.Plan.Steps[l.state.Plan.Index[w.GetStepId()]].Proto
	if def.GetType() == sluicev1.StepType_STEP_TYPE_FLOW {
		return childEnded(w, o)
	}
	return complete(w, o)
}

// A family is a flow with its children, and the commands between them that are on
// their way. It does what an engine does: what a commit asks for is sent, and the
// end of a child is answered.
type family struct {
	t     tb
	now   int64
	lives map[string]*life
	sent  []*sluicev1.Command
}

func newFamily(t tb) *family { return &family{t: t, now: start, lives: map[string]*life{}} }

func (f *family) life(id string) *life {
	l := f.lives[id]
	if l == nil {
		l = newLifeOf(f.t, id)
		f.lives[id] = l
	}
	l.now = max(l.now, f.now)
	return l
}

// do folds a command of the flow and sends what follows.
func (f *family) do(id string, cmd *sluicev1.Command) flow.Verdict {
	f.t.Helper()
	l := f.life(id)
	cmd.FlowId = id
	before := len(l.log)
	v := l.do(cmd)
	if ended := cmd.GetChildEnded(); ended != nil {
		heard := parentHeard(ended.GetWork())
		heard.FlowId = ended.GetChildFlowId()
		f.sent = append(f.sent, heard)
	}
	for _, c := range l.log[before:] {
		f.sent = append(f.sent, l.state.Effects(c).Commands...)
	}
	return v
}

// deliver hands out what is on its way, until nothing is.
func (f *family) deliver() {
	f.t.Helper()
	for len(f.sent) > 0 {
		cmd := f.sent[0]
		f.sent = f.sent[1:]
		f.do(cmd.GetFlowId(), reparse(f.t, cmd))
	}
}

// children are the ids of the children of the flow f, in the order in which they
// were started.
func (f *family) children() []string {
	f.t.Helper()
	var ids []string
	for _, c := range f.life("f").log {
		for _, e := range c.GetEvents() {
			if id := e.GetWorkStarted().GetChildFlowId(); id != "" {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// running are the ids of the flows that have not ended.
func (f *family) running() []string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(f.lives)) {
		if l := f.lives[id]; l.state.Exists() && !l.state.Deactivated {
			ids = append(ids, id)
		}
	}
	return ids
}
