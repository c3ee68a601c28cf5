package model

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/step"
)

const noOutcome = "no outcome in time"

// attempt starts the next attempt of a step's work item.
func (f *flow) attempt(d step.Definition) {
	it := f.items[d.ID]
	it.attempt++
	it.status = client.Active
	now := f.emit(f.about(d.ID, event.Event{Type: event.WorkStarted}))
	shown := f.shownItem(d.ID)
	shown.Status, shown.Token, shown.Attempt, shown.NextRetryAt = client.Active, it.token[:8], it.attempt, time.Time{}
	if it.attempt == 1 {
		shown.StartedAt = now
	}
	f.show(d.ID, shown)
	if limit := d.WorkConfig.TimeoutMS; limit > 0 {
		n := it.attempt
		it.timer = f.e.after(f, time.Duration(limit)*time.Millisecond, func() {
			if !f.state.Status.Ended() && it.status == client.Active && it.attempt == n {
				f.revision++
				f.emit(f.about(d.ID, event.Event{Type: event.WorkTimedOut, Limit: "timeout"}))
				f.retry(d, noOutcome)
			}
		})
	}
	f.e.invoke(f, d, it.attempt)
}

// about says which work item an event is about.
func (f *flow) about(stepID string, e event.Event) event.Event {
	it := f.items[stepID]
	e.StepID, e.Item, e.Token, e.Attempt = stepID, "0", it.token[:8], it.attempt
	return e
}

func (f *flow) shownItem(stepID string) client.WorkItem {
	return f.state.Executions[stepID].WorkItems["0"]
}

func (f *flow) show(stepID string, it client.WorkItem) {
	f.state.Executions[stepID].WorkItems["0"] = it
}

// retry schedules the next attempt, or fails the work item when it has had all.
func (f *flow) retry(d step.Definition, reason string) {
	it, shown := f.items[d.ID], f.shownItem(d.ID)
	it.status, shown.Status, shown.Error = client.NotCompleted, client.NotCompleted, reason
	f.show(d.ID, shown)
	if it.retries >= uint32(d.WorkConfig.MaxRetries) { //nolint:gosec // the load's are positive
		f.settle(d.ID, &step.Result{Error: "not completed: " + reason})
		f.advance()
		return
	}
	it.retries++
	delay := time.Duration(*d.WorkConfig.BackoffMS) * time.Millisecond
	next := time.Now().Add(delay).UTC()
	f.emit(f.about(d.ID, event.Event{Type: event.RetryScheduled, RetryCount: it.retries, NextRetryAt: next}))
	if !f.e.breaks(StateBehind, f.state.ID) {
		shown.RetryCount, shown.NextRetryAt = it.retries, next
		f.show(d.ID, shown)
	}
	if f.e.breaks(LostTimer, f.state.ID) {
		return
	}
	it.timer = f.e.after(f, delay, func() {
		if !f.state.Status.Ended() && it.status == client.NotCompleted {
			f.revision++
			f.attempt(d)
		}
	})
}

// apply gives a work item what its attempt came to, and goes on with the flow.
func (e *Engine) apply(f *flow, stepID string, result *step.Result) {
	if result.NotCompleted {
		f.emit(f.about(stepID, event.Event{Type: event.WorkNotCompleted, Error: result.Error}))
		f.retry(e.steps[stepID], result.Error)
		return
	}
	f.settle(stepID, result)
	f.advance()
}

