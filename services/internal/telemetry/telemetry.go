// Package telemetry sets up logs, traces and metrics.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// Config is how a program tells what it does.
type Config struct {
	LogLevel     slog.Level `env:"LOG_LEVEL" envDefault:"info" help:"what is logged: debug, info, warn or error and what is graver"`
	LogFormat    string     `env:"LOG_FORMAT" envDefault:"json" help:"how it is logged: text or json"`
	OTLPEndpoint string     `env:"OTEL_EXPORTER_OTLP_ENDPOINT" help:"where traces go by OTLP over HTTP, such as http://collector:4318; none by default"`
}

// Validate refuses a format that is none.
func (c Config) Validate() error {
	if c.LogFormat != "text" && c.LogFormat != "json" {
		return fmt.Errorf("LOG_FORMAT: %q is neither text nor json", c.LogFormat)
	}
	return nil
}

// Logger makes the logger that the configuration asks for. Of warnings and errors
// that come again and again it logs some.
func Logger(cfg Config, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "json" {
		return slog.New(limit(slog.NewJSONHandler(w, opts)))
	}
	return slog.New(limit(slog.NewTextHandler(w, opts)))
}

// Tracing makes W3C trace context travel, and spans leave where an endpoint is
// configured. What it returns sends the last of them.
func Tracing(ctx context.Context, cfg Config, service, version string) (shutdown func(context.Context) error, err error) {
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(
		propagation.TraceContext{}, propagation.Baggage{}))
	if cfg.OTLPEndpoint == "" {
		return func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(strings.TrimSuffix(cfg.OTLPEndpoint, "/")+"/v1/traces"))
	if err != nil {
		return nil, fmt.Errorf("export traces to %s: %w", cfg.OTLPEndpoint, err)
	}
	provider := trace.NewTracerProvider(
		trace.WithBatcher(exporter),
		trace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "sluice-"+service),
			attribute.String("service.version", version))))
	otel.SetTracerProvider(provider)
	return provider.Shutdown, nil
}

// Metrics makes a registry that has what Go and the process tell of
// themselves.
func Metrics() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}
