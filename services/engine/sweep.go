package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
)

// sweepRate bounds how many flows a second a sweep looks at.
const sweepRate = 200

// runSweep looks through the running flows again and again, slowly: the server
// forgets a schedule that fired into a full store, and then nobody would wake
// the flow.
//
// A store that came back after a crash may have lost its tail, and with it
// schedules of flows that are older now: then it looks at once.
//
// It also stores the schedules of deadlines that were far ahead when they were
// set (see farAhead), so the first look comes soon after the start.
func (e *Engine) runSweep(ctx context.Context) error {
	for wait := min(e.cfg.SweepInterval, time.Minute); ; wait = e.cfg.SweepInterval {
		if !e.awaitSweep(ctx, wait) {
			return nil
		}
		for k := range e.bus.Config.Shards {
			if !e.held[k].Load() { // the first partition of shard k is k: one engine has it
				continue
			}
			if err := e.sweep(ctx, k); err != nil && ctx.Err() == nil {
				e.log.WarnContext(ctx, "a look for lost timers broke off", slog.Any("error", err))
			}
		}
	}
}

// serverEvery is how often it is looked whether another NATS server answers.
const serverEvery = 2 * time.Second

// awaitSweep waits until it is time for a sweep, and reports false when ctx ends
// before that.
func (e *Engine) awaitSweep(ctx context.Context, wait time.Duration) bool {
	look := time.NewTicker(serverEvery)
	defer look.Stop()
	enough := time.NewTimer(wait)
	defer enough.Stop()
	for server := e.bus.NC.ConnectedServerId(); ; {
		select {
		case <-ctx.Done():
			return false
		case <-enough.C:
			return true
		case <-look.C:
			now := e.bus.NC.ConnectedServerId()
			if now != "" && server != "" && now != server {
				return true
			}
			if now != "" {
				server = now
			}
		}
	}
}

// sweep sends a wake to each flow of a shard that runs: whoever gets it stores
// the flow's schedule if that is missing, and does what is overdue.
func (e *Engine) sweep(ctx context.Context, shard int) error {
	consumer, err := e.bus.JS.OrderedConsumer(ctx, e.bus.Flows(shard), jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{e.bus.Space.FlowEvents(subject.KindAdvanced)},
		DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
		HeadersOnly:    true,
	})
	if err != nil {
		return fmt.Errorf("list the running flows: %w", err)
	}
	defer func() {
		_ = e.bus.JS.DeleteConsumer(context.WithoutCancel(ctx), e.bus.Flows(shard), consumer.CachedInfo().Name)
	}()
	limit := rate.NewLimiter(sweepRate, 1)
	for {
		batch, err := consumer.Fetch(sweepRate, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return fmt.Errorf("list the running flows: %w", err)
		}
		seen, pending := 0, uint64(0)
		for msg := range batch.Messages() {
			seen++
			if meta, err := msg.Metadata(); err == nil {
				pending = meta.NumPending
			}
			if err := limit.Wait(ctx); err != nil {
				return nil // ctx ended it
			}
			if err := e.look(ctx, msg.Subject(), limit); err != nil {
				return err
			}
		}
		if err := batch.Error(); err != nil && !errors.Is(err, jetstream.ErrNoMessages) {
			return fmt.Errorf("list the running flows: %w", err)
		}
		if seen == 0 || pending == 0 {
			return nil
		}
	}
}

// look wakes the flow of a commit unless nothing of it can act any more or it has
// its schedule, and looks after what it asks of other flows.
func (e *Engine) look(ctx context.Context, commitSubject string, limit *rate.Limiter) error {
	_, partition, flowID, err := e.bus.Space.ParseFlow(commitSubject)
	if err != nil {
		return fmt.Errorf("read a commit's subject: %w", err)
	}
	last, err := e.bus.Last(ctx, e.bus.Flows(e.bus.Shard(partition)), e.bus.Space.Fence(partition, flowID))
	if err != nil || last == nil {
		return err //nolint:wrapcheck // it says all
	}
	if deactivates(last.Data) {
		return nil
	}
	if last.Header.Get(bus.HeaderOpen) != "" {
		if err := e.sweepOpen(ctx, flowID, limit); err != nil {
			return err
		}
	}
	var t timer
	if err := e.readTimer(ctx, flowID, &t); err != nil {
		return err
	}
	now := e.clock.now()
	if t.at > now {
		return nil
	}
	e.metrics.timers.WithLabelValues("missed").Inc()
	return e.bus.PublishCommand(ctx, subject.SourceEngine, wakeCommand(flowID, now, true), nil) //nolint:wrapcheck // it says all
}

// deactivates reports whether a flow's last commit says that nothing of it can act
// any more. What is no commit is not woken either.
func deactivates(data []byte) bool {
	var c sluicev1.Commit
	return proto.Unmarshal(data, &c) != nil || slices.ContainsFunc(c.GetEvents(), func(e *sluicev1.Event) bool {
		return e.GetFlowDeactivated() != nil || e.GetFlowRetired() != nil
	})
}
