// Package waiting measures what flows cost that wait: it starts many whose worker accepts and never completes, looks at the memory of all
// processes, kills the engine, and sees whether the flows go on.
package waiting

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/api"
	"github.com/sluiceflow/sluice/bench/internal/stack"
)

const (
	startsAtOnce = 64
	readsAtOnce  = 16
	sample       = 200  // waiting flows that are completed after the takeover
	oldest       = 1000 // flows among which the first to be completed is chosen

	fixedLimit = 3 * time.Minute      // for all of it, however few the flows are
	perFlow    = 8 * time.Millisecond // for each flow beside that
	flowLimit  = time.Minute          // for one flow to complete once it was asked to, the takeover included
	indexLimit = time.Minute          // for the console to know what has completed
)

// Config says what to measure.
type Config struct {
	Self   string // this program, which is the NATS server too
	Sluice string // the binary under test
	Flows  int    // that wait; at least 2
	Log    *slog.Logger
}

// run is one measurement.
type run struct {
	cfg     Config
	stack   *stack.Stack
	api     *api.Client
	worker  *worker
	prefix  string // of all ids
	started atomic.Int64
	result  Result

	mu      sync.Mutex
	checked int
	lost    []string
}

// Run starts servers and roles, measures, and ends them. Flows that were lost are in the result and not an error; what prevents the
// figures is one.
func Run(ctx context.Context, cfg Config) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, fixedLimit+time.Duration(cfg.Flows)*perFlow)
	defer cancel()
	dir, err := os.MkdirTemp("", "sluice-waiting-")
	if err != nil {
		return Result{}, fmt.Errorf("make a folder for the servers: %w", err)
	}
	defer os.RemoveAll(dir)
	s, err := stack.Roles(ctx, stack.Options{Self: cfg.Self, Dir: dir}, cfg.Sluice)
	if err != nil {
		return Result{}, err
	}
	defer s.Stop()
	w, err := serve(ctx, cfg.Flows)
	if err != nil {
		return Result{}, err
	}
	defer w.close()

	prefix := fmt.Sprintf("waiting%d-", time.Now().UnixNano())
	r := &run{cfg: cfg, stack: s, api: api.New(s.Console), worker: w, prefix: prefix, result: Result{Flows: cfg.Flows}}
	err = r.measure(ctx)
	r.result.Checked, r.result.Lost = r.checked, r.lost
	r.result.Errors, r.result.Duplicates = r.api.Errors.All(), w.duplicates.Load()
	return r.result, err
}

func (r *run) measure(ctx context.Context) (err error) {
	if r.result.Idle, err = r.stack.Memory(); err != nil {
		return err
	}
	if err := r.start(ctx); err != nil {
		return err
	}
	if r.result.Waiting, err = r.stack.Memory(); err != nil {
		return err
	}
	order := r.order()
	if err := r.takeOver(ctx, order[0]); err != nil {
		return err
	}
	chosen := order[1:min(len(order), 1+sample)]
	if err := r.finish(ctx, chosen); err != nil {
		return err
	}
	if err := r.count(ctx, 1+len(chosen), indexLimit); err != nil {
		return err
	}
	r.result.After, err = r.stack.Memory()
	return err
}

// start makes all flows wait: each is stored, and the worker has its invocation.
func (r *run) start(ctx context.Context) error {
	if err := r.api.Register(ctx, r.definition()); err != nil {
		return err
	}
	began := time.Now()
	err := each(ctx, r.cfg.Flows, startsAtOnce, func(ctx context.Context, i int) error {
		defer r.progress(ctx)
		return r.api.Start(ctx, map[string]any{"id": r.id(i), "goals": []string{r.step()}, "init": map[string]any{"seed": "s"}})
	})
	if err != nil {
		return err
	}
	select {
	case <-r.worker.all:
	case <-ctx.Done():
		return fmt.Errorf("%d of %d flows were invoked: %w", r.worker.count(), r.cfg.Flows, ctx.Err())
	}
	r.result.StartsPerS = float64(r.cfg.Flows) / time.Since(began).Seconds()
	r.cfg.Log.InfoContext(ctx, "all flows wait", slog.Int("flows", r.cfg.Flows), slog.Float64("starts_per_s", r.result.StartsPerS))
	return nil
}

