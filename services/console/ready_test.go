package console_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/services/console"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
	"github.com/sluiceflow/sluice/services/internal/registry"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func TestAFullStreamIsNamed(t *testing.T) {
	t.Parallel()
	cfg := testkit.BusConfig(t, testkit.JetStream(t))
	cfg.CommandsMaxBytes = 1 << 20
	b := testkit.BusOn(t, cfg)
	reg, err := registry.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	c, err := console.New(t.Context(), config(t), console.Deps{
		Bus: b, Registry: reg, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	running(t, map[string]func(context.Context) error{"bus": b.Run, "console": c.Run})
	e := httpapi.NewEcho(slog.New(slog.DiscardHandler))
	httpapi.Health{Checks: c.Checks, Metrics: prometheus.NewRegistry()}.Register(e)
	ready := func() (int, string) {
		rec := httptest.NewRecorder()
		e.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/ready", http.NoBody))
		return rec.Code, rec.Body.String()
	}
	if status, body := ready(); status != http.StatusOK || !strings.Contains(body, `"space":"ok"`) {
		t.Errorf("with room it answers %d %s", status, body)
	}
	command := nats.NewMsg(b.Space.Command(subject.SourceAPI, 0, "f"))
	command.Data = make([]byte, 100_000)
	for range 20 {
		if err = b.Publish(t.Context(), command); err != nil {
			break
		}
	}
	if fault.KindOf(err) != fault.Unavailable {
		t.Fatalf("a full stream answers %v", err)
	}
	testkit.Eventually(t, 10*time.Second, func() bool {
		status, body := ready()
		return status == http.StatusOK && strings.Contains(body, `"space":"degraded: `) && strings.Contains(body, b.Commands(0))
	})
	c.Routes(e)
	rec, message := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/engine/message", strings.NewReader(`{"name":"paid","key":1}`))
	message.Host = "localhost"
	message.Header.Set("Content-Type", "application/json")
	if e.ServeHTTP(rec, message); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
		t.Errorf("a message into a full stream: %d %s", rec.Code, rec.Body)
	}
}
