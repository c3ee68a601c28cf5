package plan

import (
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/step"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// ErrMalformed is returned for bytes that are no plan.
var ErrMalformed = errors.New("malformed plan")

// A Plan is a decoded plan. Flows share it, so nobody may change it.
type Plan struct {
	Proto *sluicev1.Plan
	Steps []Step         // in the order of Proto.Steps
	Index map[string]int // step id to place in Steps
	// Goals are the places in Steps of the goals, in the order asked for. One
	// that init has reached is not among the steps, and so not here.
	Goals []int
	// Results are the names of what the goals give, each once, in their order.
	Results []string
}

// A Step is one step of a plan.
type Step struct {
	ID      string
	Proto   *sluicev1.PlannedStep
	Inputs  []Input
	Outputs []Output
	// ForEach says that one of the inputs is for_each: the outputs are then arrays
	// of what the work items give.
	ForEach bool
}

// An Input is an attribute that a step takes.
type Input struct {
	Name      string
	Role      sluicev1.AttributeRole
	Default   json.RawMessage // nil when there is none
	Providers []int           // places of the plan's steps that output it
	// ForEach says that the elements of the value become work items, which must
	// then be of type Element.
	ForEach bool
	Element step.Type
}

// An Output is an attribute that a step gives.
type Output struct {
	Name string
	Type step.Type // of what one work item gives
}

// Decode reads a plan. It returns [ErrMalformed] for what is none.
func Decode(planBytes []byte) (*Plan, error) {
	var message sluicev1.Plan
	if err := proto.Unmarshal(planBytes, &message); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	p := &Plan{
		Proto: &message,
		Steps: make([]Step, len(message.GetSteps())),
		Index: make(map[string]int, len(message.GetSteps())),
	}
	providers := map[string][]int{}
	for i, planned := range message.GetSteps() {
		if planned.GetId() == "" {
			return nil, fmt.Errorf("%w: step %d has no id", ErrMalformed, i)
		}
		if _, twice := p.Index[planned.GetId()]; twice {
			return nil, fmt.Errorf("%w: step %q stands twice", ErrMalformed, planned.GetId())
		}
		p.Index[planned.GetId()] = i
		for _, a := range planned.GetAttributes() {
			if a.GetRole() == sluicev1.AttributeRole_ATTRIBUTE_ROLE_OUTPUT {
				providers[a.GetName()] = append(providers[a.GetName()], i)
			}
		}
	}
	for i, planned := range message.GetSteps() {
		if err := p.Steps[i].decode(planned, providers); err != nil {
			return nil, err
		}
	}
	if err := p.decodeGoals(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Plan) decodeGoals() error {
	given := map[string][]string{}
	for _, g := range p.Proto.GetGivenGoals() {
		given[g.GetStepId()] = g.GetOutputs()
	}
	once := map[string]bool{}
	for _, goal := range p.Proto.GetGoals() {
		names, reached := given[goal]
		i, runs := p.Index[goal]
		switch {
		case runs:
			p.Goals = append(p.Goals, i)
			names = p.Steps[i].outputNames()
		case !reached:
			return fmt.Errorf("%w: goal %q is neither among its steps nor given", ErrMalformed, goal)
		}
		for _, name := range names {
			if !once[name] {
				once[name] = true
				p.Results = append(p.Results, name)
			}
		}
	}
	return nil
}

func (s *Step) outputNames() []string {
	names := make([]string, len(s.Outputs))
	for i, output := range s.Outputs {
		names[i] = output.Name
	}
	return names
}

func (s *Step) decode(planned *sluicev1.PlannedStep, providers map[string][]int) error {
	s.ID, s.Proto = planned.GetId(), planned
	for _, a := range planned.GetAttributes() {
		switch a.GetRole() {
		case sluicev1.AttributeRole_ATTRIBUTE_ROLE_OUTPUT:
			if a.GetForEach() {
				return fmt.Errorf("%w: output %q of step %q is for_each", ErrMalformed, a.GetName(), s.ID)
			}
			s.Outputs = append(s.Outputs, Output{Name: a.GetName(), Type: step.Type(a.GetType())})
		case sluicev1.AttributeRole_ATTRIBUTE_ROLE_REQUIRED, sluicev1.AttributeRole_ATTRIBUTE_ROLE_OPTIONAL,
			sluicev1.AttributeRole_ATTRIBUTE_ROLE_CONST:
			s.Inputs = append(s.Inputs, Input{
				Name: a.GetName(), Role: a.GetRole(), Default: a.Default, Providers: providers[a.GetName()],
				ForEach: a.GetForEach(), Element: elementType(a),
			})
			s.ForEach = s.ForEach || a.GetForEach()
		case sluicev1.AttributeRole_ATTRIBUTE_ROLE_UNSPECIFIED:
			return fmt.Errorf("%w: attribute %q of step %q has no role", ErrMalformed, a.GetName(), s.ID)
		default:
			return fmt.Errorf("%w: attribute %q of step %q has role %d", ErrMalformed, a.GetName(), s.ID, a.GetRole())
		}
	}
	if s.ForEach {
		s.typeElements()
	}
	return s.decodeChild()
}

// typeElements gives the outputs the types of what one work item gives.
func (s *Step) typeElements() {
	for i := range s.Outputs {
		s.Outputs[i].Type = step.Attribute{Type: s.Outputs[i].Type}.ElementType()
	}
}

func elementType(a *sluicev1.StepAttribute) step.Type {
	return step.Attribute{Type: step.Type(a.GetType())}.ElementType()
}
