package script

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

const (
	// warmTime is how long a language may take to start.
	warmTime = 30 * time.Second
	// patience is how many times longer than its time limit, by the clock, a
	// script may take that was not given the processor.
	patience = 10
	// pollTime is how long to wait before looking again at one that used little.
	pollTime = 20 * time.Millisecond
)

// process is a child, used by one caller at a time.
type process struct {
	in    *os.File // to it
	out   *bufio.Reader
	pid   int
	kill  context.CancelFunc
	said  *head         // what it wrote to its standard error
	done  chan struct{} // closed when it has ended and was waited for
	state *os.ProcessState
	warm  map[Language]bool
	ended func() // closes our ends of its pipes, once
}

// startProcess starts a child. Whoever starts it kills it in the end; owners
// waits for it.
func startProcess(command []string, memory uint64, owners *sync.WaitGroup) (*process, error) {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a pipe: %w", err), theirIn.Close(), in.Close())
	}
	ctx, kill := context.WithCancel(context.Background())
	args := append(command[1:len(command):len(command)], strconv.FormatUint(memory, 10))
	cmd := exec.CommandContext(ctx, command[0], args...) //nolint:gosec // our own program
	p := &process{
		in: in, out: bufio.NewReader(out), kill: kill, said: &head{}, done: make(chan struct{}), warm: map[Language]bool{},
		ended: sync.OnceFunc(func() { _, _ = in.Close(), out.Close() }),
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirIn, theirOut, p.said
	cmd.Env = []string{}
	cmd.WaitDelay = time.Second
	tie(cmd)
	started := make(chan error, 1)
	owners.Go(func() { p.own(cmd, started) })
	err = <-started
	_, _ = theirIn.Close(), theirOut.Close()
	if err != nil {
		p.end()
		return nil, fmt.Errorf("start a process for scripts: %w", err)
	}
	return p, nil
}

// own starts the child and waits for its end. The child ends with the thread
// that started it, so that thread is kept until then.
func (p *process) own(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread() // the thread ends with this goroutine
	defer close(p.done)
	err := cmd.Start()
	if err == nil {
		p.pid = cmd.Process.Pid
	}
	started <- err
	if err == nil {
		_ = cmd.Wait() // how it ended is in the state
		p.state = cmd.ProcessState
	}
}

// end kills the child and waits until it is gone.
func (p *process) end() {
	p.kill()
	<-p.done
	p.ended()
}

// gone reports whether the child has ended by itself.
func (p *process) gone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// exchange asks the child and waits for its answer, which may cost limit of
// processor time. After an error the child is gone.
func (p *process) exchange(ctx context.Context, req request, limit time.Duration) (response, error) {
	w := p.watch(ctx, limit)
	defer w.stop()
	var resp response
	err := writeFrame(p.in, req)
	if err == nil {
		err = readFrame(p.out, maxAnswer, &resp)
	}
	if err == nil {
		return resp, nil
	}
	p.end()
	return response{}, p.verdict(ctx, w, limit, err)
}

// verdict says why a child ended, or was ended, instead of answering.
func (p *process) verdict(ctx context.Context, w *watch, limit time.Duration, err error) error {
	switch reason := w.reason.Load(); {
	case reason != nil:
		return failf("%s", *reason)
	case ctx.Err() != nil:
		return fault.New(fault.Unavailable, "script.Run", ctx.Err())
	case errors.Is(err, errFrame):
		return failf("its inputs or its result are too long")
	}
	said := p.said.bytes()
	switch {
	case says(said, "out of memory", "cannot allocate memory", "failed to allocate", "cannot map pages", "failed to create new OS thread"):
		return failf("it needs more memory than a script may have")
	case says(said, "stack exceeds"):
		return failf("it calls itself too deep")
	}
	first, _, _ := bytes.Cut(said, []byte("\n"))
	return &lostError{reason: fmt.Sprintf("the process of the script ended: %v %.200s (after %s at most)", p.state, first, limit)}
}

// says reports whether a text holds one of those words.
func says(text []byte, words ...string) bool {
	return slices.ContainsFunc(words, func(word string) bool { return bytes.Contains(text, []byte(word)) })
}

// lostError says that a child ended for no reason that is known to be the
// script's: the script may be tried once more.
type lostError struct{ reason string }

func (e *lostError) Error() string { return e.reason }

// watch kills a child that takes too long.
type watch struct {
	timer  *time.Timer
	stop   func()
	reason atomic.Pointer[string] // why it was killed; nil when it was not
}

// watch begins to measure. Processor time is what counts, so that a busy machine
// does not fail a script; a script that waits is ended by the clock.
func (p *process) watch(ctx context.Context, limit time.Duration) *watch {
	w := &watch{}
	began, before := time.Now(), time.Duration(0)
	if used, ok := cpuTime(p.pid); ok {
		before = used
	}
	var mu sync.Mutex
	stopped := false
	look := func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped {
			return
		}
		elapsed := time.Since(began)
		used, known := cpuTime(p.pid)
		used -= before
		if !known {
			used = elapsed
		}
		left := max(min(limit-used, patience*limit-elapsed), 0)
		if left > 0 {
			w.timer.Reset(max(left, pollTime))
			return
		}
		reason := fmt.Sprintf("it did not end within %s", limit)
		w.reason.Store(&reason)
		p.kill()
	}
	mu.Lock()
	w.timer = time.AfterFunc(limit, look)
	mu.Unlock()
	canceled := context.AfterFunc(ctx, p.kill)
	w.stop = func() {
		canceled()
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		w.timer.Stop()
	}
	return w
}

// head keeps the beginning of what is written to it.
type head struct {
	mu  sync.Mutex
	buf []byte
}

// Write never fails.
func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf = append(h.buf, p[:min(len(p), maxMessage-len(h.buf))]...)
	return len(p), nil
}

func (h *head) bytes() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.buf
}
