package load

import (
	"fmt"
	"math/rand/v2"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

const (
	// element is the input whose elements become work items.
	element = "part"
	// atOnce is how many of them may run at once.
	atOnce = 2
)

// eachKind has a work item for each element, and a step that needs what they all
// gave.
func (l *Load) eachKind() kind {
	seal := l.part("seal", step.KindSync)
	seal.Attributes["pack-out"] = arrays()
	return kind{goal: "seal", held: true, prepare: elements, parts: []part{l.pack(), seal}}
}

// pack is what both flows that complete and flows that fail have: what it did is
// undone in the latter alone.
func (l *Load) pack() part {
	p := l.undone("pack", step.KindAsync)
	p.Attributes[element] = step.Attribute{Role: step.RoleRequired, Type: step.TypeString, ForEach: true}
	p.WorkConfig.Parallelism = atOnce
	p.knows.Each, p.knows.AtOnce = element, atOnce
	return p
}

func arrays() step.Attribute { return step.Attribute{Role: step.RoleRequired, Type: step.TypeArray} }

// elements are up to five, and now and then none.
func elements(r *client.StartRequest, dice *rand.Rand) {
	all := make([]string, dice.IntN(6))
	for i := range all {
		all[i] = fmt.Sprintf("%s %d", element, dice.IntN(100)*len(all)+i)
	}
	r.Init[element] = all
}

// undone is a step whose successes are undone where the flow does not complete.
func (l *Load) undone(id string, kind step.Kind, required ...string) part {
	p := l.part(id, kind, required...)
	p.HTTP.Compensate = l.endpoint + undoPath
	p.knows = ledger.Step{Undone: true}
	return p
}
