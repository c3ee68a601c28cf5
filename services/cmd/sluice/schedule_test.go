package main

import (
	"strings"
	"testing"
	"time"
)

func TestScheduleCommands(t *testing.T) {
	t.Parallel()
	_, console := startDev(t, t.TempDir())
	ok(t, console, "step", "apply", "-f", writeFile(t, helloStep))
	const definition = `{"cron":"30 2 * * *","time_zone":"Europe/Berlin","overlap":"queue","flow":{"goals":["hello"],"init":{"amount":1.50,"who":"Ada"}}}`
	has(t, ok(t, console, "schedule", "put", "nightly", "-f", writeFile(t, definition)), "nightly made")
	has(t, ok(t, console, "schedule", "put", "nightly", "-f", writeFile(t, definition)), "nightly stored")
	has(t, ok(t, console, "schedule", "put", "often", "-f", writeFile(t, `{"every_ms":60000,"flow":{"goals":["hello"]}}`)), "often made")
	has(t, ok(t, console, "schedule", "list"), "WHEN", "30 2 * * * Europe/Berlin", "every 1m0s", ":30:00Z")
	has(t, ok(t, console, "schedule", "get", "nightly"), `"amount": 1.50`, `"queue"`)
	ok(t, console, "schedule", "pause", "often")
	has(t, ok(t, console, "schedule", "list"), "paused")
	ok(t, console, "schedule", "resume", "often")
	ok(t, console, "schedule", "delete", "often")
	if list := ok(t, console, "schedule", "list"); strings.Contains(list, "often") {
		t.Errorf("deleted, and still there: %s", list)
	}
	for name, args := range map[string][]string{
		"no definition": {"schedule", "put", "x", "-f", writeFile(t, "{")}, "an unknown field": {"schedule", "put", "x", "-f", writeFile(t, `{"often":1}`)},
		"refused": {"schedule", "put", "x", "-f", writeFile(t, `{"cron":"soon"}`)}, "no such schedule": {"schedule", "get", "nobody"},
		"not paused": {"schedule", "resume", "nightly"}, "no time": {"flow", "start", "hello", "--at", "soon"},
	} {
		if code, _, stderr := runs(t, console, args...); code == 0 || stderr == "" {
			t.Errorf("%s: exit code %d, %q", name, code, stderr)
		}
	}
	at := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	id := strings.TrimSpace(ok(t, console, "flow", "start", "hello", "--init", "amount=1", "--init", "who=Ada", "--at", at))
	has(t, ok(t, console, "flow", "get", id), `"start_at": "`+at+`"`)
}
