package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/services/internal/conf"
	"github.com/sluiceflow/sluice/services/internal/script"
)

// TestMain lets the binary of these tests be what the program itself is where it
// starts itself to run scripts.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == script.Command {
		os.Exit(realMain(context.Background(), os.Args[1:], conf.Lookup(os.LookupEnv), os.Stdin, os.Stdout, os.Stderr))
	}
	m.Run()
}

func TestScriptsRunInAProcessOfTheirOwn(t *testing.T) {
	t.Parallel()
	_, console := startDev(t, t.TempDir())
	ok(t, console, "step", "apply", "-f", writeFile(t, `{"id":"total","type":"script","script":{"language":"lua","script":"return {total = amount * 2}"},
		"predicate":{"language":"cel","script":"amount > 1"},
		"attributes":{"amount":{"role":"required","type":"number"},"total":{"role":"output","type":"number"}}}`))
	id := strings.TrimSpace(ok(t, console, "flow", "start", "total", "--init", "amount=21", "--id", "order-7"))
	has(t, ok(t, console, "flow", "start", "total", "--init", "amount=21", "--id", "order-7", "--wait"), "completed")
	has(t, ok(t, console, "flow", "events", id), `"type":"predicate_asked"`, `"type":"predicate_held"`, `"outputs":{"total":42}`)
}

func TestAScriptProcessNeedsItsMemory(t *testing.T) {
	t.Parallel()
	if code, _, stderr := runs(t, env(), script.Command, "much"); code == 0 || !strings.Contains(stderr, "number of bytes") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}
