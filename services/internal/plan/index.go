package plan

import "github.com/sluiceflow/sluice/pkg/step"

// Registered is a step of the registry.
type Registered struct {
	Definition step.Definition
	// Revision is the definition's sequence in the registry.
	Revision uint64
}

// An Index holds the registered steps as planning looks them up. It is made once
// for each state of the registry, for making it visits every step. It is safe
// for concurrent use.
type Index struct {
	byID      map[string]*Registered
	providers map[string][]string // attribute to the steps that output it
}

// NewIndex returns an index of the steps, which nobody may change from then on.
func NewIndex(steps []Registered) *Index {
	x := &Index{byID: make(map[string]*Registered, len(steps)), providers: map[string][]string{}}
	for i := range steps {
		s := &steps[i]
		x.byID[s.Definition.ID] = s
		for name, a := range s.Definition.Attributes {
			if a.Role == step.RoleOutput {
				x.providers[name] = append(x.providers[name], s.Definition.ID)
			}
		}
	}
	return x
}
