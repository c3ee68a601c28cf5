package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"

	"github.com/sluiceflow/sluice/services/internal/telemetry"
)

func TestLoggerWritesWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	var text, lines bytes.Buffer
	telemetry.Logger(telemetry.Config{LogLevel: slog.LevelWarn, LogFormat: "text"}, &text).Info("quiet")
	if text.Len() > 0 {
		t.Errorf("logged below its level: %s", &text)
	}
	telemetry.Logger(telemetry.Config{LogFormat: "json"}, &lines).Info("heard", slog.Int("n", 1))
	var record struct {
		Msg string `json:"msg"`
		N   int    `json:"n"`
	}
	if err := json.Unmarshal(lines.Bytes(), &record); err != nil || record.Msg != "heard" || record.N != 1 {
		t.Errorf("got %+v, %v from %s", record, err, &lines)
	}
}

func TestValidateRefusesAFormat(t *testing.T) {
	t.Parallel()
	if err := (telemetry.Config{LogFormat: "xml"}).Validate(); err == nil {
		t.Error("xml passed")
	}
}

// It does not run beside others, for it sets what is global to the process.
func TestTracingSendsSpansAndPropagates(t *testing.T) { //nolint:paralleltest // see above
	got := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got <- r.URL.Path
	}))
	defer collector.Close()
	shutdown, err := telemetry.Tracing(t.Context(), telemetry.Config{OTLPEndpoint: collector.URL + "/"}, "test", "1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := otel.Tracer("test").Start(context.Background(), "work")
	carrier := propagation.MapCarrier{}
	otel.GetTextMapPropagator().Inject(ctx, carrier)
	span.End()
	if err := shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if path := <-got; path != "/v1/traces" {
		t.Errorf("spans went to %s", path)
	}
	if want := span.SpanContext().TraceID().String(); !strings.Contains(carrier["traceparent"], want) {
		t.Errorf("traceparent %q has no %s", carrier["traceparent"], want)
	}
}

func TestMetricsHaveTheProcess(t *testing.T) {
	t.Parallel()
	families, err := telemetry.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "go_goroutines" {
			return
		}
	}
	t.Error("go_goroutines is missing")
}
