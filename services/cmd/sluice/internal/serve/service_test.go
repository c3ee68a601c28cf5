package serve_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluiceflow/sluice/services/cmd/sluice/internal/serve"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

const soon = 20 * time.Second

// service is one with a single role, on a NATS of its own.
func service(t *testing.T, build serve.Build) (s serve.Service, addr <-chan string) {
	t.Helper()
	ready := make(chan string, 1)
	return serve.Service{
		Name: "test", Makes: true,
		Config: serve.Config{
			Listen: "127.0.0.1:0", DrainTimeout: 5 * time.Second,
			Bus: testkit.BusConfig(t, testkit.JetStream(t)),
		},
		Roles: map[string]serve.Build{"role": build},
		Ready: func(at string) { ready <- at },
	}, ready
}

func idle(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func well(context.Context) map[string]error { return nil }

func TestWhatRolesStandOnOutlivesThem(t *testing.T) {
	t.Parallel()
	var drained error
	s, ready := service(t, func(_ context.Context, p serve.Platform) (serve.Role, error) {
		run := func(ctx context.Context) error {
			<-ctx.Done()
			drained = p.Bus.NC.FlushTimeout(30 * time.Second)
			return nil
		}
		return serve.Role{Run: run, Checks: well}, nil
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, slog.New(slog.DiscardHandler)) }()
	<-ready
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if drained != nil {
		t.Errorf("NATS was gone before its role: %v", drained)
	}
}

func TestARoleIsTriedAgainWhileItsDependencyIsDown(t *testing.T) {
	t.Parallel()
	var tries, sick atomic.Int32
	s, ready := service(t, func(_ context.Context, p serve.Platform) (serve.Role, error) {
		p.Metrics.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_tries_total", Help: "For the test."}))
		if tries.Add(1) < 3 {
			return serve.Role{}, fault.Newf(fault.Unavailable, "test", "not yet")
		}
		return serve.Role{
			Routes: func(e *echo.Echo) {
				e.GET("/here", func(c echo.Context) error { return c.NoContent(http.StatusNoContent) })
			},
			Run: idle,
			Checks: func(context.Context) map[string]error {
				if sick.Load() > 0 {
					return map[string]error{"heart": errors.New("broken")}
				}
				return map[string]error{"heart": nil}
			},
		}, nil
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, slog.New(slog.DiscardHandler)) }()
	base := "http://" + <-ready
	for path, want := range map[string]string{
		"/here": "204", "/ready": `200 {"checks":{"heart":"ok","nats":"ok"},"durability":"fast"`, "/metrics": "sluice_tries_total 0",
	} {
		if got := get(t, base+path); !strings.Contains(got, want) {
			t.Errorf("%s answered %s, want %s", path, got, want)
		}
	}
	sick.Store(1)
	if got := get(t, base+"/ready"); !strings.Contains(got, "503") || !strings.Contains(got, `"heart":"broken"`) {
		t.Errorf("sick, it answered %s", got)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAFailureEndsTheService(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, build := range map[string]serve.Build{
		"a role that cannot be made": func(context.Context, serve.Platform) (serve.Role, error) {
			return serve.Role{}, fault.New(fault.Invalid, "test", boom)
		},
		"a role that fails": func(context.Context, serve.Platform) (serve.Role, error) {
			return serve.Role{Checks: well, Run: func(context.Context) error { return boom }}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := service(t, build)
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			defer cancel()
			if err := s.Run(ctx, slog.New(slog.DiscardHandler)); !errors.Is(err, boom) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Whoever calls a service before it can do its work must come again: a 404 would
// say that there is nothing to come for.
func TestWhatIsNotServedYetIsUnavailable(t *testing.T) {
	t.Parallel()
	const path = "/webhook/flow/step/token"
	proceed, addr := make(chan struct{}), make(chan string, 1)
	s, ready := service(t, func(_ context.Context, p serve.Platform) (serve.Role, error) {
		addr <- p.Addr
		<-proceed
		return serve.Role{
			Routes: func(e *echo.Echo) {
				e.POST(path, func(c echo.Context) error { return c.NoContent(http.StatusNoContent) })
			},
			Run: idle, Checks: well,
		}, nil
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, slog.New(slog.DiscardHandler)) }()
	base := "http://" + <-addr
	resp, err := http.Post(base+path, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("before it has started: %s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
	}
	close(proceed)
	<-ready
	if resp, err = http.Post(base+path, "application/json", strings.NewReader("{}")); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("once it has: %s", resp.Status)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestPasswordsAreNotTold(t *testing.T) {
	t.Parallel()
	s, _ := service(t, nil)
	s.Config.Bus.NATSURL = "nats://ada:hunter2@127.0.0.1:1"
	var log syncBuffer
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, slog.New(slog.NewTextHandler(&log, nil))) }()
	var addr string
	testkit.Eventually(t, soon, func() bool {
		_, rest, ok := strings.Cut(log.String(), "address=")
		addr, _, _ = strings.Cut(rest, " ")
		return ok && strings.Contains(log.String(), "not there yet")
	})
	got := get(t, "http://"+addr+"/ready")
	if !strings.Contains(got, "503") || !strings.Contains(got, "ada:xxxxx@127.0.0.1:1") {
		t.Errorf("answered %s", got)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("logged: %s", log.String())
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, data)
}
