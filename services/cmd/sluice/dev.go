package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/services/cmd/sluice/internal/serve"
	"github.com/sluiceflow/sluice/services/console"
	"github.com/sluiceflow/sluice/services/dev"
	"github.com/sluiceflow/sluice/services/dispatcher"
	"github.com/sluiceflow/sluice/services/engine"
	"github.com/sluiceflow/sluice/services/gateway"
	"github.com/sluiceflow/sluice/services/internal/conf"
	"github.com/sluiceflow/sluice/services/internal/telemetry"
)

// ownAddress stands for the address that is listened on, which is not known
// before.
const ownAddress = "http://LISTEN_ADDR"

// devConfig is the settings of all roles together.
type devConfig struct {
	Serve      serve.Config
	Servers    dev.Config
	Redis      serve.Redis
	Keys       serve.Keys
	Gateway    gateway.Config
	Engine     engine.Config
	Dispatcher dispatcher.Config
	Console    console.Config
}

// Validate refuses an address that others reach when there are no API keys.
func (c devConfig) Validate() error { return c.Console.CheckListen(c.Serve.Listen) }

// devSettings are the settings of a process that has its servers in it.
func devSettings(cfg *devConfig, defaults map[string]string) *conf.Set {
	all := map[string]string{
		"LISTEN_ADDR": "127.0.0.1:8080", "DATA_DIR": "data", "LOG_FORMAT": "text", "WEBHOOK_BASE_URL": ownAddress,
		"ALLOW_PRIVATE_ENDPOINTS": "true", "CORS_ORIGINS": "*",
	}
	maps.Copy(all, defaults)
	return conf.New(cfg, all).
		Without("NATS_URL", "NATS_USER", "NATS_PASSWORD", "NATS_CREDS", "NATS_CA", "NATS_MONITOR_URL", "REDIS_URL", "REDIS_CA", "STREAM_REPLICAS")
}

func devCommand(w world) *cobra.Command {
	cfg := new(devConfig)
	settings := devSettings(cfg, nil)
	cmd := &cobra.Command{
		Use: "dev", Short: "Run everything in one process, with its state in a folder", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Load(w.lookup); err != nil {
				return err
			}
			log := telemetry.Logger(cfg.Serve.Telemetry, w.stderr)
			return runDev(cmd.Context(), *cfg, log, func(at devAddresses) { welcome(w.stdout, *cfg, at) })
		},
	}
	settings.Bind(cmd.Flags())
	return cmd
}

// devAddresses is where a dev process can be reached.
type devAddresses struct{ base, nats string }

// runDev runs everything until ctx ends: the roles first, then the servers.
func runDev(ctx context.Context, cfg devConfig, log *slog.Logger, ready func(devAddresses)) (err error) {
	servers, err := dev.Start(ctx, cfg.Servers, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.Close()) }()
	cfg.Serve.Bus.NATSURL, cfg.Redis.URL = servers.NATSURL(), servers.RedisURL()
	return serve.Service{
		Name: "dev", Version: version, Config: cfg.Serve,
		Redis: &cfg.Redis, Keys: &cfg.Keys, Registry: true, Links: true, Makes: true,
		Durability: servers.Durability(),
		NATS:       []nats.Option{servers.InProcess()},
		Roles: map[string]serve.Build{
			"gateway": gatewayRole(cfg.Gateway),
			"engine": func(ctx context.Context, p serve.Platform) (serve.Role, error) {
				own := cfg.Engine
				if own.WebhookBaseURL == ownAddress {
					own.WebhookBaseURL = baseURL(p.Addr)
				}
				return engineRole(own)(ctx, p)
			},
			"dispatcher": dispatcherRole(cfg.Dispatcher),
			"console":    consoleRole(cfg.Console),
		},
		Ready: func(addr string) { ready(devAddresses{base: baseURL(addr), nats: servers.NATSURL()}) },
	}.Run(ctx, log)
}

// baseURL is where this machine reaches an address that is listened on.
func baseURL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "http://" + addr
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(cmp.Or(host, "127.0.0.1"), port)
}

// welcome says what runs and what to do with it.
func welcome(out io.Writer, cfg devConfig, at devAddresses) {
	fmt.Fprintf(out, `Sluice %[1]s is ready: everything in one process.

  control API   %[2]s/engine
  webhooks      %[2]s/webhook/{flow_id}/{step_id}/{token}
  health        %[2]s/ready   metrics %[2]s/metrics
  NATS          %[3]s
  state         %[4]s   (kept across restarts)

This is the fast mode: NATS writes to disk every second, so what was acknowledged
in the last second before a power cut can be lost. The end of the process loses nothing.

Register a step, start a flow and look at it:

  curl -H 'Content-Type: application/json' -d '{"id":"hello","name":"Hello","type":"sync",
    "attributes":{"greeting":{"role":"output","type":"string"}},"http":{"endpoint":"http://127.0.0.1:9000/hello"}}' %[2]s/engine/step
  curl -H 'Content-Type: application/json' -d '{"id":"flow-1","goals":["hello"]}' %[2]s/engine/flow
  curl %[2]s/engine/flow/flow-1

or let "sluice demo" show it all.
`, version, at.base, at.nats, cfg.Servers.DataDir)
}
