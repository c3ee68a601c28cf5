package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/floor"
	"github.com/sluiceflow/sluice/bench/internal/load"
	"github.com/sluiceflow/sluice/bench/internal/natsd"
	"github.com/sluiceflow/sluice/bench/internal/stack"
	"github.com/sluiceflow/sluice/bench/internal/waiting"
)

func runStack(ctx context.Context, flags *flag.FlagSet, args []string, stdout io.Writer) error {
	sluice := flags.String("sluice", "bin/sluice", "binary to start the roles from")
	var opts stack.Options
	flags.BoolVar(&opts.Sync, "sync", false, "sync every write of the NATS server")
	flags.IntVar(&opts.Engines, "engines", 1, "engines to start")
	flags.IntVar(&opts.Gateways, "gateways", 1, "gateways to start, which the engines share out")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if opts.Self, err = executable(); err != nil {
		return err
	}
	if opts.Dir, err = os.MkdirTemp("", "sluice-stack-"); err != nil {
		return fmt.Errorf("make a folder for the servers: %w", err)
	}
	defer os.RemoveAll(opts.Dir)
	s, err := stack.Roles(ctx, opts, *sluice)
	if err != nil {
		return err
	}
	defer s.Stop()
	fmt.Fprintf(stdout, "console %s\ngateway %s\nengine  %s\nNATS    %s\nmonitor %s\nRedis   %s\nlogs    %s\n",
		s.Console, strings.Join(s.Gateways, " "), strings.Join(s.Engines, " "), s.NATS, s.Monitor, s.Redis, opts.Dir)
	<-ctx.Done()
	return nil
}

// waitingFlows is how many flows wait unless a flag says otherwise.
const waitingFlows = 100_000

// runWaiting prints the figures and fails when something was lost or the engine held too much.
func runWaiting(ctx context.Context, flags *flag.FlagSet, args []string, stdout, stderr io.Writer) error {
	cfg := waiting.Config{Log: slog.New(slog.NewTextHandler(stderr, nil))}
	flags.StringVar(&cfg.Sluice, "sluice", "bin/sluice", "binary to start the roles from")
	flags.IntVar(&cfg.Flows, "flows", waitingFlows, "flows that wait")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if cfg.Flows < 2 {
		return errors.New("-flows is at least 2")
	}
	var err error
	if cfg.Self, err = executable(); err != nil {
		return err
	}
	result, err := waiting.Run(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(json.NewEncoder(stdout).Encode(result), result.Err())
}

// executable is this program, which starts itself again as what it needs.
func executable() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return path, nil
}

func runLoad(ctx context.Context, flags *flag.FlagSet, args []string, stdout io.Writer) error {
	var cfg load.Config
	flags.StringVar(&cfg.API, "api", "http://127.0.0.1:8080", "base URL of the control API")
	flags.IntVar(&cfg.Concurrency, "c", 64, "flows in flight")
	flags.IntVar(&cfg.Steps, "steps", 3, "async steps in a flow's chain")
	seconds := flags.Int("seconds", 10, "seconds of load")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg.Duration = time.Duration(*seconds) * time.Second
	result, err := load.Run(ctx, cfg)
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(result)
}

func runFloor(ctx context.Context, flags *flag.FlagSet, args []string, stdout io.Writer) error {
	var cfg floor.Config
	flags.StringVar(&cfg.NATS, "nats", "nats://127.0.0.1:4222", "URL of an empty NATS server")
	flags.StringVar(&cfg.Redis, "redis", "redis://127.0.0.1:6379/0", "URL of Redis")
	flags.StringVar(&cfg.Worker, "worker", "", "URL that takes invocations: that of `bench worker`")
	flags.IntVar(&cfg.Concurrency, "c", 64, "flows in flight")
	flags.IntVar(&cfg.Steps, "steps", 3, "async steps in a flow's chain")
	seconds := flags.Int("seconds", 10, "seconds of load")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg.Duration = time.Duration(*seconds) * time.Second
	result, err := floor.Run(ctx, cfg)
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(result)
}

func runNATS(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var cfg natsd.Config
	flags.StringVar(&cfg.Addr, "addr", "127.0.0.1:4222", "address for clients")
	flags.StringVar(&cfg.Monitor, "monitor", "", "address of its monitoring")
	flags.StringVar(&cfg.Store, "store", "", "folder of the JetStream store")
	flags.BoolVar(&cfg.Sync, "sync", false, "sync every write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return natsd.Serve(ctx, cfg)
}

func runWorker(ctx context.Context, flags *flag.FlagSet, args []string) error {
	addr := flags.String("addr", "127.0.0.1:9090", "address to take invocations on")
	senders := flags.Int("senders", 128, "results that are posted at once")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return floor.ServeWorker(ctx, *addr, *senders)
}
