package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluiceflow/sluice/pkg/step"
)

// ClashError says that two registered steps do not go together.
type ClashError struct {
	Step, Other string
	Reason      string
}

func (e *ClashError) Error() string { return e.Reason }

// Check looks at the registry as a whole. It returns [*ClashError] where two
// steps say different types of one attribute, and where steps need each other
// in a circle, by optional inputs too.
func Check(steps []Registered) error {
	sorted := slices.SortedFunc(slices.Values(steps), func(a, b Registered) int {
		return strings.Compare(a.Definition.ID, b.Definition.ID)
	})
	if err := checkTypes(sorted); err != nil {
		return err
	}
	return checkCircles(sorted)
}

func checkTypes(steps []Registered) error {
	type claim struct {
		step string
		kind step.Type
	}
	said := map[string]claim{}
	for _, s := range steps {
		for _, name := range slices.Sorted(maps.Keys(s.Definition.Attributes)) {
			kind := s.Definition.AttributeType(name)
			if s.Definition.Attributes[name].Role == step.RoleConst || kind == step.TypeAny {
				continue
			}
			first, ok := said[name]
			if !ok {
				said[name] = claim{s.Definition.ID, kind}
				continue
			}
			if first.kind != kind {
				return &ClashError{s.Definition.ID, first.step, fmt.Sprintf(
					"attribute %q is of type %s in step %q and of type %s in step %q", name, kind, s.Definition.ID, first.kind, first.step)}
			}
		}
	}
	return nil
}

func checkCircles(steps []Registered) error {
	x := NewIndex(steps)
	done := map[string]bool{}
	var path []string
	var visit func(id string) error
	visit = func(id string) error {
		if i := slices.Index(path, id); i >= 0 {
			circle := append(slices.Clone(path[i:]), id)
			return &ClashError{id, path[len(path)-1], "steps need each other: " + strings.Join(circle, " needs ")}
		}
		if done[id] {
			return nil
		}
		path = append(path, id)
		attributes := x.byID[id].Definition.Attributes
		for _, name := range slices.Sorted(maps.Keys(attributes)) {
			if !awaited(attributes[name].Role) {
				continue
			}
			for _, next := range x.providers[name] {
				if err := visit(next); err != nil {
					return err
				}
			}
		}
		path = path[:len(path)-1]
		done[id] = true
		return nil
	}
	for _, s := range steps {
		if err := visit(s.Definition.ID); err != nil {
			return err
		}
	}
	return nil
}
