package dispatcher

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/sluiceflow/sluice/services/dispatcher/internal/logclock"
	"github.com/sluiceflow/sluice/services/dispatcher/internal/slots"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/endpoint"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
)

// A Dispatcher delivers invocations to their endpoints.
type Dispatcher struct {
	cfg       Config
	bus       *bus.Bus
	registry  Credentials
	index     Index
	log       *slog.Logger
	metrics   *metrics
	tracer    trace.Tracer
	userAgent []string
	rules     endpoint.Rules
	transport http.RoundTripper
	clock     *logclock.Clock
	consumers []jetstream.Consumer
	desk      *desk
	dead      *dead.Box
	parkings  chan string
}

// New makes a dispatcher. It returns an error of kind [fault.Invalid] for a
// configuration that cannot work, and of kind [fault.Unavailable] where it does
// not find its consumers.
func New(ctx context.Context, cfg Config, deps Deps) (*Dispatcher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fault.New(fault.Invalid, "dispatcher.New", err)
	}
	consumers, ackWait, err := findConsumers(ctx, deps.Bus)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "dispatcher.New", err)
	}
	box, err := dead.NewBox(deps.Bus, "dispatcher", deps.Log, deps.Metrics)
	if err != nil {
		return nil, err
	}
	rules := endpoint.Rules{AllowPrivate: cfg.AllowPrivateEndpoints, AllowHosts: cfg.EndpointAllowHosts}
	d := &Dispatcher{
		cfg:       cfg,
		bus:       deps.Bus,
		registry:  deps.Registry,
		index:     deps.Index,
		log:       deps.Log,
		metrics:   newMetrics(deps.Metrics),
		tracer:    otel.Tracer("github.com/sluiceflow/sluice/services/dispatcher"),
		userAgent: []string{"Sluice/" + cmp.Or(deps.Version, "dev")},
		rules:     rules,
		transport: endpoint.NewClient(rules, cfg.EndpointConcurrency).Transport,
		clock:     logclock.New(),
		consumers: consumers,
		dead:      box,
		parkings:  make(chan string, maxParkings),
	}
	limits := slots.Limits{PerEndpoint: cfg.EndpointConcurrency, Total: cfg.CallConcurrency}
	d.desk = newDesk(limits, len(consumers), ackWait, d.clock, d.metrics)
	return d, nil
}

func findConsumers(ctx context.Context, b *bus.Bus) (found []jetstream.Consumer, ackWait time.Duration, err error) {
	for shard := range b.Config.Shards {
		stream := b.Invocations(shard)
		consumer, err := b.JS.Consumer(ctx, stream, bus.ConsumerDispatcher)
		if err != nil {
			return nil, 0, fmt.Errorf("find consumer %s of stream %s: %w", bus.ConsumerDispatcher, stream, err)
		}
		found = append(found, consumer)
		ackWait = consumer.CachedInfo().Config.AckWait
	}
	return found, ackWait, nil
}

// Run delivers invocations until ctx ends. Then it pulls no more, gives what
// waits to other dispatchers, and lets calls go on for the drain timeout; those
// that are cut short are delivered again. It is to be called once.
func (d *Dispatcher) Run(ctx context.Context) error {
	work, cutShort := context.WithCancel(context.WithoutCancel(ctx))
	defer cutShort()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d.cfg.DrainTimeout, cutShort) })
	defer stop()

	d.desk.effects = d.effects(work)
	counters := d.startCounting(work)
	go d.pullAll(ctx)
	d.desk.run(ctx)

	close(d.parkings)
	counters()
	return nil
}

// pullAll returns when nothing will arrive any more.
func (d *Dispatcher) pullAll(ctx context.Context) {
	defer close(d.desk.pulled)
	var pullers sync.WaitGroup
	for _, consumer := range d.consumers {
		pullers.Go(func() { d.pull(ctx, consumer) })
	}
	pullers.Wait()
}

// effects binds what the desk decides to those who do it.
func (d *Dispatcher) effects(work context.Context) deskEffects {
	return deskEffects{
		serve: func(c *call) { go d.serve(work, c) },
		bury: func(c *call) {
			go func() {
				d.bury(work, c, c.garbage)
				d.desk.ended <- ended{call: c, settled: true}
			}()
		},
		park:   func(c *call, delay time.Duration) { d.putBack(work, c, delay) },
		finish: func(c *call) { d.ack(work, c) },
		touch: func(c *call) {
			if err := c.msg.InProgress(); err != nil {
				d.log.DebugContext(work, "progress of a call not told", slog.Any("error", err))
			}
		},
	}
}

// Checks names what the dispatcher works with, with nil for what is well. It goes
// on without Redis, when a call that was delivered before is a repeat, and while
// DEAD is full.
func (d *Dispatcher) Checks(ctx context.Context) map[string]error {
	return map[string]error{
		"nats": d.bus.Connected(), "dead": httpapi.Degraded(d.dead.Err()), "redis": httpapi.Degraded(d.index.Ping(ctx)),
	}
}
