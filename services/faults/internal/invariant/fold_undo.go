package invariant

import (
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
)

// undo applies the events of a work item whose success is being undone. It reports
// false for others.
func (f *fold) undo(it *client.WorkItem, e event.Event) bool {
	if e.Type == event.WorkCompensating {
		f.compensating(it, e)
		return true
	}
	c := it.Compensation
	if it.Status != client.Compensating || c == nil {
		return false
	}
	key := undoing(e)
	switch e.Type { //nolint:exhaustive // the others are none of this
	case event.WorkCompensated:
		it.Status, c.CompletedAt, c.Error = client.Compensated, e.Time, ""
		delete(f.anyError, key)
	case event.CompensationFailed:
		it.Status, c.CompletedAt, c.Error = client.CompensationFailed, e.Time, e.Error
		delete(f.anyError, key)
	case event.WorkNotCompleted:
		c.Error = e.Error
		delete(f.anyError, key)
	case event.WorkTimedOut:
		f.anyError[key] = true
	case event.RetryScheduled:
		c.RetryCount, c.NextRetryAt = e.RetryCount, e.NextRetryAt
	default:
		return false
	}
	return true
}

// undoing names what undoes the success of an event's work item.
func undoing(e event.Event) string { return e.StepID + " " + e.Item + " undo" }

func (f *fold) compensating(it *client.WorkItem, e event.Event) {
	if it.Compensation == nil {
		it.Compensation = &client.Compensation{StartedAt: e.Time}
	}
	it.Status, it.Compensation.Attempt, it.Compensation.NextRetryAt = client.Compensating, e.Attempt, time.Time{}
	if e.Ending != "" {
		f.state.Ending = &client.Ending{Status: client.Status(e.Ending), Error: e.Reason, DecidedAt: e.Time}
	}
}
