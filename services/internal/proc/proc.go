// Package proc runs the programs of an installation as processes that can be
// killed, paused and started again, for the tests that do so.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Spec says what to run.
type Spec struct {
	Name string
	Path string
	Args []string
	// Env is the whole environment beside PATH and HOME.
	Env map[string]string
	// Dir holds what it prints, in Name.log behind what is there, and is its home.
	Dir string
}

// Process is a program that was started. It ends with the one that started it
// at the latest.
type Process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
}

// Start starts a program. It outlives ctx: whoever calls it must kill or stop it.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	path := filepath.Join(spec.Dir, spec.Name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", spec.Name, err)
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), spec.Path, spec.Args...) //nolint:gosec // what runs is the test's choice
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = []string{"HOME=" + spec.Dir, "PATH=" + os.Getenv("PATH")}
	for name, value := range spec.Env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	p := &Process{name: spec.Name, log: path, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended is who ended its business
	}()
	return p, nil
}

// Kill ends the process at once, as a crash would, also one that is paused. It
// may have ended before.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop asks the process to end, and says how long that took. One that is still
// there when ctx ends is killed, and an error says so.
func (p *Process) Stop(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	if err := p.signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case <-p.done:
		return time.Since(begin), nil
	case <-ctx.Done():
		p.Kill()
		return time.Since(begin), fmt.Errorf("%s did not end within %s", p.name, time.Since(begin).Round(time.Second))
	}
}

// Pause stops the process where it is, until Continue.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Continue lets a paused process go on.
func (p *Process) Continue() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s to %s: %w", s, p.name, err)
	}
	return nil
}

// Done is closed once the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// PID is the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Tail is the last whole lines that the process, and those before it with its
// name, printed: n bytes at most.
func (p *Process) Tail(n int) string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	if len(data) > n {
		data = data[len(data)-n:]
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	return string(data)
}
