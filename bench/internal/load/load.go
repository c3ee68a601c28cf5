// Package load drives Sluice from outside, by its HTTP contract alone: it registers a chain of async steps, is the worker that answers
// each invocation at once and posts its result to the webhook URL, and keeps a number of flows in flight.
package load

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/api"
	"github.com/sluiceflow/sluice/bench/internal/measure"
)

const (
	settleLimit = 30 * time.Second // for the last flows, once no new ones are started
	headerLimit = 20 * time.Second // for the header of an invocation
	sample      = 100              // finished flows that are read back
)

// Config says what to measure.
type Config struct {
	API         string // base URL of the control API
	Concurrency int    // flows in flight
	Steps       int    // in a flow's chain
	Duration    time.Duration
}

// load is one run.
type load struct {
	cfg    Config
	prefix string // of all ids of this run
	api    *api.Client
	result json.RawMessage // the value that each step gives

	waiting    sync.Map // flow id -> chan struct{}, closed once the last step's result is accepted
	invoked    sync.Map // flow and step -> true
	queue      chan metadata
	steps      atomic.Int64
	duplicates atomic.Int64
	flows      measure.Latencies
	webhooks   measure.Latencies

	mu       sync.Mutex
	finished []string // flow ids
}

// Run keeps flows in flight for the duration, says how fast they went, and reads a sample of them back.
func Run(ctx context.Context, cfg Config) (measure.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Duration+2*settleLimit)
	defer cancel()
	l := &load{
		cfg: cfg, prefix: fmt.Sprintf("load%d", time.Now().UnixNano()), queue: make(chan metadata, backlog),
		api: api.New(cfg.API), result: payload(),
	}
	endpoint, stop, err := l.serve(ctx)
	if err != nil {
		return measure.Result{}, err
	}
	defer stop()
	if err := l.register(ctx, endpoint); err != nil {
		return measure.Result{}, err
	}
	r, err := l.drive(ctx)
	if err != nil {
		return r, err
	}
	r.Checked, err = l.check(ctx)
	return r, err
}

// drive starts the flows, each when an earlier one of its place has finished.
func (l *load) drive(ctx context.Context) (measure.Result, error) {
	var places sync.WaitGroup
	var stuck atomic.Int64
	start := time.Now()
	end := start.Add(l.cfg.Duration)
	ctx, cancel := context.WithDeadline(ctx, end.Add(settleLimit))
	defer cancel()
	for g := range l.cfg.Concurrency {
		places.Go(func() {
			for i := 0; i == 0 || time.Now().Before(end); i++ {
				if err := l.flow(ctx, fmt.Sprintf("%s-%d-%d", l.prefix, g, i)); err != nil {
					stuck.Add(1)
					l.api.Errors.Add(err.Error())
				}
			}
		})
	}
	places.Wait()
	elapsed := time.Since(start)
	r := measure.Result{
		Concurrency: l.cfg.Concurrency, Steps: l.cfg.Steps,
		FlowP50: l.flows.Percentile(.5), FlowP99: l.flows.Percentile(.99),
		WebhookP50: l.webhooks.Percentile(.5), WebhookP99: l.webhooks.Percentile(.99),
		Duplicates: l.duplicates.Load(), Errors: l.api.Errors.All(),
	}
	r.Rates(l.flows.Count(), int(l.steps.Load()), elapsed)
	if n := stuck.Load(); n > 0 || r.FlowsDone == 0 {
		return r, fmt.Errorf("%d flows done, %d did not start or finish: %v", r.FlowsDone, n, r.Errors)
	}
	return r, nil
}

// flow starts one flow and waits until the result of its last step is accepted.
func (l *load) flow(ctx context.Context, id string) error {
	done := make(chan struct{})
	l.waiting.Store(id, done)
	defer l.waiting.Delete(id)
	began := time.Now()
	if err := l.start(ctx, id); err != nil {
		return err
	}
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("flow stuck: %w", ctx.Err())
	}
	l.flows.Add(time.Since(began))
	l.mu.Lock()
	l.finished = append(l.finished, id)
	l.mu.Unlock()
	return nil
}