// progress says now and then how many flows were started.
func (r *run) progress(ctx context.Context) {
	if n := r.started.Add(1); n%10_000 == 0 {
		r.cfg.Log.InfoContext(ctx, "flows started", slog.Int64("flows", n))
	}
}

// order is all flows at random, behind one of the oldest.
func (r *run) order() []int {
	order := rand.Perm(r.cfg.Flows)                                   //nolint:gosec // which flows are taken is no secret
	first := slices.Index(order, rand.IntN(min(oldest, r.cfg.Flows))) //nolint:gosec // which flows are taken is no secret
	order[0], order[first] = order[first], order[0]
	return order
}

// takeOver kills the engine and starts it again, completes a flow meanwhile, and waits until that is completed.
func (r *run) takeOver(ctx context.Context, i int) error {
	began := time.Now()
	if err := r.stack.Kill(ctx, "engine"); err != nil {
		return err
	}
	if err := r.complete(ctx, i); err != nil {
		return fmt.Errorf("after the engine was killed: %w", err)
	}
	r.result.Takeover = time.Since(began).Seconds()
	r.cfg.Log.InfoContext(ctx, "the engine took over", slog.Float64("seconds", r.result.Takeover))
	return r.once(ctx, i)
}

// finish completes the chosen flows and looks whether each completed once.
func (r *run) finish(ctx context.Context, chosen []int) error {
	return each(ctx, len(chosen), readsAtOnce, func(ctx context.Context, n int) error {
		if err := r.complete(ctx, chosen[n]); err != nil {
			r.lose(err.Error())
			return nil
		}
		return r.once(ctx, chosen[n])
	})
}

// complete posts the result of a flow's step and waits until the flow is completed.
func (r *run) complete(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, flowLimit)
	defer cancel()
	result := map[string]any{"success": true, "outputs": map[string]any{"value": "v"}}
	if _, err := r.api.Complete(ctx, r.worker.webhook(r.id(i)), result); err != nil {
		return fmt.Errorf("flow %s: %w", r.id(i), err)
	}
	return r.api.Completed(ctx, r.id(i))
}

// once looks into the history of a completed flow: its result was applied once and it ended once.
func (r *run) once(ctx context.Context, i int) error {
	events, err := r.api.Events(ctx, r.id(i))
	if err != nil {
		return err
	}
	if events["work_succeeded"] != 1 || events["flow_completed"] != 1 {
		r.lose(fmt.Sprintf("flow %s did not complete once, its history has %v", r.id(i), events))
		return nil
	}
	r.mu.Lock()
	r.checked++
	r.mu.Unlock()
	return nil
}

// count waits, up to the limit, until the console knows the completed flows as completed and all others as active.
func (r *run) count(ctx context.Context, completed int, limit time.Duration) error {
	for end := time.Now().Add(limit); ; {
		done, err := r.api.Count(ctx, "completed", r.prefix)
		if err != nil {
			return err
		}
		active, err := r.api.Count(ctx, "active", r.prefix)
		if err != nil {
			return err
		}
		if done == completed && active == r.cfg.Flows-completed {
			return nil
		}
		if time.Now().After(end) {
			r.lose(fmt.Sprintf("%d flows are completed and %d wait, instead of %d and %d", done, active, completed, r.cfg.Flows-completed))
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// lose notes what was lost.
func (r *run) lose(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = append(r.lost, what)
}

func (r *run) id(i int) string { return r.prefix + strconv.Itoa(i) }

// step is the id of the step that all flows wait for.
func (r *run) step() string { return r.prefix + "step" }

func (r *run) definition() map[string]any {
	return map[string]any{
		"id": r.step(), "name": r.step(), "type": "async",
		"attributes": map[string]any{
			"seed":  map[string]any{"role": "required", "type": "string"},
			"value": map[string]any{"role": "output", "type": "string"},
		},
		"http": map[string]any{"endpoint": r.worker.endpoint, "timeout": 10000},
	}
}

// each calls do for 0 to n-1, some at once, until one fails.
func each(ctx context.Context, n, atOnce int, do func(context.Context, int) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(n, atOnce) {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(ctx, i); err != nil {
					fail(err)
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
