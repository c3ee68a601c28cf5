// Package registry is the step registry: a bucket of definitions that every
// role watches.
package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// Outcome is what a write did.
type Outcome string

// The outcomes of writes.
const (
	Created   Outcome = "created"
	Updated   Outcome = "updated"
	Unchanged Outcome = "unchanged"
)

// attempts bounds how often a write is tried while others write too.
const attempts = 20

// Registry is a view of the step registry. It is safe for concurrent use.
type Registry struct {
	bus    *bus.Bus
	kv     jetstream.KeyValue
	stream string
	prefix string

	mu       sync.RWMutex
	steps    map[string]plan.Registered
	seen     map[string]uint64 // key to its last revision, of steps that are gone too
	revision uint64            // of the last change that is in steps
	sorted   []plan.Registered
	index    *plan.Index // of sorted; nil until it is asked for
}

// Open reads the registry. [Registry.Run] then keeps the view current.
func Open(ctx context.Context, b *bus.Bus) (*Registry, error) {
	kv, err := b.JS.KeyValue(ctx, b.Space.Name(bus.BucketSteps))
	if err != nil {
		return nil, unavailable("registry.Open", err)
	}
	r := &Registry{bus: b, kv: kv, stream: "KV_" + kv.Bucket(), prefix: "$KV." + kv.Bucket() + ".", steps: map[string]plan.Registered{}, seen: map[string]uint64{}}
	return r, r.refresh(ctx)
}

func unavailable(op string, err error) error { return fault.New(fault.Unavailable, op, err) }

// Run follows the registry until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := r.watch(ctx); err != nil && ctx.Err() == nil {
			slog.DebugContext(ctx, "the registry's watch broke off", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(250 * time.Millisecond):
		}
	}
	return nil
}

func (r *Registry) watch(ctx context.Context) error {
	watcher, err := r.kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch the registry: %w", err)
	}
	defer watcher.Stop() //nolint:errcheck // the connection may be gone, and so is the watcher then
	for {
		select {
		case <-ctx.Done():
			return nil
		case entry, ok := <-watcher.Updates():
			if !ok {
				return errors.New("the watch was closed")
			}
			if entry != nil {
				r.take(entry)
			}
		}
	}
}

// refresh reads all of it.
func (r *Registry) refresh(ctx context.Context) error {
	watcher, err := r.kv.WatchAll(ctx)
	if err != nil {
		return unavailable("registry.refresh", err)
	}
	defer watcher.Stop() //nolint:errcheck // the connection may be gone, and so is the watcher then
	for {
		select {
		case <-ctx.Done():
			return unavailable("registry.refresh", ctx.Err())
		case entry, ok := <-watcher.Updates():
			if !ok {
				return fault.Newf(fault.Unavailable, "registry.refresh", "the watch was closed")
			}
			if entry == nil {
				return nil // all that there was has come
			}
			r.take(entry)
		}
	}
}

// take brings one change into the view, unless a newer one is there: two
// watches may bring changes of one step in either order.
func (r *Registry) take(entry jetstream.KeyValueEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[entry.Key()] >= entry.Revision() {
		return
	}
	r.seen[entry.Key()] = entry.Revision()
	r.revision, r.sorted, r.index = max(r.revision, entry.Revision()), nil, nil
	id, err := subject.Unescape(entry.Key())
	if err != nil {
		return // not one of ours
	}
	if entry.Operation() != jetstream.KeyValuePut {
		delete(r.steps, id)
		return
	}
	var d step.Definition
	if err := json.Unmarshal(entry.Value(), &d); err != nil {
		slog.Error("a registered step cannot be read", slog.String("step_id", id), slog.Any("error", err))
		return
	}
	r.steps[id] = plan.Registered{Definition: d, Revision: entry.Revision()}
}

// List returns the steps, sorted by id. The slice is shared: nobody may change it.
func (r *Registry) List() []plan.Registered {
	r.mu.RLock()
	sorted := r.sorted
	r.mu.RUnlock()
	if sorted != nil {
		return sorted
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list()
}

// list is List for who holds the lock.
func (r *Registry) list() []plan.Registered {
	if r.sorted != nil {
		return r.sorted
	}
	r.sorted = slices.SortedFunc(maps.Values(r.steps), func(a, b plan.Registered) int {
		return strings.Compare(a.Definition.ID, b.Definition.ID)
	})
	if r.sorted == nil {
		r.sorted = []plan.Registered{}
	}
	return r.sorted
}

// Index returns the steps as planning looks them up. It is made anew only after
// a change.
func (r *Registry) Index() *plan.Index {
	r.mu.RLock()
	index := r.index
	r.mu.RUnlock()
	if index != nil {
		return index
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.index == nil {
		r.index = plan.NewIndex(r.list())
	}
	return r.index
}

// Get returns one step, and reports whether it is registered.
func (r *Registry) Get(id string) (plan.Registered, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.steps[id]
	return s, ok
}

// Revision grows with every change of the view.
func (r *Registry) Revision() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.revision
}
