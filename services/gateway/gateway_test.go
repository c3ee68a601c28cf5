package gateway_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/gateway"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
	"github.com/sluiceflow/sluice/services/internal/keys"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

const (
	succeeded = `{"success": true, "outputs": {"a": 1}}`
	trace     = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
)

func depsOf(tb testing.TB) gateway.Deps {
	tb.Helper()
	b := testkit.Bus(tb)
	index, err := tokenindex.Open(tokenindex.Config{URL: testkit.Redis(tb), RecordTTL: time.Hour, CallTimeout: 20 * time.Second}, "")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = index.Close() })
	text := "1:" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), token.MinSecretBytes))
	k, err := keys.Open(tb.Context(), b, text, false, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	return gateway.Deps{Bus: b, Index: index, Keys: k, Lossy: func() bool { return true }, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()}
}

func configOf() gateway.Config {
	return gateway.Config{WithoutRedis: "accept", BadTokensPerMinute: 1, WebhookConcurrency: 4096, CORSOrigins: []string{"https://pages.example"}}
}

func start(t *testing.T, cfg gateway.Config, deps gateway.Deps) http.Handler {
	t.Helper()
	g, err := gateway.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for name, err := range g.Checks(t.Context()) {
		if err != nil {
			t.Errorf("%s is not ready: %v", name, err)
		}
	}
	e := httpapi.NewEcho(deps.Log)
	g.Routes(e)
	return e
}

func request(method, tok string, header ...string) *http.Request {
	req := httptest.NewRequest(method, "/webhook/order-1/charge/"+tok, strings.NewReader(succeeded))
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

func do(h http.Handler, req *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

func mint(deps gateway.Deps) string {
	return deps.Keys.Ring().Mint(token.Claims{FlowID: "order-1", StepID: "charge", Run: 7})
}

func TestAWebhookIsStoredInCommands(t *testing.T) {
	t.Parallel()
	otel.SetTextMapPropagator(propagation.TraceContext{})
	deps := depsOf(t)
	h := start(t, configOf(), deps)
	for _, want := range []string{`{"status":"accepted"}`, `{"status":"replayed"}`} {
		if rec := do(h, request(http.MethodPost, mint(deps), "traceparent", trace)); rec.Code != http.StatusOK || rec.Body.String() != want {
			t.Fatalf("%d %s, want %s", rec.Code, rec.Body, want)
		}
	}
	b := deps.Bus
	stream, err := b.JS.Stream(t.Context(), b.Commands(b.Shard(b.Partition("order-1"))))
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetLastMsgForSubject(t.Context(), b.Space.Command("hook", b.Partition("order-1"), "order-1"))
	if err != nil {
		t.Fatal(err)
	}
	var cmd sluicev1.Command
	if err := proto.Unmarshal(msg.Data, &cmd); err != nil {
		t.Fatal(err)
	}
	if w := cmd.GetCompleteWork(); w.GetWork().GetRun() != 7 || string(w.GetOutcome().GetOutputs()["a"]) != "1" {
		t.Errorf("stored %v", &cmd)
	}
	if got := msg.Header.Get("traceparent"); !strings.Contains(got, trace[3:35]) {
		t.Errorf("traceparent %q, want the trace of the request", got)
	}
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs != 1 {
		t.Errorf("%d messages, %v, want the repeat not stored", info.State.Msgs, err)
	}
}

func TestNATSDown(t *testing.T) {
	t.Parallel()
	deps := depsOf(t)
	h := start(t, configOf(), deps)
	deps.Bus.NC.Close()
	rec := do(h, request(http.MethodPost, mint(deps)))
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
		t.Errorf("%d, Retry-After %q: %s", rec.Code, rec.Header().Get("Retry-After"), rec.Body)
	}
}

func TestWithoutRedisItIsReadyOrNot(t *testing.T) {
	t.Parallel()
	redis := testkit.NewRedis(t)
	deps := depsOf(t)
	index, err := tokenindex.Open(tokenindex.Config{URL: redis.URL(), RecordTTL: time.Hour}, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = index.Close() })
	deps.Index = index
	redis.Stop()
	for setting, status := range map[string]int{"accept": http.StatusOK, "reject": http.StatusServiceUnavailable} {
		cfg := configOf()
		cfg.WithoutRedis, deps.Metrics = setting, prometheus.NewRegistry()
		g, err := gateway.New(cfg, deps)
		if err != nil {
			t.Fatal(err)
		}
		e := httpapi.NewEcho(deps.Log)
		httpapi.Health{Checks: g.Checks, Metrics: prometheus.NewRegistry()}.Register(e)
		rec := do(e, httptest.NewRequest(http.MethodGet, "/ready", http.NoBody))
		if degraded := strings.Contains(rec.Body.String(), `"redis":"degraded: `); rec.Code != status || degraded != (setting == "accept") {
			t.Errorf("%s: %d %s", setting, rec.Code, rec.Body)
		}
	}
}

