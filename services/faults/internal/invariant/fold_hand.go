package invariant

import (
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
)

// resumed makes a flow go on that was paused, or that had failed: then what was
// open begins again.
func (f *fold) resumed() {
	s := &f.state
	failed := s.Status.Ended()
	s.Status, s.CompletedAt, s.Error = client.Active, time.Time{}, ""
	if !failed {
		return
	}
	for _, x := range s.Executions {
		if over(x.Status) {
			continue
		}
		for item, it := range x.WorkItems {
			if it.Attempt > 0 && it.Status != client.Succeeded {
				x.WorkItems[item] = again(it)
			}
		}
	}
	f.reconsider()
}

// overridden makes a step begin again that had failed: the load asks for nothing
// else.
func (f *fold) overridden(e event.Event) {
	x := f.state.Executions[e.StepID]
	status := client.Active
	if x.StartedAt.IsZero() {
		status = client.Pending
	}
	for item, it := range x.WorkItems {
		if it.Status == client.Failed {
			x.WorkItems[item] = again(it)
		}
	}
	f.state.Executions[e.StepID] = reopened(x, status)
	f.reconsider()
}

// reconsider makes those steps pending again that ended for the sake of others.
func (f *fold) reconsider() {
	for id, x := range f.state.Executions {
		forOthers := x.Error == "outputs not needed" || x.Error == "required input no longer available"
		if over(x.Status) && x.StartedAt.IsZero() && forOthers {
			f.state.Executions[id] = reopened(x, client.Pending)
		}
	}
}

func reopened(x client.Execution, status client.Status) client.Execution {
	x.Status, x.CompletedAt, x.Error, x.Unsatisfied, x.Outputs = status, time.Time{}, "", nil, nil
	return x
}

// again is a work item with a new token and all its retries before it.
func again(it client.WorkItem) client.WorkItem {
	return client.WorkItem{Status: client.Pending, Attempt: it.Attempt, Inputs: it.Inputs}
}

func over(s client.Status) bool {
	return s == client.Completed || s == client.Failed || s == client.Skipped
}
