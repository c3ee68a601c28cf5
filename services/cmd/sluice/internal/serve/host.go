package serve

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
	"github.com/sluiceflow/sluice/services/internal/run"
)

// flushTimeout bounds the sending of the last spans.
const flushTimeout = time.Second

// begin lets the process tell how it is, before it can do its work.
func (h *host) begin(ctx context.Context) {
	h.base, h.endBase = context.WithCancel(context.WithoutCancel(ctx))
	h.waiting.set("nats", fmt.Errorf("waiting for NATS at %s", redacted(h.Config.Bus.NATSURL)))
	h.show(nil) //nolint:contextcheck // its handlers have their requests' contexts
}

// run waits for what the roles need, then runs them until ctx ends.
func (h *host) run(ctx context.Context) error {
	if err := h.open(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	roles := make(map[string]Role, len(h.Roles))
	parts := make(map[string]run.Part, len(h.Roles))
	for name, build := range h.Roles {
		role, err := h.build(ctx, name, build)
		if err != nil {
			return unlessEnded(ctx, err)
		}
		roles[name], parts[name] = role, run.Func(role.Run)
	}
	// First the roles' checks, then no more waiting: ready must be true.
	h.show(roles) //nolint:contextcheck // its handlers have their requests' contexts
	h.waiting.set("", nil)
	h.log.InfoContext(ctx, "running", slog.String("roles", strings.Join(slices.Sorted(maps.Keys(roles)), " ")))
	if h.Ready != nil {
		h.Ready(h.server.Addr())
	}
	return run.All(ctx, parts)
}

// build makes a role. Its figures are registered once it is there, so that a
// second try finds none of the first.
func (h *host) build(ctx context.Context, name string, build Build) (role Role, err error) {
	p := h.platform
	var metrics *prometheus.Registry
	err = h.until(ctx, name, func() error {
		metrics = prometheus.NewRegistry()
		p.Metrics = metrics
		role, err = build(ctx, p)
		if err != nil && fault.KindOf(err) != fault.Unavailable {
			return backoff.Permanent(err)
		}
		return err
	})
	if err != nil {
		return Role{}, err
	}
	if err := h.metrics.Register(metrics); err != nil {
		return Role{}, fmt.Errorf("register the figures of %s: %w", name, err)
	}
	return role, nil
}

// show serves health, and the routes of the roles that are there.
func (h *host) show(roles map[string]Role) {
	e := httpapi.NewEcho(h.log)
	health := httpapi.Health{
		Service: h.Name, Metrics: h.metrics,
		Checks: func(ctx context.Context) map[string]error { return h.checks(ctx, roles) },
	}
	if roles != nil {
		health.Extra = func(ctx context.Context) map[string]any { return h.about(ctx, roles) }
	}
	health.Register(e)
	if roles == nil {
		// Not a 404: a worker would take that for the end of its token.
		e.RouteNotFound("/*", starting)
	}
	for _, role := range roles {
		if role.Routes != nil {
			role.Routes(e)
		}
	}
	h.server.Handle(e)
}

// starting answers for what is not served yet.
func starting(echo.Context) error {
	return &httpapi.ProblemError{
		Status: http.StatusServiceUnavailable, Code: "starting",
		Detail: "the service has not started yet; send the same again", RetryAfter: time.Second,
	}
}

func (h *host) checks(ctx context.Context, roles map[string]Role) map[string]error {
	checks := h.waiting.checks()
	if roles != nil {
		checks["nats"] = h.platform.Bus.Connected()
	}
	for _, role := range roles {
		for name, err := range role.Checks(ctx) {
			checks[name] = httpapi.Worse(checks[name], err)
		}
	}
	return checks
}

// about is what /ready tells beside the checks: of the process, and what the
// roles tell of themselves.
func (h *host) about(ctx context.Context, roles map[string]Role) map[string]any {
	promise := h.platform.Durability.Now()
	about := map[string]any{
		"version": h.Version, "roles": slices.Sorted(maps.Keys(h.Roles)),
		"durability": promise.Promise, "durability_detail": promise.Detail,
		"layout": map[string]int{
			"partitions": h.Config.Bus.Partitions, "shards": h.Config.Bus.Shards, "replicas": h.platform.Bus.Replicas(),
		},
	}
	for _, role := range roles {
		if role.Extra != nil {
			for name, value := range role.Extra(ctx) {
				about[name] = value
			}
		}
	}
	return about
}

// end ends what outlived the roles, and sends the last spans.
func (h *host) end(ctx context.Context, flush func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	h.close(ctx)
	if err := flush(ctx); err != nil {
		h.log.WarnContext(ctx, "last spans not sent", errorAttr(err))
	}
}

// unlessEnded is nil where err only says that ctx ended.
func unlessEnded(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return nil
	default:
		return err
	}
}

func errorAttr(err error) slog.Attr { return slog.Any("error", err) }

// redacted is a list of URLs without their passwords.
func redacted(list string) string {
	urls := strings.Split(list, ",")
	for i, one := range urls {
		parsed, err := url.Parse(strings.TrimSpace(one))
		if err != nil {
			return fmt.Sprintf("%d addresses", len(urls))
		}
		urls[i] = parsed.Redacted()
	}
	return strings.Join(urls, ",")
}
