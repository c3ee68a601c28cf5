package flow

import (
	"encoding/json"
	"fmt"

	"github.com/sluiceflow/sluice/pkg/step"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// The words for what a person does to a step.
const (
	actionRetry    = "retry"
	actionSkip     = "skip"
	actionComplete = "complete"
	actionFail     = "fail"
)

func actionOf(a sluicev1.OverrideAction) string {
	switch a {
	case sluicev1.OverrideAction_OVERRIDE_ACTION_RETRY:
		return actionRetry
	case sluicev1.OverrideAction_OVERRIDE_ACTION_SKIP:
		return actionSkip
	case sluicev1.OverrideAction_OVERRIDE_ACTION_COMPLETE:
		return actionComplete
	case sluicev1.OverrideAction_OVERRIDE_ACTION_FAIL:
		return actionFail
	case sluicev1.OverrideAction_OVERRIDE_ACTION_UNSPECIFIED:
	}
	return ""
}

// overrideStep repairs a step or work item by hand, and makes a flow that failed
// go on with it.
func (t *Turn) overrideStep(c *sluicev1.OverrideStep) Verdict {
	action := actionOf(c.GetAction())
	if action == "" {
		return Verdict{Kind: Impossible, Reason: fmt.Sprintf("override of unknown action %v", c.GetAction())}
	}
	i, ok := t.s.Plan.Index[c.GetStepId()]
	if !ok {
		return refused(sluicev1.ReplyCode_REPLY_CODE_UNKNOWN_STEP, fmt.Sprintf("flow %q has no step %q", t.s.ID, c.GetStepId()))
	}
	item, ok := t.target(i, c.Item, action)
	if !ok {
		return refused(sluicev1.ReplyCode_REPLY_CODE_UNKNOWN_STEP,
			fmt.Sprintf("step %q of flow %q has no work item %d", c.GetStepId(), t.s.ID, c.GetItem()))
	}
	if reason := t.forbidden(i, item, action); reason != "" {
		return t.senseless(reason)
	}
	outputs, wrong := t.outputsByHand(i, item, c.GetOutputs())
	if wrong != "" {
		return refused(sluicev1.ReplyCode_REPLY_CODE_INVALID, wrong)
	}
	t.reopen(c.GetReason(), c.GetBy())
	t.overridden(i, item, &sluicev1.StepOverridden{Action: action, Reason: c.GetReason(), By: c.GetBy()})
	if item != nil {
		t.overrideItem(i, *item, action, outputs, c.GetError())
	} else {
		t.overrideWhole(i, action, outputs, c.GetError())
	}
	t.goOn()
	return done()
}

// target is the work item that is meant; nil means the step as a whole. In a step
// without for_each that is the same, but for a skip.
func (t *Turn) target(i int, item *uint32, action string) (*int, bool) {
	st := &t.s.Steps[i]
	switch {
	case item != nil:
		j := int(*item)
		return &j, j < len(st.Items)
	case len(st.Items) == 1 && action != actionSkip && !t.s.Plan.Steps[i].ForEach:
		j := 0
		return &j, true
	}
	return nil, true
}

// forbidden says why an action makes no sense, or nothing when it does.
func (t *Turn) forbidden(i int, item *int, action string) string {
	if reason := t.closedForGood(); reason != "" {
		return reason
	}
	if action == actionFail && t.s.Final() {
		return "it is " + StatusName(t.s.Status)
	}
	st, id := &t.s.Steps[i], t.s.Plan.Steps[i].ID
	if st.Status == sluicev1.StepStatus_STEP_STATUS_COMPLETED {
		return fmt.Sprintf("step %q is completed", id)
	}
	if item != nil {
		it := &st.Items[*item]
		if !it.allows(action) {
			return fmt.Sprintf("work item %d of step %q is %s", *item, id, WorkStatusName(it.Status))
		}
		return ""
	}
	if action == actionRetry && st.consequence() {
		return fmt.Sprintf("step %q is %s only because of others: %s", id, StepStatusName(st.Status), st.Error)
	}
	if !st.allows(action) {
		return fmt.Sprintf("step %q is %s", id, StepStatusName(st.Status))
	}
	return ""
}

// allows reports whether an action makes sense for the step as a whole. It is
// not completed.
func (st *Step) allows(action string) bool {
	pending := st.Status == sluicev1.StepStatus_STEP_STATUS_PENDING
	switch action {
	case actionRetry:
		return st.final() && st.hasMore() || st.failed > 0 || st.resting()
	case actionSkip:
		return st.Status != sluicev1.StepStatus_STEP_STATUS_SKIPPED
	case actionFail:
		return pending || st.Status == sluicev1.StepStatus_STEP_STATUS_ACTIVE
	default:
		return true
	}
}

// resting reports whether a work item waits for its next attempt.
func (st *Step) resting() bool {
	for j := range st.Items {
		if st.Items[j].Status == sluicev1.WorkStatus_WORK_STATUS_NOT_COMPLETED {
			return true
		}
	}
	return false
}

// allows reports whether an action makes sense for the work item.
func (it *Item) allows(action string) bool {
	switch action {
	case actionRetry:
		return it.open() || it.Status == sluicev1.WorkStatus_WORK_STATUS_FAILED
	case actionFail:
		return !it.final()
	default:
		return it.Status != sluicev1.WorkStatus_WORK_STATUS_SUCCEEDED
	}
}

// outputsByHand are the outputs that a person gives to a work item, or to the
// step as a whole, or what is wrong with them. A step with for_each gives arrays.
func (t *Turn) outputsByHand(i int, item *int, given map[string][]byte) (outputs map[string]json.RawMessage, wrong string) {
	outputs = make(map[string]json.RawMessage, len(given))
	for name, value := range given {
		if !json.Valid(value) {
			return nil, fmt.Sprintf("output %q is not JSON", name)
		}
		outputs[name] = value
	}
	if size := sizeOf(outputs); size > t.env.ArgumentBytes {
		return nil, fmt.Sprintf("outputs of %d bytes are more than can be kept (%d)", size, t.env.ArgumentBytes)
	}
	for _, output := range t.s.Plan.Steps[i].Outputs {
		kind := output.Type
		if item == nil && t.s.Plan.Steps[i].ForEach {
			kind = step.TypeArray
		}
		if value, ok := outputs[output.Name]; ok && !kind.Accepts(value) {
			return nil, fmt.Sprintf("output %q is not of type %s", output.Name, kind)
		}
	}
	return outputs, ""
}

// overridden writes down who repaired what, and why.
func (t *Turn) overridden(i int, item *int, by *sluicev1.StepOverridden) {
	e := &sluicev1.Event{Kind: &sluicev1.Event_StepOverridden{StepOverridden: by}}
	if item == nil {
		t.emit(t.stepEvent(i, e))
		return
	}
	t.emit(t.workEvent(i, *item, e))
}

// overrideItem gives a work item what a person decided. A retry follows from
// step_overridden.
func (t *Turn) overrideItem(i, j int, action string, outputs map[string]json.RawMessage, reason string) {
	switch action {
	case actionComplete, actionSkip:
		t.emit(t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkSucceeded{WorkSucceeded: &sluicev1.WorkSucceeded{
			Outputs: t.values.refs(outputs), DurationMs: t.took(i, j),
		}}}))
		t.workEnded(i)
	case actionFail:
		t.failWork(i, j, byHand("failed", reason), nil)
	}
}

