package flow

import (
	"fmt"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// lastResort is how long, in milliseconds, a call that compensates, or a worker
// whose flow has ended, is waited for where the step sets no limit: an ending
// must come, and so must the day on which its history may go.
const lastResort = int64(24 * 3600 * 1000)

// end ends the flow as failed or canceled. What succeeded and can be compensated
// is compensated before; until then nothing else starts.
func (t *Turn) end(how Ending) {
	if i, j, ok := t.s.lastSuccess(); ok {
		t.compensate(i, j, how)
		return
	}
	t.emit(how.event())
	t.deactivate()
}

// windUp does what follows in a flow whose ending is decided: compensations, one
// after the other from the last success back to the first, then the ending, then
// the end of everything.
func (t *Turn) windUp() {
	i, j, more := t.s.lastSuccess()
	switch {
	case t.s.compensating:
	case more:
		t.compensate(i, j, Ending{})
	case !t.s.Final():
		t.emit(t.s.Ending.event())
		t.deactivate()
	default:
		t.deactivate()
	}
}

// deactivate says that nothing of the ended flow can act any more, unless it can:
// a worker may still report a success that has to be compensated, and a child's
// parent may have to be told once more.
func (t *Turn) deactivate() {
	if _, open := t.s.earliest(); open || t.s.Deactivated || t.s.untold() {
		return
	}
	t.emit(&sluicev1.Event{Kind: &sluicev1.Event_FlowDeactivated{FlowDeactivated: &sluicev1.FlowDeactivated{}}})
}

// compensate begins the next attempt to undo a success: the call follows from the
// event. The flow's first one says how the flow will end. It begins in a full log
// too, for the ending makes room; retries do not.
func (t *Turn) compensate(i, j int, how Ending) {
	it := &t.s.Steps[i].Items[j]
	attempt := uint32(1)
	if it.Status == sluicev1.WorkStatus_WORK_STATUS_COMPENSATING {
		attempt += it.Compensation.Attempt
	}
	call := saturating(t.s.Plan.Steps[i].Proto.GetCallTimeoutMs(), millisecond)
	e := t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkCompensating{WorkCompensating: &sluicev1.WorkCompensating{
		DeadlineNs: t.now + call + t.s.patience(i), Ending: how.Status, Reason: how.Reason, By: how.By,
	}}})
	e.Attempt = attempt
	t.emit(e)
	if size := sizeOf(t.s.inputsOf(i, j)) + sizeOf(it.Outputs); size > t.env.CommitBytes {
		t.compensationFailed(i, j, fmt.Sprintf("inputs and outputs of %d bytes are more than a call can carry (%d)",
			size, t.env.CommitBytes))
	}
}

// reportCompensation decides what came of a call that undoes a success. A success
// counts from whichever attempt; anything else only from the one that runs.
func (t *Turn) reportCompensation(i int, work *sluicev1.WorkRef, outcome *sluicev1.Outcome, at Position) {
	j := int(work.GetItem())
	it := &t.s.Steps[i].Items[j]
	if it.Status == sluicev1.WorkStatus_WORK_STATUS_COMPENSATING {
		t.expire(i, j, at.Time)
	}
	if it.Status != sluicev1.WorkStatus_WORK_STATUS_COMPENSATING || work.GetGeneration() != it.Generation {
		return
	}
	c := it.Compensation
	runs := work.GetAttempt() == c.Attempt && c.NextRetry == 0
	switch {
	case outcome.GetSuccess() && work.GetAttempt() <= c.Attempt:
		t.emit(t.compensationEvent(i, j, &sluicev1.Event{
			Kind: &sluicev1.Event_WorkCompensated{WorkCompensated: &sluicev1.WorkCompensated{}},
		}))
		t.windUp()
	case outcome.GetSuccess(), !runs:
	case outcome.GetNotCompleted():
		t.emit(t.compensationEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkNotCompleted{
			WorkNotCompleted: &sluicev1.WorkNotCompleted{Error: outcome.GetError()},
		}}))
		t.retryCompensation(i, j, outcome.GetRetryAfterMs())
	default:
		t.compensationFailed(i, j, outcome.GetError())
	}
}

// retryCompensation schedules the next attempt to undo a success as the step's
// work is retried, or gives up.
func (t *Turn) retryCompensation(i, j int, atLeastMS int64) {
	c, work := t.s.Steps[i].Items[j].Compensation, t.s.Plan.Steps[i].Proto.GetWork()
	if limit := work.GetMaxRetries(); limit >= 0 && int64(c.RetryCount) >= int64(limit) {
		t.compensationFailed(i, j, fmt.Sprintf("not completed after %d attempts: %s", c.Attempt, c.Error))
		return
	}
	delay := max(retryDelay(work, c.RetryCount+1), saturating(atLeastMS, millisecond))
	delay += jitter(t.s.claims(i, uint32(j), 0), c.Attempt, delay) //nolint:gosec // far fewer than 2^32 work items
	t.emit(t.compensationEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_RetryScheduled{RetryScheduled: &sluicev1.RetryScheduled{
		NextRetryAtNs: t.now + delay, RetryCount: c.RetryCount + 1,
	}}}))
}

func (t *Turn) compensationFailed(i, j int, reason string) {
	t.emit(t.compensationEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_CompensationFailed{
		CompensationFailed: &sluicev1.CompensationFailed{Error: reason},
	}}))
	t.windUp()
}

// settleLate settles a deadline that came due after the flow's ending was decided.
func (t *Turn) settleLate(i, j int) {
	it := &t.s.Steps[i].Items[j]
	switch {
	case it.Status == sluicev1.WorkStatus_WORK_STATUS_PENDING: // its attempt was given up by hand
		t.failWork(i, j, "no other attempt began, and the flow is "+t.s.lot(), nil)
	case it.Status != sluicev1.WorkStatus_WORK_STATUS_COMPENSATING:
		t.timeOut(i, j, limitTimeout)
	case it.Compensation.NextRetry != 0:
		t.compensate(i, j, Ending{})
	default:
		t.emit(t.compensationEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkTimedOut{
			WorkTimedOut: &sluicev1.WorkTimedOut{Limit: limitTimeout},
		}}))
		t.retryCompensation(i, j, 0)
	}
}

// expireLate is expire for a flow whose ending is decided.
func (t *Turn) expireLate(i, j int, at int64) {
	due := t.s.lateDue(i, j)
	if due == 0 || due > at || t.s.isRetry(deadline{step: i, item: j}) {
		return
	}
	t.settleLate(i, j)
}

// compensationEvent says which work item, in which call that undoes it, e is
// about.
func (t *Turn) compensationEvent(i, j int, e *sluicev1.Event) *sluicev1.Event {
	e = t.workEvent(i, j, e)
	e.Attempt = t.s.Steps[i].Items[j].Compensation.Attempt
	return e
}
