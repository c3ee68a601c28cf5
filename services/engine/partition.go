package engine

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/services/engine/internal/ownership"
	"github.com/sluiceflow/sluice/services/internal/bus"
)

const (
	// prefetch is how many commands of a partition are pulled ahead, and at most
	// handled together. They must be handled within the ack wait.
	prefetch = 256
	// floorEvery is how often the consumer's ack floor is read while commands
	// come.
	floorEvery = time.Second
)

// partition is the loop of one partition. What it holds belongs to its
// goroutine.
type partition struct {
	e      *Engine
	n      int
	hold   ownership.Hold
	stream string
	name   string // of the consumer
	cache  *cache
	wakes  wakes

	consumer jetstream.Consumer
	server   string // id of the NATS server that the cache was made with
	floor    uint64
	floorAt  time.Time
}

func newPartition(e *Engine, hold ownership.Hold) *partition {
	n := hold.Partition
	p := &partition{e: e, n: n, hold: hold, stream: e.bus.Commands(e.bus.Shard(n)), name: bus.ConsumerEngine(n)}
	p.forget()
	return p
}

// forget drops the cache: what it holds may not be the log's any more.
func (p *partition) forget() {
	partitions := p.e.bus.Config.Partitions
	p.cache, p.wakes = newCache(p.e.cfg.FlowCacheSize/partitions, p.e.cfg.FlowCacheBytes/partitions), nil
}

// run handles commands until ctx ends or the partition is lost, and finishes the
// batch in hand for as long as work allows.
func (p *partition) run(ctx, work context.Context) {
	for ctx.Err() == nil && p.hold.Valid() {
		if err := p.pull(ctx, work); err != nil && ctx.Err() == nil {
			p.e.pause(ctx, "the commands of a partition cannot be read", p.name, err)
		}
	}
}

// pull handles commands until the pull breaks off or ctx ends.
func (p *partition) pull(ctx, work context.Context) error {
	consumer, err := p.e.bus.JS.Consumer(ctx, p.stream, p.name)
	if err != nil {
		return err //nolint:wrapcheck // logged with its name
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(prefetch), jetstream.PullExpiry(5*time.Second),
		jetstream.PullHeartbeat(2*time.Second))
	if err != nil {
		return err //nolint:wrapcheck // logged with its name
	}
	p.consumer = consumer
	pulled := make(chan jetstream.Msg, prefetch)
	broke := make(chan error, 1)
	go func() {
		defer close(pulled)
		for {
			msg, err := messages.Next()
			if err != nil {
				broke <- err
				return
			}
			pulled <- msg
		}
	}()
	stop := context.AfterFunc(ctx, messages.Drain)
	defer stop()
	p.loop(ctx, work, pulled)
	messages.Drain()
	p.release(work, pulled)
	if err := <-broke; !errors.Is(err, jetstream.ErrMsgIteratorClosed) {
		return err
	}
	return nil
}

// loop takes what is there and handles it together: it never waits for more.
func (p *partition) loop(ctx, work context.Context, pulled <-chan jetstream.Msg) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(p.untilWake())
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			p.fireWakes(work)
		case first, ok := <-pulled:
			if !ok {
				return
			}
			batch := append(make([]jetstream.Msg, 0, len(pulled)+1), first)
			for len(batch) < prefetch && len(pulled) > 0 {
				if msg, ok := <-pulled; ok {
					batch = append(batch, msg)
				}
			}
			if !p.hold.Valid() {
				p.putBack(work, batch)
				return
			}
			p.refreshFloor(work)
			p.handle(work, batch)
		}
	}
}

// release gives back what was pulled and not begun, so that another engine need
// not wait for it.
func (p *partition) release(ctx context.Context, pulled <-chan jetstream.Msg) {
	for msg := range pulled {
		p.e.putBack(ctx, msg, 0, "stopping")
	}
}

// putBack gives back a batch that came after the partition was lost.
func (p *partition) putBack(ctx context.Context, batch []jetstream.Msg) {
	for _, msg := range batch {
		p.e.putBack(ctx, msg, 0, "lost")
	}
}

// refreshFloor reads the consumer's ack floor: what is at or below it was acked,
// so that flows may forget it.
func (p *partition) refreshFloor(ctx context.Context) {
	if server := p.e.bus.NC.ConnectedServerId(); server != p.server {
		// After a crash the store may have lost its tail: nothing that was
		// remembered of it counts.
		if p.server != "" {
			p.e.log.InfoContext(ctx, "another NATS server answers: flows are loaded again", slog.Int("partition", p.n))
		}
		p.forget()
		p.server = server
	}
	if time.Since(p.floorAt) < floorEvery {
		return
	}
	p.floorAt = time.Now()
	info, err := p.consumer.Info(ctx)
	if err != nil {
		return // the old floor is lower, and so still true
	}
	p.floor = info.AckFloor.Stream
	p.e.metrics.backlog.WithLabelValues(strconv.Itoa(p.n)).Set(float64(info.NumPending) + float64(info.NumAckPending))
}

// fireWakes sends a wake for each flow whose deadline has come: the durable
// schedule is up to half a second late.
func (p *partition) fireWakes(ctx context.Context) {
	now := p.e.clock.now()
	for {
		w, ok := p.wakes.due(now)
		if !ok {
			return
		}
		en, ok := p.cache.peek(w.flowID)
		if !ok || en.timer.armed != w.at {
			continue // moved, ended, or not ours to know
		}
		en.timer.armed = 0
		msg, err := p.e.bus.CommandMsg(subject.SourceEngine, wakeCommand(w.flowID, w.at, false))
		if err == nil {
			_, err = p.e.bus.PublishAsync(ctx, p.stream, msg)
		}
		if err != nil {
			p.e.log.DebugContext(ctx, "a wake could not be sent, the schedule will", slog.Any("error", err))
		}
	}
}

// untilWake is how long the loop may sleep.
func (p *partition) untilWake() time.Duration {
	if len(p.wakes) == 0 {
		return time.Hour
	}
	return max(0, time.Duration(p.wakes[0].at-p.e.clock.now()))
}
