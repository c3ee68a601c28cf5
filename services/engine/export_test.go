package engine

import (
	"context"
	"sync"
	"time"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/engine/internal/ownership"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// OwnAll makes an engine believe for ever that all partitions are its own.
func OwnAll(e *Engine) { e.owner = all(e.bus.Config.Partitions) }

// Skew puts the local clock of an engine ahead.
func Skew(e *Engine, ahead time.Duration) { e.clock = newClock(ahead) }

// PutBackSoon puts what DEAD does not take back for a moment only.
func PutBackSoon(e *Engine) { e.deadDelay = 300 * time.Millisecond }

// PanicAt makes the deciding of some commands panic.
func PanicAt(e *Engine, poisonous func(*sluicev1.Command) bool) {
	e.decideWith = func(t *flow.Turn, cmd *sluicev1.Command, at flow.Position) flow.Verdict {
		if poisonous(cmd) {
			panic("it is poisonous")
		}
		return t.Apply(cmd, at)
	}
}

// PanicAtPlan makes the reading of histories panic whose plan has such a step.
func PanicAtPlan(e *Engine, step string) {
	plans := e.plans
	e.plans = func(data []byte) (*plan.Plan, error) {
		p, err := plans(data)
		if err == nil && p.Steps[0].ID == step {
			panic("it is poisonous")
		}
		return p, err
	}
	e.journal = journal.New(e.bus, e.plans)
}

type all int

func (n all) Run(ctx context.Context, work ownership.Work) error {
	var loops sync.WaitGroup
	for p := range int(n) {
		loops.Go(func() { work(ctx, ownership.Hold{Partition: p}) })
	}
	loops.Wait()
	return nil
}
