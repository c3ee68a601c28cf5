package engine

import (
	"context"
	"sync"

	"github.com/sluiceflow/sluice/services/engine/internal/ownership"
)

// OwnAll makes an engine believe for ever that all partitions are its own.
func OwnAll(e *Engine) { e.owner = all(e.bus.Config.Partitions) }

type all int

func (n all) Run(ctx context.Context, work ownership.Work) error {
	var loops sync.WaitGroup
	for p := range int(n) {
		loops.Go(func() { work(ctx, ownership.Hold{Partition: p}) })
	}
	loops.Wait()
	return nil
}
