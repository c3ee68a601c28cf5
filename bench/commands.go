package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/compare"
	"github.com/sluiceflow/sluice/bench/internal/floor"
	"github.com/sluiceflow/sluice/bench/internal/load"
	"github.com/sluiceflow/sluice/bench/internal/natsd"
	"github.com/sluiceflow/sluice/bench/internal/report"
	"github.com/sluiceflow/sluice/bench/internal/stack"
	"github.com/sluiceflow/sluice/bench/internal/waiting"
)

func runCompare(ctx context.Context, flags *flag.FlagSet, args []string, stdout, stderr io.Writer) error {
	cfg := compare.Config{Log: slog.New(slog.NewTextHandler(stderr, nil))}
	flags.StringVar(&cfg.Sluice, "sluice", "bin/sluice", "binary to measure")
	flags.IntVar(&cfg.Seconds, "seconds", 10, "seconds of load in each run")
	flags.IntVar(&cfg.Rounds, "rounds", 3, "runs of each, of which the median counts")
	flags.IntVar(&cfg.Steps, "steps", 3, "async steps in a flow's chain")
	flags.BoolVar(&cfg.Sync, "sync", false, "sync every write of the NATS server")
	out := flags.String("out", "docs/benchmarks.md", "page to write; empty for none")
	list := flags.String("c", "1,16,64", "flows in flight, comma-separated")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if cfg.Seconds < 1 || cfg.Rounds < 1 || cfg.Steps < 1 {
		return errors.New("-seconds, -rounds and -steps are at least 1")
	}
	for text := range strings.SplitSeq(*list, ",") {
		c, err := strconv.Atoi(text)
		if err != nil || c < 1 {
			return fmt.Errorf("-c: %q is not a number of flows", text)
		}
		cfg.Concurrency = append(cfg.Concurrency, c)
	}
	var err error
	if cfg.Self, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	rows, err := compare.Run(ctx, cfg)
	if err != nil {
		return err
	}
	about := report.About{
		Command: command(flags), Date: time.Now(), Cores: runtime.NumCPU(), Go: runtime.Version(),
		Seconds: cfg.Seconds, Rounds: cfg.Rounds, Steps: cfg.Steps, Sync: cfg.Sync,
	}
	return publish(stdout, *out, about, rows)
}

// command is what gives the same page again. Where the binary and the page are is this machine's affair.
func command(flags *flag.FlagSet) string {
	text := "go run ./bench -sluice bin/sluice"
	plain := true
	flags.Visit(func(f *flag.Flag) {
		if f.Name != "sluice" && f.Name != "out" {
			text += " -" + f.Name + "=" + f.Value.String()
			plain = false
		}
	})
	if plain {
		return "make bench"
	}
	return text
}

// publish prints the page, and keeps it where it is wanted.
func publish(stdout io.Writer, path string, about report.About, rows []compare.Row) error {
	var page bytes.Buffer
	if err := report.Write(io.MultiWriter(&page, stdout), about, rows); err != nil {
		return fmt.Errorf("print the figures: %w", err)
	}
	if path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a page for everybody to read
		return fmt.Errorf("make the folder of the page: %w", err)
	}
	if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil { //nolint:gosec // a page for everybody to read
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

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
	if err := flags.Parse(args); err != nil {
		return err
	}
	return floor.ServeWorker(ctx, *addr)
}
