package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// ErrMalformed says that a commit does not hold together: it refers to values
// that it lacks, or has events of a kind that this release does not know.
var ErrMalformed = errors.New("malformed commit")

// FromCommit gives the events of one transition, in order, with their values.
// Its errors are [ErrMalformed].
func FromCommit(c *sluicev1.Commit) ([]Event, error) {
	out := make([]Event, 0, len(c.GetEvents()))
	for i, e := range c.GetEvents() {
		converted, err := convert(c, e)
		if err != nil {
			return nil, fmt.Errorf("%w: flow %s revision %d event %d: %w", ErrMalformed, c.GetFlowId(), c.GetRevision(), i, err)
		}
		out = append(out, converted)
	}
	return out, nil
}

func convert(c *sluicev1.Commit, e *sluicev1.Event) (Event, error) {
	b := builder{values: c.GetValues(), Event: Event{
		FlowID:   c.GetFlowId(),
		StepID:   e.GetStepId(),
		Token:    e.GetToken(),
		Attempt:  e.GetAttempt(),
		Time:     at(c.GetTimeNs()),
		Revision: c.GetRevision(),
	}}
	if e.Item != nil {
		b.Item = strconv.FormatUint(uint64(e.GetItem()), 10)
	}
	if !b.flow(e) && !b.step(e) && !b.work(e) && !b.mailbox(e) {
		return Event{}, fmt.Errorf("kind %T is unknown", e.GetKind())
	}
	return b.Event, b.err
}

// builder fills an event from what its kind holds and keeps the first mistake.
type builder struct {
	Event

	values [][]byte
	err    error
}

func (b *builder) flow(e *sluicev1.Event) bool {
	switch k := e.GetKind().(type) {
	case *sluicev1.Event_FlowStarted:
		b.flowStarted(k.FlowStarted)
	case *sluicev1.Event_FlowCompleted:
		b.Type = FlowCompleted
		b.Result, b.Omitted = b.resolveAll(k.FlowCompleted.GetResult()), k.FlowCompleted.GetOmitted()
	case *sluicev1.Event_FlowFailed:
		b.Type, b.Error = FlowFailed, k.FlowFailed.GetError()
	case *sluicev1.Event_FlowCanceled:
		b.Type, b.Reason, b.By = FlowCanceled, k.FlowCanceled.GetReason(), k.FlowCanceled.GetBy()
	case *sluicev1.Event_FlowPaused:
		b.Type, b.Reason, b.By = FlowPaused, k.FlowPaused.GetReason(), k.FlowPaused.GetBy()
	case *sluicev1.Event_FlowResumed:
		b.Type, b.Reason, b.By = FlowResumed, k.FlowResumed.GetReason(), k.FlowResumed.GetBy()
	case *sluicev1.Event_FlowBegun:
		b.Type = FlowBegun
	case *sluicev1.Event_FlowDeactivated:
		b.Type = FlowDeactivated
	case *sluicev1.Event_FlowRetired:
		b.Type, b.By = FlowRetired, k.FlowRetired.GetBy()
	case *sluicev1.Event_ParentTold:
		b.Type = ParentTold
	default:
		return false
	}
	return true
}

func (b *builder) flowStarted(k *sluicev1.FlowStarted) {
	var plan sluicev1.Plan
	if err := proto.Unmarshal(k.GetPlan(), &plan); err != nil {
		b.fail(fmt.Errorf("plan: %w", err))
	}
	b.Type, b.Goals = FlowStarted, plan.GetGoals()
	b.Init, b.Labels = b.resolveAll(k.GetInit()), k.GetLabels()
	b.TimeoutMS, b.CallbackURL = k.GetTimeoutMs(), k.GetCallbackUrl()
	b.ParentFlowID, b.ParentStepID = k.GetParentFlowId(), k.GetParentStepId()
	b.StartAt = at(k.GetStartAtNs())
}

func (b *builder) step(e *sluicev1.Event) bool {
	switch k := e.GetKind().(type) {
	case *sluicev1.Event_StepStarted:
		b.Type = StepStarted
		b.Inputs, b.WorkItems = b.resolveAll(k.StepStarted.GetInputs()), k.StepStarted.GetWorkItems()
	case *sluicev1.Event_PredicateAsked:
		b.Type, b.Inputs = PredicateAsked, b.resolveAll(k.PredicateAsked.GetInputs())
	case *sluicev1.Event_PredicateHeld:
		b.Type = PredicateHeld
	case *sluicev1.Event_StepCompleted:
		b.Type = StepCompleted
		b.Outputs, b.Duration = b.resolveAll(k.StepCompleted.GetOutputs()), new(k.StepCompleted.GetDurationMs())
	case *sluicev1.Event_StepFailed:
		b.Type = StepFailed
		b.Error, b.Unsatisfied = k.StepFailed.GetError(), k.StepFailed.GetUnsatisfied()
		if ms := k.StepFailed.GetDurationMs(); ms > 0 {
			b.Duration = &ms
		}
	case *sluicev1.Event_StepSkipped:
		b.Type = StepSkipped
		b.Reason, b.Unsatisfied = k.StepSkipped.GetReason(), k.StepSkipped.GetUnsatisfied()
	case *sluicev1.Event_StepOverridden:
		b.Type, b.Action = StepOverridden, k.StepOverridden.GetAction()
		b.Reason, b.By = k.StepOverridden.GetReason(), k.StepOverridden.GetBy()
	case *sluicev1.Event_AttributeSet:
		b.Type, b.Key, b.Value = AttributeSet, k.AttributeSet.GetKey(), b.resolve(k.AttributeSet.GetValue())
	default:
		return false
	}
	return true
}