// settle ends a work item, and its step with it.
func (f *flow) settle(stepID string, result *step.Result) {
	it, shown, x := f.items[stepID], f.shownItem(stepID), f.state.Executions[stepID]
	if !result.Success {
		now := f.emit(f.about(stepID, event.Event{Type: event.WorkFailed, Error: result.Error}))
		it.status, shown.Status, shown.CompletedAt, shown.Error = client.Failed, client.Failed, now, result.Error
		shown.NextRetryAt = time.Time{}
		f.show(stepID, shown)
		f.failStep(stepID, result.Error, nil)
		return
	}
	outputs := result.Outputs
	if f.e.breaks(PrecisionLost, f.state.ID) {
		outputs = rounded(outputs)
	}
	now := f.emit(f.about(stepID, event.Event{Type: event.WorkSucceeded, Outputs: outputs}))
	it.status, shown.Status, shown.CompletedAt, shown.Outputs, shown.Error = client.Succeeded, client.Succeeded, now, outputs, ""
	shown.NextRetryAt = time.Time{}
	f.show(stepID, shown)
	now = f.emit(event.Event{Type: event.StepCompleted, StepID: stepID, Outputs: outputs})
	x.Status, x.CompletedAt, x.Outputs = client.Completed, now, outputs
	f.state.Executions[stepID] = x
	f.set(stepID, outputs)
}

// set sets the attributes that a step declares; the first value stands.
func (f *flow) set(stepID string, outputs client.Values) {
	for name, a := range f.e.steps[stepID].Attributes {
		value, given := outputs[name]
		if _, twice := f.state.Attributes[name]; a.Role != step.RoleOutput || !given || twice {
			continue
		}
		f.emit(event.Event{Type: event.AttributeSet, StepID: stepID, Key: name, Value: value})
		f.state.Attributes[name] = client.Attribute{Value: value, Step: stepID}
	}
}

// after does something later, holding the engine.
func (e *Engine) after(f *flow, d time.Duration, do func()) *time.Timer {
	if e.breaks(LostTimer, f.state.ID) {
		return nil
	}
	return time.AfterFunc(d, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.life.Err() == nil {
			do()
		}
	})
}

// invoke calls a step's endpoint behind the caller.
func (e *Engine) invoke(f *flow, d step.Definition, attempt uint32) {
	times := 1
	switch {
	case e.breaks(InvocationLost, f.state.ID):
		times = 0
	case e.breaks(InvocationTwice, f.state.ID):
		times = 2
	}
	request := e.request(f, d, attempt)
	for range times {
		e.jobs.Go(func() {
			result, ok := e.call(e.life, d, request)
			e.mu.Lock()
			defer e.mu.Unlock()
			it := f.items[d.ID]
			if !ok || f.state.Status.Ended() || it.status != client.Active || it.attempt != attempt {
				return
			}
			f.revision++
			e.apply(f, d.ID, &result)
		})
	}
}

func (e *Engine) request(f *flow, d step.Definition, attempt uint32) []byte {
	r := step.Request{Arguments: f.state.Executions[d.ID].Inputs, Metadata: step.Metadata{
		FlowID: f.state.ID, StepID: d.ID, ReceiptToken: f.items[d.ID].token, Attempt: attempt,
	}}
	if e.breaks(AttemptMiscount, f.state.ID) {
		r.Metadata.Attempt++
	}
	if e.breaks(ArgumentsMixed, f.state.ID) {
		r.Arguments = map[string]json.RawMessage{"order": json.RawMessage(`"of somebody else"`)}
	}
	if d.Type == step.KindAsync {
		r.Metadata.WebhookURL = e.URL + "/webhook/" + f.state.ID + "/" + d.ID + "/" + r.Metadata.ReceiptToken
		if attempt > 1 {
			r.Metadata.WebhookURL += "?attempt=" + strconv.FormatUint(uint64(attempt), 10)
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil
	}
	return text
}

// call posts an invocation, and reports what it came to, if it came to anything.
func (e *Engine) call(ctx context.Context, d step.Definition, body []byte) (step.Result, bool) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	nothing := step.Result{NotCompleted: true, Error: "no answer"}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.HTTP.Endpoint, bytes.NewReader(body))
	if err != nil {
		return nothing, true
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return nothing, true
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil, resp.StatusCode >= http.StatusInternalServerError:
		return nothing, true
	case d.Type == step.KindAsync:
		return step.Result{}, false
	}
	result, err := step.ParseResult(answer)
	if err != nil {
		return step.Result{Error: err.Error()}, true
	}
	return result, true
}
