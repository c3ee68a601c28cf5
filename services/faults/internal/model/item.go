package model

import (
	"encoding/json"
	"maps"
	"strconv"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// item is a work item.
type item struct {
	d          step.Definition
	place      string
	own        client.Values // inputs that it has of its own
	status     client.Status
	token      string
	generation int
	attempt    uint32
	retries    uint32
	outcome    string          // the digest that stands
	nothing    map[string]bool // outcomes that came to nothing, with their attempts
	outputs    client.Values
	due        bool // its next attempt waits for the flow to be resumed
	timer      *time.Timer

	heard    time.Time // of the attempt that runs
	listen   *time.Timer
	progress *step.Progress
	undos    uint32 // calls that undo its success
	unwell   uint32 // of those, the ones that came to nothing
}

func (it *item) final() bool {
	switch it.status { //nolint:exhaustive // the others are open
	case client.Succeeded, client.Failed, client.Compensating, client.Compensated:
		return true
	}
	return false
}

// expand makes the work items of a step: one, or one for each element.
func (f *flow) expand(d step.Definition, inputs client.Values) []*item {
	var each string
	for name, a := range d.Attributes {
		if a.ForEach {
			each = name
		}
	}
	own := []client.Values{nil}
	if each != "" {
		var elements []json.RawMessage
		_ = json.Unmarshal(inputs[each], &elements) // what is no array has none
		own = own[:0]
		for _, element := range elements {
			own = append(own, client.Values{each: element})
		}
	}
	items := make([]*item, len(own))
	for i := range own {
		items[i] = &item{d: d, place: strconv.Itoa(i), own: own[i], status: client.Pending, nothing: map[string]bool{}}
		f.hand(items[i])
	}
	return items
}

// hand gives a work item its token.
func (f *flow) hand(it *item) {
	place, _ := strconv.Atoi(it.place) // it was made of a number
	it.token = f.e.tokenOf(f.state.ID, it.d.ID, place, it.generation)
	f.tokens[it.token] = it
}

// fill starts pending work items while there is room for them.
func (f *flow) fill(d step.Definition) {
	room := max(1, parallelism(d))
	if f.e.breaks(TooManyAtOnce, f.state.ID) {
		room = len(f.items[d.ID])
	}
	for _, it := range f.items[d.ID] {
		if !it.final() && it.status != client.Pending {
			room--
		}
	}
	for _, it := range f.items[d.ID] {
		if f.over() || f.held() {
			return
		}
		if it.status == client.Pending && room > 0 {
			room--
			f.attempt(it)
		}
	}
}

// run computes what a script step gives.
func (f *flow) run(it *item) {
	outputs := f.e.programs[it.d.Script.Script](f.state.Executions[it.d.ID].Inputs)
	if f.e.breaks(ScriptIgnored, f.state.ID) {
		for name := range outputs {
			outputs[name] = json.RawMessage(`"whatever"`)
		}
	}
	f.settle(it, &step.Result{Success: true, Outputs: outputs})
}

// stepEnded goes on with a step of which a work item has its outcome.
func (f *flow) stepEnded(d step.Definition) {
	failed := ""
	for _, it := range f.items[d.ID] {
		if !it.final() {
			f.fill(d)
			return
		}
		if it.status == client.Failed && failed == "" {
			failed = f.shownItem(it).Error
		}
	}
	if failed != "" {
		f.failStep(d.ID, failed, nil)
		return
	}
	f.completeStep(d)
}

func (f *flow) completeStep(d step.Definition) {
	x := f.state.Executions[d.ID]
	if x.Outputs = f.gathered(d); !d.HasForEach() {
		x.Outputs = f.items[d.ID][0].outputs
	}
	x.CompletedAt = f.emit(event.Event{Type: event.StepCompleted, StepID: d.ID, Outputs: x.Outputs})
	x.Status = client.Completed
	f.state.Executions[d.ID] = x
	f.set(d.ID, x.Outputs)
}

// gathered are the arrays that a step with elements gives.
func (f *flow) gathered(d step.Definition) client.Values {
	out := client.Values{}
	for name, a := range d.Attributes {
		if a.Role != step.RoleOutput {
			continue
		}
		array := []ledger.Values{}
		for _, it := range f.items[d.ID] {
			object := ledger.Values{}
			maps.Copy(object, it.own)
			if value := it.outputs[name]; value != nil {
				object[name] = value
			}
			if array = append(array, object); f.e.breaks(ArrayUnordered, f.state.ID) {
				array[0], array[len(array)-1] = array[len(array)-1], array[0]
			}
		}
		text, err := json.Marshal(array)
		if err != nil {
			continue
		}
		out[name] = text
	}
	return out
}
