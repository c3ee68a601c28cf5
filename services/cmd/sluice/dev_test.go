package main

import (
	"strings"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/conf"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

const helloStep = `{"id":"hello","name":"Hello","type":"sync",
	"attributes":{"greeting":{"role":"output","type":"string"}},"http":{"endpoint":"http://127.0.0.1:1/hello"},
	"work_config":{"max_retries":-1,"backoff_ms":60000}}`

func startDev(t *testing.T, dir string) (p *process, console conf.Lookup) {
	t.Helper()
	p = start(t, env("LISTEN_ADDR", "127.0.0.1:0", "DEV_NATS_LISTEN", "127.0.0.1:0", "DATA_DIR", dir), "dev")
	p.ready()
	return p, env("CONSOLE_URL", p.url())
}

// ok runs a command that must succeed.
func ok(t *testing.T, lookup conf.Lookup, args ...string) string {
	t.Helper()
	for began := time.Now(); ; {
		code, stdout, stderr := runs(t, lookup, args...)
		if code == 0 {
			return stdout
		}
		// An engine that just takes its partitions may be late with its answer.
		if !strings.Contains(stderr, "503") || time.Since(began) > soon {
			t.Fatalf("%s: exit code %d: %s", strings.Join(args, " "), code, stderr)
		}
	}
}

func TestDevKeepsItsStateAcrossARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	began := time.Now()
	p, console := startDev(t, dir)
	t.Logf("ready after %s", time.Since(began))
	testkit.Eventually(t, soon, func() bool { return strings.Contains(p.stdout.String(), "is ready") })
	has(t, p.stdout.String(), p.url()+"/engine", "fast mode", "curl", dir)

	file := writeFile(t, helloStep)
	has(t, ok(t, console, "step", "apply", "-f", file), "hello registered")
	has(t, ok(t, console, "flow", "start", "hello", "--id", "flow-1"), "flow-1")

	code, _, stderr := runs(t, env("LISTEN_ADDR", "127.0.0.1:0", "DATA_DIR", dir), "dev")
	if code == 0 {
		t.Error("two processes have one folder")
	}
	has(t, stderr, "another sluice uses this folder", dir)

	if code := p.stop(); code != 0 {
		t.Fatalf("ended with %d: %s", code, &p.stderr)
	}
	_, console = startDev(t, dir)
	has(t, ok(t, console, "step", "list"), "hello")
	state := decode[struct{ Status string }](t, ok(t, console, "flow", "get", "flow-1"))
	if state.Status != "active" {
		t.Errorf("the flow is %q", state.Status)
	}
	testkit.Eventually(t, soon, func() bool { return strings.Contains(ok(t, console, "flow", "list"), "flow-1") })
}

func TestDemoCompletes(t *testing.T) {
	t.Parallel()
	has(t, ok(t, env(), "demo"), "flow_completed", "curl")
}
