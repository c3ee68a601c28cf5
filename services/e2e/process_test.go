package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/proc"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// programs are built once for all tests.
type programs struct {
	proc.Programs

	once sync.Once
	dir  string
	err  error
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
func build(t *testing.T) proc.Programs {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "sluice-e2e"); built.err != nil { //nolint:usetesting // it outlives the test that made it
			return
		}
		built.Programs, built.err = proc.Build(context.Background(), built.dir)
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.Programs
}

// process is a program that a test started.
type process struct {
	*proc.Process

	t *testing.T
}

// start runs a program until the test ends.
func start(t *testing.T, name string, env map[string]string, path string, args ...string) *process {
	t.Helper()
	p, err := proc.Start(t.Context(), proc.Spec{Name: name, Path: path, Args: args, Env: env, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.Tail(1<<20))
		}
	})
	return &process{Process: p, t: t}
}

// stop asks the process to end, and returns how long that took.
func (p *process) stop() time.Duration {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	took, err := p.Stop(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	return took
}

func freeAddr(t *testing.T) string {
	t.Helper()
	addr, err := proc.FreeAddr(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// ready waits until a role says that it can do its work.
func (p *process) ready(addr string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	if err := p.Ready(ctx, "http://"+addr+"/ready"); err != nil {
		p.t.Fatal(err)
	}
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
