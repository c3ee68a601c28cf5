package console

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/registry"
)

// plannedKept is how many plans are remembered. Most flows of a time are of a
// few kinds.
const plannedKept = 1024

type planned struct {
	plan  *sluicev1.Plan
	bytes []byte
}

// planner makes plans, and remembers them: a plan depends on the registry, on
// the goals, and on no more of init than names and types.
type planner struct {
	steps    *registry.Registry
	defaults plan.Defaults
	made     *lru.Cache[string, planned]
}

func newPlanner(steps *registry.Registry, defaults plan.Defaults) (*planner, error) {
	made, err := lru.New[string, planned](plannedKept)
	if err != nil {
		return nil, fmt.Errorf("remember plans: %w", err)
	}
	return &planner{steps: steps, defaults: defaults, made: made}, nil
}

// plan makes the plan of a request, as a message that nobody may change and as
// bytes that are equal for equal plans.
func (p *planner) plan(goals []string, init map[string]json.RawMessage) (planned, error) {
	revision := p.steps.Revision() // before the list: a plan of newer steps under it is not found again
	key := planKey(revision, goals, init)
	if found, ok := p.made.Get(key); ok {
		return found, nil
	}
	made, err := p.steps.Index().Build(goals, init, p.defaults)
	if err != nil {
		return planned{}, err
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(made)
	if err != nil {
		return planned{}, fmt.Errorf("write the plan: %w", err)
	}
	result := planned{plan: made, bytes: text}
	if p.steps.Revision() == revision {
		p.made.Add(key, result)
	}
	return result, nil
}

func planKey(revision uint64, goals []string, init map[string]json.RawMessage) string {
	var key strings.Builder
	key.WriteString(strconv.FormatUint(revision, 10))
	for _, goal := range goals {
		key.WriteString(" " + strconv.Quote(goal))
	}
	for _, name := range slices.Sorted(maps.Keys(init)) {
		key.WriteString(" " + strconv.Quote(name) + kindOf(init[name]))
	}
	return key.String()
}

// kindOf is one character for each type of JSON.
func kindOf(value json.RawMessage) string {
	for _, b := range value {
		switch {
		case b == ' ' || b == '\t' || b == '\n' || b == '\r':
			continue
		case b == 'f':
			return "t" // true and false are of one type
		case b == '-' || b >= '0' && b <= '9':
			return "0"
		default:
			return string(rune(b))
		}
	}
	return "?"
}
