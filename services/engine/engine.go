package engine

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/engine/internal/ownership"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/keys"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/run"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

// planCacheSize is how many decoded plans an engine keeps: flows share them.
const planCacheSize = 1024

// Engine advances flows. Any number may run beside each other.
type Engine struct {
	cfg       Config
	bus       *bus.Bus
	index     *tokenindex.Index
	keys      *keys.Keys
	log       *slog.Logger
	metrics   *metrics
	plans     flow.Plans
	journal   *journal.Journal
	clock     *clock
	marks     chan tokenindex.Mark
	purges    chan timerPurge
	silent    chan silence
	owner     owner
	held      []atomic.Bool // by partition: whether it is worked on
	dead      *dead.Box
	scripts   *scripts
	memo      *memory
	schedules *schedules // nil where there is no registry

	// What only tests change: how long what DEAD does not take is put back, and
	// how a command is decided.
	deadDelay  time.Duration
	decideWith func(*flow.Turn, *sluicev1.Command, flow.Position) flow.Verdict
}

// owner says which partitions are the engine's: it calls work for each of them,
// for as long as it is.
type owner interface {
	Run(ctx context.Context, work ownership.Work) error
}

// New returns an engine; it works while Run does. An error of kind
// [fault.Invalid] says which setting makes no sense.
func New(ctx context.Context, cfg Config, deps Deps) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fault.New(fault.Invalid, "engine.New", err)
	}
	cfg.WebhookBaseURL = strings.TrimSuffix(cfg.WebhookBaseURL, "/")
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register the engine's metrics: %w", err)
	}
	box, err := dead.NewBox(deps.Bus, "engine", deps.Log, deps.Metrics)
	if err != nil {
		return nil, err
	}
	plans := plan.NewCache(planCacheSize).Decode
	memo, err := newMemory(cfg.MemoCacheSize)
	if err != nil {
		return nil, fmt.Errorf("remember successes: %w", err)
	}
	e := &Engine{
		memo:    memo,
		cfg:     cfg,
		bus:     deps.Bus,
		index:   deps.Index,
		keys:    deps.Keys,
		log:     deps.Log,
		metrics: m,
		plans:   plans,
		journal: journal.New(deps.Bus, plans),
		clock:   newClock(skew),
		marks:   make(chan tokenindex.Mark, maxMarks),
		purges:  make(chan timerPurge, maxPurges),
		silent:  make(chan silence, maxSilent),
		owner:   ownership.New(deps.Bus, deps.Version, deps.Log),
		held:    make([]atomic.Bool, deps.Bus.Config.Partitions),
		dead:    box,
		scripts: newScripts(cfg.Scripts),

		deadDelay: dead.Delay, decideWith: (*flow.Turn).Apply,
	}
	e.schedules, err = newSchedules(ctx, e, deps.Registry)
	return e, err
}

// Run advances flows until ctx ends, then finishes what it has begun, for as
// long as DRAIN_TIMEOUT says.
func (e *Engine) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(e.cfg.DrainTimeout, cancel) })
	defer stop()
	parts := map[string]run.Part{
		"marks":      run.Func(e.runMarks),
		"purges":     run.Func(e.runPurges),
		"sweep":      run.Func(e.runSweep),
		"redrives":   run.Func(e.runRedrives),
		"listening":  run.Func(e.runListening),
		"heartbeats": run.Func(e.runHeartbeats),
		"scripts":    run.Func(func(ctx context.Context) error { return e.runScripts(ctx, work) }),
		"partitions": run.Func(func(ctx context.Context) error {
			return e.owner.Run(ctx, func(ctx context.Context, hold ownership.Hold) { e.hold(ctx, work, hold) })
		}),
	}
	if e.schedules != nil {
		parts["schedules"] = e.schedules
	}
	for k := range e.bus.Config.Shards {
		parts["wakes "+strconv.Itoa(k)] = run.Func(func(ctx context.Context) error { return e.runWakes(ctx, k) })
		for _, kind := range bus.Endings() {
			parts["retention "+string(kind)+" "+strconv.Itoa(k)] = run.Func(func(ctx context.Context) error {
				return e.runRetention(ctx, k, kind)
			})
		}
	}
	return run.All(ctx, parts)
}

// hold works on a partition until ctx ends, and finishes the batch in hand for
// as long as work allows.
func (e *Engine) hold(ctx, work context.Context, hold ownership.Hold) {
	e.held[hold.Partition].Store(true)
	e.metrics.partitions.Inc()
	defer func() {
		e.held[hold.Partition].Store(false)
		e.metrics.partitions.Dec()
		e.metrics.backlog.DeleteLabelValues(strconv.Itoa(hold.Partition))
	}()
	newPartition(e, hold).run(ctx, work)
}

// Checks says, for each thing that the engine depends on, what is wrong with it;
// nil means nothing. It goes on without Redis, when answers to repeats are less
// exact, and while DEAD is full.
func (e *Engine) Checks(ctx context.Context) map[string]error {
	checks := map[string]error{"nats": e.bus.Connected(), "dead": httpapi.Degraded(e.dead.Err())}
	if e.index != nil {
		checks["redis"] = httpapi.Degraded(e.index.Ping(ctx))
	}
	return checks
}

// Extra tells how many of the partitions this engine works on.
func (e *Engine) Extra(context.Context) map[string]string {
	held := 0
	for p := range e.held {
		if e.held[p].Load() {
			held++
		}
	}
	return map[string]string{"partitions": fmt.Sprintf("%d of %d", held, len(e.held))}
}
