package model

import (
	"slices"
	"strconv"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/step"
)

// flow is a flow.
type flow struct {
	e        *Engine
	request  string
	plan     []step.Definition
	goals    []string
	state    client.FlowState
	events   []event.Event
	revision uint64
	items    map[string][]*item // by step
	tokens   map[string]*item   // all that were ever given
	timer    *time.Timer

	callback, secret string
	// ending is how it will end; nil while that is not decided.
	ending *event.Event
	// stack are the successes that can be undone, and undoing the one that is.
	stack   []*item
	undoing *item
	quiet   bool // nothing can come of it any more
}

// begin starts a flow: its plan is what its goals need.
func (e *Engine) begin(r startRequest, request string) {
	f := &flow{
		e: e, request: request, goals: r.Goals, items: map[string][]*item{}, tokens: map[string]*item{}, revision: 1,
		callback: r.CallbackURL, secret: r.CallbackSecret,
	}
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
	f.state.CreatedAt = f.emit(event.Event{Type: event.FlowStarted, Goals: r.Goals, Init: r.Init, Labels: r.Labels, TimeoutMS: r.TimeoutMS, CallbackURL: r.CallbackURL})
	if e.breaks(CallbackEarly, r.ID) {
		f.tell(event.Event{Type: event.FlowCompleted, Time: f.state.CreatedAt})
	}
	if r.TimeoutMS > 0 {
		f.timer = e.after(f, time.Duration(r.TimeoutMS)*time.Millisecond, func() {
			if !f.over() {
				f.revision++
				f.end(event.Event{Type: event.FlowFailed, Error: "out of time"})
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
	for changed := true; changed && !f.over() && !f.held(); {
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
	if d.Predicate != nil && !f.holds(d, inputs) {
		return
	}
	f.items[d.ID] = f.expand(d, inputs)
	n := len(f.items[d.ID])
	now := f.emit(event.Event{Type: event.StepStarted, StepID: d.ID, Inputs: inputs, WorkItems: uint32(n)}) //nolint:gosec // few
	x := client.Execution{Status: client.Active, StartedAt: now, Inputs: inputs, WorkItems: map[string]client.WorkItem{}}
	for i := range n {
		it := client.WorkItem{Status: client.Pending}
		if !d.HasForEach() {
			it.Inputs = inputs
		}
		x.WorkItems[strconv.Itoa(i)] = it
	}
	f.state.Executions[d.ID] = x
	if n == 0 {
		f.completeStep(d)
		return
	}
	f.fill(d)
}

// holds asks a predicate, and skips its step where it is false.
func (f *flow) holds(d step.Definition, inputs client.Values) bool {
	f.emit(event.Event{Type: event.PredicateAsked, StepID: d.ID, Inputs: inputs})
	x := f.state.Executions[d.ID]
	x.Inputs = inputs
	if f.e.programs[d.Predicate.Script](inputs) != nil || f.e.breaks(PredicateIgnored, f.state.ID) {
		f.emit(event.Event{Type: event.PredicateHeld, StepID: d.ID})
		f.state.Executions[d.ID] = x
		return true
	}
	x.Error = "predicate returned false"
	x.CompletedAt = f.emit(event.Event{Type: event.StepSkipped, StepID: d.ID, Reason: x.Error})
	x.Status = client.Skipped
	f.state.Executions[d.ID] = x
	return false
}

func (f *flow) failStep(id, reason string, lacking []string) {
	now := f.emit(event.Event{Type: event.StepFailed, StepID: id, Error: reason, Unsatisfied: lacking})
	x := f.state.Executions[id]
	x.Status, x.CompletedAt, x.Error, x.Unsatisfied = client.Failed, now, reason, lacking
	f.state.Executions[id] = x
}

func (f *flow) checkGoals() {
	if f.over() || f.held() {
		return
	}
	for _, goal := range f.goals {
		x := f.state.Executions[goal]
		if x.Status == client.Failed {
			f.end(event.Event{Type: event.FlowFailed, Error: x.Error})
		}
		if x.Status != client.Completed && x.Status != client.Skipped {
			return
		}
	}
	if !f.e.breaks(StuckEnd, f.state.ID) {
		f.end(event.Event{Type: event.FlowCompleted, Result: f.result()})
	}
}

// result is what the goals gave.
func (f *flow) result() client.Values {
	out := client.Values{}
	for _, goal := range f.goals {
		for name, a := range f.e.steps[goal].Attributes {
			if value, ok := f.state.Attributes[name]; ok && a.Role == step.RoleOutput {
				out[name] = value.Value
			}
		}
	}
	return out
}

func (f *flow) stopTimers() {
	timers := []*time.Timer{f.timer}
	for _, it := range f.tokens {
		timers = append(timers, it.timer, it.listen)
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
