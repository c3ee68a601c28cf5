package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// programs are built once for all tests.
type programs struct {
	once         sync.Once
	dir          string
	sluice, nats string
	err          error
}

var built programs

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code) //nolint:forbidigo // the end of a test binary
}

// build makes the binaries that the tests run.
func build(t *testing.T) *programs {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "sluice-e2e"); built.err != nil { //nolint:usetesting // it outlives the test that made it
			return
		}
		built.sluice, built.nats = filepath.Join(built.dir, "sluice"), filepath.Join(built.dir, "nats-server")
		for out, pkg := range map[string]string{
			built.sluice: "github.com/sluiceflow/sluice/services/cmd/sluice", built.nats: "github.com/nats-io/nats-server/v2",
		} {
			text, err := exec.CommandContext(context.Background(), "go", "build", "-o", out, pkg).CombinedOutput()
			if err != nil {
				built.err = fmt.Errorf("build %s: %w: %s", pkg, err, text)
				return
			}
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return &built
}

// process is a program that a test started.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
}

// output is what a process said, for a test that failed.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.b.Len() < 1<<20 {
		o.b.Write(p)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs a program until the test ends.
func start(t *testing.T, name string, env map[string]string, path string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, out: &output{}, done: make(chan struct{})}
	p.cmd = exec.CommandContext(context.Background(), path, args...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	for k, v := range env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.out)
		}
	})
	return p
}

// kill ends the process at once, as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// stop asks the process to end, and returns how long that took.
func (p *process) stop() time.Duration {
	p.t.Helper()
	begin := time.Now()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%s did not end", p.name)
	}
	return time.Since(begin)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// ready waits until a role says that it can do its work.
func ready(t *testing.T, addr string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/ready", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s is not ready: %s", addr, resp.Status)
		}
		return nil
	})
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
