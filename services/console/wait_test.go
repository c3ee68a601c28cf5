package console_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluiceflow/sluice/services/console"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
	"github.com/sluiceflow/sluice/services/internal/registry"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

const orderOf = `{"id":"%s","goals":["reserve"],"init":{"order":"A-1"}}`

// asking sends a request that waits; the answer comes by the channel.
func (s *site) asking(method, path, body string) <-chan answer {
	s.t.Helper()
	answers := make(chan answer, 1)
	s.t.Cleanup(s.asked.Wait)
	s.asked.Go(func() { answers <- s.do(method, path, body) })
	return answers
}

// waiting waits until so many requests wait.
func (s *site) waiting(n float64) {
	s.t.Helper()
	testkit.Eventually(s.t, 10*time.Second, func() error {
		got, err := s.figure("sluice_console_waiting_requests")
		if err == nil && got != n {
			err = fmt.Errorf("%v requests wait, want %v", got, n)
		}
		return err
	})
}

func got(t *testing.T, answers <-chan answer) answer {
	t.Helper()
	select {
	case a := <-answers:
		return a
	case <-time.After(20 * time.Second):
		t.Fatal("there is no answer")
		return answer{}
	}
}

func TestWhoWaitsIsAnsweredAtTheEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	started := s.asking(post, "/engine/flow?wait_ms=60000", fmt.Sprintf(orderOf, "w"))
	s.waiting(1)
	read := s.asking(get, "/engine/flow/w?wait_ms=60000", "")
	digest := s.asking(get, "/engine/flow/w/status?wait_ms=60000", "")
	s.waiting(3)
	s.complete("w", "reserve", map[string]string{"stock": "3"})
	got(t, started).want(http.StatusCreated).has("flow_id", `"w"`, "flow.id", `"w"`, "flow.status", `"completed"`, "flow.attributes.stock.value", "3")
	got(t, read).want(http.StatusOK).has("status", `"completed"`, "attributes.stock.value", "3")
	got(t, digest).want(http.StatusOK).has("status", `"completed"`)
	s.waiting(0)

	// What ended before has nothing to be waited for.
	began := time.Now()
	s.do(post, "/engine/flow?wait_ms=60000", fmt.Sprintf(orderOf, "w")).want(http.StatusOK).has("flow.status", `"completed"`)
	s.do(get, "/engine/flow/w?wait_ms=60000", "").want(http.StatusOK).has("status", `"completed"`)
	s.do(get, "/engine/flow/w/status?wait_ms=60000", "").want(http.StatusOK).has("status", `"completed"`)
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("that took %s", took)
	}
	s.do(get, "/engine/flow/none?wait_ms=60000", "").problem(http.StatusNotFound, "unknown_flow", "")
}

func TestOtherEndingsAreWaitedForToo(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	s.do(post, "/engine/flow", fmt.Sprintf(orderOf, "c")).want(http.StatusCreated)
	read := s.asking(get, "/engine/flow/c?wait_ms=60000", "")
	s.waiting(1)
	s.do(post, "/engine/flow/c/cancel", `{"reason":"no stock"}`).want(http.StatusOK)
	got(t, read).want(http.StatusOK).has("status", `"canceled"`, "error", `"no stock"`)
}

func TestAWaitHasItsEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	s.do(post, "/engine/flow?wait_ms=20", fmt.Sprintf(orderOf, "w")).want(http.StatusCreated).has("flow.status", `"active"`)
	s.do(post, "/engine/flow?wait_ms=0", fmt.Sprintf(orderOf, "w")).want(http.StatusOK).has("flow_id", `"w"`, "flow", "")
	s.do(get, "/engine/flow/w?wait_ms=20", "").want(http.StatusOK).has("status", `"active"`)
	s.do(get, "/engine/flow/w/status?wait_ms=20", "").want(http.StatusOK).has("status", `"active"`)
}

func TestPlacesToWaitAreBounded(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.WaitConcurrency = 1
	s := newSite(t, cfg)
	s.order()
	s.do(post, "/engine/flow", fmt.Sprintf(orderOf, "ended")).want(http.StatusCreated)
	s.complete("ended", "reserve", map[string]string{"stock": "3"})
	s.eventually("/engine/flow/ended", "status", `"completed"`)
	s.do(post, "/engine/flow", fmt.Sprintf(orderOf, "w")).want(http.StatusCreated)

	ctx, goAway := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		req, err := http.NewRequestWithContext(ctx, get, s.url+"/engine/flow/w?wait_ms=60000", http.NoBody)
		if err != nil {
			t.Error(err)
			return
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			t.Errorf("who went away got %d", resp.StatusCode)
		}
	}()
	s.waiting(1)
	s.do(get, "/engine/flow/w?wait_ms=60000", "").problem(http.StatusServiceUnavailable, "too_many_waiting", "")
	s.do(post, "/engine/flow?wait_ms=60000", fmt.Sprintf(orderOf, "refused")).problem(http.StatusServiceUnavailable, "too_many_waiting", "")
	s.do(get, "/engine/flow/refused", "").problem(http.StatusNotFound, "unknown_flow", "")
	s.do(get, "/engine/flow/ended?wait_ms=60000", "").want(http.StatusOK).has("status", `"completed"`)
	s.do(get, "/engine/flow/w", "").want(http.StatusOK).has("status", `"active"`)

	goAway()
	<-gone
	s.waiting(0)                                        // a client that goes away frees its place
	testkit.Eventually(t, 10*time.Second, func() bool { // just after it is not counted any more
		return s.do(get, "/engine/flow/w?wait_ms=20", "").status != http.StatusServiceUnavailable
	})
	s.do(get, "/engine/flow/w?wait_ms=20", "").want(http.StatusOK).has("status", `"active"`)
}

// A console that stops answers who waits with what is, and the server's limits
// for requests do not end a wait.
func TestAStoppingConsoleAnswersAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	s.do(post, "/engine/flow", fmt.Sprintf(orderOf, "w")).want(http.StatusCreated)

	log := slog.New(slog.DiscardHandler)
	reg, err := registry.Open(t.Context(), s.bus)
	if err != nil {
		t.Fatal(err)
	}
	second := &site{t: t, bus: s.bus, header: http.Header{}}
	second.metrics = prometheus.NewRegistry()
	c, err := console.New(t.Context(), config(t), console.Deps{Bus: s.bus, Registry: reg, Log: log, Metrics: second.metrics})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	echo := httpapi.NewEcho(log)
	c.Routes(echo)
	server := httptest.NewUnstartedServer(echo)
	const limit = 2 * time.Second
	server.Config.ReadTimeout, server.Config.WriteTimeout = limit, limit
	server.Start()
	t.Cleanup(server.Close)
	second.url = server.URL

	second.do(get, "/engine/flow/w?wait_ms=3000", "").want(http.StatusOK).has("status", `"active"`)
	read := second.asking(get, "/engine/flow/w?wait_ms=60000", "")
	digest := second.asking(get, "/engine/flow/w/status?wait_ms=60000", "")
	second.waiting(2)
	stop()
	got(t, read).want(http.StatusOK).has("status", `"active"`)
	got(t, digest).want(http.StatusOK).has("status", `"active"`)
}
