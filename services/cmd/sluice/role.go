package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/services/cmd/sluice/internal/serve"
	"github.com/sluiceflow/sluice/services/console"
	"github.com/sluiceflow/sluice/services/dispatcher"
	"github.com/sluiceflow/sluice/services/engine"
	"github.com/sluiceflow/sluice/services/gateway"
	"github.com/sluiceflow/sluice/services/internal/conf"
	"github.com/sluiceflow/sluice/services/internal/durability"
	"github.com/sluiceflow/sluice/services/internal/telemetry"
)

// roleCommand is a command that reads its settings, then runs the service that
// they describe until the end.
func roleCommand[T any](w world, name, short, listen string, service func(cfg *T) serve.Service) *cobra.Command {
	cfg := new(T)
	settings := conf.New(cfg, map[string]string{"LISTEN_ADDR": listen})
	cmd := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Load(w.lookup); err != nil {
				return err
			}
			s := service(cfg)
			s.Name, s.Version = name, version
			return s.Run(cmd.Context(), telemetry.Logger(s.Config.Telemetry, w.stderr))
		},
	}
	settings.Bind(cmd.Flags())
	return cmd
}

func gatewayCommand(w world) *cobra.Command {
	type config struct {
		Serve   serve.Config
		Redis   serve.Redis
		Keys    serve.Keys
		Gateway gateway.Config
	}
	return roleCommand(w, "gateway", "Take the webhooks of workers", ":8080", func(cfg *config) serve.Service {
		return serve.Service{
			Config: cfg.Serve, Redis: &cfg.Redis, Keys: &cfg.Keys,
			Roles: map[string]serve.Build{"gateway": gatewayRole(cfg.Gateway)},
		}
	})
}

func engineCommand(w world) *cobra.Command {
	type config struct {
		Serve  serve.Config
		Redis  serve.Redis
		Keys   serve.Keys
		Engine engine.Config
	}
	return roleCommand(w, "engine", "Advance flows", ":8082", func(cfg *config) serve.Service {
		return serve.Service{
			Config: cfg.Serve, Redis: &cfg.Redis, Keys: &cfg.Keys, Registry: true, Makes: true,
			Roles: map[string]serve.Build{"engine": engineRole(cfg.Engine)},
		}
	})
}

func dispatcherCommand(w world) *cobra.Command {
	type config struct {
		Serve      serve.Config
		Redis      serve.Redis
		Dispatcher dispatcher.Config
	}
	return roleCommand(w, "dispatcher", "Call the endpoints of steps", ":8083", func(cfg *config) serve.Service {
		return serve.Service{
			Config: cfg.Serve, Redis: &cfg.Redis, Registry: true,
			Roles: map[string]serve.Build{"dispatcher": dispatcherRole(cfg.Dispatcher)},
		}
	})
}

// consoleConfig knows that the address must suit the API keys.
type consoleConfig struct {
	Serve   serve.Config
	Console console.Config
}

// Validate refuses an address that others reach when there are no API keys.
func (c consoleConfig) Validate() error { return c.Console.CheckListen(c.Serve.Listen) }

func consoleCommand(w world) *cobra.Command {
	return roleCommand(w, "console", "Serve the control API", "127.0.0.1:8081", func(cfg *consoleConfig) serve.Service {
		return serve.Service{
			Config: cfg.Serve, Registry: true, Links: true,
			Roles: map[string]serve.Build{"console": consoleRole(cfg.Console)},
		}
	})
}

func gatewayRole(cfg gateway.Config) serve.Build {
	return func(_ context.Context, p serve.Platform) (serve.Role, error) {
		g, err := gateway.New(cfg, gateway.Deps{
			Bus: p.Bus, Index: p.Index, Keys: p.Keys, Log: p.Log, Metrics: p.Metrics,
			Lossy: func() bool { return p.Durability.Now().Promise == durability.Fast },
		})
		if err != nil {
			return serve.Role{}, err
		}
		return serve.Role{Routes: g.Routes, Run: g.Run, Checks: g.Checks}, nil
	}
}

func engineRole(cfg engine.Config) serve.Build {
	return func(ctx context.Context, p serve.Platform) (serve.Role, error) {
		e, err := engine.New(ctx, cfg, engine.Deps{
			Bus: p.Bus, Index: p.Index, Keys: p.Keys, Registry: p.Registry, Log: p.Log, Metrics: p.Metrics, Version: version,
		})
		if err != nil {
			return serve.Role{}, err
		}
		return serve.Role{Run: e.Run, Checks: e.Checks, Extra: e.Extra}, nil
	}
}

func dispatcherRole(cfg dispatcher.Config) serve.Build {
	return func(ctx context.Context, p serve.Platform) (serve.Role, error) {
		d, err := dispatcher.New(ctx, cfg, dispatcher.Deps{
			Bus: p.Bus, Registry: p.Registry, Index: p.Index, Log: p.Log, Metrics: p.Metrics, Version: version,
		})
		if err != nil {
			return serve.Role{}, err
		}
		return serve.Role{Run: d.Run, Checks: d.Checks}, nil
	}
}

func consoleRole(cfg console.Config) serve.Build {
	return func(ctx context.Context, p serve.Platform) (serve.Role, error) {
		c, err := console.New(ctx, cfg, console.Deps{Bus: p.Bus, Registry: p.Registry, Links: p.Links, Log: p.Log, Metrics: p.Metrics})
		if err != nil {
			return serve.Role{}, err
		}
		return serve.Role{Routes: c.Routes, Run: c.Run, Checks: c.Checks}, nil
	}
}