func (b *builder) work(e *sluicev1.Event) bool {
	switch k := e.GetKind().(type) {
	case *sluicev1.Event_WorkStarted:
		b.Type = WorkStarted
		b.Inputs, b.Deadline = b.resolveAll(k.WorkStarted.GetInputs()), at(k.WorkStarted.GetDeadlineNs())
		b.WaitUntil = at(k.WorkStarted.GetWaitUntilNs())
		b.ChildFlowID = k.WorkStarted.GetChildFlowId()
	case *sluicev1.Event_WorkSucceeded:
		b.Type, b.Outputs = WorkSucceeded, b.resolveAll(k.WorkSucceeded.GetOutputs())
		b.Duration, b.Memoized = new(k.WorkSucceeded.GetDurationMs()), k.WorkSucceeded.GetMemoized()
	case *sluicev1.Event_WorkFailed:
		b.Type, b.Error, b.Duration = WorkFailed, k.WorkFailed.GetError(), new(k.WorkFailed.GetDurationMs())
	case *sluicev1.Event_WorkNotCompleted:
		b.Type, b.Error = WorkNotCompleted, k.WorkNotCompleted.GetError()
	case *sluicev1.Event_RetryScheduled:
		b.Type = RetryScheduled
		b.RetryCount, b.NextRetryAt = k.RetryScheduled.GetRetryCount(), at(k.RetryScheduled.GetNextRetryAtNs())
	case *sluicev1.Event_WorkTimedOut:
		b.Type, b.Limit = WorkTimedOut, k.WorkTimedOut.GetLimit()
	case *sluicev1.Event_CompletionIgnored:
		b.Type = CompletionIgnored
		b.Reason, b.Outcome = k.CompletionIgnored.GetReason(), k.CompletionIgnored.GetOutcome()
	case *sluicev1.Event_WorkCompensating:
		b.Type, b.Deadline = WorkCompensating, at(k.WorkCompensating.GetDeadlineNs())
		b.Reason, b.By = k.WorkCompensating.GetReason(), k.WorkCompensating.GetBy()
		b.Ending = endingOf(k.WorkCompensating.GetEnding())
	case *sluicev1.Event_WorkCompensated:
		b.Type = WorkCompensated
	case *sluicev1.Event_CompensationFailed:
		b.Type, b.Error = CompensationFailed, k.CompensationFailed.GetError()
	case *sluicev1.Event_ApprovalGiven:
		b.Type, b.Approved = ApprovalGiven, new(k.ApprovalGiven.GetApproved())
		b.By, b.Comment = k.ApprovalGiven.GetBy(), k.ApprovalGiven.GetComment()
	case *sluicev1.Event_WaitKeyed:
		b.Type, b.Value = WaitKeyed, b.resolve(k.WaitKeyed.GetKey())
	case *sluicev1.Event_MessageTaken:
		b.Type, b.MessageID = MessageTaken, k.MessageTaken.GetId()
	default:
		return false
	}
	return true
}

// mailbox fills events of mailboxes. Who waits is a step of another flow.
func (b *builder) mailbox(e *sluicev1.Event) bool {
	switch k := e.GetKind().(type) {
	case *sluicev1.Event_MailboxOpened:
		b.Type, b.Name, b.Value = MailboxOpened, k.MailboxOpened.GetName(), b.resolve(k.MailboxOpened.GetKey())
	case *sluicev1.Event_WaiterAdded:
		b.Type = WaiterAdded
		b.waiter(k.WaiterAdded.GetFlowId(), k.WaiterAdded.GetWork())
	case *sluicev1.Event_MessageKept:
		b.Type, b.MessageID = MessageKept, k.MessageKept.GetId()
		b.Outputs, b.Deadline = b.resolveAll(k.MessageKept.GetOutputs()), at(k.MessageKept.GetExpiresNs())
	case *sluicev1.Event_MessageMatched:
		b.Type = MessageMatched
		b.waiter(k.MessageMatched.GetFlowId(), k.MessageMatched.GetWork())
	case *sluicev1.Event_WaiterGone:
		b.Type = WaiterGone
		b.waiter(k.WaiterGone.GetFlowId(), k.WaiterGone.GetWork())
	case *sluicev1.Event_MessageExpired:
		b.Type = MessageExpired
	default:
		return false
	}
	return true
}

func (b *builder) waiter(flowID string, work *sluicev1.WorkRef) {
	b.WaiterFlowID, b.StepID, b.Attempt = flowID, work.GetStepId(), work.GetAttempt()
	b.Item = strconv.FormatUint(uint64(work.GetItem()), 10)
}

// endingOf is how a flow ends once what succeeded is compensated, or empty where
// that was decided before.
func endingOf(s sluicev1.FlowStatus) string {
	if s == sluicev1.FlowStatus_FLOW_STATUS_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(s.String(), "FLOW_STATUS_"))
}

// resolve looks up a value, of which 0 names none.
func (b *builder) resolve(ref uint32) json.RawMessage {
	if ref == 0 || uint64(ref) > uint64(len(b.values)) {
		b.fail(fmt.Errorf("value %d of %d does not exist", ref, len(b.values)))
		return nil
	}
	return b.values[ref-1]
}

func (b *builder) resolveAll(refs map[string]uint32) map[string]json.RawMessage {
	if len(refs) == 0 {
		return nil
	}
	out := make(map[string]json.RawMessage, len(refs))
	for name, ref := range refs {
		out[name] = b.resolve(ref)
	}
	return out
}

func (b *builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// at gives the time of Unix nanoseconds, of which 0 means none.
func at(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
