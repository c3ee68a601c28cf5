package flow

import (
	"encoding/json"
	"fmt"

	"github.com/sluiceflow/sluice/services/internal/plan"
)

// outputs are what the step gives once its work items succeeded: the outputs of
// the only one, or with for_each an array for each declared output. It returns
// an error that a person can read where the arrays are more than can be kept.
func (t *Turn) outputs(i int) (map[string]json.RawMessage, error) {
	def, st := &t.s.Plan.Steps[i], &t.s.Steps[i]
	if !def.ForEach {
		return st.Items[0].Outputs, nil
	}
	outputs, left := make(map[string]json.RawMessage, len(def.Outputs)), t.env.ArgumentBytes
	for _, output := range def.Outputs {
		array := st.gather(membersOf(def), newMember(output.Name), left)
		if left -= len(output.Name) + len(array); left < 0 {
			return nil, fmt.Errorf("what %d work items gave takes more than can be kept (%d bytes)", len(st.Items), t.env.ArgumentBytes)
		}
		outputs[output.Name] = array
	}
	return outputs, nil
}

// gather writes an array of what each work item gave as one output, beside the
// inputs that it had of its own. It goes on no further once it is past the limit.
func (st *Step) gather(own []member, output member, limit int) json.RawMessage {
	array := []byte{'['}
	for j := range st.Items {
		if j > 0 {
			array = append(array, ',')
		}
		array = append(array, '{')
		first := len(array)
		for _, m := range own {
			array = m.append(array, first, st.Items[j].Inputs[m.name])
		}
		array = append(output.append(array, first, st.Items[j].Outputs[output.name]), '}')
		if len(array) > limit {
			break
		}
	}
	return append(array, ']')
}

// A member is the name of a JSON object's member, with how it is written.
type member struct{ name, text string }

func newMember(name string) member {
	text, err := json.Marshal(name)
	if err != nil {
		panic(fmt.Sprintf("a string has no JSON: %v", err))
	}
	return member{name, string(text) + ":"}
}

// membersOf are the for_each inputs of a step.
func membersOf(def *plan.Step) []member {
	var members []member
	for _, input := range def.Inputs {
		if input.ForEach {
			members = append(members, newMember(input.Name))
		}
	}
	return members
}

// append adds the member to the object whose members begin at first, unless it
// has no value.
func (m member) append(object []byte, first int, value json.RawMessage) []byte {
	if value == nil {
		return object
	}
	if len(object) > first {
		object = append(object, ',')
	}
	return append(append(object, m.text...), value...)
}
