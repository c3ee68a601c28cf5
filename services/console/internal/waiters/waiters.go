// Package waiters wakes the requests that wait for the end of a flow.
package waiters

import (
	"context"
	"sync"
	"time"
)

// A Registry knows who waits for the end of which flow. It is safe for concurrent
// use.
type Registry struct {
	limit   int
	stopped chan struct{}

	mu     sync.Mutex
	count  int
	byFlow map[string]map[*Waiter]struct{}
	ended  bool
}

// New returns a registry for so many waiters at once.
func New(limit int) *Registry {
	return &Registry{limit: limit, stopped: make(chan struct{}), byFlow: map[string]map[*Waiter]struct{}{}}
}

// A Waiter is one request that waits for one flow.
type Waiter struct {
	registry *Registry
	flowID   string
	woken    chan struct{}
}

// Join takes a place among those that are woken when the flow ends, and reports
// false where there is none left. Whoever reads the flow after that and finds it
// running misses no ending. The place has to be given back.
func (r *Registry) Join(flowID string) (*Waiter, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count >= r.limit {
		return nil, false
	}
	w := &Waiter{registry: r, flowID: flowID, woken: make(chan struct{}, 1)}
	if r.byFlow[flowID] == nil {
		r.byFlow[flowID] = map[*Waiter]struct{}{}
	}
	r.byFlow[flowID][w] = struct{}{}
	r.count++
	return w, true
}

// Leave gives the place back, also that of nobody.
func (w *Waiter) Leave() {
	if w == nil {
		return
	}
	r := w.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := r.byFlow[w.flowID]
	if _, ok := waiting[w]; !ok {
		return
	}
	r.count--
	if delete(waiting, w); len(waiting) == 0 {
		delete(r.byFlow, w.flowID)
	}
}

// Wait returns when the flow ended, after patience, when ctx ended, or when the
// registry was stopped.
func (w *Waiter) Wait(ctx context.Context, patience time.Duration) {
	enough := time.NewTimer(patience)
	defer enough.Stop()
	select {
	case <-w.woken:
	case <-enough.C:
	case <-ctx.Done():
	case <-w.registry.stopped:
	}
}

// Wake wakes all that wait for the flow.
func (r *Registry) Wake(flowID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w := range r.byFlow[flowID] {
		select {
		case w.woken <- struct{}{}:
		default: // it is awake
		}
	}
}

// Stop lets nobody wait any more, now or later.
func (r *Registry) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.ended = true
		close(r.stopped)
	}
}

// Waiting is how many wait.
func (r *Registry) Waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}
