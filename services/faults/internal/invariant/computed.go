package invariant

import (
	"encoding/json"
	"maps"
	"reflect"
	"strconv"

	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// computed is invariant 10: what steps start with, and what flows have of them, is
// what it must be: by the values that are there, by scripts and predicates, and
// in the order of the elements.
func (c *check) computed(id string, h History) {
	v := values{
		check: c, id: id, attributes: ledger.Values{}, inputs: map[string]ledger.Values{},
		outputs: map[string]ledger.Values{}, outcomes: map[string]map[string]ledger.Values{}, running: map[string]int{},
	}
	for _, e := range h.Events {
		switch e.Type { //nolint:exhaustive // the rest has no values
		case event.FlowStarted:
			maps.Copy(v.attributes, e.Init)
		case event.AttributeSet:
			v.set(e)
		default:
			v.step(e)
		}
	}
	for step, outputs := range v.outputs {
		name := c.Book.Steps[step].Gives
		if outputs[name] != nil && v.attributes[name] == nil {
			c.broken(Computed, id, "step %s gave %s, and the flow does not have it", step, name)
		}
	}
	for _, call := range c.calls[id] {
		if holds := c.Book.Steps[call.Step].Holds; holds != nil && !holds(call.Given) {
			c.broken(Computed, id, "step %s was called, and its predicate does not hold", call.Step)
		}
	}
}

// values follows the values of a flow.
type values struct {
	*check

	id         string
	attributes ledger.Values
	inputs     map[string]ledger.Values // by step
	outputs    map[string]ledger.Values // the same
	// outcomes are what work items gave, by step and item.
	outcomes map[string]map[string]ledger.Values
	// running is how many work items of a step have begun and have no outcome.
	running map[string]int
}

func (v *values) set(e event.Event) {
	if !same(e.Value, v.outputs[e.StepID][e.Key]) {
		v.broken(Computed, v.id, "step %s gave another %s than the flow has: %.200s", e.StepID, e.Key, e.Value)
	}
	v.attributes[e.Key] = e.Value
}

func (v *values) step(e event.Event) {
	knows := v.Book.Steps[e.StepID]
	switch e.Type { //nolint:exhaustive // the rest has no values
	case event.StepStarted:
		v.started(e, knows)
	case event.WorkStarted:
		v.begun(e, knows)
	case event.WorkSucceeded:
		v.succeeded(e, knows)
	case event.WorkFailed:
		v.running[e.StepID]--
		if knows.Script != nil {
			v.broken(Computed, v.id, "script step %s failed: %s", e.StepID, e.Error)
		}
	case event.PredicateAsked:
		v.inputs[e.StepID] = e.Inputs
	case event.StepSkipped:
		if e.Reason == "predicate returned false" && (knows.Holds == nil || knows.Holds(v.inputs[e.StepID])) {
			v.broken(Computed, v.id, "step %s is skipped, and its predicate holds", e.StepID)
		}
	case event.StepFailed:
		if knows.Holds != nil && e.Unsatisfied == nil && v.outcomes[e.StepID] == nil && v.running[e.StepID] == 0 {
			v.broken(Computed, v.id, "the predicate of step %s failed: %s", e.StepID, e.Error)
		}
	case event.StepCompleted:
		v.completed(e, knows)
	}
}

func (v *values) started(e event.Event, knows ledger.Step) {
	v.inputs[e.StepID], v.outcomes[e.StepID] = e.Inputs, map[string]ledger.Values{}
	for name, value := range e.Inputs {
		if has, ok := v.attributes[name]; ok && !same(has, value) {
			v.broken(Computed, v.id, "step %s starts with another %s than the flow has: %.200s", e.StepID, name, value)
		}
	}
	if knows.Holds != nil && !knows.Holds(e.Inputs) {
		v.broken(Computed, v.id, "step %s starts, and its predicate does not hold", e.StepID)
	}
	if n := len(v.elements(e.StepID, knows)); knows.Each != "" && int(e.WorkItems) != n {
		v.broken(Computed, v.id, "step %s has %d work items for %d elements", e.StepID, e.WorkItems, n)
	}
}

// elements are those that a step has work items for.
func (v *values) elements(step string, knows ledger.Step) []json.RawMessage {
	var elements []json.RawMessage
	_ = json.Unmarshal(v.inputs[step][knows.Each], &elements) // what is no array has none
	return elements
}

// begun checks that a work item has its element, and that no more run at once than
// may.
func (v *values) begun(e event.Event, knows ledger.Step) {
	if e.Attempt > 1 {
		return
	}
	v.running[e.StepID]++
	if knows.AtOnce > 0 && v.running[e.StepID] > knows.AtOnce {
		v.broken(Computed, v.id, "%d work items of step %s run at once, allowed are %d", v.running[e.StepID], e.StepID, knows.AtOnce)
	}
	if knows.Each == "" {
		return
	}
	elements := v.elements(e.StepID, knows)
	if i, err := strconv.Atoi(e.Item); err != nil || i >= len(elements) || !same(elements[i], e.Inputs[knows.Each]) {
		v.broken(Computed, v.id, "work item %s of step %s has another element: %.200s", e.Item, e.StepID, e.Inputs[knows.Each])
	}
}

func (v *values) succeeded(e event.Event, knows ledger.Step) {
	v.running[e.StepID]--
	if of := v.outcomes[e.StepID]; of != nil {
		of[e.Item] = e.Outputs
	}
	if knows.Script != nil && canonicalOf(knows.Script(v.inputs[e.StepID])) != canonicalOf(e.Outputs) {
		v.broken(Computed, v.id, "script step %s gives something else: %.200s", e.StepID, canonicalOf(e.Outputs))
	}
}

// completed checks what a step gives against what its work items gave.
func (v *values) completed(e event.Event, knows ledger.Step) {
	v.outputs[e.StepID] = e.Outputs
	want := v.outcomes[e.StepID]["0"]
	if knows.Each != "" {
		want = v.gathered(e.StepID, knows)
	}
	if canonicalOf(want) != canonicalOf(e.Outputs) {
		v.broken(Computed, v.id, "step %s gives something else than its work items: %.300s, want %.300s",
			e.StepID, canonicalOf(e.Outputs), canonicalOf(want))
	}
}

// gathered is what the work items of a step with elements gave, in their order.
func (v *values) gathered(step string, knows ledger.Step) ledger.Values {
	array := []ledger.Values{}
	for i, element := range v.elements(step, knows) {
		object := ledger.Values{knows.Each: element}
		if value := v.outcomes[step][strconv.Itoa(i)][knows.Gives]; value != nil {
			object[knows.Gives] = value
		}
		array = append(array, object)
	}
	text, err := json.Marshal(array)
	if err != nil {
		return nil
	}
	return ledger.Values{knows.Gives: text}
}

// same reports whether two values are equal as JSON.
func same(a, b json.RawMessage) bool {
	x, errX := ledger.Decode(a)
	y, errY := ledger.Decode(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}
