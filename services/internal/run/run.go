// Package run is the lifecycle of everything long-lived: a part runs until its
// context ends and returns when all that it started has ended.
package run

import (
	"context"
	"fmt"
	"sync"
)

// A Part is something long-lived. Run returns nil when ctx ended it, and not
// before everything that it started has ended.
type Part interface {
	Run(ctx context.Context) error
}

// Func is a function that is a Part.
type Func func(ctx context.Context) error

// Run calls the function.
func (f Func) Run(ctx context.Context) error { return f(ctx) }

// All runs the parts until ctx ends or one of them fails, which ends the others,
// and waits for all. It returns the first failure, with the part's name. A part
// that returns nil early does not end the others.
func All(ctx context.Context, parts map[string]Part) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	for name, part := range parts {
		wg.Go(func() {
			if err := part.Run(ctx); err != nil {
				once.Do(func() {
					first = fmt.Errorf("%s: %w", name, err)
					cancel()
				})
			}
		})
	}
	wg.Wait()
	return first
}
