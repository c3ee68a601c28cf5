// Package floor measures what the machine gives at best for the shape of Sluice: a chain of async steps without any engine, only the
// I/O that the design cannot avoid. For each flow one commit; for each step one token written to Redis, one invocation through a work
// queue, one POST to the worker, one POST back to the gateway, one look at the token in Redis, one completion through a work queue and
// one commit.
package floor

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/sluiceflow/sluice/bench/internal/measure"
)

const (
	settleLimit = 30 * time.Second // for the last flows, once no new ones are started
	callLimit   = 10 * time.Second
	tokenTTL    = time.Minute
	maxPending  = 8192 // messages published and not yet acknowledged
	calls       = 256  // POSTs to the worker at once
)

// Config says what to measure against.
type Config struct {
	NATS, Redis string // URLs
	Worker      string // URL that takes invocations
	Concurrency int    // flows in flight
	Steps       int    // in a flow's chain
	Duration    time.Duration
}

// Run keeps flows in flight for the duration and says how fast they went.
func Run(ctx context.Context, cfg Config) (measure.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Duration+settleLimit)
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	p, err := open(ctx, cfg, fail)
	if err != nil {
		return measure.Result{}, err
	}
	defer p.close()
	if err := p.consume(ctx); err != nil {
		return measure.Result{}, err
	}
	return p.load(ctx)
}

// pipe is all that a flow passes through.
type pipe struct {
	cfg     Config
	fail    context.CancelCauseFunc
	nc      *nats.Conn
	js      jetstream.JetStream
	rdb     *redis.Client
	server  *http.Server
	client  *http.Client
	gateway string // base of the webhook URLs
	body    []byte // of a commit and of an invocation
	slots   chan struct{}

	flows sync.Map // id -> *flow
	steps atomic.Int64
	stops []func()
}

// flow is one in flight. Its completions come one after the other, for each is asked for by the one before.
type flow struct {
	step int
	done chan struct{}
}

func open(ctx context.Context, cfg Config, fail context.CancelCauseFunc) (*pipe, error) {
	p := &pipe{
		cfg: cfg, fail: fail, body: bytes.Repeat([]byte("x"), 300), slots: make(chan struct{}, calls),
		client: &http.Client{Timeout: callLimit, Transport: &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024}},
	}
	redisOptions, err := redis.ParseURL(cfg.Redis)
	if err != nil {
		return nil, fmt.Errorf("parse the Redis URL: %w", err)
	}
	redisOptions.PoolSize = 64
	if p.nc, err = nats.Connect(cfg.NATS); err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	p.rdb = redis.NewClient(redisOptions)
	if p.js, err = jetstream.New(p.nc, jetstream.WithPublishAsyncMaxPending(maxPending)); err != nil {
		p.close()
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	if err := p.serve(ctx); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// serve starts the gateway.
func (p *pipe) serve(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for webhooks: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /webhook/{flow}/{token}", p.webhook)
	p.gateway = "http://" + l.Addr().String()
	p.server = &http.Server{Handler: mux, ReadHeaderTimeout: callLimit}
	go func() { _ = p.server.Serve(l) }() // ends by close
	return nil
}

func (p *pipe) close() {
	for _, stop := range p.stops {
		stop()
	}
	if p.server != nil {
		_ = p.server.Close()
	}
	_ = p.rdb.Close()
	p.nc.Close()
}

// load keeps the flows in flight.
func (p *pipe) load(ctx context.Context) (measure.Result, error) {
	var latencies measure.Latencies
	var workers sync.WaitGroup
	start := time.Now()
	end := start.Add(p.cfg.Duration)
	for g := range p.cfg.Concurrency {
		workers.Go(func() {
			for i := 0; time.Now().Before(end) && ctx.Err() == nil; i++ {
				began := time.Now()
				if err := p.run(ctx, fmt.Sprintf("f%d-%d", g, i)); err != nil {
					p.fail(err)
					return
				}
				latencies.Add(time.Since(began))
			}
		})
	}
	workers.Wait()
	elapsed := time.Since(start)
	if ctx.Err() != nil {
		return measure.Result{}, fmt.Errorf("measure the floor: %w", context.Cause(ctx))
	}
	r := measure.Result{
		Concurrency: p.cfg.Concurrency, Steps: p.cfg.Steps,
		FlowP50: latencies.Percentile(.5), FlowP99: latencies.Percentile(.99),
	}
	r.Rates(latencies.Count(), int(p.steps.Load()), elapsed)
	return r, nil
}

// run starts one flow and waits for its last commit.
func (p *pipe) run(ctx context.Context, id string) error {
	f := &flow{done: make(chan struct{})}
	p.flows.Store(id, f)
	defer p.flows.Delete(id)
	if _, err := p.js.Publish(ctx, "floor.flow."+id, p.body); err != nil {
		return fmt.Errorf("commit the start of a flow: %w", err)
	}
	if err := p.emit(ctx, id, 0); err != nil {
		return err
	}
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flow %s is stuck: %w", id, context.Cause(ctx))
	}
}
