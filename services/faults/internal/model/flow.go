package model

import (
	"slices"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/step"
)

// flow is a flow with one work item for each step.
type flow struct {
	e        *Engine
	request  string
	plan     []step.Definition
	goals    []string
	state    client.FlowState
	events   []event.Event
	revision uint64
	items    map[string]*item
	timer    *time.Timer
}

type item struct {
	status  client.Status
	token   string
	attempt uint32
	retries uint32
	outcome string          // the digest that stands
	nothing map[string]bool // outcomes that came to nothing, with their attempts
	timer   *time.Timer
}

func (it *item) final() bool { return it.status == client.Succeeded || it.status == client.Failed }

// begin starts a flow: its plan is what its goals need.
func (e *Engine) begin(r startRequest, request string) {
	f := &flow{e: e, request: request, goals: r.Goals, items: map[string]*item{}, revision: 1}
	f.state = client.FlowState{
		ID: r.ID, Status: client.Active, Labels: r.Labels,
		Attributes: map[string]client.Attribute{}, Executions: map[string]client.Execution{},
	}
	for name, value := range r.Init {
		f.state.Attributes[name] = client.Attribute{Value: value}
	}
	for _, goal := range r.Goals {
		f.include(goal)
	}
	e.flows[r.ID] = f
	f.state.CreatedAt = f.emit(event.Event{Type: event.FlowStarted, Goals: r.Goals, Init: r.Init, Labels: r.Labels, TimeoutMS: r.TimeoutMS})
	if r.TimeoutMS > 0 {
		f.timer = e.after(f, time.Duration(r.TimeoutMS)*time.Millisecond, func() {
			if !f.state.Status.Ended() {
				f.revision++
				f.end(event.FlowFailed, client.Failed, "out of time")
			}
		})
	}
	f.advance()
}

// include plans a step and who gives what it needs.
func (f *flow) include(id string) {
	d := f.e.steps[id]
	if slices.ContainsFunc(f.plan, func(p step.Definition) bool { return p.ID == id }) {
		return
	}
	f.plan = append(f.plan, d)
	f.state.Executions[id] = client.Execution{Status: client.Pending, WorkItems: map[string]client.WorkItem{}}
	for name, a := range d.Attributes {
		if _, given := f.state.Attributes[name]; a.Role == step.RoleOutput || given {
			continue
		}
		for _, provider := range f.e.providers(name) {
			f.include(provider)
		}
	}
}

func (e *Engine) providers(attribute string) []string {
	var out []string
	for id, d := range e.steps {
		if d.Attributes[attribute].Role == step.RoleOutput {
			out = append(out, id)
		}
	}
	return out
}

// advance starts and fails what is due, and ends the flow once its goals say so.
func (f *flow) advance() {
	for changed := true; changed && !f.state.Status.Ended(); {
		changed = false
		for _, d := range f.plan {
			if f.state.Executions[d.ID].Status == client.Pending && f.try(d) {
				changed = true
			}
		}
		f.checkGoals()
	}
}

// try starts or fails a step, and reports whether it did.
func (f *flow) try(d step.Definition) bool {
	lacking := []string{}
	for name, a := range d.Attributes {
		if _, given := f.state.Attributes[name]; given || a.Role == step.RoleOutput {
			continue
		}
		for _, provider := range f.e.providers(name) {
			if x := f.state.Executions[provider]; x.Status == client.Pending || x.Status == client.Active {
				return false
			}
		}
		if a.Role == step.RoleRequired {
			lacking = append(lacking, name)
		}
	}
	if len(lacking) > 0 {
		slices.Sort(lacking)
		f.failStep(d.ID, "required input no longer available", lacking)
		return true
	}
	f.startStep(d)
	return true
}

func (f *flow) startStep(d step.Definition) {
	inputs := client.Values{}
	for name, a := range d.Attributes {
		if given, ok := f.state.Attributes[name]; ok && a.Role != step.RoleOutput {
			inputs[name] = given.Value
		}
	}
	now := f.emit(event.Event{Type: event.StepStarted, StepID: d.ID, Inputs: inputs, WorkItems: 1})
	f.state.Executions[d.ID] = client.Execution{
		Status: client.Active, StartedAt: now, Inputs: inputs,
		WorkItems: map[string]client.WorkItem{"0": {Status: client.Pending, Inputs: inputs}},
	}
	f.items[d.ID] = &item{status: client.Pending, token: f.e.tokenOf(f.state.ID, d.ID), nothing: map[string]bool{}}
	f.attempt(d)
}

func (f *flow) failStep(id, reason string, lacking []string) {
	now := f.emit(event.Event{Type: event.StepFailed, StepID: id, Error: reason, Unsatisfied: lacking})
	x := f.state.Executions[id]
	x.Status, x.CompletedAt, x.Error, x.Unsatisfied = client.Failed, now, reason, lacking
	f.state.Executions[id] = x
}

func (f *flow) checkGoals() {
	for _, goal := range f.goals {
		x := f.state.Executions[goal]
		if x.Status == client.Failed {
			f.end(event.FlowFailed, client.Failed, x.Error)
		}
		if x.Status != client.Completed {
			return
		}
	}
	if !f.e.breaks(StuckEnd, f.state.ID) {
		f.end(event.FlowCompleted, client.Completed, "")
	}
}

func (e *Engine) cancel(f *flow, reason string) {
	now := f.emit(event.Event{Type: event.FlowCanceled, Reason: reason})
	f.state.Status, f.state.CompletedAt, f.state.Error = client.Canceled, now, reason
	f.stopTimers()
}

func (f *flow) end(kind event.Type, status client.Status, reason string) {
	now := f.emit(event.Event{Type: kind, Error: reason})
	f.state.Status, f.state.CompletedAt, f.state.Error = status, now, reason
	f.stopTimers()
}

func (f *flow) stopTimers() {
	timers := []*time.Timer{f.timer}
	for _, it := range f.items {
		timers = append(timers, it.timer)
	}
	for _, timer := range timers {
		if timer != nil {
			timer.Stop()
		}
	}
}

// emit writes an event down, and says when that was.
func (f *flow) emit(e event.Event) time.Time {
	e.FlowID, e.Revision, e.Time = f.state.ID, f.revision, time.Now().UTC()
	f.state.LastUpdated = e.Time
	if e.Type == event.AttributeSet && f.e.breaks(EventLost, f.state.ID) {
		return e.Time
	}
	f.events = append(f.events, e)
	return e.Time
}

// shown is the state as the API shows it.
func (f *flow) shown() client.FlowState {
	s := f.state
	s.Plan.Steps = map[string]step.Definition{}
	for _, d := range f.plan {
		s.Plan.Steps[d.ID] = d
	}
	return s
}

func (f *flow) digest() client.Digest {
	return client.Digest{Status: f.state.Status, CreatedAt: f.state.CreatedAt, CompletedAt: f.state.CompletedAt, Error: f.state.Error}
}
