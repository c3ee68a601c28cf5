package httpapi

import (
	"context"
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
	// Checks names each dependency and says what is wrong with it; nil is well.
	Checks func(ctx context.Context) map[string]error
	// Extra is told beside the checks, such as the promise of durability. It
	// may be nil.
	Extra func(ctx context.Context) map[string]string
	// Metrics are shown as Prometheus text.
	Metrics prometheus.Gatherer
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
		if err != nil {
			checks[name] = err.Error()
			status, said = http.StatusServiceUnavailable, "not ready"
		}
	}
	answer := map[string]any{"service": h.Service, "status": said, "checks": checks}
	if h.Extra != nil {
		for key, value := range h.Extra(ctx) {
			answer[key] = value
		}
	}
	return c.JSON(status, answer)
}
