package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/worker"
)

// gateway answers webhooks from a script, and repeats its last line.
type gateway struct {
	*httptest.Server

	mu     sync.Mutex
	bodies []string
	header http.Header
}

type reply struct {
	status     int
	body       string
	retryAfter string
}

func newGateway(t *testing.T, script ...reply) *gateway {
	t.Helper()
	g := &gateway{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		g.mu.Lock()
		g.bodies, g.header = append(g.bodies, string(body)), r.Header
		now := script[min(len(g.bodies), len(script))-1]
		g.mu.Unlock()
		if now.retryAfter != "" {
			rw.Header().Set("Retry-After", now.retryAfter)
		}
		if now.status == 0 {
			panic(http.ErrAbortHandler) // no answer
		}
		if now.status == http.StatusFound {
			rw.Header().Set("Location", "/elsewhere")
		}
		rw.WriteHeader(now.status)
		_, _ = rw.Write([]byte(now.body))
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *gateway) posts() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.bodies...)
}

const (
	accepted = `{"status":"accepted"}`
	replayed = `{"status":"replayed"}`
	secret   = "token-that-nobody-may-read"
)

func TestSend(t *testing.T) {
	t.Parallel()
	ok := reply{status: 200, body: accepted}
	for _, tt := range []struct {
		name    string
		script  []reply
		want    worker.Status
		refused int
		posts   int
	}{
		{"accepted", []reply{ok}, worker.Accepted, 0, 1},
		{"replayed", []reply{{status: 200, body: replayed}}, worker.Replayed, 0, 1},
		{"503 first", []reply{{status: 503}, {status: 503}, ok}, worker.Accepted, 0, 3},
		{"500, 429, 408 and 425 first", []reply{{status: 500}, {status: 429}, {status: 408}, {status: 425}, ok}, worker.Accepted, 0, 5},
		{"no answer first", []reply{{}, {status: 200, body: replayed}}, worker.Replayed, 0, 2},
		{"a proxy's page is no promise", []reply{{status: 200, body: "<html>"}, ok}, worker.Accepted, 0, 2},
		{"400", []reply{{status: 400, body: `{"detail":"no"}`}}, "", 400, 1},
		{"404", []reply{{status: 404}}, "", 404, 1},
		{"409", []reply{{status: 409}}, "", 409, 1},
		{"410", []reply{{status: 410}}, "", 410, 1},
		{"409 after 503", []reply{{status: 503}, {status: 409}}, "", 409, 2},
		{"a redirect is not followed", []reply{{status: 302}, ok}, "", 302, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, tt.script...)
			s := worker.Sender{FirstDelay: time.Millisecond, MaxDelay: 2 * time.Millisecond}
			status, err := s.Send(t.Context(), g.URL+"/"+secret, step.Result{Success: true, Outputs: map[string]json.RawMessage{"a": json.RawMessage("1.50")}})
			refusal, isRefusal := errors.AsType[*worker.RefusedError](err)
			switch {
			case status != tt.want:
				t.Errorf("got %q, %v", status, err)
			case tt.refused == 0 && err != nil:
				t.Error(err)
			case tt.refused != 0 && (!isRefusal || refusal.Status != tt.refused):
				t.Errorf("got %v", err)
			}
			if len(g.posts()) != tt.posts {
				t.Errorf("%d posts", len(g.posts()))
			}
			for _, body := range g.posts() {
				if body != `{"success":true,"outputs":{"a":1.50}}` {
					t.Errorf("posted %s", body)
				}
			}
		})
	}
}

func TestSendHeedsRetryAfter(t *testing.T) {
	t.Parallel()
	g := newGateway(t, reply{status: 503, retryAfter: "1"}, reply{status: 200, body: accepted})
	s := worker.Sender{FirstDelay: time.Millisecond}
	began := time.Now()
	if _, err := s.Send(t.Context(), g.URL, step.Result{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("sent again after %s", took)
	}
}

// ends answers 503, and runs out of the sender's time with the second request.
func ends(end context.CancelCauseFunc) http.HandlerFunc {
	var asked atomic.Int64
	return func(rw http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 2 {
			end(context.DeadlineExceeded)
		}
		rw.WriteHeader(http.StatusServiceUnavailable)
	}
}

func TestSendEnds(t *testing.T) {
	t.Parallel()
	g := newGateway(t, reply{status: 503})
	t.Run("with its patience", func(t *testing.T) {
		t.Parallel()
		s := worker.Sender{FirstDelay: time.Millisecond, Patience: 20 * time.Millisecond}
		if _, err := s.Send(t.Context(), g.URL, step.Result{}); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("with its context", func(t *testing.T) {
		t.Parallel()
		ctx, end := context.WithCancelCause(t.Context())
		server := httptest.NewServer(ends(end))
		t.Cleanup(server.Close)
		s := worker.Sender{FirstDelay: time.Millisecond, MaxDelay: time.Millisecond}
		_, err := s.Send(ctx, server.URL, step.Result{})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "503") {
			t.Errorf("got %v", err)
		}
	})
}

// A webhook URL holds the token, which errors end up in logs with.
func TestErrorsDoNotHoldTheToken(t *testing.T) {
	t.Parallel()
	g := newGateway(t, reply{})
	s := worker.Sender{FirstDelay: time.Millisecond, Patience: 10 * time.Millisecond}
	for _, url := range []string{g.URL + "/" + secret, "http://%zz/" + secret, "ftp://x/" + secret} {
		if _, err := s.Send(t.Context(), url, step.Result{}); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", url, err)
		}
	}
}
