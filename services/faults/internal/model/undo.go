package model

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/step"
)

// undoAgain is the pause before a call that undoes is repeated.
const undoAgain = 20 * time.Millisecond

// over reports whether the flow's end is decided.
func (f *flow) over() bool { return f.ending != nil }

// undoes reports whether the flow ends in such a way that successes are undone.
func (f *flow) undoes() bool { return f.over() && f.ending.Type != event.FlowCompleted }

// accepts reports whether an outcome of a work item counts though the flow's end is
// decided.
func (f *flow) accepts(it *item) bool {
	return f.undoes() && !f.quiet && it.d.HTTP != nil && it.d.HTTP.Compensate != "" && !f.e.breaks(LateRefused, f.state.ID)
}

// end decides how the flow ends. What succeeded is undone before.
func (f *flow) end(how event.Event) {
	f.ending = &how
	id := f.state.ID
	switch {
	case how.Type == event.FlowCompleted && !f.e.breaks(UndoneCompleted, id), f.e.breaks(NotUndone, id):
		f.stack = nil
	case f.e.breaks(UndoneLate, id):
		f.finish()
	}
	f.windUp()
}

// windUp undoes the next success, or ends the flow when there is none.
func (f *flow) windUp() {
	late := f.state.Status.Ended()
	switch {
	case f.undoing != nil:
		return
	case late && f.e.breaks(LateKept, f.state.ID):
	case len(f.stack) > 0 && f.e.breaks(UndoneUnordered, f.state.ID):
		it := f.stack[0]
		f.stack = f.stack[1:]
		f.undo(it)
		return
	case len(f.stack) > 0:
		it := f.stack[len(f.stack)-1]
		f.stack = f.stack[:len(f.stack)-1]
		f.undo(it)
		return
	}
	if !late {
		f.finish()
	}
	f.deactivate()
}

// finish writes the decided end down, and tells it.
func (f *flow) finish() {
	status := map[event.Type]client.Status{
		event.FlowCompleted: client.Completed, event.FlowFailed: client.Failed, event.FlowCanceled: client.Canceled,
	}[f.ending.Type]
	now := f.emit(*f.ending)
	f.state.Status, f.state.CompletedAt, f.state.Error, f.state.Ending = status, now, f.ending.Error+f.ending.Reason, nil
	f.stopTimers()
	how := *f.ending
	how.Time = now
	f.tell(how)
}

// deactivate says that nothing can come of the flow any more, unless it can.
func (f *flow) deactivate() {
	for _, it := range f.tokens {
		if it.attempt > 0 && !it.final() && f.accepts(it) {
			return
		}
	}
	if !f.quiet {
		f.quiet = true
		f.emit(event.Event{Type: event.FlowDeactivated})
	}
}

// undo calls who undoes a success, until that is done.
func (f *flow) undo(it *item) {
	f.undoing = it
	it.undos++
	e := f.about(it, event.Event{Type: event.WorkCompensating})
	e.Attempt = it.undos
	first := !slices.ContainsFunc(f.events, func(e event.Event) bool { return e.Type == event.WorkCompensating })
	if first && !f.state.Status.Ended() {
		e.Ending = map[event.Type]string{event.FlowFailed: "failed", event.FlowCanceled: "canceled", event.FlowCompleted: "completed"}[f.ending.Type]
		e.Reason = f.ending.Error + f.ending.Reason
	}
	now, shown := f.emit(e), f.shownItem(it)
	c := client.Compensation{StartedAt: now}
	if shown.Compensation != nil {
		c = *shown.Compensation
	}
	c.Attempt, c.NextRetryAt = it.undos, time.Time{}
	it.status, shown.Status, shown.Compensation = client.Compensating, client.Compensating, &c
	f.show(it, shown)
	text, err := json.Marshal(step.Compensation{Inputs: f.inputs(it), Outputs: it.outputs, Metadata: step.Metadata{
		FlowID: f.state.ID, StepID: it.d.ID, ReceiptToken: it.token, Attempt: it.undos,
	}})
	if err != nil {
		return
	}
	f.e.jobs.Go(func() {
		status, _ := f.e.post(f.e.life, it.d.HTTP.Compensate, text, nil)
		if f.e.breaks(UndoneTwice, f.state.ID) {
			status, _ = f.e.post(f.e.life, it.d.HTTP.Compensate, text, nil)
		}
		f.e.mu.Lock()
		defer f.e.mu.Unlock()
		f.revision++
		f.undone(it, status)
	})
}

// undone takes the answer to a call that undoes a success.
func (f *flow) undone(it *item, status int) {
	shown := f.shownItem(it)
	c := *shown.Compensation
	e := f.about(it, event.Event{Type: event.WorkCompensated})
	e.Attempt = it.undos
	if status >= http.StatusOK && status < http.StatusMultipleChoices {
		c.CompletedAt, c.Error = f.emit(e), ""
		it.status, shown.Status, shown.Compensation = client.Compensated, client.Compensated, &c
		f.show(it, shown)
		f.undoing = nil
		f.windUp()
		return
	}
	e.Type, e.Error = event.WorkNotCompleted, "no 2xx"
	f.emit(e)
	it.unwell++
	c.Error, c.RetryCount, c.NextRetryAt = e.Error, it.unwell, time.Now().Add(undoAgain).UTC()
	e.Type, e.Error, e.RetryCount, e.NextRetryAt = event.RetryScheduled, "", c.RetryCount, c.NextRetryAt
	f.emit(e)
	shown.Compensation = &c
	f.show(it, shown)
	time.AfterFunc(undoAgain, func() {
		f.e.mu.Lock()
		defer f.e.mu.Unlock()
		if f.e.life.Err() == nil {
			f.revision++
			f.undo(it)
		}
	})
}
