package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
)

// WorkerConfig is what the example worker may be told.
type WorkerConfig struct {
	ListenAddr string `env:"LISTEN_ADDR"        envDefault:"127.0.0.1:9000" help:"address that the worker listens on"`
	ConsoleURL string `env:"CONSOLE_URL"        help:"console to register the steps with; empty registers none"`
	ConsoleKey string `env:"CONSOLE_KEY"        help:"API key for the console"                                                 secret:"true"`
	Endpoint   string `env:"WORKER_URL"         help:"URL under which the dispatcher reaches this worker; empty means http://<LISTEN_ADDR>/"`
}

// ServeWorker serves the steps of the order flow until ctx ends. Given a
// console, it registers them there, and waits for it as long as it takes.
func ServeWorker(ctx context.Context, cfg WorkerConfig, log *slog.Logger) error {
	w, err := newWorker(log)
	if err != nil {
		return err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", cfg.ListenAddr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", cfg.ListenAddr, err)
	}
	if cfg.Endpoint == "" {
		cfg.Endpoint = endpointOf(listener)
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- w.Serve(serving, listener) }()
	log.InfoContext(ctx, "worker serves", slog.String("addr", listener.Addr().String()), slog.String("endpoint", cfg.Endpoint))
	if cfg.ConsoleURL != "" {
		if err := registerUntil(ctx, cfg, log); err != nil {
			stop()
			return errors.Join(err, <-served)
		}
	}
	return <-served
}

func endpointOf(listener net.Listener) string { return "http://" + listener.Addr().String() + "/" }

// registerUntil registers the steps, and tries again while the console is away.
// It returns nil when ctx ends first.
func registerUntil(ctx context.Context, cfg WorkerConfig, log *slog.Logger) error {
	console, err := client.New(cfg.ConsoleURL, client.Options{Key: cfg.ConsoleKey})
	if err != nil {
		return err
	}
	wait := backoff.NewExponentialBackOff(backoff.WithMaxElapsedTime(0), backoff.WithMaxInterval(5*time.Second))
	err = backoff.RetryNotify(func() error {
		err := register(ctx, console, steps(cfg.Endpoint))
		if status := client.StatusOf(err); status >= 400 && status < 500 {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(wait, ctx), func(err error, next time.Duration) {
		log.WarnContext(ctx, "steps not registered yet", slog.Any("error", err), slog.Duration("again_in", next))
	})
	switch {
	case err == nil:
		log.InfoContext(ctx, "steps are registered", slog.String("console", cfg.ConsoleURL))
	case ctx.Err() != nil:
		err = nil
	}
	return err
}

// register registers steps, and replaces those that are there with another
// endpoint.
func register(ctx context.Context, console *client.Client, definitions []step.Definition) error {
	for _, d := range definitions {
		_, err := console.RegisterStep(ctx, d)
		if client.StatusOf(err) == http.StatusConflict {
			err = console.UpdateStep(ctx, d)
		}
		if err != nil {
			return fmt.Errorf("register %s: %w", d.ID, err)
		}
	}
	return nil
}
