package e2e_test

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// Each example runs as its README says, against `sluice dev`, and says what its
// README shows. A second run finds its steps registered.
func TestExamples(t *testing.T) {
	t.Parallel()
	p := build(t)
	addr := freeAddr(t)
	env := map[string]string{"DEV_NATS_LISTEN": freeAddr(t)}
	dev := start(t, "dev", env, p.Sluice, "dev", "--listen", addr, "--data", t.TempDir())
	dev.ready(addr)
	programs := t.TempDir()
	built, err := exec.CommandContext(t.Context(), "go", "build", "-o", programs, "../../examples/...").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, built)
	}
	for name, want := range map[string]string{
		"order-saga": `(?s)Main Street is completed.*charge is undone: .*receipt 17.*reserve is undone: .*shelf 4.*` +
			`nowhere is failed .*no such address.*reserve +completed +compensated.*charge +completed +compensated.*ship +failed +failed`,
		"fan-out": `(?s)is completed.*1000 lines, the first one: item-0 for 100 cents.*total: 102997 cents`,
		"child-flows": `(?s)account for \[Ada Grace\]: completed.*DE17 0000 0042.*check of Grace is a flow of its own: completed.*` +
			`account for \[Ada Mallory\]: failed .*check of Ada is a flow of its own: completed.*check of Mallory is .*failed .*Mallory has a record`,
		"script-only": `(?s)income 1500: the flow is completed.*offer +skipped.*decline +completed +map\[reason:"only 1080 a month are free"\].*` +
			`income 5200: the flow is completed.*offer +completed +map\[monthly:555 offered:true\].*decline +skipped`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"-sluice", "http://" + addr}
			if name != "script-only" { // it has no worker
				args = append(args, "-listen", freeAddr(t))
			}
			for range 2 {
				said := runExample(t, filepath.Join(programs, name), args...)
				if !regexp.MustCompile(want).MatchString(said) {
					t.Errorf("it said\n%s\nwant %s", said, want)
				}
			}
		})
	}
}

func runExample(t *testing.T, path string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return out.String()
}
