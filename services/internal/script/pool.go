package script

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

// Config is what can be set about scripts; what is 0 is its default.
type Config struct {
	Processes   int           `env:"SCRIPT_PROCESSES" envDefault:"4" help:"scripts that one process of Sluice runs at once, each in a process of its own"`
	TimeLimit   time.Duration `env:"SCRIPT_TIME_LIMIT" envDefault:"1s" help:"processor time that one run of a script may take"`
	MemoryLimit uint64        `env:"SCRIPT_MEMORY_LIMIT" envDefault:"268435456" help:"bytes of memory that one script may take"`
}

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
	c.Processes = cmp.Or(c.Processes, 4)
	c.TimeLimit = cmp.Or(c.TimeLimit, time.Second)
	c.MemoryLimit = cmp.Or(c.MemoryLimit, 256<<20)
	return c
}

// minMemory is what the languages themselves need, and some room.
const minMemory = 64 << 20

// Validate reports every value that makes no sense.
func (c Config) Validate() error {
	var mistakes []error
	c = c.withDefaults()
	if c.Processes < 1 {
		mistakes = append(mistakes, fmt.Errorf("SCRIPT_PROCESSES is %d, it must be at least 1", c.Processes))
	}
	if c.TimeLimit < time.Millisecond {
		mistakes = append(mistakes, fmt.Errorf("SCRIPT_TIME_LIMIT is %s, it must be at least 1ms", c.TimeLimit))
	}
	if c.MemoryLimit < minMemory {
		mistakes = append(mistakes, fmt.Errorf("SCRIPT_MEMORY_LIMIT is %d, it must be at least %d", c.MemoryLimit, minMemory))
	}
	return errors.Join(mistakes...)
}

// Command is the argument that makes this program a child.
const Command = "script"

// maxIdle is how many children wait for work.
const maxIdle = 2

// Pool runs scripts in child processes, which it starts when they are needed.
type Pool struct {
	cfg     Config
	command []string
	slots   chan struct{}  // one for each script that runs
	owners  sync.WaitGroup // of the children

	mu      sync.Mutex
	idle    []*process
	closed  bool
	serving map[string]*queue // by program
}

// queue bounds how many children one program has, so that others are left.
type queue struct {
	slots chan struct{}
	users int
}

// NewPool returns a pool. Its children are ended when Run ends.
func NewPool(cfg Config) *Pool {
	cfg = cfg.withDefaults()
	return &Pool{
		cfg: cfg, command: []string{self, Command},
		slots: make(chan struct{}, max(cfg.Processes, 1)), serving: map[string]*queue{},
	}
}

// Run ends the children when ctx does, and returns when they are gone.
func (p *Pool) Run(ctx context.Context) error {
	<-ctx.Done()
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, child := range idle {
		child.end()
	}
	p.owners.Wait()
	return nil
}

// Check compiles a program. It returns an [*Error] for one that is wrong, and an
// error of kind [fault.Unavailable] where no child can be had.
func (p *Pool) Check(ctx context.Context, program Program) error {
	_, err := p.ask(ctx, request{Op: opCheck, Program: program})
	return err
}

// Eval runs a program. It returns an [*Error] where the script fails, also where
// it takes more time, memory or room than it may, and an error of kind
// [fault.Unavailable] where no child can be had.
func (p *Pool) Eval(ctx context.Context, program Program, inputs map[string]json.RawMessage) (Result, error) {
	resp, err := p.ask(ctx, request{Op: opRun, Program: program, Inputs: inputs})
	if err != nil || program.Predicate {
		return Result{Truth: resp.Truth}, err
	}
	named, err := outputs(resp.Value)
	if err != nil {
		return Result{}, fault.New(fault.Internal, "script.Eval", err)
	}
	return Result{Outputs: named}, nil
}

// ask asks a child, and another one where the first is lost without a reason.
func (p *Pool) ask(ctx context.Context, req request) (response, error) {
	if err := req.Program.check(); err != nil {
		return response{}, err
	}
	leave, err := p.enter(ctx, req.Program.Key())
	if err != nil {
		return response{}, err
	}
	defer leave()
	resp, err := p.askOnce(ctx, req)
	var lost *lostError
	if errors.As(err, &lost) {
		resp, err = p.askOnce(ctx, req)
	}
	switch {
	case errors.As(err, &lost):
		return response{}, failf("%s", lost.reason)
	case err != nil:
		return response{}, err
	case resp.Error != "":
		return response{}, &Error{Line: resp.Line, Message: resp.Error}
	}
	return resp, nil
}

func (p *Pool) askOnce(ctx context.Context, req request) (response, error) {
	child, err := p.take() //nolint:contextcheck // a child outlives the script that it was started for
	if err != nil {
		return response{}, fault.New(fault.Unavailable, "script.Eval", err)
	}
	if lang := req.Program.Language; !child.warm[lang] {
		resp, err := child.exchange(ctx, request{Op: opWarm, Program: Program{Language: lang}}, warmTime)
		if err == nil && resp.Error != "" {
			child.end()
			err = errors.New(resp.Error)
		}
		if err != nil {
			return response{}, fault.New(fault.Unavailable, "script.Eval", fmt.Errorf("start %s: %w", lang, err))
		}
		child.warm[lang] = true
	}
	resp, err := child.exchange(ctx, req, p.cfg.TimeLimit)
	if err != nil {
		return response{}, err
	}
	p.give(child)
	return resp, nil
}

// enter waits for a turn: one program may have half of all, so that scripts that
// run to their limit keep nobody else waiting.
func (p *Pool) enter(ctx context.Context, key string) (leave func(), err error) {
	p.mu.Lock()
	q := p.serving[key]
	if q == nil {
		q = &queue{slots: make(chan struct{}, (cap(p.slots)+1)/2)}
		p.serving[key] = q
	}
	q.users++
	p.mu.Unlock()
	forget := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if q.users--; q.users == 0 {
			delete(p.serving, key)
		}
	}
	if err := occupy(ctx, q.slots); err != nil {
		forget()
		return nil, err
	}
	if err := occupy(ctx, p.slots); err != nil {
		<-q.slots
		forget()
		return nil, err
	}
	return func() {
		<-p.slots
		<-q.slots
		forget()
	}, nil
}

func occupy(ctx context.Context, slots chan<- struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fault.New(fault.Unavailable, "script.Eval", ctx.Err())
	}
}

var errClosed = errors.New("the scripts of this process have ended")

// take returns the child that was used last, or a new one.
func (p *Pool) take() (*process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	for n := len(p.idle); n > 0; n-- {
		child := p.idle[n-1]
		p.idle = slices.Delete(p.idle, n-1, n)
		if !child.gone() {
			return child, nil
		}
		child.end()
	}
	return startProcess(p.command, p.cfg.MemoryLimit, &p.owners)
}

// give takes a child back.
func (p *Pool) give(child *process) {
	p.mu.Lock()
	keep := !p.closed && len(p.idle) < maxIdle
	if keep {
		p.idle = append(p.idle, child)
	}
	p.mu.Unlock()
	if !keep {
		child.end()
	}
}
