package proc_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/proc"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

const patience = 20 * time.Second

// shell runs a script that is killed with the test.
func shell(t *testing.T, script string) *proc.Process {
	t.Helper()
	p, err := proc.Start(t.Context(), proc.Spec{
		Name: "shell", Path: "/bin/sh", Args: []string{"-c", script}, Dir: t.TempDir(), Env: map[string]string{"WORD": "hello"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func TestWhatAProcessSaidIsKept(t *testing.T) {
	t.Parallel()
	p := shell(t, `echo first; echo "$WORD" >&2`)
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Fatal("it did not end")
	}
	if got := p.Tail(1000); got != "first\nhello\n" {
		t.Errorf("it said %q", got)
	}
	if got := p.Tail(8); got != "hello\n" {
		t.Errorf("its last whole line is %q", got)
	}
	p.Kill() // ending what has ended is nothing
}

func TestPauseAndContinue(t *testing.T) {
	t.Parallel()
	p := shell(t, `sleep 60`)
	state := func() string {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID()), "stat"))
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(string(text))
		return fields[2]
	}
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() bool { return state() == "T" })
	if err := p.Continue(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() bool { return state() != "T" })
}

func TestStop(t *testing.T) {
	t.Parallel()
	p := shell(t, `trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done`)
	testkit.Eventually(t, patience, func() bool { return p.Tail(100) == "ready\n" })
	if _, err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	deaf := shell(t, `trap '' TERM; echo ready; while :; do sleep 0.01; done`)
	testkit.Eventually(t, patience, func() bool { return deaf.Tail(100) == "ready\n" })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := deaf.Stop(ctx); err == nil || !strings.Contains(err.Error(), "did not end") {
		t.Errorf("a process that hears nothing: %v", err)
	}
	select {
	case <-deaf.Done():
	default:
		t.Error("it still runs")
	}
}

func TestWaiting(t *testing.T) {
	t.Parallel()
	p := shell(t, `sleep 60`)
	addr, err := proc.FreeAddr(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Serving(ctx, addr); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nothing listens there: %v", err)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := p.Serving(t.Context(), addr); err != nil {
		t.Error(err)
	}
	p.Kill()
	if err := p.Ready(t.Context(), "http://127.0.0.1:1/ready"); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("the process has ended: %v", err)
	}
}
