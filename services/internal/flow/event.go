package flow

import (
	"fmt"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// maxItems is more work items than any setting lets a step have: what says that
// it has more is damaged, and memory must not be taken for it.
const maxItems = 1 << 20

// apply changes the state by one event of the commit that is being decided or
// replayed. Nothing else changes what a flow is. Events that this release does
// not write are refused: guessing at them would make another state than the
// release that wrote them had.
func (s *State) apply(e *sluicev1.Event, values [][]byte, at int64) error {
	if subject.IsMailbox(s.ID) {
		return s.applyMail(e, values, at)
	}
	if started := e.GetFlowStarted(); started != nil {
		return s.applyFlowStarted(started, values, at)
	}
	if s.Plan == nil {
		return fmt.Errorf("%w: the flow has not started", ErrMalformed)
	}
	if e.GetStepId() == "" {
		return s.applyFlow(e, at)
	}
	if _, it := s.item(e.GetStepId(), e.GetItem()); it == nil && e.GetCompletionIgnored().GetDead() {
		s.applyStray(e)
		return nil
	}
	i, ok := s.Plan.Index[e.GetStepId()]
	if !ok {
		return fmt.Errorf("%w: step %q is not in the plan", ErrMalformed, e.GetStepId())
	}
	if e.Item == nil {
		return s.applyStep(i, e, values, at)
	}
	if int(e.GetItem()) >= len(s.Steps[i].Items) {
		return fmt.Errorf("%w: step %q has no work item %d", ErrMalformed, e.GetStepId(), e.GetItem())
	}
	return s.applyWork(i, int(e.GetItem()), e, values, at)
}

func (s *State) applyFlowStarted(e *sluicev1.FlowStarted, values [][]byte, at int64) error {
	if s.Plan != nil {
		return fmt.Errorf("%w: the flow has started already", ErrMalformed)
	}
	p, err := s.plans(e.GetPlan())
	if err != nil {
		return fmt.Errorf("%w: plan: %w", ErrMalformed, err)
	}
	init, err := resolveAll(values, e.GetInit())
	if err != nil {
		return fmt.Errorf("%w: init: %w", ErrMalformed, err)
	}
	s.planBytes, s.Plan = e.GetPlan(), p
	s.Run = e.GetRun()
	s.Status = sluicev1.FlowStatus_FLOW_STATUS_ACTIVE
	s.Created, s.StartAt = at, e.GetStartAtNs()
	s.Labels = e.GetLabels()
	s.RequestDigest = e.GetRequestDigest()
	s.ParentFlow, s.ParentStep, s.Parent = e.GetParentFlowId(), e.GetParentStepId(), e.GetParent()
	s.CallbackURL, s.CallbackSecret = e.GetCallbackUrl(), e.GetCallbackSecret()
	s.Attributes = make(map[string]Attribute, len(init)+len(p.Steps))
	for name, value := range init {
		s.Attributes[name] = Attribute{Value: value}
	}
	s.Steps = make([]Step, len(p.Steps))
	for i := range s.Steps {
		s.Steps[i].Status = sluicev1.StepStatus_STEP_STATUS_PENDING
	}
	if e.GetTimeoutMs() > 0 {
		s.Deadline = max(at, s.StartAt) + saturating(e.GetTimeoutMs(), millisecond)
	}
	s.armFlow()
	return nil
}

func (s *State) applyFlow(e *sluicev1.Event, at int64) error {
	switch k := e.GetKind().(type) {
	case *sluicev1.Event_FlowCompleted:
		s.finish(sluicev1.FlowStatus_FLOW_STATUS_COMPLETED, "", at)
	case *sluicev1.Event_FlowFailed:
		s.finish(sluicev1.FlowStatus_FLOW_STATUS_FAILED, k.FlowFailed.GetError(), at)
	case *sluicev1.Event_FlowCanceled:
		s.finish(sluicev1.FlowStatus_FLOW_STATUS_CANCELED, k.FlowCanceled.GetReason(), at)
	case *sluicev1.Event_FlowDeactivated:
		s.Deactivated = true
	case *sluicev1.Event_FlowPaused:
		s.Status = sluicev1.FlowStatus_FLOW_STATUS_PAUSED
	case *sluicev1.Event_FlowResumed:
		s.applyResumed(k.FlowResumed, at)
	case *sluicev1.Event_FlowRetired:
		s.Retired = true
	case *sluicev1.Event_ParentTold:
		s.Told = true
	case *sluicev1.Event_FlowBegun:
		return s.applyBegun(k.FlowBegun, at)
	default:
		return fmt.Errorf("%w: %T is no event of a flow that this release knows", ErrMalformed, k)
	}
	return nil
}

func (s *State) finish(status sluicev1.FlowStatus, reason string, at int64) {
	s.Status, s.Error, s.Completed = status, reason, at
	s.EndedRevision = s.Revision + 1
	if !s.over() {
		s.Ending.At = at
	}
	s.rebuildDeadlines()
}

func (s *State) applyStep(i int, e *sluicev1.Event, values [][]byte, at int64) error {
	st := &s.Steps[i]
	switch k := e.GetKind().(type) {
	case *sluicev1.Event_StepStarted:
		return s.applyStepStarted(i, k.StepStarted, values, at)
	case *sluicev1.Event_StepCompleted:
		outputs, err := resolveAll(values, k.StepCompleted.GetOutputs())
		if err != nil {
			return fmt.Errorf("%w: step_completed: %w", ErrMalformed, err)
		}
		st.Status, st.Completed, st.Outputs = sluicev1.StepStatus_STEP_STATUS_COMPLETED, at, outputs
	case *sluicev1.Event_StepFailed:
		st.Status, st.Completed = sluicev1.StepStatus_STEP_STATUS_FAILED, at
		st.Error, st.Unsatisfied = k.StepFailed.GetError(), k.StepFailed.GetUnsatisfied()
		st.asked, st.held = false, false
	case *sluicev1.Event_StepSkipped:
		st.Status, st.Completed = sluicev1.StepStatus_STEP_STATUS_SKIPPED, at
		st.Error, st.Unsatisfied = k.StepSkipped.GetReason(), k.StepSkipped.GetUnsatisfied()
		st.asked, st.held = false, false
	case *sluicev1.Event_PredicateAsked, *sluicev1.Event_PredicateHeld:
		return st.applyPredicate(e, values)
	case *sluicev1.Event_StepOverridden:
		return s.applyOverridden(i, e)
	case *sluicev1.Event_AttributeSet:
		value, err := resolve(values, k.AttributeSet.GetValue())
		if err != nil {
			return fmt.Errorf("%w: attribute_set: %w", ErrMalformed, err)
		}
		s.Attributes[k.AttributeSet.GetKey()] = Attribute{Value: value, Step: e.GetStepId()}
	default:
		return fmt.Errorf("%w: %T is no event of a step that this release knows", ErrMalformed, k)
	}
	return nil
}

func (s *State) applyStepStarted(i int, e *sluicev1.StepStarted, values [][]byte, at int64) error {
	st := &s.Steps[i]
	if st.Status != sluicev1.StepStatus_STEP_STATUS_PENDING {
		return fmt.Errorf("%w: step_started for a step that is %s", ErrMalformed, StepStatusName(st.Status))
	}
	inputs, err := resolveAll(values, e.GetInputs())
	if err != nil {
		return fmt.Errorf("%w: step_started: %w", ErrMalformed, err)
	}
	lists, err := listsOf(&s.Plan.Steps[i], inputs)
	if err != nil {
		return fmt.Errorf("%w: step_started: %w", ErrMalformed, err)
	}
	if n := e.GetWorkItems(); n > maxItems || int64(n) != count(lists) {
		return fmt.Errorf("%w: step_started: %d work items, and the inputs give %d", ErrMalformed, n, count(lists))
	}
	st.Status, st.Started, st.Inputs, st.lists = sluicev1.StepStatus_STEP_STATUS_ACTIVE, at, inputs, lists
	st.asked, st.held = false, false
	st.Items = make([]Item, e.GetWorkItems())
	st.fresh = len(st.Items)
	for j := range st.Items {
		st.Items[j].Status = sluicev1.WorkStatus_WORK_STATUS_PENDING
	}
	return nil
}
