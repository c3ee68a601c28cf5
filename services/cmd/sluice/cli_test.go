package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStepCommands(t *testing.T) {
	t.Parallel()
	_, console := startDev(t, t.TempDir())
	apply := func(text string) string {
		t.Helper()
		return ok(t, console, "step", "apply", "-f", writeFile(t, text))
	}
	other := strings.ReplaceAll(helloStep, `"hello"`, `"other"`)
	other = strings.ReplaceAll(other, `"greeting"`, `"farewell"`)
	has(t, apply(helloStep+"\n"+other), "hello registered", "other registered")
	has(t, apply(helloStep), "hello unchanged")
	has(t, apply(strings.ReplaceAll(helloStep, `"Hello"`, `"Hi"`)), "hello updated")
	has(t, ok(t, console, "step", "list"), "ID", "hello", "Hi", "other")
	got := decode[struct{ ID, Name string }](t, ok(t, console, "step", "get", "hello"))
	if got.ID != "hello" || got.Name != "Hi" {
		t.Errorf("got %+v", got)
	}
	ok(t, console, "step", "delete", "other")
	if list := ok(t, console, "step", "list"); strings.Contains(list, "other") {
		t.Errorf("deleted, and still there: %s", list)
	}
	for name, text := range map[string]string{
		"no JSON": "{", "no step": `{"id":"x","surprise":1}`, "refused": `{"id":"x","name":"X","type":"sync"}`,
	} {
		if code, _, stderr := runs(t, console, "step", "apply", "-f", writeFile(t, text)); code == 0 || stderr == "" {
			t.Errorf("%s: exit code %d, %q", name, code, stderr)
		}
	}
}

func TestFlowCommands(t *testing.T) {
	t.Parallel()
	_, console := startDev(t, t.TempDir())
	ok(t, console, "step", "apply", "-f", writeFile(t, helloStep))
	id := strings.TrimSpace(ok(t, console, "flow", "start", "hello", "--init", "amount=1.50", "--init", "who=Ada", "--label", "team=pay"))
	has(t, ok(t, console, "flow", "events", id), `"type":"flow_started"`, `"amount":1.50`, `"who":"Ada"`, `"team":"pay"`)
	testkit.Eventually(t, soon, func() bool {
		return strings.Contains(ok(t, console, "flow", "list", "--label", "team=pay", "--status", "active"), id)
	})
	ok(t, console, "flow", "cancel", id, "--reason", "enough")
	state := decode[struct{ Status, Error string }](t, ok(t, console, "flow", "get", id))
	if state.Status != "canceled" || state.Error != "enough" {
		t.Errorf("got %+v", state)
	}
	code, stdout, stderr := runs(t, console, "flow", "start", "hello", "--id", id, "--init", "amount=1.50", "--init", "who=Ada", "--label", "team=pay", "--wait")
	if code == 0 {
		t.Errorf("exit code 0 for a canceled flow: %s", stdout)
	}
	if stdout != "" {
		has(t, stderr, "canceled")
	}
	for name, args := range map[string][]string{
		"no goal": {"flow", "start"}, "no pair": {"flow", "start", "hello", "--init", "amount"},
		"no such goal": {"flow", "start", "nothing"}, "no such flow": {"flow", "get", "nothing"},
	} {
		if code, _, stderr := runs(t, console, args...); code == 0 || stderr == "" {
			t.Errorf("%s: exit code %d, %q", name, code, stderr)
		}
	}
}
