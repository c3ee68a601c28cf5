package script

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// compiledCacheSize is how many compiled programs a child keeps.
	compiledCacheSize = 512
	// maxRecursion bounds the stack of what calls itself without end.
	maxRecursion = 16 << 20
	// childGC collects early: memory is what scripts have little of.
	childGC = 50
	// memoryMargin is how much more the system gives than a script may have, so
	// that the child can still say that it had too much.
	memoryMargin = 128 << 20
	memoryPoll   = 2 * time.Millisecond
)

var errMemory = errors.New("out of memory")

// engine is a language.
type engine interface {
	compile(p Program) (compiled, error)
}

// compiled is a program that can be run, any number of times.
type compiled interface {
	// run writes the result.
	run(inputs map[string]any, out *encoder) error
	// holds returns what a predicate says.
	holds(inputs map[string]any) (bool, error)
}

// child answers requests, one after the other.
type child struct {
	engines  map[Language]engine
	programs *lru.Cache[string, compiled]
	busy     chan bool // told when a script begins and when it has ended
}

func newChild() (*child, error) {
	programs, err := lru.New[string, compiled](compiledCacheSize)
	if err != nil {
		return nil, fmt.Errorf("make the cache of programs: %w", err)
	}
	return &child{engines: map[Language]engine{}, programs: programs, busy: make(chan bool)}, nil
}

// Serve is the child: it confines its process, which it has to itself, to the
// given bytes of memory and answers requests until in ends, or more memory is
// needed.
func Serve(in io.Reader, out io.Writer, memory uint64) error {
	debug.SetMaxStack(maxRecursion)
	debug.SetGCPercent(childGC)
	if err := confine(memory + memoryMargin); err != nil {
		return fmt.Errorf("confine the process of scripts: %w", err)
	}
	c, err := newChild()
	if err != nil {
		return err
	}
	// All end with the process, which has nothing else to do: what asks may end
	// while a script runs that does not.
	ended := make(chan error, 3)
	requests := make(chan request)
	go func() { ended <- receive(in, requests) }()
	go func() { ended <- c.work(requests, out) }()
	go func() { ended <- c.watchMemory(memory) }()
	return <-ended
}

// receive hands on what is asked for, and returns when whoever asks has ended.
func receive(in io.Reader, requests chan<- request) error {
	r := bufio.NewReader(in)
	for {
		var req request
		if err := readFrame(r, maxQuestion, &req); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		requests <- req
	}
}

func (c *child) work(requests <-chan request, out io.Writer) error {
	for req := range requests {
		c.busy <- true
		resp := c.answer(req)
		c.busy <- false
		if err := writeFrame(out, resp); err != nil {
			return err
		}
	}
	return nil
}

// watchMemory returns when more than limit bytes are in use while a script runs.
// The system's own limit ends what takes much at once, but leaves no word of why
// where it takes the last bit from Go's runtime.
func (c *child) watchMemory(limit uint64) error {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	for {
		for running := <-c.busy; running; {
			metrics.Read(sample)
			if sample[0].Value.Uint64()-sample[1].Value.Uint64() > limit {
				return errMemory
			}
			select {
			case running = <-c.busy:
			case <-time.After(memoryPoll):
			}
		}
	}
}

// answer does what is asked for, and makes an answer of whatever goes wrong.
func (c *child) answer(req request) (resp response) {
	defer func() {
		if cause := recover(); cause != nil {
			resp = refusal(failf("the script breaks its language: %v", cause))
		}
	}()
	resp, err := c.try(req)
	if err != nil {
		return refusal(err)
	}
	return resp
}

func refusal(err error) response {
	failed, ok := errors.AsType[*Error](err)
	if !ok {
		failed = failf("%v", err)
	}
	message := strings.ToValidUTF8(failed.Message, "\uFFFD")
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	if message == "" {
		message = "it failed without a message"
	}
	return response{Error: message, Line: failed.Line}
}

func (c *child) try(req request) (response, error) {
	if req.Op == opWarm {
		_, err := c.engine(req.Program.Language)
		return response{}, err
	}
	program, err := c.program(req.Program)
	if err != nil || req.Op == opCheck {
		return response{}, err
	}
	inputs, err := decodeAll(req.Program.Names, req.Inputs)
	if err != nil {
		return response{}, err
	}
	if req.Program.Predicate {
		truth, err := program.holds(inputs)
		return response{Truth: truth}, err
	}
	out := encoder{limit: MaxOutput}
	if err := program.run(inputs, &out); err != nil {
		return response{}, err
	}
	return response{Value: json.RawMessage(out.buf)}, nil
}

func (c *child) engine(l Language) (engine, error) {
	if e, ok := c.engines[l]; ok {
		return e, nil
	}
	begin, ok := map[Language]func() (engine, error){CEL: newCEL, Lua: newLua, Ale: newAle}[l]
	if !ok {
		return nil, failf("there is no language %q", l)
	}
	e, err := begin()
	if err != nil {
		return nil, err
	}
	c.engines[l] = e
	return e, nil
}

func (c *child) program(p Program) (compiled, error) {
	key := p.Key()
	if program, ok := c.programs.Get(key); ok {
		return program, nil
	}
	e, err := c.engine(p.Language)
	if err != nil {
		return nil, err
	}
	program, err := e.compile(p)
	if err != nil {
		return nil, err
	}
	c.programs.Add(key, program)
	return program, nil
}
