// Package compare measures Sluice and the floor in turn, on the same machine in the same run.
package compare

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/child"
	"github.com/sluiceflow/sluice/bench/internal/measure"
	"github.com/sluiceflow/sluice/bench/internal/stack"
)

// runLimit is how long one run may take beyond its seconds of load.
const runLimit = 3 * time.Minute

// Config says what to compare.
type Config struct {
	Self        string // this program: NATS server, load, floor and worker are started from it
	Sluice      string // the binary under test
	Concurrency []int
	Seconds     int
	Rounds      int
	Steps       int
	Sync        bool // sync every write of the NATS server
	Log         *slog.Logger
}

// A Row is both sides at one concurrency.
type Row struct {
	Sluice, Floor measure.Result
}

// Run alternates the two, so that what changes on the machine meanwhile meets both, and takes medians over the rounds.
func Run(ctx context.Context, cfg Config) ([]Row, error) {
	sluice := make([][]measure.Result, len(cfg.Concurrency))
	floor := make([][]measure.Result, len(cfg.Concurrency))
	for round := range cfg.Rounds {
		for i, c := range cfg.Concurrency {
			s, err := cfg.measure(ctx, "sluice", c)
			if err != nil {
				return nil, err
			}
			f, err := cfg.measure(ctx, "floor", c)
			if err != nil {
				return nil, err
			}
			sluice[i], floor[i] = append(sluice[i], s), append(floor[i], f)
			cfg.Log.InfoContext(ctx, "round", slog.Int("round", round+1), slog.Int("c", c), slog.Float64("ratio", s.FlowsPerS/f.FlowsPerS))
		}
	}
	rows := make([]Row, len(cfg.Concurrency))
	for i := range rows {
		rows[i] = Row{Sluice: measure.Median(sluice[i]), Floor: measure.Median(floor[i])}
	}
	return rows, nil
}

// measure runs one side once, on stores of its own.
func (cfg Config) measure(ctx context.Context, side string, concurrency int) (measure.Result, error) {
	var result measure.Result
	ctx, cancel := context.WithTimeout(ctx, time.Duration(cfg.Seconds)*time.Second+runLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return result, fmt.Errorf("make a folder for the run: %w", err)
	}
	defer os.RemoveAll(dir)

	var out bytes.Buffer
	used, err := cfg.run(ctx, side, concurrency, stack.Options{Self: cfg.Self, Dir: dir, Sync: cfg.Sync}, &out)
	if err != nil {
		return result, fmt.Errorf("measure %s at c=%d: %w", side, concurrency, err)
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		return result, fmt.Errorf("read the figures of %s: %w", side, err)
	}
	result.SetCPU(used)
	cfg.Log.InfoContext(ctx, "measured", slog.String("side", side), slog.Any("result", result))
	return result, nil
}

// run starts what one side needs, runs its load to the end, and says how much processor time each process used.
func (cfg Config) run(ctx context.Context, side string, concurrency int, opts stack.Options, out *bytes.Buffer) (map[string]time.Duration, error) {
	args := []string{side, "-c", strconv.Itoa(concurrency), "-seconds", strconv.Itoa(cfg.Seconds), "-steps", strconv.Itoa(cfg.Steps)}
	s, extra, err := cfg.prepare(ctx, side, opts)
	if err != nil {
		return nil, err
	}
	if err := s.RunLoad(ctx, side, slices.Concat(args, extra), out); err != nil {
		s.Stop()
		return nil, err
	}
	return s.Stop(), nil
}

// prepare starts the processes that one side needs and gives the arguments that its load finds them by.
func (cfg Config) prepare(ctx context.Context, side string, opts stack.Options) (*stack.Stack, []string, error) {
	if side == "sluice" {
		s, err := stack.Roles(ctx, opts, cfg.Sluice)
		if err != nil {
			return nil, nil, err
		}
		return s, []string{"-api", s.Console}, nil
	}
	s, err := stack.Servers(ctx, opts)
	if err != nil {
		return nil, nil, err
	}
	addr, err := startWorker(ctx, s)
	if err != nil {
		s.Stop()
		return nil, nil, err
	}
	return s, []string{"-nats", s.NATS, "-redis", s.Redis, "-worker", "http://" + addr + "/step"}, nil
}

func startWorker(ctx context.Context, s *stack.Stack) (string, error) {
	addr, err := child.FreeAddr(ctx)
	if err != nil {
		return "", err
	}
	worker, err := s.Run(ctx, "worker", "worker", "-addr", addr)
	if err != nil {
		return "", err
	}
	starting, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return addr, worker.Serving(starting, addr)
}
