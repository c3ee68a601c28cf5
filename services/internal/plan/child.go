package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/step"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

const (
	// maxDepth is how deep child flows may be nested.
	maxDepth = 16
	// maxChild bounds the plan of one child flow, those of its own children
	// included, in bytes: steps that share children would multiply it.
	maxChild = 2 << 20
)

// ChildError says why the child flow of a step cannot be planned: by one of the
// errors of [Index.Build], or because it would have no end.
type ChildError struct {
	Step string
	Err  error
}

// errLoop means that a flow step contains itself. It is said once, and not for
// each flow around.
var errLoop = errors.New("it contains itself")

func (e *ChildError) Error() string {
	return fmt.Sprintf("the child flow of step %q: %v", e.Step, e.Err)
}

// Unwrap returns what is wrong with the child flow.
func (e *ChildError) Unwrap() error { return e.Err }

// A nest is what the plan of a flow and those of its children have in common.
type nest struct {
	path []string             // the flow steps around the plan that is made, the outermost first
	made map[string]childPlan // by step: what it starts depends on nothing else
}

type childPlan struct {
	plan   *sluicev1.ChildPlan
	height int // how deep its own children are nested
}

// child plans what a flow step starts.
func (b *builder) child(def step.Definition, d Defaults) (*sluicev1.ChildPlan, error) {
	made, known := b.nest.made[def.ID]
	if !known {
		var err error
		if made, err = b.makeChild(def, d); err != nil {
			if inside, ok := errors.AsType[*ChildError](err); ok && errors.Is(err, errLoop) {
				return nil, inside
			}
			return nil, &ChildError{def.ID, err}
		}
		b.nest.made[def.ID] = made
	}
	if len(b.nest.path)+1+made.height > maxDepth {
		return nil, &ChildError{def.ID, fmt.Errorf("child flows are nested more than %d deep", maxDepth)}
	}
	b.height = max(b.height, made.height+1)
	return made.plan, nil
}

func (b *builder) makeChild(def step.Definition, d Defaults) (childPlan, error) {
	if i := slices.Index(b.nest.path, def.ID); i >= 0 {
		circle := slices.Concat(b.nest.path[i:], []string{def.ID})
		return childPlan{}, fmt.Errorf("%w: %s", errLoop, strings.Join(circle, " starts "))
	}
	if len(b.nest.path) >= maxDepth {
		return childPlan{}, fmt.Errorf("child flows are nested more than %d deep", maxDepth)
	}
	b.nest.path = append(b.nest.path, def.ID)
	defer func() { b.nest.path = b.nest.path[:len(b.nest.path)-1] }()
	inside := newBuilder(b.Index, map[string]json.RawMessage{})
	inside.nest, inside.declared = b.nest, map[string]step.Type{}
	inputs := def.ChildInputs()
	for to, from := range inputs {
		a := def.Attributes[from]
		if inside.declared[to] = a.EffectiveType(); a.ForEach {
			inside.declared[to] = a.ElementType()
		}
		if a.Role == step.RoleOptional && a.Default == nil {
			inside.assumed[to] = true // it may be there, and may have to be given by steps
			continue
		}
		inside.init[to] = nil
	}
	p, err := build(inside, def.ChildGoals(), d)
	if err != nil {
		return childPlan{}, err
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return childPlan{}, fmt.Errorf("write the plan: %w", err)
	}
	if len(text) > maxChild {
		return childPlan{}, fmt.Errorf("its plan takes %d bytes, and may take %d", len(text), maxChild)
	}
	return childPlan{
		plan:   &sluicev1.ChildPlan{Plan: text, Inputs: inputs, Outputs: def.ChildOutputs()},
		height: inside.height,
	}, nil
}

// checkDeclared compares the type of a child's input, of which only the step that
// gives it is known, with the type that a step of the child says.
func (b *builder) checkDeclared(id, name string, want step.Type) error {
	if got := b.declared[name]; got != want && got != step.TypeAny && want != step.TypeAny {
		return &InitTypeError{Attribute: name, Want: want, Step: id}
	}
	return nil
}

// ofChild are the defaults for steps that start a child flow. What is retried in
// it is for its own steps to say, and it cannot get lost as a worker can.
func (d Defaults) ofChild() Defaults {
	d.MaxRetries, d.AttemptTimeoutMS = 0, -1
	return d
}

// decodeChild checks what a flow step starts.
func (s *Step) decodeChild() error {
	if s.Proto.GetType() != sluicev1.StepType_STEP_TYPE_FLOW {
		return nil
	}
	if s.Proto.GetChild() == nil {
		return fmt.Errorf("%w: flow step %q says nothing of its child", ErrMalformed, s.ID)
	}
	if _, err := Decode(s.Proto.GetChild().GetPlan()); err != nil {
		return fmt.Errorf("the child flow of step %q: %w", s.ID, err)
	}
	return nil
}
