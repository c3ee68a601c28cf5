package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/worker"
)

func compensation(t *testing.T, of step.Metadata) string {
	t.Helper()
	text, err := json.Marshal(step.Compensation{
		Inputs: map[string]json.RawMessage{}, Outputs: map[string]json.RawMessage{"receipt": []byte("12.50")}, Metadata: of,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCompensate(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for _, tt := range []struct {
		name   string
		undo   worker.Undo
		status int
		want   string
		after  string
	}{
		{"undone", func(_ context.Context, c worker.Compensation) error {
			var out struct{ Receipt json.Number }
			if err := c.BindOutputs(&out); err != nil || out.Receipt != "12.50" || c.Metadata.ReceiptToken != "tok" {
				return boom
			}
			return c.BindInputs(&struct{}{})
		}, 200, `{"success":true}`, ""},
		{"given up", func(context.Context, worker.Compensation) error { return boom }, 422, `{"error":"boom"}`, ""},
		{"not completed", func(context.Context, worker.Compensation) error {
			return worker.NotCompleted(boom, 1200*time.Millisecond)
		}, 503, `{"error":"boom"}`, "2"},
		{"panic", func(context.Context, worker.Compensation) error { panic("ouch") }, 503, `{"error":"the worker panicked: ouch"}`, ""},
		{"too late", func(ctx context.Context, _ worker.Compensation) error {
			<-ctx.Done()
			return ctx.Err()
		}, 503, `{"error":"context deadline exceeded"}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorker(t, worker.Options{})
			w.Sync("s", func(context.Context, worker.Call) (worker.Outputs, error) { return nil, boom })
			w.Compensate("s", tt.undo)
			of := step.Metadata{StepID: "s", ReceiptToken: "tok"}
			if tt.name == "too late" {
				of.Deadline = time.Now().Add(10 * time.Millisecond)
			}
			rec := httptest.NewRecorder()
			w.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(compensation(t, of))))
			if rec.Code != tt.status || rec.Body.String() != tt.want || rec.Header().Get("Retry-After") != tt.after {
				t.Errorf("got %d %s, Retry-After %q", rec.Code, rec.Body, rec.Header().Get("Retry-After"))
			}
		})
	}
}

func TestWhatCannotBeCompensatedIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorker(t, worker.Options{})
	w.Sync("s", func(context.Context, worker.Call) (worker.Outputs, error) { return nil, nil })
	if status, answer := post(t, w, compensation(t, step.Metadata{StepID: "s"}), nil); status != 404 {
		t.Errorf("of a step that has no function: %d %s", status, answer)
	}
	w.Compensate("s", func(context.Context, worker.Compensation) error { return nil })
	if status, answer := post(t, w, invocation(t, step.Metadata{StepID: "s"}, "1"), nil); status != 200 || answer != `{"success":true}` {
		t.Errorf("work is taken for a compensation: %d %s", status, answer)
	}
	closeNow(t, w)
	if status, _ := post(t, w, compensation(t, step.Metadata{StepID: "s"}), nil); status != http.StatusServiceUnavailable {
		t.Errorf("a closed worker answered %d", status)
	}
}
