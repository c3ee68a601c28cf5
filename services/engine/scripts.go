package engine

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/script"
)

const (
	// scriptsHeld is how many scripts of a shard an engine holds: running, or
	// waiting for their turn.
	scriptsHeld = 128
	// scriptsOfOne is how many of them may be of one program. What is more goes
	// back, so that scripts that take long leave room for others.
	scriptsOfOne = scriptsHeld / 4
	// scriptDelay is when a script comes back that could not run now.
	scriptDelay = time.Second
	// scriptPull bounds how long an idle pull for scripts stays open.
	scriptPull = time.Second
)

// scripts are those that this engine runs. They run beside the partitions, and
// what they give comes to their flows as commands.
type scripts struct {
	pool *script.Pool

	mu   sync.Mutex
	held map[string]int // by program
}

func newScripts(cfg script.Config) *scripts {
	return &scripts{pool: script.NewPool(cfg), held: map[string]int{}}
}

// enter reports whether one more run of a program may be held.
func (s *scripts) enter(program string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[program] >= scriptsOfOne {
		return false
	}
	s.held[program]++
	return true
}

func (s *scripts) leave(program string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[program]--; s.held[program] == 0 {
		delete(s.held, program)
	}
}

// invokeScript publishes a script that is to be run. It needs no token: no
// webhook is waited for.
func (e *Engine) invokeScript(ctx context.Context, inv *sluicev1.Invocation) (jetstream.PubAckFuture, error) {
	subj := e.bus.Space.InvokeScript(inv.GetWork().GetStepId(), e.bus.Partition(inv.GetFlowId()), inv.GetFlowId())
	return e.publishInvocation(ctx, subj, effectID(inv, 0), inv)
}

// runScripts runs scripts until ctx ends, and those that it has for as long as
// work allows.
func (e *Engine) runScripts(ctx, work context.Context) error {
	pool, endPool := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- e.scripts.pool.Run(pool) }()
	var shards sync.WaitGroup
	for k := range e.bus.Config.Shards {
		shards.Go(func() { e.runScriptsOf(ctx, work, k) })
	}
	shards.Wait()
	endPool()
	return <-ended
}

// runScriptsOf runs the scripts of a shard. It asks for no more than it can hold:
// what waits here is nobody else's.
func (e *Engine) runScriptsOf(ctx, work context.Context, shard int) {
	stream := e.bus.Invocations(shard)
	slots := make(chan struct{}, scriptsHeld)
	var running sync.WaitGroup
	defer running.Wait()
	for {
		free := reserve(ctx, slots)
		if free == 0 {
			return
		}
		used, err := e.fetchScripts(ctx, stream, free, func(msg jetstream.Msg) {
			running.Go(func() {
				defer func() { <-slots }()
				e.handleScript(work, msg)
			})
		})
		for range free - used {
			<-slots
		}
		if err != nil {
			e.pause(ctx, "scripts cannot be read", stream+"/"+bus.ConsumerScripts, err)
		}
	}
}

// reserve takes one slot, and all that are free besides. It takes none once ctx
// has ended.
func reserve(ctx context.Context, slots chan<- struct{}) int {
	if ctx.Err() != nil {
		return 0
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return 0
	}
	for n := 1; ; n++ {
		select {
		case slots <- struct{}{}:
		default:
			return n
		}
	}
}

// fetchScripts hands up to n scripts on as they come, and returns how many there
// were.
func (e *Engine) fetchScripts(ctx context.Context, stream string, n int, handle func(jetstream.Msg)) (got int, err error) {
	consumer, err := e.bus.JS.Consumer(ctx, stream, bus.ConsumerScripts)
	if err != nil {
		return 0, err //nolint:wrapcheck // logged with its names
	}
	batch, err := consumer.Fetch(n, jetstream.FetchMaxWait(scriptPull))
	if err != nil {
		return 0, err //nolint:wrapcheck // logged with its names
	}
	for msg := range batch.Messages() {
		got++
		handle(msg)
	}
	return got, batch.Error() //nolint:wrapcheck // logged with its names
}

