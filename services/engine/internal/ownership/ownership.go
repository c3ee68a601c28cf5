// Package ownership says which partitions an engine works on. It only saves
// work: what keeps two engines from writing the same flow is the log's expected
// sequence, so that one which is wrong here does no harm.
package ownership

import "context"

// All owns every partition for as long as the engine lives.
type All struct {
	// Partitions is how many there are.
	Partitions int
}

// Run tells own which partitions are owned, once, and returns when ctx ends.
func (a All) Run(ctx context.Context, own func(partitions []int)) error {
	all := make([]int, a.Partitions)
	for p := range all {
		all[p] = p
	}
	own(all)
	<-ctx.Done()
	return nil
}
