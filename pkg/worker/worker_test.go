package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/worker"
)

func newWorker(t *testing.T, opts worker.Options) *worker.Worker {
	t.Helper()
	opts.Log = slog.New(slog.DiscardHandler)
	opts.Sender.FirstDelay = time.Millisecond
	w, err := worker.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func invocation(t *testing.T, of step.Metadata, arguments string) string {
	t.Helper()
	text, err := json.Marshal(step.Request{Arguments: map[string]json.RawMessage{"in": json.RawMessage(arguments)}, Metadata: of})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// post calls a worker and returns the answer's status and body.
func post(t *testing.T, w http.Handler, body string, header http.Header) (status int, answer string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
	for name := range header {
		r.Header.Set(name, header.Get(name))
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec.Code, rec.Body.String()
}

func closeNow(t *testing.T, w *worker.Worker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := w.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestSync(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for _, tt := range []struct {
		name string
		do   worker.Func
		want string
	}{
		{
			"outputs keep their numbers", func(_ context.Context, call worker.Call) (worker.Outputs, error) {
				var in struct{ In any }
				err := call.Bind(&in)
				return worker.Outputs{"out": in.In}, err
			},
			`{"success":true,"outputs":{"out":12.50}}`,
		},
		{"no outputs", func(context.Context, worker.Call) (worker.Outputs, error) { return nil, nil }, `{"success":true}`},
		{"failure", func(context.Context, worker.Call) (worker.Outputs, error) { return nil, boom }, `{"success":false,"error":"boom"}`},
		{
			"not completed", func(context.Context, worker.Call) (worker.Outputs, error) {
				return nil, worker.NotCompleted(boom, 1500*time.Millisecond)
			},
			`{"success":false,"error":"boom","not_completed":true,"retry_after_ms":1500}`,
		},
		{
			"arguments of another type", func(_ context.Context, call worker.Call) (worker.Outputs, error) {
				return nil, call.Bind(&struct{ In []string }{})
			},
			`{"success":false,"error":"arguments: json: cannot unmarshal number into Go struct field .In of type []string"}`,
		},
		{
			"an output that is no JSON", func(context.Context, worker.Call) (worker.Outputs, error) {
				return worker.Outputs{"f": func() {}}, nil
			},
			`{"success":false,"error":"output f: json: unsupported type: func()"}`,
		},
		{
			"panic", func(context.Context, worker.Call) (worker.Outputs, error) { panic("ouch") },
			`{"success":false,"error":"the worker panicked: ouch","not_completed":true}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorker(t, worker.Options{})
			w.Sync("s", tt.do)
			status, answer := post(t, w, invocation(t, step.Metadata{StepID: "s"}, "12.50"), nil)
			if status != http.StatusOK || answer != tt.want {
				t.Errorf("got %d %s\nwant %s", status, answer, tt.want)
			}
		})
	}
}

func TestDeadlineIsNotCompleted(t *testing.T) {
	t.Parallel()
	w := newWorker(t, worker.Options{})
	w.Sync("s", func(ctx context.Context, _ worker.Call) (worker.Outputs, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	_, answer := post(t, w, invocation(t, step.Metadata{StepID: "s", Deadline: time.Now().Add(10 * time.Millisecond)}, "1"), nil)
	if answer != `{"success":false,"error":"context deadline exceeded","not_completed":true}` {
		t.Error(answer)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorker(t, worker.Options{MaxBody: 300})
	w.Async("s", func(context.Context, worker.Call) (worker.Outputs, error) { return nil, nil })
	for _, tt := range []struct {
		name, body string
		want       int
	}{
		{"not JSON", "{", 400},
		{"another step", invocation(t, step.Metadata{StepID: "other"}, "1"), 404},
		{"async without a webhook", invocation(t, step.Metadata{StepID: "s"}, "1"), 400},
		{"too large", invocation(t, step.Metadata{StepID: "s"}, `"`+strings.Repeat("x", 300)+`"`), 413},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if status, answer := post(t, w, tt.body, nil); status != tt.want || !strings.HasPrefix(answer, `{"error":"`) {
				t.Errorf("got %d %s", status, answer)
			}
		})
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if rec.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET got %d", rec.Code)
	}
}

func TestSignature(t *testing.T) {
	t.Parallel()
	const key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	signer, err := standardwebhooks.NewWebhook(key)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorker(t, worker.Options{Secret: key})
	w.Sync("s", func(context.Context, worker.Call) (worker.Outputs, error) { return nil, nil })
	body := invocation(t, step.Metadata{StepID: "s"}, "1")
	signed := func(at time.Time) http.Header {
		signature, err := signer.Sign("msg-1", at, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		h.Set("Webhook-Id", "msg-1")
		h.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
		h.Set("Webhook-Signature", signature)
		return h
	}
	for name, tt := range map[string]struct {
		header http.Header
		body   string
		want   int
	}{
		"good":         {signed(time.Now()), body, 200},
		"none":         {nil, body, 401},
		"old":          {signed(time.Now().Add(-time.Hour)), body, 401},
		"another body": {signed(time.Now()), body + " ", 401},
	} {
		if status, answer := post(t, w, tt.body, tt.header); status != tt.want {
			t.Errorf("%s: got %d %s", name, status, answer)
		}
	}
	if _, err := worker.New(worker.Options{Secret: "whsec_not base64!"}); err == nil {
		t.Error("a secret that is none was taken")
	}
}

func TestAsync(t *testing.T) {
	t.Parallel()
	g := newGateway(t, reply{status: 503}, reply{status: 200, body: accepted})
	w := newWorker(t, worker.Options{})
	release := make(chan struct{})
	w.Async("s", func(_ context.Context, call worker.Call) (worker.Outputs, error) {
		<-release
		return worker.Outputs{"flow": call.Metadata.FlowID}, nil
	})
	of := step.Metadata{FlowID: "f", StepID: "s", ReceiptToken: "tok", Attempt: 1, WebhookURL: g.URL}
	const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	status, answer := post(t, w, invocation(t, of, "1"), http.Header{"Traceparent": {traceparent}})
	if status != 200 || answer != `{"success":true}` {
		t.Fatalf("got %d %s", status, answer)
	}
	close(release)
	closeNow(t, w)
	if posts := g.posts(); len(posts) != 2 || posts[1] != `{"success":true,"outputs":{"flow":"f"}}` {
		t.Errorf("posted %q", posts)
	}
	if g.header.Get("Traceparent") != traceparent {
		t.Error("the trace context is lost")
	}
	if status, _ := post(t, w, invocation(t, of, "1"), nil); status != http.StatusServiceUnavailable {
		t.Errorf("a closed worker answered %d", status)
	}
}

func TestRepeatedCallRunsOnce(t *testing.T) {
	t.Parallel()
	g := newGateway(t, reply{status: 200, body: accepted})
	w := newWorker(t, worker.Options{})
	var runs atomic.Int32
	release := make(chan struct{})
	w.Async("s", func(context.Context, worker.Call) (worker.Outputs, error) {
		runs.Add(1)
		<-release
		return nil, nil
	})
	of := step.Metadata{StepID: "s", ReceiptToken: "tok", Attempt: 1, WebhookURL: g.URL}
	for range 3 {
		if status, answer := post(t, w, invocation(t, of, "1"), nil); status != 200 {
			t.Errorf("got %d %s", status, answer)
		}
	}
	of.Attempt = 2
	if status, answer := post(t, w, invocation(t, of, "1"), nil); status != 200 {
		t.Errorf("got %d %s", status, answer)
	}
	close(release)
	closeNow(t, w)
	if runs.Load() != 2 || len(g.posts()) != 2 {
		t.Errorf("%d runs, %d posts, of two attempts", runs.Load(), len(g.posts()))
	}
}

func TestPoolIsBounded(t *testing.T) {
	t.Parallel()
	g := newGateway(t, reply{status: 200, body: accepted})
	w := newWorker(t, worker.Options{Concurrency: 2, Queue: 3})
	var now, most atomic.Int32
	release := make(chan struct{})
	w.Async("s", func(context.Context, worker.Call) (worker.Outputs, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m; m = most.Load() {
			if most.CompareAndSwap(m, n) {
				break
			}
		}
		<-release
		return nil, nil
	})
	counts := map[int]int{}
	for i := range 8 {
		of := step.Metadata{StepID: "s", ReceiptToken: strconv.Itoa(i), Attempt: 1, WebhookURL: g.URL}
		status, _ := post(t, w, invocation(t, of, "1"), nil)
		counts[status]++
	}
	close(release)
	closeNow(t, w)
	if counts[200] != 5 || counts[503] != 3 {
		t.Errorf("answers: %v", counts)
	}
	if most.Load() > 2 || len(g.posts()) != 5 {
		t.Errorf("%d at once, %d posts", most.Load(), len(g.posts()))
	}
}

func TestCloseLosesPatience(t *testing.T) {
	t.Parallel()
	w := newWorker(t, worker.Options{})
	w.Async("s", func(ctx context.Context, _ worker.Call) (worker.Outputs, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	of := step.Metadata{StepID: "s", ReceiptToken: "t", WebhookURL: "http://127.0.0.1:1/"}
	if status, answer := post(t, w, invocation(t, of, "1"), nil); status != 200 {
		t.Fatalf("got %d %s", status, answer)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestServeDrains(t *testing.T) {
	t.Parallel()
	g := newGateway(t, reply{status: 200, body: accepted})
	w := newWorker(t, worker.Options{})
	started, release := make(chan struct{}), make(chan struct{})
	w.Async("s", func(context.Context, worker.Call) (worker.Outputs, error) {
		close(started)
		<-release
		return nil, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	endpoint, stop, err := w.Start(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	of := step.Metadata{StepID: "s", ReceiptToken: "t", WebhookURL: g.URL}
	resp, err := http.Post(endpoint, "application/json", bytes.NewReader([]byte(invocation(t, of, "1"))))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	<-started
	cancel()
	close(release)
	for range 2 {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
	if len(g.posts()) != 1 {
		t.Errorf("%d posts", len(g.posts()))
	}
	if err := w.Run(t.Context(), "256.0.0.1:1"); err == nil {
		t.Error("served an address that is none")
	}
	if _, _, err := w.Start(t.Context(), "256.0.0.1:1"); err == nil {
		t.Error("started on an address that is none")
	}
}
