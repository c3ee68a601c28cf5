package httpapi_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluiceflow/sluice/services/internal/httpapi"
)

func TestHealthTellsOfDependencies(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_test_total", Help: "For the test."})
	reg.MustRegister(counter)
	var down error
	e := httpapi.NewEcho(slog.New(slog.DiscardHandler))
	httpapi.Health{
		Service: "test", Metrics: reg,
		Checks: func(context.Context) map[string]error { return map[string]error{"nats": nil, "redis": down} },
		Extra:  func(context.Context) map[string]any { return map[string]any{"durability": "fast"} },
	}.Register(e)
	for _, tt := range []struct {
		path string
		down error
		code int
		want []string
	}{
		{path: "/health", down: errors.New("gone"), code: 200, want: []string{`"service":"test"`, `"status":"healthy"`}},
		{path: "/ready", code: 200, want: []string{`"status":"ready"`, `"nats":"ok"`, `"durability":"fast"`}},
		{path: "/ready", down: errors.New("gone"), code: 503, want: []string{`"status":"not ready"`, `"redis":"gone"`}},
		{path: "/ready", down: httpapi.Degraded(errors.New("gone")), code: 200, want: []string{`"status":"ready"`, `"redis":"degraded: gone"`}},
		{path: "/ready", down: httpapi.Degraded(nil), code: 200, want: []string{`"redis":"ok"`}},
		{path: "/metrics", code: 200, want: []string{"sluice_test_total 0"}},
	} {
		down = tt.down
		rec := serve(e, http.MethodGet, tt.path, "")
		if rec.Code != tt.code {
			t.Errorf("%s answered %d, want %d", tt.path, rec.Code, tt.code)
		}
		for _, want := range tt.want {
			if !strings.Contains(rec.Body.String(), want) {
				t.Errorf("%s has no %s: %s", tt.path, want, rec.Body)
			}
		}
	}
}

func TestWorseOfTwoChecks(t *testing.T) {
	t.Parallel()
	gone, slow := errors.New("gone"), httpapi.Degraded(errors.New("slow"))
	for _, tt := range [][3]error{ // two checks, and the worse of them
		{nil, nil, nil}, {nil, slow, slow}, {slow, nil, slow}, {slow, gone, gone}, {gone, slow, gone}, {gone, nil, gone},
	} {
		if got := httpapi.Worse(tt[0], tt[1]); !errors.Is(got, tt[2]) {
			t.Errorf("the worse of %v and %v is %v", tt[0], tt[1], got)
		}
	}
}

func TestServerReplacesItsHandlerAndDrains(t *testing.T) {
	t.Parallel()
	s := httpapi.NewServer("127.0.0.1:0", 5*time.Second, slog.New(slog.DiscardHandler))
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	url := "http://" + s.Addr() + "/"
	if status := get(url); status != http.StatusNotFound {
		t.Errorf("without a handler it answered %d", status)
	}

	entered, release := make(chan struct{}), make(chan struct{})
	s.Handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		if r.Context().Err() != nil {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	answered := make(chan int, 1)
	go func() {
		answered <- get(url)
	}()
	<-entered
	stop()
	select {
	case err := <-ended:
		t.Fatalf("ended before its last request: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	if status := <-answered; status != http.StatusOK {
		t.Errorf("the last request got %d", status)
	}
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestServerCutsOffWhatOutlastsTheDrainTime(t *testing.T) {
	t.Parallel()
	s := httpapi.NewServer("127.0.0.1:0", time.Millisecond, slog.New(slog.DiscardHandler))
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	entered, cut := make(chan struct{}), make(chan struct{})
	s.Handle(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(cut)
	}))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	go get("http://" + s.Addr()) // what it answers is its end
	<-entered
	stop()
	<-cut
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestListenNamesAnAddressInUse(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	first := httpapi.NewServer("127.0.0.1:0", time.Second, log)
	if err := first.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- first.Run(ctx) }()
	err := httpapi.NewServer(first.Addr(), time.Second, log).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), first.Addr()) || !strings.Contains(err.Error(), "LISTEN_ADDR") {
		t.Errorf("got %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// get returns the status of an answer, and 0 for none.
func get(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}
