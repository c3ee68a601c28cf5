package waiting

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/api"
)

// newRun is a run whose control API answers with what is given for a path.
func newRun(t *testing.T, flows int, answers map[string]string) *run {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.URL.Path
		if status := r.URL.Query().Get("status"); status != "" {
			key += "?" + status
		}
		_, _ = io.WriteString(w, answers[key])
	}))
	t.Cleanup(server.Close)
	return &run{cfg: Config{Flows: flows}, api: api.New(server.URL), prefix: "f"}
}

func TestOnce(t *testing.T) {
	t.Parallel()
	r := newRun(t, 3, map[string]string{
		"/engine/flow/f0/events": `{"events":[{"type":"flow_started"},{"type":"work_succeeded"},{"type":"flow_completed"}]}`,
		"/engine/flow/f1/events": `{"events":[{"type":"work_succeeded"},{"type":"work_succeeded"},{"type":"flow_completed"}]}`,
		"/engine/flow/f2/events": `{"events":[{"type":"flow_started"}]}`,
	})
	for i := range 3 {
		if err := r.once(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	if r.checked != 1 || len(r.lost) != 2 || !strings.Contains(r.lost[0], "f1") || !strings.Contains(r.lost[1], "f2") {
		t.Errorf("checked %d, lost %q; want f0 checked and the others lost", r.checked, r.lost)
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, completed, active string
		lost                    bool
	}{
		{name: "all are there", completed: `{"total":2}`, active: `{"total":5}`},
		{name: "one is missing", completed: `{"total":2}`, active: `{"total":4}`, lost: true},
		{name: "one completed by itself", completed: `{"total":3}`, active: `{"total":4}`, lost: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRun(t, 7, map[string]string{"/engine/flow?completed": tt.completed, "/engine/flow?active": tt.active})
			if err := r.count(t.Context(), 2, 0); err != nil {
				t.Fatal(err)
			}
			if lost := len(r.lost) > 0; lost != tt.lost {
				t.Errorf("lost %q, want some: %t", r.lost, tt.lost)
			}
		})
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	r := &run{cfg: Config{Flows: 3 * oldest}}
	order := r.order()
	if order[0] >= oldest {
		t.Errorf("the first is flow %d, want one of the oldest %d", order[0], oldest)
	}
	slices.Sort(order)
	for i, n := range order {
		if i != n {
			t.Fatalf("flow %d is missing or there twice", i)
		}
	}
}

func TestEach(t *testing.T) {
	t.Parallel()
	var calls, sum atomic.Int64
	add := func(_ context.Context, i int) error {
		calls.Add(1)
		sum.Add(int64(i))
		return nil
	}
	if err := each(t.Context(), 100, 7, add); err != nil || calls.Load() != 100 || sum.Load() != 4950 {
		t.Errorf("got %v, %d calls, sum %d", err, calls.Load(), sum.Load())
	}
	boom := errors.New("boom")
	err := each(t.Context(), 1_000_000, 2, func(_ context.Context, i int) error {
		if i == 10 {
			return boom
		}
		return nil
	})
	if !errors.Is(err, boom) {
		t.Errorf("got %v, want the first error", err)
	}
}

func TestWorker(t *testing.T) {
	t.Parallel()
	w, err := serve(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	for _, flow := range []string{"a", "a", "b"} {
		body := fmt.Sprintf(`{"metadata":{"flow_id":%q,"webhook_url":"http://gateway/%s"}}`, flow, flow)
		resp, err := http.Post(w.endpoint, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(answer), `"success":true`) {
			t.Errorf("answered %d %s %v", resp.StatusCode, answer, err)
		}
	}
	select {
	case <-w.all:
	case <-time.After(10 * time.Second):
		t.Error("all flows were invoked and nobody says so")
	}
	if w.duplicates.Load() != 1 || w.webhook("b") != "http://gateway/b" || w.webhook("c") != "" || w.count() != 2 {
		t.Errorf("%d duplicates, webhooks %v", w.duplicates.Load(), w.webhooks)
	}
}
