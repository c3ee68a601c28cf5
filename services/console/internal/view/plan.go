package view

import (
	"encoding/json"

	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// Plan is what a flow will do.
type Plan struct {
	Goals      []string                   `json:"goals"`
	Required   []string                   `json:"required"`
	Steps      map[string]json.RawMessage `json:"steps"`
	Attributes map[string]Edge            `json:"attributes"`
	Excluded   Excluded                   `json:"excluded"`
	Children   map[string]Plan            `json:"children,omitempty"` // step of type flow to what it starts
}

// Edge is who gives an attribute and who takes it.
type Edge struct {
	Providers []string `json:"providers"`
	Consumers []string `json:"consumers"`
}

// Excluded are the steps that were left out, and why.
type Excluded struct {
	Satisfied []string            `json:"satisfied"`
	Missing   map[string][]string `json:"missing"` // step to the inputs that it lacks
}

// PlanOf shows a plan.
func PlanOf(p *sluicev1.Plan) Plan {
	out := Plan{
		Goals:      List(p.GetGoals()),
		Required:   List(p.GetRequired()),
		Steps:      make(map[string]json.RawMessage, len(p.GetSteps())),
		Attributes: make(map[string]Edge, len(p.GetAttributes())),
		Excluded: Excluded{
			Satisfied: List(p.GetSatisfied()), Missing: make(map[string][]string, len(p.GetMissing())),
		},
	}
	for _, s := range p.GetSteps() {
		out.Steps[s.GetId()] = definitionOf(s)
		out.addChild(s)
	}
	for _, a := range p.GetAttributes() {
		out.Attributes[a.GetName()] = Edge{Providers: List(a.GetProviders()), Consumers: List(a.GetConsumers())}
	}
	for _, m := range p.GetMissing() {
		out.Excluded.Missing[m.GetStepId()] = List(m.GetInputs())
	}
	return out
}

// addChild shows what a flow step starts.
func (p *Plan) addChild(s *sluicev1.PlannedStep) {
	child := &sluicev1.Plan{}
	if s.GetChild() == nil || proto.Unmarshal(s.GetChild().GetPlan(), child) != nil {
		return
	}
	if p.Children == nil {
		p.Children = map[string]Plan{}
	}
	p.Children[s.GetId()] = PlanOf(child)
}

// definitionOf is the definition that the plan keeps for people, or at least the
// step's id.
func definitionOf(s *sluicev1.PlannedStep) json.RawMessage {
	if d := s.GetDefinition(); json.Valid(d) {
		return d
	}
	id, err := json.Marshal(map[string]string{"id": s.GetId()})
	if err != nil {
		return json.RawMessage("{}")
	}
	return id
}

// List is a list that is written [] when it is empty.
func List[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