func TestPagesMayPostWhereTheyAreAllowed(t *testing.T) {
	t.Parallel()
	deps := depsOf(t)
	h := start(t, configOf(), deps)
	ask := []string{"Origin", "https://pages.example", "Access-Control-Request-Method", "POST"}
	rec := do(h, request(http.MethodOptions, "any", ask...))
	if rec.Code != http.StatusNoContent || rec.Header().Get("Access-Control-Allow-Origin") != "https://pages.example" ||
		rec.Header().Get("Access-Control-Allow-Methods") != "POST" {
		t.Errorf("preflight: %d %v", rec.Code, rec.Header())
	}
	rec = do(h, request(http.MethodPost, mint(deps), "Origin", "https://pages.example"))
	if rec.Code != http.StatusOK || rec.Header().Get("Access-Control-Allow-Origin") != "https://pages.example" {
		t.Errorf("post: %d %v", rec.Code, rec.Header())
	}
	rec = do(h, request(http.MethodPost, mint(deps), "Origin", "https://elsewhere.example"))
	if rec.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin is allowed: %v", rec.Header())
	}
	deps.Metrics = prometheus.NewRegistry()
	cfg := configOf()
	cfg.CORSOrigins = nil
	if rec := do(start(t, cfg, deps), request(http.MethodOptions, "any", ask...)); rec.Code != http.StatusMethodNotAllowed {
		t.Errorf("preflight without CORS: %d", rec.Code)
	}
}

func TestWhoCountsAsTheGuesser(t *testing.T) {
	t.Parallel()
	deps := depsOf(t)
	for name, tt := range map[string]struct {
		proxies       []string
		first, second string // X-Forwarded-For; both come from 192.0.2.1
		shared        bool
	}{
		"no proxy is trusted":        {first: "198.51.100.1", second: "198.51.100.2", shared: true},
		"behind a trusted one":       {proxies: []string{"192.0.2.0/24"}, first: "198.51.100.1", second: "198.51.100.2"},
		"the same behind it":         {proxies: []string{"192.0.2.1"}, first: "198.51.100.1", second: "198.51.100.1", shared: true},
		"what the guesser added":     {proxies: []string{"192.0.2.1"}, first: "1.1.1.1, 198.51.100.1", second: "2.2.2.2, 198.51.100.1", shared: true},
		"another proxy is trusted":   {proxies: []string{"203.0.113.1"}, first: "198.51.100.1", second: "198.51.100.2", shared: true},
		"two trusted ones in a line": {proxies: []string{"192.0.2.1", "10.0.0.0/8"}, first: "198.51.100.1, 10.1.1.1", second: "198.51.100.2, 10.1.1.1"},
	} {
		deps.Metrics = prometheus.NewRegistry()
		cfg := configOf()
		cfg.TrustedProxies = tt.proxies
		h := start(t, cfg, deps)
		if rec := do(h, request(http.MethodPost, "guess", "X-Forwarded-For", tt.first)); rec.Code != http.StatusNotFound {
			t.Errorf("%s: first guess: %d", name, rec.Code)
		}
		rec := do(h, request(http.MethodPost, "guess", "X-Forwarded-For", tt.second))
		if limited := rec.Code == http.StatusTooManyRequests; limited != tt.shared {
			t.Errorf("%s: second guess: %d, want limited %t", name, rec.Code, tt.shared)
		}
	}
}

func TestSettingsThatCannotWork(t *testing.T) {
	t.Parallel()
	_, err := gateway.New(gateway.Config{
		WithoutRedis: "maybe", TrustedProxies: []string{"10.0.0.0/8", "nowhere"},
	}, gateway.Deps{Bus: &bus.Bus{}})
	for _, want := range []string{"GATEWAY_WITHOUT_REDIS", "BAD_TOKENS_PER_MINUTE", "WEBHOOK_CONCURRENCY", `TRUSTED_PROXIES: "nowhere"`} {
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to name %s", err, want)
		}
	}
}
