package telemetry_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/telemetry"
)

// A fault that concerns each of a thousand requests a second does not fill the log,
// hides no other one, and how often it came is said.
func TestAFaultDoesNotFillTheLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := telemetry.Logger(telemetry.Config{LogFormat: "json"}, &out).Handler()
	log = log.WithAttrs([]slog.Attr{slog.String("role", "gateway")})
	began := time.Now()
	failed := func(after time.Duration, level slog.Level, pc uintptr, route string, status int) {
		t.Helper()
		r := slog.NewRecord(began.Add(after), level, "request failed", pc)
		r.AddAttrs(slog.String("route", route), slog.Int("status", status))
		if err := log.WithGroup("").Handle(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	lines := func() (omitted []int) {
		t.Helper()
		for line := range bytes.Lines(out.Bytes()) {
			var said struct {
				Role    string `json:"role"`
				Omitted int    `json:"omitted"`
			}
			if err := json.Unmarshal(line, &said); err != nil || said.Role != "gateway" {
				t.Fatalf("%s: %v", line, err)
			}
			omitted = append(omitted, said.Omitted)
		}
		out.Reset()
		return omitted
	}
	for n := range 3000 {
		failed(time.Duration(n)*time.Millisecond, slog.LevelError, 1, "/webhook/*", 503)
	}
	got := lines()
	if len(got) != 12 || !slices.Equal(got[:10], make([]int, 10)) || got[10] != 990 || got[11] != 999 {
		t.Errorf("of 3000 in 3 s these were logged, with so many omitted before each: %v", got)
	}
	for name, other := range map[string]func(){
		"another status": func() { failed(3*time.Second-1, slog.LevelError, 1, "/webhook/*", 500) },
		"another route":  func() { failed(3*time.Second-1, slog.LevelError, 1, "/engine/flow", 503) },
		"another place":  func() { failed(3*time.Second-1, slog.LevelError, 2, "/webhook/*", 503) },
		"no fault":       func() { failed(3*time.Second-1, slog.LevelInfo, 1, "/webhook/*", 503) },
	} {
		other()
		if got := lines(); len(got) != 1 {
			t.Errorf("%s: %d lines", name, len(got))
		}
	}
	// It is over, and comes again later.
	for range 10 {
		failed(time.Minute, slog.LevelWarn, 1, "/webhook/*", 503)
	}
	if got := lines(); len(got) != 10 || got[0] != 999 || got[1] != 0 {
		t.Errorf("a minute later: %v", got)
	}
}
