package flow

import (
	"fmt"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// applyWork changes one work item, its step's counters and its deadline.
func (s *State) applyWork(i, j int, e *sluicev1.Event, values [][]byte, at int64) error {
	if mine, err := s.applyCompensation(i, j, e, at); mine {
		return err
	}
	st, it := &s.Steps[i], &s.Steps[i].Items[j]
	switch k := e.GetKind().(type) {
	case *sluicev1.Event_WorkStarted:
		return s.applyWorkStarted(i, j, e, values, at)
	case *sluicev1.Event_WorkSucceeded:
		outputs, err := resolveAll(values, k.WorkSucceeded.GetOutputs())
		if err != nil {
			return fmt.Errorf("%w: work_succeeded: %w", ErrMalformed, err)
		}
		it.Outputs = outputs
		st.settle(it, sluicev1.WorkStatus_WORK_STATUS_SUCCEEDED, k.WorkSucceeded.GetDigest(), at)
		s.succeeded(i, j)
	case *sluicev1.Event_WorkFailed:
		it.Error = k.WorkFailed.GetError()
		st.failed++
		st.settle(it, sluicev1.WorkStatus_WORK_STATUS_FAILED, k.WorkFailed.GetDigest(), at)
	case *sluicev1.Event_WorkNotCompleted:
		it.notCompletedBy(k.WorkNotCompleted.GetError())
		s.arm(i, j)
		if digest := k.WorkNotCompleted.GetDigest(); len(digest) > 0 {
			if len(it.notCompleted) == maxSeen {
				it.notCompleted = it.notCompleted[1:]
			}
			it.notCompleted = append(it.notCompleted, seen{digest: string(digest), attempt: e.GetAttempt(), generation: it.Generation})
		}
	case *sluicev1.Event_WorkTimedOut:
		it.notCompletedBy(timedOut(k.WorkTimedOut.GetLimit()))
		s.arm(i, j)
	case *sluicev1.Event_RetryScheduled:
		it.NextRetry = k.RetryScheduled.GetNextRetryAtNs()
		it.RetryCount = k.RetryScheduled.GetRetryCount()
		s.arm(i, j)
	case *sluicev1.Event_CompletionIgnored:
		it.ignored = append(it.ignored, seen{
			digest: string(k.CompletionIgnored.GetDigest()), attempt: e.GetAttempt(), generation: e.GetGeneration(),
			dead: k.CompletionIgnored.GetDead(),
		})
	case *sluicev1.Event_ApprovalGiven:
		it.Approvals = append(it.Approvals, approvalOf(k.ApprovalGiven, at))
	case *sluicev1.Event_WaitKeyed:
		it.mailbox, it.keyed, it.took = k.WaitKeyed.GetMailbox(), e.GetAttempt(), messageRef{}
	case *sluicev1.Event_MessageTaken:
		it.took = messageRef{k.MessageTaken.GetMessage().GetRun(), k.MessageTaken.GetMessage().GetNumber()}
	case *sluicev1.Event_StepOverridden:
		err := s.applyOverridden(i, e)
		s.arm(i, j)
		return err
	default:
		return fmt.Errorf("%w: %T is no event of a work item that this release knows", ErrMalformed, k)
	}
	return nil
}

func (s *State) applyWorkStarted(i, j int, e *sluicev1.Event, values [][]byte, at int64) error {
	st, it := &s.Steps[i], &s.Steps[i].Items[j]
	inputs, err := resolveAll(values, e.GetWorkStarted().GetInputs())
	if err != nil {
		return fmt.Errorf("%w: work_started: %w", ErrMalformed, err)
	}
	if it.Attempt == 0 {
		it.Inputs = inputs
		st.begun(it)
	}
	if it.Started == 0 {
		it.Started = at
	}
	if it.Status == sluicev1.WorkStatus_WORK_STATUS_PENDING {
		st.active++
		s.armWhole(i, j)
	}
	it.Status = sluicev1.WorkStatus_WORK_STATUS_ACTIVE
	it.Token, it.Attempt, it.Generation = e.GetToken(), e.GetAttempt(), e.GetGeneration()
	it.Deadline, it.NextRetry = e.GetWorkStarted().GetDeadlineNs(), 0
	it.Heartbeat, it.listen = e.GetWorkStarted().GetHeartbeatDeadlineNs(), 0
	it.Until = e.GetWorkStarted().GetWaitUntilNs()
	s.arm(i, j)
	return nil
}

// settle gives the work item its outcome and its slot back.
func (st *Step) settle(it *Item, status sluicev1.WorkStatus, digest []byte, at int64) {
	if it.open() {
		st.active--
	}
	if it.Attempt == 0 { // by hand
		st.begun(it)
	}
	it.Status, it.Completed, it.digest = status, at, digest
	it.Deadline, it.NextRetry = 0, 0
	it.Heartbeat, it.listen, it.Until = 0, 0, 0
	if status == sluicev1.WorkStatus_WORK_STATUS_SUCCEEDED {
		it.Error = ""
	}
	st.ended++
}

// begun takes note that a work item needs no elements of the step's lists any
// more: it started, or has its outcome by hand.
func (st *Step) begun(it *Item) {
	if !it.final() {
		st.fresh--
	}
	if st.fresh <= 0 {
		st.lists = nil
	}
}

// notCompletedBy ends the running attempt without an outcome. The work item
// keeps its slot: it is not done.
func (it *Item) notCompletedBy(reason string) {
	it.Status, it.Error, it.Deadline = sluicev1.WorkStatus_WORK_STATUS_NOT_COMPLETED, reason, 0
	it.Heartbeat, it.listen, it.Until = 0, 0, 0
}
