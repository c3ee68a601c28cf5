package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/waiting"
)

// The whole of `bench waiting` with few flows: processes, kill -9 of the engine, and nothing lost.
func TestWaiting(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds and starts all roles")
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not in PATH")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	self, sluice := build(ctx, t, ".", ".", filepath.Join(dir, "bench")), build(ctx, t, "../services", "./cmd/sluice", filepath.Join(dir, "sluice"))

	const flows = 2000
	result := runSelf(ctx, t, self, "waiting", "-sluice", sluice, "-flows", "2000")
	if result.Flows != flows || result.Checked != 201 || result.Takeover <= 0 || result.StartsPerS <= 0 || len(result.Lost) != 0 {
		t.Errorf("got %+v", result)
	}
	for _, name := range []string{"engine", "nats-server", "console", "redis-server", "gateway", "dispatcher"} {
		if result.Idle[name].RSS == 0 || result.Waiting[name].RSS == 0 || result.After[name].RSS == 0 {
			t.Errorf("the memory of %s is missing: %+v", name, result)
		}
	}
	if result.After["engine"].Peak == result.Waiting["engine"].Peak {
		t.Error("the engine is the one from before the kill")
	}
}

func build(ctx context.Context, t *testing.T, dir, pkg, out string) string {
	t.Helper()
	text, err := exec.CommandContext(ctx, "go", "-C", dir, "build", "-o", out, pkg).CombinedOutput()
	if err != nil {
		t.Fatalf("build %s: %v: %s", pkg, err, text)
	}
	return out
}

// runSelf runs this program to its end. It ends with the test, and what it started with it.
func runSelf(ctx context.Context, t *testing.T, args ...string) (result waiting.Result) {
	t.Helper()
	runtime.LockOSThread() // the kernel ends a process with the thread that started it
	defer runtime.UnlockOSThread()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, stderr.String())
	}
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		t.Fatalf("%v printed %q: %v", args, stdout.String(), err)
	}
	return result
}
