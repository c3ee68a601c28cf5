package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluiceflow/sluice/services/gateway/internal/guess"
	"github.com/sluiceflow/sluice/services/gateway/internal/webhook"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
	"github.com/sluiceflow/sluice/services/internal/keys"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

const (
	accept = "accept"
	reject = "reject"
)

// corsMaxAge is how long a browser may remember what it was allowed, in seconds.
const corsMaxAge = 3600

// Config is what is the gateway's own.
type Config struct {
	WithoutRedis       string   `env:"GATEWAY_WITHOUT_REDIS" envDefault:"accept" help:"webhooks while Redis does not answer: accept (the token's MAC and the engine are enough) or reject (503)"`
	CORSOrigins        []string `env:"CORS_ORIGINS" help:"origins whose pages may post webhooks, separated by commas; * means any, empty none"`
	TrustedProxies     []string `env:"TRUSTED_PROXIES" help:"addresses or networks (CIDR) of proxies whose X-Forwarded-For is believed, separated by commas"`
	WebhookConcurrency int      `env:"WEBHOOK_CONCURRENCY" envDefault:"4096" help:"webhooks that are worked on at once; more get 503"`
	BadTokensPerMinute int      `env:"BAD_TOKENS_PER_MINUTE" envDefault:"60" help:"bad tokens that one address may try in a minute before it gets 429"`
}

// Deps is what the gateway works with.
type Deps struct {
	Bus   *bus.Bus
	Index *tokenindex.Index
	Keys  *keys.Keys
	// Lossy reports whether NATS may lose what it acknowledged.
	Lossy   func() bool
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Gateway is the role.
type Gateway struct {
	cfg     Config
	deps    Deps
	webhook *webhook.Handler
}

// New makes a gateway. Settings that cannot work are an error of kind
// [fault.Invalid] that names all of them.
func New(cfg Config, deps Deps) (*Gateway, error) {
	const op = "gateway.New"
	if err := cfg.Validate(); err != nil {
		return nil, fault.New(fault.Invalid, op, err)
	}
	address, err := addressOf(cfg.TrustedProxies)
	if err != nil {
		return nil, fault.New(fault.Invalid, op, err)
	}
	limit, err := guess.New(cfg.BadTokensPerMinute)
	if err != nil {
		return nil, fault.New(fault.Internal, op, err)
	}
	g := &Gateway{cfg: cfg, deps: deps}
	g.webhook, err = webhook.New(webhook.Options{
		Store: deps.Bus, Index: deps.Index, Ring: deps.Keys.Ring, Announce: deps.Bus.PublishHeartbeat,
		Server: deps.Bus.NC.ConnectedServerId, Lossy: deps.Lossy,
		RequireIndex: cfg.WithoutRedis == reject, MaxBody: int64(deps.Bus.Config.MaxBodyBytes),
		Concurrent: cfg.WebhookConcurrency, Address: address, BadTokens: limit, Log: deps.Log, Metrics: deps.Metrics,
	})
	if err != nil {
		return nil, fault.New(fault.Internal, op, err)
	}
	return g, nil
}

// Validate reports every value that cannot work.
func (c Config) Validate() error {
	var mistakes []error
	if _, err := addressOf(c.TrustedProxies); err != nil {
		mistakes = append(mistakes, err)
	}
	if c.WithoutRedis != accept && c.WithoutRedis != reject {
		mistakes = append(mistakes, errors.New("GATEWAY_WITHOUT_REDIS must be accept or reject"))
	}
	if c.WebhookConcurrency < 1 {
		mistakes = append(mistakes, errors.New("WEBHOOK_CONCURRENCY must be 1 at least"))
	}
	if c.BadTokensPerMinute < 1 {
		mistakes = append(mistakes, errors.New("BAD_TOKENS_PER_MINUTE must be 1 at least"))
	}
	return errors.Join(mistakes...)
}

// Routes adds the gateway's paths to an echo of httpapi.NewEcho.
func (g *Gateway) Routes(e *echo.Echo) {
	var before []echo.MiddlewareFunc
	if len(g.cfg.CORSOrigins) > 0 {
		before = append(before, middleware.CORSWithConfig(middleware.CORSConfig{
			AllowOrigins:  g.cfg.CORSOrigins,
			AllowMethods:  []string{http.MethodPost},
			AllowHeaders:  []string{echo.HeaderContentType, "traceparent", "tracestate"},
			ExposeHeaders: []string{"Idempotency-Replayed", echo.HeaderRetryAfter},
			MaxAge:        corsMaxAge,
		}))
	}
	g.webhook.Routes(e, before...)
}

// Run returns when ctx ends: requests are the server's to drain.
func (g *Gateway) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Checks says what keeps the gateway from its work. Redis does so only where
// webhooks are refused without it.
func (g *Gateway) Checks(ctx context.Context) map[string]error {
	checks := map[string]error{"nats": g.deps.Bus.Connected(), "space": g.deps.Bus.Full()}
	if g.deps.Keys.Ring() == nil {
		checks["keys"] = errors.New("there are no token keys yet")
	}
	checks["redis"] = g.deps.Index.Ping(ctx)
	if g.cfg.WithoutRedis == accept {
		checks["redis"] = httpapi.Degraded(checks["redis"])
	}
	return checks
}
