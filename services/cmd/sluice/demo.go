package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/services/demo"
	"github.com/sluiceflow/sluice/services/internal/conf"
	"github.com/sluiceflow/sluice/services/internal/run"
	"github.com/sluiceflow/sluice/services/internal/telemetry"
)

// errDemoEnded ends what the demo ran on.
var errDemoEnded = errors.New("the demo ended")

func demoCommand(w world) *cobra.Command {
	cfg := new(devConfig)
	settings := devSettings(cfg, map[string]string{
		"LISTEN_ADDR": "127.0.0.1:0", "DEV_NATS_LISTEN": "127.0.0.1:0", "LOG_LEVEL": "warn", "DATA_DIR": "",
	})
	var keepGoing bool
	cmd := &cobra.Command{
		Use: "demo", Short: "Run an order flow through everything, in one process", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Load(w.lookup); err != nil {
				return err
			}
			return runDemo(cmd.Context(), w, *cfg, keepGoing)
		},
	}
	settings.Bind(cmd.Flags())
	cmd.Flags().BoolVar(&keepGoing, "keep-going", false, "stay after the flow, to try more by hand")
	return cmd
}

func runDemo(ctx context.Context, w world, cfg devConfig, keepGoing bool) (err error) {
	dir, err := os.MkdirTemp("", "sluice-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cfg.Servers.DataDir, cfg.Console.DataDir = dir, dir
	log := telemetry.Logger(cfg.Serve.Telemetry, w.stderr)
	at := make(chan devAddresses, 1)
	err = run.All(ctx, map[string]run.Part{
		"sluice": run.Func(func(ctx context.Context) error {
			return runDev(ctx, cfg, log, func(a devAddresses) { at <- a })
		}),
		"demo": run.Func(func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return nil
			case a := <-at:
				err := demo.Run(ctx, demo.Config{
					BaseURL: a.base, NATSURL: a.nats, Namespace: cfg.Serve.Bus.Namespace, KeepGoing: keepGoing, Log: log,
				}, w.stdout)
				if err == nil {
					err = errDemoEnded
				}
				return err
			}
		}),
	})
	if errors.Is(err, errDemoEnded) {
		return nil
	}
	return err
}

func workerCommand(w world) *cobra.Command {
	type config struct {
		Telemetry telemetry.Config
		Worker    demo.WorkerConfig
	}
	cfg := new(config)
	settings := conf.New(cfg, nil)
	cmd := &cobra.Command{
		Use: "worker-example", Short: "Serve the steps of the demo's order flow", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Load(w.lookup); err != nil {
				return err
			}
			return demo.ServeWorker(cmd.Context(), cfg.Worker, telemetry.Logger(cfg.Telemetry, w.stderr))
		},
	}
	settings.Bind(cmd.Flags())
	return cmd
}
