package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluiceflow/sluice/pkg/step"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// Defaults stand for what definitions leave out. Times are milliseconds.
type Defaults struct {
	MaxRetries       int32
	BackoffMS        int64
	MaxBackoffMS     int64
	BackoffType      sluicev1.BackoffType
	StepTimeoutMS    int64
	AttemptTimeoutMS int64 // -1 means no limit
}

// UnknownGoalError names goals that no registered step has as its id.
type UnknownGoalError struct{ Goals []string }

func (e *UnknownGoalError) Error() string { return "unknown goals: " + strings.Join(e.Goals, ", ") }

// MissingInputsError names the inputs that neither init nor any step gives.
type MissingInputsError struct{ Inputs []string }

func (e *MissingInputsError) Error() string {
	return "missing inputs: " + strings.Join(e.Inputs, ", ")
}

// InitTypeError says that a value of init is not of the type that a step says.
type InitTypeError struct {
	Attribute string
	Want      step.Type
	Elements  step.Type // of an array whose elements are wrong; else empty
	Step      string
}

func (e *InitTypeError) Error() string {
	if e.Elements != "" {
		return fmt.Sprintf("init.%s is not an array of values of type %s, as step %q has it", e.Attribute, e.Elements, e.Step)
	}
	return fmt.Sprintf("init.%s is not of type %s, as step %q has it", e.Attribute, e.Want, e.Step)
}

// Build plans a flow: from the goals it walks backward through the inputs that
// init does not give, to every step that outputs them and can itself be
// satisfied. A goal whose outputs init gives is reached and does not run. What flow
// steps start is planned too. It returns [*UnknownGoalError], [*MissingInputsError],
// [*InitTypeError] or [*ChildError] for a request that cannot be planned.
func (x *Index) Build(goals []string, init map[string]json.RawMessage, d Defaults) (*sluicev1.Plan, error) {
	return build(newBuilder(x, init), goals, d)
}

// Preview is [Index.Build] for who wants to know what a flow would need: inputs that
// nobody gives are no error, the plan's required inputs name them.
func (x *Index) Preview(goals []string, init map[string]json.RawMessage, d Defaults) (*sluicev1.Plan, error) {
	p, err := x.Build(goals, init, d)
	missing, ok := errors.AsType[*MissingInputsError](err)
	if _, inside := errors.AsType[*ChildError](err); !ok || inside {
		return p, err
	}
	b := newBuilder(x, init)
	for _, name := range missing.Inputs {
		b.assumed[name] = true
	}
	return build(b, goals, d)
}

func build(b *builder, goals []string, d Defaults) (*sluicev1.Plan, error) {
	if err := b.checkGoals(goals); err != nil {
		return nil, err
	}
	b.reach(goals)
	open := b.open(goals)
	b.walk(open)
	if missing := b.missing(open); len(missing) > 0 {
		return nil, &MissingInputsError{missing}
	}
	if err := b.checkInit(); err != nil {
		return nil, err
	}
	return b.plan(goals, d)
}

// builder is one planning.
type builder struct {
	*Index

	init    map[string]json.RawMessage
	assumed map[string]bool // inputs that are taken for given, without a value

	nest     *nest
	declared map[string]step.Type // of a child flow: the types of what init gives
	height   int                  // how deep its child flows are nested

	can      map[string]bool // step: all its required inputs can be there
	chosen   map[string]bool
	required map[string]bool // inputs that nothing in the plan gives
	satisfy  map[string]bool // steps whose outputs init gives
	reached  map[string]bool // goals among them
	lacking  map[string][]string
}

func newBuilder(x *Index, init map[string]json.RawMessage) *builder {
	return &builder{
		Index: x, init: init, assumed: map[string]bool{}, nest: &nest{made: map[string]childPlan{}},
		can: map[string]bool{}, chosen: map[string]bool{}, required: map[string]bool{},
		satisfy: map[string]bool{}, reached: map[string]bool{}, lacking: map[string][]string{},
	}
}

func (b *builder) checkGoals(goals []string) error {
	var unknown []string
	for _, g := range goals {
		if b.byID[g] == nil {
			unknown = append(unknown, g)
		}
	}
	if len(unknown) > 0 {
		return &UnknownGoalError{unknown}
	}
	return nil
}

// related returns the steps that may have to do with the goals: whoever outputs
// what one of them takes and init does not give. The others are not looked at,
// so that a plan costs what it holds and not what is registered.
func (b *builder) related(goals []string) map[string]bool {
	related := map[string]bool{}
	stack := slices.Clone(goals)
	for len(stack) > 0 {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if related[id] {
			continue
		}
		related[id] = true
		for name, a := range b.byID[id].Definition.Attributes {
			if _, given := b.init[name]; !given && awaited(a.Role) {
				stack = append(stack, b.providers[name]...)
			}
		}
	}
	return related
}

// awaited reports whether a step waits for its input: a const's value stands.
func awaited(r step.Role) bool { return r == step.RoleRequired || r == step.RoleOptional }