// overrideWhole ends a step as a person decided: what is open of it is closed.
func (t *Turn) overrideWhole(i int, action string, outputs map[string]json.RawMessage, reason string) {
	if action == actionRetry {
		return
	}
	st := &t.s.Steps[i]
	for j := range st.Items {
		if it := &st.Items[j]; it.Attempt > 0 && !it.final() {
			t.emit(t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkFailed{WorkFailed: &sluicev1.WorkFailed{
				Error: "its step was ended by hand", DurationMs: t.took(i, j),
			}}}))
		}
	}
	switch action {
	case actionComplete:
		t.completeWith(i, outputs)
	case actionSkip:
		t.skipStep(i, byHand("skipped", ""), nil)
	case actionFail:
		t.failStep(i, byHand("failed", reason), nil)
	}
}

func byHand(what, reason string) string {
	if reason == "" {
		return what + " by hand"
	}
	return reason
}

// took is how long a work item has been at work, in milliseconds; 0 when it never
// was.
func (t *Turn) took(i, j int) int64 {
	started := t.s.Steps[i].Items[j].Started
	if started == 0 {
		return 0
	}
	return (t.now - started) / millisecond
}

// applyOverridden changes a step, or one of its work items, as a person asked.
// What it then comes to is in the events that follow.
func (s *State) applyOverridden(i int, e *sluicev1.Event) error {
	st, action := &s.Steps[i], e.GetStepOverridden().GetAction()
	switch action {
	case actionRetry, actionSkip, actionComplete, actionFail:
	default:
		return fmt.Errorf("%w: step_overridden: action %q is none that this release knows", ErrMalformed, action)
	}
	if e.Item != nil {
		it := &st.Items[e.GetItem()]
		if it.Attempt == 0 && it.Inputs == nil {
			it.Inputs = st.itemInputs(int(e.GetItem()))
		}
		switch {
		case it.Status == sluicev1.WorkStatus_WORK_STATUS_FAILED:
			st.again(int(e.GetItem()), true)
		case action == actionRetry && it.open():
			st.again(int(e.GetItem()), false)
		}
		if st.final() {
			st.begin(sluicev1.StepStatus_STEP_STATUS_ACTIVE)
		}
	} else {
		st.overridden(action)
	}
	if action != actionFail {
		s.reconsider()
	}
	return nil
}

// overridden changes the step as a whole.
func (st *Step) overridden(action string) {
	switch {
	case st.Started == 0:
		st.begin(sluicev1.StepStatus_STEP_STATUS_PENDING)
	case action == actionRetry:
		st.begin(sluicev1.StepStatus_STEP_STATUS_ACTIVE)
		for j := range st.Items {
			switch st.Items[j].Status { //nolint:exhaustive // what is open or succeeded stays as it is
			case sluicev1.WorkStatus_WORK_STATUS_FAILED:
				st.again(j, true)
			case sluicev1.WorkStatus_WORK_STATUS_NOT_COMPLETED:
				st.again(j, false)
			}
		}
	default:
		st.begin(sluicev1.StepStatus_STEP_STATUS_ACTIVE)
	}
}
