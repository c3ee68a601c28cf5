package model

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/step"
)

const noOutcome = "no outcome in time"

func parallelism(d step.Definition) int {
	if d.WorkConfig == nil {
		return 1
	}
	return int(d.WorkConfig.Parallelism)
}

// attempt starts the next attempt of a work item.
func (f *flow) attempt(it *item) {
	it.attempt++
	it.status, it.due, it.heard = client.Active, false, time.Now()
	e := event.Event{Type: event.WorkStarted}
	if it.attempt == 1 {
		e.Inputs = it.own
	}
	now := f.emit(f.about(it, e))
	shown := f.shownItem(it)
	shown.Status, shown.Token, shown.Attempt, shown.NextRetryAt = client.Active, it.token[:8], it.attempt, time.Time{}
	if it.own != nil {
		shown.Inputs = it.own
	}
	if shown.StartedAt.IsZero() {
		shown.StartedAt = now
	}
	f.show(it, shown)
	if it.d.Type == step.KindScript {
		f.run(it)
		return
	}
	if limit := it.d.WorkConfig.TimeoutMS; limit > 0 {
		n := it.attempt
		it.timer = f.e.after(f, time.Duration(limit)*time.Millisecond, func() {
			if it.status == client.Active && it.attempt == n {
				f.giveUp(it, "timeout")
			}
		})
	}
	f.listen(it)
	f.e.invoke(f, it, it.attempt)
}

// giveUp ends an attempt that took too long, or whose worker is silent.
func (f *flow) giveUp(it *item, limit string) {
	if f.over() {
		return
	}
	f.revision++
	f.emit(f.about(it, event.Event{Type: event.WorkTimedOut, Limit: limit}))
	f.retry(it, noOutcome)
}

// about says which work item an event is about.
func (f *flow) about(it *item, e event.Event) event.Event {
	e.StepID, e.Item, e.Token, e.Attempt = it.d.ID, it.place, it.token[:8], it.attempt
	return e
}

func (f *flow) shownItem(it *item) client.WorkItem {
	return f.state.Executions[it.d.ID].WorkItems[it.place]
}

func (f *flow) show(it *item, shown client.WorkItem) {
	f.state.Executions[it.d.ID].WorkItems[it.place] = shown
}

// retry schedules the next attempt, or fails the work item when it has had all.
func (f *flow) retry(it *item, reason string) {
	shown := f.shownItem(it)
	it.status, shown.Status, shown.Error = client.NotCompleted, client.NotCompleted, reason
	f.show(it, shown)
	if f.over() || it.retries >= uint32(it.d.WorkConfig.MaxRetries) { //nolint:gosec // the load's are positive
		f.settle(it, &step.Result{Error: "not completed: " + reason})
		f.advance()
		return
	}
	it.retries++
	delay := time.Duration(*it.d.WorkConfig.BackoffMS) * time.Millisecond
	next := time.Now().Add(delay).UTC()
	f.emit(f.about(it, event.Event{Type: event.RetryScheduled, RetryCount: it.retries, NextRetryAt: next}))
	if !f.e.breaks(StateBehind, f.state.ID) {
		shown.RetryCount, shown.NextRetryAt = it.retries, next
		f.show(it, shown)
	}
	if f.e.breaks(LostTimer, f.state.ID) {
		return
	}
	it.timer = f.e.after(f, delay, func() {
		if f.over() || it.status != client.NotCompleted {
			return
		}
		if it.due = f.held(); !it.due {
			f.revision++
			f.attempt(it)
		}
	})
}

// apply gives a work item what its attempt came to, and goes on with the flow.
func (f *flow) apply(it *item, result *step.Result) {
	if result.NotCompleted {
		f.emit(f.about(it, event.Event{Type: event.WorkNotCompleted, Error: result.Error}))
		f.retry(it, result.Error)
		return
	}
	f.settle(it, result)
	f.advance()
}

// settle ends a work item, and what follows from that: its step, or where the
// flow's end is decided, what undoes it.
func (f *flow) settle(it *item, result *step.Result) {
	shown := f.shownItem(it)
	shown.NextRetryAt = time.Time{}
	if result.Success {
		it.outputs = result.Outputs
		if f.e.breaks(PrecisionLost, f.state.ID) {
			it.outputs = rounded(it.outputs)
		}
		shown.CompletedAt = f.emit(f.about(it, event.Event{Type: event.WorkSucceeded, Outputs: it.outputs}))
		it.status, shown.Outputs, shown.Error = client.Succeeded, it.outputs, ""
		if it.d.HTTP != nil && it.d.HTTP.Compensate != "" {
			f.stack = append(f.stack, it)
		}
	} else {
		shown.CompletedAt = f.emit(f.about(it, event.Event{Type: event.WorkFailed, Error: result.Error}))
		it.status, shown.Error = client.Failed, result.Error
	}
	shown.Status = it.status
	f.show(it, shown)
	if f.over() {
		f.windUp()
		return
	}
	f.stepEnded(it.d)
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
func (e *Engine) invoke(f *flow, it *item, attempt uint32) {
	times := 1
	switch {
	case e.breaks(InvocationLost, f.state.ID):
		times = 0
	case e.breaks(InvocationTwice, f.state.ID):
		times = 2
	}
	request := e.request(f, it, attempt)
	for range times {
		e.jobs.Go(func() {
			result, ok := e.call(e.life, it.d, request)
			e.mu.Lock()
			defer e.mu.Unlock()
			if !ok || (f.over() && !f.accepts(it)) || it.status != client.Active || it.attempt != attempt {
				return
			}
			f.revision++
			f.apply(it, &result)
		})
	}
}

// inputs are what a work item is called with.
func (f *flow) inputs(it *item) client.Values {
	inputs := maps.Clone(f.state.Executions[it.d.ID].Inputs)
	maps.Copy(inputs, it.own)
	return inputs
}

func (e *Engine) request(f *flow, it *item, attempt uint32) []byte {
	r := step.Request{Arguments: f.inputs(it), Metadata: step.Metadata{
		FlowID: f.state.ID, StepID: it.d.ID, ReceiptToken: it.token, Attempt: attempt,
	}}
	if attempt > 1 && !e.breaks(ProgressLost, f.state.ID) {
		r.Metadata.LastProgress = it.progress
	}
	if e.breaks(AttemptMiscount, f.state.ID) {
		r.Metadata.Attempt++
	}
	if e.breaks(ArgumentsMixed, f.state.ID) {
		r.Arguments = map[string]json.RawMessage{"order": json.RawMessage(`"of somebody else"`)}
	}
	if it.d.Type == step.KindAsync {
		r.Metadata.WebhookURL = e.URL + "/webhook/" + f.state.ID + "/" + it.d.ID + "/" + r.Metadata.ReceiptToken
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
	nothing := step.Result{NotCompleted: true, Error: "no answer"}
	status, answer := e.post(ctx, d.HTTP.Endpoint, body, nil)
	switch {
	case status == 0, status >= http.StatusInternalServerError:
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

// post posts JSON and returns the answer; status 0 says that there is none.
func (e *Engine) post(ctx context.Context, url string, body []byte, header http.Header) (status int, answer []byte) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil
	}
	maps.Copy(req.Header, header)
	resp, err := e.http.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil
	}
	return resp.StatusCode, answer
}