// reach finds the steps that can run: each required input is given by init or by
// a step that can. It goes forward from what needs nothing, so that a circle of
// steps that need each other is not taken for one that can.
func (b *builder) reach(goals []string) {
	open := map[string]int{}
	waiting := map[string][]string{}
	have := map[string]bool{}
	var ready []string
	for id := range b.related(goals) {
		for name, a := range b.byID[id].Definition.Attributes {
			if _, given := b.init[name]; a.Role == step.RoleRequired && !given && !b.assumed[name] {
				open[id]++
				waiting[name] = append(waiting[name], id)
			}
		}
		if open[id] == 0 {
			ready = append(ready, id)
		}
	}
	for len(ready) > 0 {
		id := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		b.can[id] = true
		for name, a := range b.byID[id].Definition.Attributes {
			if a.Role != step.RoleOutput || have[name] {
				continue
			}
			have[name] = true
			for _, next := range waiting[name] {
				if open[next]--; open[next] == 0 {
					ready = append(ready, next)
				}
			}
		}
	}
}

// open returns the goals that have yet to be reached, and notes those that init
// has reached.
func (b *builder) open(goals []string) []string {
	var open []string
	for _, id := range goals {
		if !b.satisfied(id) {
			open = append(open, id)
			continue
		}
		b.satisfy[id], b.reached[id] = true, true
	}
	return open
}

// walk chooses the goals and whatever they can be fed by.
func (b *builder) walk(goals []string) {
	stack := slices.Clone(goals)
	for len(stack) > 0 {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if b.chosen[id] {
			continue
		}
		b.chosen[id] = true
		for name, a := range b.byID[id].Definition.Attributes {
			if awaited(a.Role) {
				stack = append(stack, b.feed(id, name)...)
			}
		}
	}
	b.needed()
}

// feed returns the steps that a step's input brings into the plan, and notes
// why its other providers are left out.
func (b *builder) feed(id, input string) []string {
	var chosen []string
	_, given := b.init[input]
	for _, provider := range b.providers[input] {
		switch {
		case provider == id:
		case b.satisfied(provider):
			b.satisfy[provider] = true
		case given:
		case b.can[provider]:
			chosen = append(chosen, provider)
		default:
			b.lacking[provider] = b.unreached(provider)
		}
	}
	return chosen
}

// needed finds the inputs that the chosen steps take and none of them gives.
func (b *builder) needed() {
	gives := map[string]bool{}
	for id := range b.chosen {
		for name, a := range b.byID[id].Definition.Attributes {
			if a.Role == step.RoleOutput {
				gives[name] = true
			}
		}
	}
	for id := range b.chosen {
		for name, a := range b.byID[id].Definition.Attributes {
			if a.Role == step.RoleRequired && !gives[name] {
				b.required[name] = true
			}
		}
	}
}

// satisfied reports whether init gives all outputs of a step that has some.
func (b *builder) satisfied(id string) bool {
	outputs := 0
	for name, a := range b.byID[id].Definition.Attributes {
		if a.Role != step.RoleOutput {
			continue
		}
		outputs++
		if _, given := b.init[name]; !given {
			return false
		}
	}
	return outputs > 0
}

// unreached lists the required inputs of a step that nobody can give.
func (b *builder) unreached(id string) []string {
	var names []string
	for name, a := range b.byID[id].Definition.Attributes {
		if _, given := b.init[name]; a.Role != step.RoleRequired || given || b.assumed[name] {
			continue
		}
		if !slices.ContainsFunc(b.providers[name], func(p string) bool { return b.can[p] }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// missing lists the inputs without which a goal can never run.
func (b *builder) missing(goals []string) []string {
	names := map[string]bool{}
	seen := map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		if seen[id] || b.can[id] {
			return
		}
		seen[id] = true
		for _, name := range b.unreached(id) {
			if len(b.providers[name]) == 0 {
				names[name] = true
				continue
			}
			found := len(names)
			for _, provider := range b.providers[name] {
				visit(provider)
			}
			if len(names) == found { // its providers wait for each other
				names[name] = true
			}
		}
	}
	for _, g := range goals {
		visit(g)
	}
	return slices.Sorted(maps.Keys(names))
}

// checkInit compares what is given with the types that the plan's steps and the
// goals that it reaches have.
func (b *builder) checkInit() error {
	for _, id := range slices.Sorted(maps.Keys(b.chosen)) {
		if err := b.checkTypes(id); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(b.reached)) {
		if err := b.checkTypes(id); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) checkTypes(id string) error {
	d := b.byID[id].Definition
	for _, name := range slices.Sorted(maps.Keys(d.Attributes)) {
		a := d.Attributes[name]
		value, given := b.init[name]
		if !given || a.Role == step.RoleConst {
			continue
		}
		if value == nil { // of a child flow that has not started
			if err := b.checkDeclared(id, name, d.AttributeType(name)); err != nil {
				return err
			}
			continue
		}
		if kind := d.AttributeType(name); !kind.Accepts(value) {
			return &InitTypeError{Attribute: name, Want: kind, Step: id}
		}
		if !a.ForEach {
			continue
		}
		if _, err := step.Elements(value, a.ElementType()); err != nil {
			return &InitTypeError{Attribute: name, Want: step.TypeArray, Elements: a.ElementType(), Step: id}
		}
	}
	return nil
}
