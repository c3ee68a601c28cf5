package httpapi

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// checkTimeout bounds what /ready waits for its dependencies, so that whoever
// polls it is answered even when they hang.
const checkTimeout = 2 * time.Second

// Health is what a service says of itself at /health, /ready and /metrics.
type Health struct {
	// Service is its name.
	Service string
	// Checks names each dependency and says what is wrong with it; nil is well,
	// and what is [Degraded] does not make the service not ready.
	Checks func(ctx context.Context) map[string]error
	// Extra is told beside the checks, such as the promise of durability. It
	// may be nil.
	Extra func(ctx context.Context) map[string]any
	// Metrics are shown as Prometheus text.
	Metrics prometheus.Gatherer
}

// A degradedError is about a dependency that a service does its work without.
type degradedError struct{ err error }

func (e degradedError) Error() string { return "degraded: " + e.err.Error() }

func (e degradedError) Unwrap() error { return e.err }

// Degraded says of what is wrong with a dependency that the service does its work
// all the same, if not as well. Of nil it says nothing.
func Degraded(err error) error {
	if err == nil {
		return nil
	}
	return degradedError{err}
}

func isDegraded(err error) bool {
	_, ok := errors.AsType[degradedError](err)
	return ok
}

// Worse returns the worse of what two checks say of one dependency.
func Worse(a, b error) error {
	if b == nil || a != nil && isDegraded(b) {
		return a
	}
	return b
}

// Register adds the routes.
func (h Health) Register(e *echo.Echo) {
	e.GET("/health", func(c echo.Context) error {
		return c.JSON(http.StatusOK, map[string]string{"service": h.Service, "status": "healthy"})
	})
	e.GET("/ready", h.ready)
	e.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(h.Metrics, promhttp.HandlerOpts{})))
}

func (h Health) ready(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), checkTimeout)
	defer cancel()
	status, said := http.StatusOK, "ready"
	checks := make(map[string]string)
	for name, err := range h.Checks(ctx) {
		checks[name] = "ok"
		if err == nil {
			continue
		}
		checks[name] = err.Error()
		if !isDegraded(err) {
			status, said = http.StatusServiceUnavailable, "not ready"
		}
	}
	answer := map[string]any{"service": h.Service, "status": said, "checks": checks}
	if h.Extra != nil {
		maps.Copy(answer, h.Extra(ctx))
	}
	return c.JSON(status, answer)
}