// handleScript runs a script, stores what it gave as a command, and acks it then.
func (e *Engine) handleScript(ctx context.Context, msg jetstream.Msg) {
	inv, partition, err := e.parseScript(msg)
	if err != nil {
		e.bury(ctx, msg, dead.Invocation, partition, err)
		return
	}
	if inv.GetDeadlineNs() != 0 && inv.GetDeadlineNs() <= e.clock.now() {
		e.ack(ctx, msg) // its attempt has timed out
		return
	}
	program := programOf(inv.GetScript())
	key := program.Key()
	if !e.scripts.enter(key) {
		e.putBack(ctx, msg, scriptDelay, "script_queue")
		return
	}
	defer e.scripts.leave(key)
	stop := e.touchScript(ctx, msg)
	defer stop()
	ctx = bus.Extract(ctx, msg.Headers())
	cmd, err := e.runScript(ctx, inv, program)
	if err == nil {
		err = e.bus.PublishCommand(ctx, subject.SourceEngine, cmd, nil)
	}
	if err != nil {
		if ctx.Err() == nil {
			e.log.WarnContext(ctx, "a script could not run, or its result not be stored: it comes again", slog.Any("error", err),
				slog.String("flow_id", inv.GetFlowId()), slog.String("step_id", inv.GetWork().GetStepId()))
		}
		e.putBack(ctx, msg, scriptDelay, "script")
		return
	}
	e.ack(ctx, msg)
}

// parseScript reads a delivered script. An error means that it can never be run.
func (e *Engine) parseScript(msg jetstream.Msg) (*sluicev1.Invocation, int, error) {
	stepID, partition, flowID, err := e.bus.Space.ParseInvoke(msg.Subject())
	if err != nil {
		return nil, 0, dead.Poisoned(dead.Misplaced, "%v", err)
	}
	inv := &sluicev1.Invocation{}
	if err := proto.Unmarshal(msg.Data(), inv); err != nil {
		return nil, partition, dead.Poisoned(dead.Garbage, "decode it: %v", err)
	}
	if inv.GetFlowId() != flowID || inv.GetWork().GetStepId() != stepID || inv.GetScript().GetScript() == nil {
		return nil, partition, dead.Poisoned(dead.Misplaced, "it is no script of step %q of flow %q", stepID, flowID)
	}
	return inv, partition, nil
}

func programOf(call *sluicev1.ScriptCall) script.Program {
	return script.Program{
		Language: script.Language(call.GetScript().GetLanguage()), Source: call.GetScript().GetSource(),
		Names: call.GetNames(), Predicate: call.GetPredicate(),
	}
}

// touchScript keeps a script from being delivered again while it waits or runs.
func (e *Engine) touchScript(ctx context.Context, msg jetstream.Msg) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var touching sync.WaitGroup
	touching.Go(func() {
		tick := time.NewTicker(bus.InvocationAckWait / 3)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := msg.InProgress(); err != nil {
					e.log.DebugContext(ctx, "progress of a script not told", slog.Any("error", err))
				}
			}
		}
	})
	return func() {
		cancel()
		touching.Wait()
	}
}

// runScript runs a script and says what it gave. An error means that it could not
// run: how it failed itself is in the command.
func (e *Engine) runScript(ctx context.Context, inv *sluicev1.Invocation, program script.Program) (*sluicev1.Command, error) {
	inputs := make(map[string]json.RawMessage, len(inv.GetArguments()))
	for name, value := range inv.GetArguments() {
		inputs[name] = value
	}
	began := time.Now()
	got, err := e.scripts.pool.Eval(ctx, program, inputs)
	failed, own := errors.AsType[*script.Error](err)
	if err != nil && !own {
		return nil, err //nolint:wrapcheck // it says all
	}
	e.metrics.scripts.WithLabelValues(string(program.Language), strconv.FormatBool(own)).Observe(time.Since(began).Seconds())
	result := &sluicev1.ScriptResult{
		Work: inv.GetWork(), Predicate: program.Predicate, Holds: got.Truth, Outcome: &sluicev1.Outcome{Success: !own},
	}
	if own {
		result.Outcome.Error = failed.Error()
	}
	if len(got.Outputs) > 0 {
		result.Outcome.Outputs = make(map[string][]byte, len(got.Outputs))
	}
	for name, value := range got.Outputs {
		result.Outcome.Outputs[name] = value
	}
	return &sluicev1.Command{FlowId: inv.GetFlowId(), Kind: &sluicev1.Command_ScriptResult{ScriptResult: result}}, nil
}
