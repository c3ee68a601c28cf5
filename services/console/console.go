// Package console is the control API: steps are registered here, and flows
// planned, started, listed, read and canceled.
package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/console/internal/access"
	"github.com/sluiceflow/sluice/services/console/internal/health"
	"github.com/sluiceflow/sluice/services/console/internal/index"
	"github.com/sluiceflow/sluice/services/console/internal/progress"
	"github.com/sluiceflow/sluice/services/console/internal/waiters"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/endpoint"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/keys"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/registry"
	"github.com/sluiceflow/sluice/services/internal/run"
	"github.com/sluiceflow/sluice/services/internal/schedule"
	"github.com/sluiceflow/sluice/services/internal/script"
)

// planCache is how many decoded plans are kept for reading flows and indexing.
const planCache = 1024

// Deps are what the console works with. Their owners run and close them.
type Deps struct {
	Bus      *bus.Bus
	Registry *registry.Registry
	// Links are the keys that sign the links of approvals. Without them there are
	// no links.
	Links   *keys.Keys
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Console is the control API and the index behind its list of flows.
type Console struct {
	cfg     Config
	bus     *bus.Bus
	steps   *registry.Registry
	log     *slog.Logger
	keys    *access.Keys
	links   *keys.Keys
	journal *journal.Journal
	plans   *plan.Cache
	planner *planner
	index   *index.Index
	health  *health.Poller
	letters dead.Letters
	waiters *waiters.Registry
	// schedules start flows by time; engines do that.
	schedules *schedule.Store
	scripts   *script.Pool // compiles what is registered
	// successes are those of the work of steps, as the index comes by them.
	successes *health.Successes
	progress  *progress.Follower
	metrics   *metrics
	started   time.Time

	mu       sync.Mutex
	indexErr map[string]error // stream to what keeps it from being followed
}

// New makes a console. Run closes it.
func New(ctx context.Context, cfg Config, d Deps) (*Console, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	apiKeys, err := access.Parse(cfg.APIKeys)
	if err != nil {
		return nil, fmt.Errorf("API_KEYS: %w", err)
	}
	defaults, err := cfg.Planning.Defaults()
	if err != nil {
		return nil, err
	}
	planning, err := newPlanner(d.Registry, defaults)
	if err != nil {
		return nil, err
	}
	counters, err := newMetrics(d.Metrics)
	if err != nil {
		return nil, err
	}
	table, err := index.Open(ctx, filepath.Join(cfg.DataDir, "console.db"))
	if err != nil {
		return nil, err
	}
	schedules, err := schedule.OpenStore(ctx, d.Bus)
	if err != nil {
		return nil, err
	}
	plans := plan.NewCache(planCache)
	c := &Console{
		cfg: cfg, bus: d.Bus, steps: d.Registry, log: d.Log, keys: apiKeys, links: d.Links,
		journal: journal.New(d.Bus, plans.Decode), plans: plans, planner: planning, index: table,
		letters: dead.Open(d.Bus), schedules: schedules, scripts: script.NewPool(cfg.Scripts), waiters: waiters.New(cfg.WaitConcurrency), successes: health.NewSuccesses(), metrics: counters,
		started: time.Now().UTC(), indexErr: map[string]error{},
		progress: progress.NewFollower(d.Bus.NC, d.Bus.Space.Heartbeats(-1)),
	}
	rules := endpoint.Rules{AllowPrivate: cfg.AllowPrivateEndpoints, AllowHosts: cfg.EndpointAllowHosts}
	c.health = health.NewPoller(rules, c.healthChecks)
	return c, nil
}

// Run keeps the index and the steps' health current until ctx ends.
func (c *Console) Run(ctx context.Context) error {
	defer c.index.Close()
	parts := map[string]run.Part{
		"health":   c.health,
		"letters":  run.Func(c.countLetters),
		"scripts":  c.scripts,
		"sweeper":  &index.Sweeper{Index: c.index, Exists: c.stored, Log: c.log},
		"progress": c.progress,
		"waiters": run.Func(func(ctx context.Context) error { // who waits is answered before the server stops
			<-ctx.Done()
			c.waiters.Stop()
			return nil
		}),
	}
	for shard := range c.bus.Config.Shards {
		stream := c.bus.Flows(shard)
		parts["index of "+stream] = &index.Follower{
			Index: c.index, JS: c.bus.JS, Space: c.bus.Space, Shard: shard, Stream: stream,
			Plans: c.plans.Decode, Parse: journal.Parse, Log: c.log, Report: c.following(stream),
			Ended: c.waiters.Wake,
			Saw:   func(data []byte, stored time.Time) { c.successes.Take(data, stored, time.Now()) },
		}
	}
	return run.All(ctx, parts)
}

// Checks says what keeps the console from its work. While a stream is full no
// flow starts, but what there is can be read, canceled and deleted.
func (c *Console) Checks(context.Context) map[string]error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var following []error
	for stream, err := range c.indexErr {
		if err != nil {
			following = append(following, fmt.Errorf("%s: %w", stream, err))
		}
	}
	return map[string]error{
		"nats": c.bus.Connected(), "space": httpapi.Degraded(c.bus.Full()), "index": errors.Join(following...),
	}
}

// following takes down how far the index is.
func (c *Console) following(stream string) func(behind uint64, err error) {
	return func(behind uint64, err error) {
		if err == nil {
			c.metrics.lag.WithLabelValues(stream).Set(float64(behind))
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.indexErr[stream] = err
	}
}

// stored reports whether a commit is still in its stream.
func (c *Console) stored(ctx context.Context, shard int, sequence uint64) (bool, error) {
	m, err := c.bus.At(ctx, c.bus.Flows(shard), sequence)
	return m != nil, err //nolint:wrapcheck // it says all
}

// healthOf is what is known of a step: a script compiled when it was registered;
// a success of late says that it is well,
// whatever its health check says, or else its check does.
func (c *Console) healthOf(d step.Definition) health.Status {
	if d.Type == step.KindScript {
		return health.Status{Status: health.Healthy}
	}
	if d.HTTP != nil && c.successes.Recent(d.ID, time.Now()) {
		return health.Status{Status: health.Healthy}
	}
	return c.health.Of(d.ID)
}

// healthChecks are the URLs to ask.
func (c *Console) healthChecks() map[string]string {
	checks := map[string]string{}
	for _, s := range c.steps.List() {
		if s.Definition.HTTP != nil && s.Definition.HTTP.HealthCheck != "" {
			checks[s.Definition.ID] = s.Definition.HTTP.HealthCheck
		}
	}
	return checks
}
