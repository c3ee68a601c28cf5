package step

import (
	"slices"
	"unicode/utf8"

	"github.com/sluiceflow/sluice/pkg/subject"
)

// maxChildGoals is how many goals a child flow may have.
const maxChildGoals = 64

// child looks at what a step of type flow starts: whether its goals exist is for
// who starts a flow to say.
func (v *validation) child(d Definition) {
	switch {
	case d.Type != KindFlow:
		v.check(d.Flow == nil, "flow", "is for steps of type flow only")
		return
	case d.Flow == nil:
		v.add("flow", "is required for a step of type flow")
		return
	}
	v.check(d.HTTP == nil, "http", "is for steps of type sync and async only")
	v.childGoals(d.Flow.Goals)
	v.childInputs(d)
	v.childOutputs(d)
}

func (v *validation) childGoals(goals []string) {
	v.check(len(goals) > 0, "flow.goals", "must name at least one step")
	v.count("flow.goals", len(goals), maxChildGoals)
	for _, goal := range goals {
		if err := subject.CheckID(goal); err != nil {
			v.add("flow.goals", "%q: %v", goal, err)
		}
	}
}

func (v *validation) childInputs(d Definition) {
	given := map[string]string{} // child's input to the step's
	mapped := map[string]bool{}
	for _, key := range sortedNames(d.Flow.InputMap) {
		field := "flow.input_map." + key
		from, to := d.direction(key, d.Flow.InputMap[key])
		if n := utf8.RuneCountInString(to); n < 1 || n > maxNameLen {
			v.add(field, "a name has 1 to %d characters", maxNameLen)
		}
		v.check(d.isInput(from), field, "%q is no input of the step", from)
		if other, twice := given[to]; twice {
			v.add(field, "the child's %q is given by %q already", to, other)
		}
		given[to], mapped[from] = from, true
	}
	for _, name := range d.Inputs() {
		if other, twice := given[name]; twice && !mapped[name] {
			v.add("flow.input_map", "the child's %q is given by %q, and by the input of that name", name, other)
		}
	}
}

func (v *validation) childOutputs(d Definition) {
	given := map[string]string{} // the step's output to the child's attribute
	for _, name := range sortedNames(d.Flow.OutputMap) {
		field, output := "flow.output_map."+name, d.Flow.OutputMap[name]
		if n := utf8.RuneCountInString(name); n < 1 || n > maxNameLen {
			v.add(field, "a name has 1 to %d characters", maxNameLen)
		}
		v.check(d.Attributes[output].Role == RoleOutput, field, "%q is no output of the step", output)
		if other, twice := given[output]; twice {
			v.add(field, "output %q is given by %q already", output, other)
		}
		given[output] = name
	}
}

// ChildInputs returns, of a step of type flow, the name of each input of the
// child with that of the step's input which gives it: by input_map, or under its
// own name.
func (d Definition) ChildInputs() map[string]string {
	inputs, mapped := map[string]string{}, map[string]bool{}
	for key, value := range d.Flow.InputMap {
		from, to := d.direction(key, value)
		inputs[to], mapped[from] = from, true
	}
	for _, name := range d.Inputs() {
		if !mapped[name] {
			inputs[name] = name
		}
	}
	return inputs
}

// ChildOutputs returns, of a step of type flow, the name of each output of the
// step with that of the child's attribute which gives it: by output_map, or the
// one of the same name.
func (d Definition) ChildOutputs() map[string]string {
	outputs := map[string]string{}
	for name, a := range d.Attributes {
		if a.Role == RoleOutput {
			outputs[name] = name
		}
	}
	for name, output := range d.Flow.OutputMap {
		outputs[output] = name
	}
	return outputs
}

// ChildGoals returns the goals of the child, each once, in their order.
func (d Definition) ChildGoals() []string {
	var once []string
	for _, goal := range d.Flow.Goals {
		if !slices.Contains(once, goal) {
			once = append(once, goal)
		}
	}
	return once
}

// direction says which name of an entry of input_map is the step's: the first
// one, unless only the second is an input of it.
func (d Definition) direction(key, value string) (from, to string) {
	if !d.isInput(key) && d.isInput(value) {
		return value, key
	}
	return key, value
}

func (d Definition) isInput(name string) bool {
	a, ok := d.Attributes[name]
	return ok && a.Role != RoleOutput
}
