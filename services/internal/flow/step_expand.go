package flow

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// A list is a for_each input that has a value, with the elements of it.
type list struct {
	input    string
	elements []json.RawMessage
}

// listsOf returns the for_each inputs of a step among its values, in the order
// of their names; an optional one without a value is none. It returns an error
// that a person can read where a value does not consist of the elements that the
// step wants.
func listsOf(def *plan.Step, inputs map[string]json.RawMessage) ([]list, error) {
	var lists []list
	for _, input := range def.Inputs {
		value, ok := inputs[input.Name]
		if !input.ForEach || !ok {
			continue
		}
		elements, err := step.Elements(value, input.Element)
		if err != nil {
			return nil, fmt.Errorf("input %q %w", input.Name, err)
		}
		lists = append(lists, list{input.Name, elements})
	}
	return lists, nil
}

// count is how many work items the lists give: one for each combination of their
// elements, and so one where there is no list.
func count(lists []list) int64 {
	n := int64(1)
	for _, l := range lists {
		n = saturating(n, int64(len(l.elements)))
	}
	return n
}

// firstInputs are the inputs of its own that a work item's first attempt names;
// later ones have them.
func (st *Step) firstInputs(item int) map[string]json.RawMessage {
	switch it := &st.Items[item]; {
	case it.Attempt > 0:
		return nil
	case it.Inputs != nil:
		return it.Inputs
	}
	return st.itemInputs(item)
}

// itemInputs are the inputs that a work item of the step has of its own. The
// first list's elements change slowest.
func (st *Step) itemInputs(item int) map[string]json.RawMessage {
	if len(st.lists) == 0 {
		return nil
	}
	inputs := make(map[string]json.RawMessage, len(st.lists))
	for _, l := range slices.Backward(st.lists) {
		inputs[l.input] = l.elements[item%len(l.elements)]
		item /= len(l.elements)
	}
	return inputs
}
