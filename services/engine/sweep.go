package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/journal"
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
	next := time.Now().Add(min(e.cfg.SweepInterval, time.Minute))
	server := e.bus.NC.ConnectedServerId()
	owed := make([]bool, e.bus.Config.Shards) // shards that were not looked through when it was time
	for e.awaitSweep(ctx, &next, &server, slices.Contains(owed, true)) {
		if !time.Now().Before(next) {
			for k := range owed {
				owed[k] = true
			}
			next = time.Now().Add(e.cfg.SweepInterval)
		}
		for k := range owed {
			// The first partition of shard k is k: one engine has it. Where that is this
			// one, it may have lost it together with the server, and get it back.
			if owed[k] && e.held[k].Load() {
				owed[k] = !e.swept(ctx, k)
			}
		}
	}
	return nil
}

// swept looks through a shard and reports whether that is done.
func (e *Engine) swept(ctx context.Context, shard int) bool {
	err := e.sweep(ctx, shard)
	if err != nil && ctx.Err() == nil {
		e.log.WarnContext(ctx, "a look for lost timers broke off", slog.Any("error", err))
	}
	return err == nil
}

// serverEvery is how often it is looked whether another NATS server answers.
const serverEvery = 2 * time.Second

// awaitSweep waits until it is time for a sweep, and reports false when ctx ends
// before that. Where something is owed, that is soon.
func (e *Engine) awaitSweep(ctx context.Context, next *time.Time, server *string, owed bool) bool {
	look := time.NewTicker(serverEvery)
	defer look.Stop()
	enough := time.NewTimer(time.Until(*next))
	defer enough.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-enough.C:
			return true
		case <-look.C:
			now := e.bus.NC.ConnectedServerId()
			if now != "" && *server != "" && now != *server {
				*next = time.Now()
			}
			if now != "" {
				*server = now
			}
			if owed || !time.Now().Before(*next) {
				return true
			}
		}
	}
}

// sweep sends a wake to each flow of a shard that runs: whoever gets it stores
// the flow's schedule if that is missing, and does what is overdue.
func (e *Engine) sweep(ctx context.Context, shard int) error {
	last, err := e.lastOf(ctx, e.bus.Flows(shard))
	if err != nil {
		return err
	}
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
	if consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	// Not by fetches: each but the first would begin anew, and with all commits
	// where the flows' last ones are asked for.
	messages, err := consumer.Messages(jetstream.PullMaxMessages(sweepRate))
	if err != nil {
		return fmt.Errorf("list the running flows: %w", err)
	}
	defer messages.Stop()
	return e.lookAtEach(ctx, messages, last)
}

// lastOf is the last sequence of a stream.
func (e *Engine) lastOf(ctx context.Context, name string) (uint64, error) {
	stream, err := e.bus.JS.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", name, err)
	}
	return stream.CachedInfo().State.LastSeq, nil
}

const (
	// listTimeout is how long the next flow may take to come.
	listTimeout = 10 * time.Second
	// maxUnread is how many flows in a row may not be readable: one that is
	// damaged must not keep the sweep from the others.
	maxUnread = 20
)

// lookAtEach looks at the flows of the commits that come, up to the sequence last.
func (e *Engine) lookAtEach(ctx context.Context, messages jetstream.MessagesContext, last uint64) error {
	limit := rate.NewLimiter(sweepRate, 1)
	for unread := 0; unread < maxUnread; {
		next, cancel := context.WithTimeout(ctx, listTimeout)
		msg, err := messages.Next(jetstream.NextContext(next))
		cancel()
		if err != nil {
			return fmt.Errorf("list the running flows: %w", err)
		}
		if err := limit.Wait(ctx); err != nil {
			return nil //nolint:nilerr // ctx ended it
		}
		unread++
		if err := e.look(ctx, msg.Subject(), limit); err == nil {
			unread = 0
		} else if ctx.Err() == nil {
			e.log.WarnContext(ctx, "a flow could not be looked at", slog.String("commit", msg.Subject()), slog.Any("error", err))
		}
		meta, err := msg.Metadata()
		if err != nil || meta.NumPending == 0 || meta.Sequence.Stream >= last {
			return err //nolint:wrapcheck // it has none
		}
	}
	return fmt.Errorf("%d flows in a row could not be looked at", maxUnread)
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
	c, err := journal.Parse(last.Data, last.Header)
	if err == nil {
		if asleep, err := e.asleep(ctx, flowID, last, c, limit); err != nil || asleep {
			return err
		}
	}
	// Of a damaged commit nothing is known: whoever is woken ends its flow.
	e.metrics.timers.WithLabelValues("missed").Inc()
	return e.bus.PublishCommand(ctx, subject.SourceEngine, wakeCommand(flowID, e.clock.now(), true), nil) //nolint:wrapcheck // it says all
}

// asleep reports whether a flow with that last commit needs no wake: nothing of it
// can act any more, or it has its schedule. A schedule of a later revision is one
// of commits that the store lost: what the flow waits for now may be due before.
func (e *Engine) asleep(ctx context.Context, flowID string, last *bus.Stored, c *sluicev1.Commit, limit *rate.Limiter) (bool, error) {
	if slices.ContainsFunc(c.GetEvents(), func(e *sluicev1.Event) bool {
		return e.GetFlowDeactivated() != nil || e.GetFlowRetired() != nil
	}) {
		return true, nil
	}
	if last.Header.Get(bus.HeaderOpen) != "" {
		if err := e.sweepOpen(ctx, flowID, limit); err != nil {
			return false, err
		}
	}
	var t timer
	if err := e.readTimer(ctx, flowID, &t); err != nil {
		return false, err
	}
	return t.at > e.clock.now() && t.revision <= c.GetRevision(), nil
}
