package serve

import (
	"context"
	"log/slog"
	"sync"

	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/durability"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
	"github.com/sluiceflow/sluice/services/internal/keys"
	"github.com/sluiceflow/sluice/services/internal/registry"
	"github.com/sluiceflow/sluice/services/internal/run"
	"github.com/sluiceflow/sluice/services/internal/telemetry"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

// A Role is what a service does: its routes, its work, and what it needs to
// be well.
type Role struct {
	// Routes adds what it serves over HTTP; nil where that is nothing.
	Routes func(e *echo.Echo)
	Run    func(ctx context.Context) error
	Checks func(ctx context.Context) map[string]error
	// Extra is told at /ready beside the checks; nil where that is nothing.
	Extra func(ctx context.Context) map[string]string
}

// Platform is what roles stand on. It is there until after their end.
type Platform struct {
	// Addr is where the service listens.
	Addr string
	Bus  *bus.Bus
	// Durability says what NATS promises.
	Durability *durability.Watcher
	// Index, Keys and Registry are nil where the service does not need them.
	Index    *tokenindex.Index
	Keys     *keys.Keys
	Registry *registry.Registry
	// Links are the keys of the links of approvals; nil likewise.
	Links *keys.Keys
	Log   *slog.Logger
	// Metrics is the role's own registry.
	Metrics prometheus.Registerer
}

// Build makes a role. It is asked again after an error of kind
// fault.Unavailable.
type Build func(ctx context.Context, p Platform) (Role, error)

// Service is one process.
type Service struct {
	Name    string
	Version string
	Config  Config
	// Redis, Keys and Registry say which of these the roles need.
	Redis    *Redis
	Keys     *Keys
	Registry bool
	// Links says that they need the keys of the links of approvals, which are made
	// where there are none.
	Links bool
	// Makes lets it make what is not there yet: streams, buckets, consumers and
	// signing keys. Others wait for them.
	Makes bool
	// Roles make each role, by name.
	Roles map[string]Build
	// Durability, where not nil, is what NATS is known to promise.
	Durability *durability.State
	// NATS are options of the connection.
	NATS []nats.Option
	// Ready, where not nil, is called with the address once all roles are there.
	Ready func(addr string)
}

// Run serves until ctx ends: requests and roles then have the drain time to
// finish, and what they stand on ends after them.
func (s Service) Run(ctx context.Context, log *slog.Logger) error {
	asked := ctx // ends when the end was asked for, and not when a part failed
	ctx, cancel := context.WithCancelCause(asked)
	defer cancel(nil)
	h := &host{
		Service: s, log: log, metrics: telemetry.Metrics(),
		server: httpapi.NewServer(s.Config.Listen, s.Config.DrainTimeout, log),
		fail:   cancel,
	}
	if err := h.server.Listen(ctx); err != nil {
		return err
	}
	flush, err := telemetry.Tracing(ctx, s.Config.Telemetry, s.Name, s.Version)
	if err != nil {
		return err
	}
	h.begin(ctx)
	h.log.InfoContext(ctx, "listening", slog.String("address", h.server.Addr()), slog.String("version", s.Version))
	err = run.All(ctx, map[string]run.Part{"http": h.server, s.Name: run.Func(h.run)})
	h.end(ctx, flush)
	if err == nil && asked.Err() == nil {
		err = context.Cause(ctx)
	}
	return err
}

// host is a service that runs.
type host struct {
	Service

	log     *slog.Logger
	metrics *prometheus.Registry
	server  *httpapi.Server
	fail    context.CancelCauseFunc
	waiting waiting

	// what the roles stand on, and its end
	platform Platform
	base     context.Context //nolint:containedctx // outlives the context of Run, for what ends after it
	endBase  context.CancelFunc
	parts    sync.WaitGroup
}
