package flow

import (
	"encoding/json"
	"fmt"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// mustAsk reports whether a step that could start has a predicate that was not
// asked yet.
func (t *Turn) mustAsk(i int) bool {
	return t.s.Plan.Steps[i].Proto.GetPredicate() != nil && !t.s.Steps[i].held
}

// askPredicate asks a step's predicate whether the step should start. The step
// stays pending, and its inputs stand from now on.
func (t *Turn) askPredicate(i int, inputs map[string]json.RawMessage) {
	t.emit(t.stepEvent(i, &sluicev1.Event{Kind: &sluicev1.Event_PredicateAsked{PredicateAsked: &sluicev1.PredicateAsked{
		Inputs: t.values.refs(inputs), Question: t.s.Steps[i].questions + 1,
	}}}))
}

func (st *Step) applyPredicate(e *sluicev1.Event, values [][]byte) error {
	if st.Status != sluicev1.StepStatus_STEP_STATUS_PENDING {
		return fmt.Errorf("%w: the predicate of a step that is %s", ErrMalformed, StepStatusName(st.Status))
	}
	asked := e.GetPredicateAsked()
	if asked == nil {
		st.asked, st.held = false, true
		return nil
	}
	inputs, err := resolveAll(values, asked.GetInputs())
	if err != nil {
		return fmt.Errorf("%w: predicate_asked: %w", ErrMalformed, err)
	}
	st.Inputs, st.questions, st.asked, st.held = inputs, asked.GetQuestion(), true, false
	return nil
}

// scriptResult decides what a script said. A second result of the same run, and
// one that comes too late, change nothing: nobody was told that they count.
func (t *Turn) scriptResult(c *sluicev1.ScriptResult, at Position) Verdict {
	work, outcome := c.GetWork(), c.GetOutcome()
	if work == nil || outcome == nil {
		return Verdict{Kind: Impossible, Reason: "result of a script without work item or outcome"}
	}
	if i, ok := t.s.Plan.Index[work.GetStepId()]; ok && !c.GetPredicate() && t.s.waitMessage(i) != nil {
		return t.keyed(c, at)
	}
	if !c.GetPredicate() {
		return t.reportCall(&sluicev1.ReportCall{Work: work, Outcome: outcome}, at)
	}
	if work.GetRun() != t.s.Run {
		return Verdict{Kind: Absent}
	}
	i, ok := t.s.Plan.Index[work.GetStepId()]
	if !ok {
		return Verdict{Kind: Impossible, Reason: fmt.Sprintf("there is no step %q", work.GetStepId())}
	}
	t.expireFlow(at.Time)
	if st := &t.s.Steps[i]; !t.s.over() && st.asked && st.questions == work.GetGeneration() {
		t.answered(i, c)
	}
	return Verdict{}
}

// answered goes on with a step whose predicate was asked.
func (t *Turn) answered(i int, c *sluicev1.ScriptResult) {
	switch {
	case !c.GetOutcome().GetSuccess():
		t.failStep(i, "predicate: "+c.GetOutcome().GetError(), nil)
	case !c.GetHolds():
		t.skipStep(i, "predicate returned false", nil)
	default:
		t.emit(t.stepEvent(i, &sluicev1.Event{Kind: &sluicev1.Event_PredicateHeld{PredicateHeld: &sluicev1.PredicateHeld{}}}))
	}
	t.advance()
}

// question returns what asks the predicate that predicate_asked is about, unless
// it was answered by now or nobody needs the answer.
func (s *State) question(e *sluicev1.Event) *sluicev1.Invocation {
	i, ok := s.Plan.Index[e.GetStepId()]
	if !ok {
		return nil
	}
	st := &s.Steps[i]
	if s.over() || !st.asked || st.questions != e.GetPredicateAsked().GetQuestion() {
		return nil
	}
	return &sluicev1.Invocation{
		FlowId: s.ID,
		Work:   &sluicev1.WorkRef{Run: s.Run, StepId: e.GetStepId(), Generation: st.questions},
		Type:   sluicev1.StepType_STEP_TYPE_SCRIPT, Arguments: bytesOf(st.Inputs),
		Script: s.script(i, s.Plan.Steps[i].Proto.GetPredicate(), true),
	}
}

// script is what an invocation says of a step's script or predicate.
func (s *State) script(i int, text *sluicev1.Script, predicate bool) *sluicev1.ScriptCall {
	call := &sluicev1.ScriptCall{Script: text, Predicate: predicate}
	for _, input := range s.Plan.Steps[i].Inputs {
		call.Names = append(call.Names, input.Name)
	}
	return call
}
