// Package child runs processes that end with the one that started them.
package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/proc"
)

// stopLimit is how long a process may take to end when it was asked to. The roles drain for up to 8 s.
const stopLimit = 15 * time.Second

// A Spec says what to run.
type Spec struct {
	Name string
	Path string
	Args []string
	Env  []string // beside PATH, which is inherited
	// Log is the file that gets what the process prints, behind what is there.
	Log string
	// Stdout, if set, gets the standard output instead of Log.
	Stdout io.Writer
}

// A Child is a process of ours.
type Child struct {
	Spec

	cmd  *exec.Cmd
	stop context.CancelFunc
	done chan struct{}
	err  error // of the process; valid once done is closed
}

// Start starts a process. It is asked to end when ctx ends and killed when that takes too long; the kernel kills it when the calling
// thread ends, so the caller's goroutine should be locked to a thread that lives as long as the program.
func Start(ctx context.Context, spec Spec) (*Child, error) {
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", spec.Name, err)
	}
	defer log.Close()

	ctx, stop := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, spec.Path, spec.Args...) //nolint:gosec // the programs to measure are the caller's choice
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, spec.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	if spec.Stdout != nil {
		cmd.Stdout = spec.Stdout
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopLimit
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		stop()
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	c := &Child{Spec: spec, cmd: cmd, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = cmd.Wait()
	}()
	return c, nil
}

// Stop ends the process and says how much processor time it used in all.
func (c *Child) Stop() time.Duration {
	c.stop()
	<-c.done
	return c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime()
}

// Kill ends the process at once, as a crash would, and says how much processor time it used in all.
func (c *Child) Kill() time.Duration {
	_ = c.cmd.Process.Kill() // it may have ended
	return c.Stop()
}

// Memory says what the process holds. It is an error when the process has ended.
func (c *Child) Memory() (proc.Memory, error) {
	m, err := proc.MemoryOf(c.cmd.Process.Pid)
	if err != nil {
		return m, c.failure(err)
	}
	return m, nil
}

// Wait waits for the process to end by itself. What it printed last is part of the error.
func (c *Child) Wait() error {
	<-c.done
	c.stop()
	if c.err != nil {
		return c.failure(c.err)
	}
	return nil
}

// Serving waits until something listens on the address.
func (c *Child) Serving(ctx context.Context, addr string) error {
	return c.until(ctx, func(ctx context.Context) error {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Ready waits until a GET of the URL is answered with 200.
func (c *Child) Ready(ctx context.Context, url string) error {
	return c.until(ctx, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
			return fmt.Errorf("status %d: %s", resp.StatusCode, body)
		}
		return nil
	})
}

// until repeats probe until it succeeds, the process ends or ctx does.
func (c *Child) until(ctx context.Context, probe func(context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := probe(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-c.done:
			return c.failure(errors.Join(errors.New("ended early"), c.err))
		case <-ctx.Done():
			return c.failure(fmt.Errorf("not ready: %w", err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *Child) failure(err error) error {
	return fmt.Errorf("%s: %w\n%s", c.Name, err, tail(c.Log, 4000))
}

// tail gives the last whole lines of a file, up to n bytes.
func tail(path string, n int) []byte {
	data, err := os.ReadFile(path)
	if err != nil || len(data) <= n {
		return data
	}
	data = data[len(data)-n:]
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		data = data[i+1:]
	}
	return data
}

// The ports of FreeAddr are below those that Linux gives to connections and to whoever asks for any port: one of
// these may be gone before the child listens on it that it is meant for.
const firstPort, portCount = 10000, 2000

var given atomic.Int64 //nolint:gochecknoglobals // the ports that this process was given already

// FreeAddr finds a loopback address that nobody listens on at the moment, and that it did not give before.
func FreeAddr(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	var last error
	for range portCount {
		port := firstPort + (int64(os.Getpid())+given.Add(1))%portCount
		addr := net.JoinHostPort("127.0.0.1", strconv.FormatInt(port, 10))
		l, err := lc.Listen(ctx, "tcp", addr)
		if err == nil {
			return addr, l.Close()
		}
		last = err
	}
	return "", fmt.Errorf("find a free port: %w", last)
}
