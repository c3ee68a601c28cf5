package flow

import (
	"encoding/json"
	"fmt"
	"time"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// checkGoals ends the flow once its goals say so. A failed goal fails it at
// once, whatever else still runs.
func (t *Turn) checkGoals() {
	reached := true
	for _, i := range t.s.Plan.Goals {
		switch st := &t.s.Steps[i]; st.Status {
		case sluicev1.StepStatus_STEP_STATUS_FAILED:
			t.fail(fmt.Sprintf("goal %q failed: %s", t.s.Plan.Steps[i].ID, st.Error))
			return
		case sluicev1.StepStatus_STEP_STATUS_COMPLETED, sluicev1.StepStatus_STEP_STATUS_SKIPPED:
		case sluicev1.StepStatus_STEP_STATUS_PENDING, sluicev1.StepStatus_STEP_STATUS_ACTIVE,
			sluicev1.StepStatus_STEP_STATUS_UNSPECIFIED:
			reached = false
		}
	}
	if reached {
		t.complete()
	}
}

func (t *Turn) complete() {
	result, omitted := t.result()
	t.emit(&sluicev1.Event{Kind: &sluicev1.Event_FlowCompleted{FlowCompleted: &sluicev1.FlowCompleted{
		Result:  t.values.refs(result),
		Omitted: omitted,
	}}})
	t.deactivate()
}

// result is what the goals give, as far as it fits into one message.
func (t *Turn) result() (result map[string]json.RawMessage, omitted []string) {
	result = map[string]json.RawMessage{}
	left := min(t.env.ArgumentBytes, t.env.CommitBytes-t.Size())
	for _, name := range t.s.Plan.Results {
		attribute, ok := t.s.Attributes[name]
		if !ok {
			continue
		}
		size := len(name)
		if !t.values.has(attribute.Value) {
			size += len(attribute.Value)
		}
		if size > left {
			omitted = append(omitted, name)
			continue
		}
		left -= size
		result[name] = attribute.Value
	}
	return result, omitted
}

func (t *Turn) fail(reason string) {
	t.end(Ending{Status: sluicev1.FlowStatus_FLOW_STATUS_FAILED, Reason: reason})
}

// cancelFlow ends a running flow because somebody asked for it.
func (t *Turn) cancelFlow(c *sluicev1.CancelFlow) Verdict {
	if t.s.over() {
		return Verdict{Reply: &sluicev1.Reply{
			Code:   sluicev1.ReplyCode_REPLY_CODE_CONFLICT,
			Detail: fmt.Sprintf("flow %q is %s already", t.s.ID, t.s.lot()),
		}}
	}
	t.end(Ending{Status: sluicev1.FlowStatus_FLOW_STATUS_CANCELED, Reason: c.GetReason(), By: c.GetBy()})
	reply := &sluicev1.Reply{Code: sluicev1.ReplyCode_REPLY_CODE_OK}
	if !t.s.Final() {
		reply.Detail = fmt.Sprintf("flow %q is being compensated, and canceled then", t.s.ID)
	}
	return Verdict{Reply: reply}
}

// retireFlow marks an ended flow's history for the purge. Commands of the flow
// that may still be delivered would start it again once nothing knows of them,
// so it waits for their acks.
func (t *Turn) retireFlow(c *sluicev1.RetireFlow, at Position) Verdict {
	byHand := c.GetEndingRevision() == 0
	switch {
	case byHand && !t.s.Deactivated:
		return Verdict{Reply: &sluicev1.Reply{Code: sluicev1.ReplyCode_REPLY_CODE_CONFLICT, Detail: t.s.whyKept()}}
	case t.s.Retired:
		return Verdict{Reply: &sluicev1.Reply{Code: sluicev1.ReplyCode_REPLY_CODE_REPEATED}}
	case !t.s.Deactivated:
		return Verdict{} // it is asked for again then; see [Effects]
	case !byHand && t.s.EndedRevision != c.GetEndingRevision():
		return Verdict{} // it ended again since, and that ending will grow old too
	case len(t.cause) > 0, t.s.folded.above(t.env.Floor, at.Sequence):
		return Verdict{Kind: Postponed}
	}
	t.emit(&sluicev1.Event{Kind: &sluicev1.Event_FlowRetired{FlowRetired: &sluicev1.FlowRetired{By: c.GetBy()}}})
	return Verdict{Reply: &sluicev1.Reply{Code: sluicev1.ReplyCode_REPLY_CODE_OK}}
}

// whyKept says why the flow's history cannot go yet.
func (s *State) whyKept() string {
	switch {
	case !s.over():
		return fmt.Sprintf("flow %q still runs; cancel it first", s.ID)
	case s.untold() && s.Final():
		return fmt.Sprintf("flow %q is a child, and its parent %q has not heard of its end yet", s.ID, s.ParentFlow)
	case s.compensating:
		return fmt.Sprintf("flow %q is being compensated", s.ID)
	default:
		until, _ := s.NextDeadline()
		return fmt.Sprintf("flow %q waits until %s for workers whose successes would have to be compensated",
			s.ID, time.Unix(0, until).UTC().Format(time.RFC3339))
	}
}
