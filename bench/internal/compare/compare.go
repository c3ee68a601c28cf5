// Package compare measures one thing beside another in turn, on the same machine in the same run: Sluice beside the floor, two engines
// beside one.
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

const (
	runLimit   = 3 * time.Minute // for one run beyond its seconds of load
	minSenders = 128             // webhook calls of the floor's worker at once
)

// Config says how to measure.
type Config struct {
	Self    string // this program: NATS server, load, floor and worker are started from it
	Sluice  string // the binary under test
	Seconds int
	Rounds  int
	Steps   int
	Log     *slog.Logger
}

// A Row is both sides at one concurrency.
type Row struct {
	Sluice, Floor measure.Result
}

// Engines is Sluice with one engine and with two.
type Engines struct {
	One, Two measure.Result
}

// Floor measures Sluice beside the floor, with each number of flows in flight. With sync, the NATS servers of both sync every write.
func Floor(ctx context.Context, cfg Config, concurrency []int, sync bool) ([]Row, error) {
	var sides []side
	for _, c := range concurrency {
		sides = append(sides, side{load: "sluice", concurrency: c, sync: sync}, side{load: "floor", concurrency: c, sync: sync})
	}
	results, err := cfg.alternate(ctx, sides)
	if err != nil {
		return nil, err
	}
	rows := make([]Row, len(concurrency))
	for i := range rows {
		rows[i] = Row{Sluice: results[2*i], Floor: results[2*i+1]}
	}
	return rows, nil
}

// TwoEngines measures Sluice with two engines beside Sluice with one.
func TwoEngines(ctx context.Context, cfg Config, concurrency int) (Engines, error) {
	results, err := cfg.alternate(ctx, []side{
		{load: "sluice", concurrency: concurrency, engines: 1},
		{load: "sluice", concurrency: concurrency, engines: 2},
	})
	if err != nil {
		return Engines{}, err
	}
	return Engines{One: results[0], Two: results[1]}, nil
}

// side is one of those that are measured in turn.
type side struct {
	load        string // command of this program: sluice or floor
	concurrency int
	sync        bool
	engines     int // 0 means 1
}

func (s side) attrs() slog.Attr {
	return slog.Group("side", slog.String("load", s.load), slog.Int("c", s.concurrency), slog.Bool("sync", s.sync), slog.Int("engines", max(1, s.engines)))
}

// alternate runs the sides in turn, so that what changes on the machine meanwhile meets all, and takes medians over the rounds.
func (cfg Config) alternate(ctx context.Context, sides []side) ([]measure.Result, error) {
	runs := make([][]measure.Result, len(sides))
	for round := range cfg.Rounds {
		for i, s := range sides {
			result, err := cfg.measure(ctx, s)
			if err != nil {
				return nil, err
			}
			runs[i] = append(runs[i], result)
			cfg.Log.InfoContext(ctx, "measured", slog.Int("round", round+1), s.attrs(), slog.Any("result", result))
		}
	}
	medians := make([]measure.Result, len(sides))
	for i := range sides {
		medians[i] = measure.Median(runs[i])
	}
	return medians, nil
}

// measure runs one side once, on stores of its own.
func (cfg Config) measure(ctx context.Context, s side) (measure.Result, error) {
	var result measure.Result
	ctx, cancel := context.WithTimeout(ctx, time.Duration(cfg.Seconds)*time.Second+runLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return result, fmt.Errorf("make a folder for the run: %w", err)
	}
	defer os.RemoveAll(dir)

	var out bytes.Buffer
	used, err := cfg.run(ctx, s, dir, &out)
	if err != nil {
		return result, fmt.Errorf("measure %s at c=%d: %w", s.load, s.concurrency, err)
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		return result, fmt.Errorf("read the figures of %s: %w", s.load, err)
	}
	result.SetCPU(used)
	return result, nil
}

// run starts what one side needs, runs its load to the end, and says how much processor time each process used.
func (cfg Config) run(ctx context.Context, s side, dir string, out *bytes.Buffer) (map[string]time.Duration, error) {
	args := []string{s.load, "-c", strconv.Itoa(s.concurrency), "-seconds", strconv.Itoa(cfg.Seconds), "-steps", strconv.Itoa(cfg.Steps)}
	running, extra, err := cfg.prepare(ctx, s, stack.Options{Self: cfg.Self, Dir: dir, Sync: s.sync, Engines: s.engines})
	if err != nil {
		return nil, err
	}
	if err := running.RunLoad(ctx, s.load, slices.Concat(args, extra), out); err != nil {
		running.Stop()
		return nil, err
	}
	return running.Stop(), nil
}

// prepare starts the processes that one side needs and gives the arguments that its load finds them by.
func (cfg Config) prepare(ctx context.Context, s side, opts stack.Options) (*stack.Stack, []string, error) {
	if s.load == "sluice" {
		running, err := stack.Roles(ctx, opts, cfg.Sluice)
		if err != nil {
			return nil, nil, err
		}
		return running, []string{"-api", running.Console}, nil
	}
	running, err := stack.Servers(ctx, opts)
	if err != nil {
		return nil, nil, err
	}
	addr, err := startWorker(ctx, running, max(minSenders, s.concurrency))
	if err != nil {
		running.Stop()
		return nil, nil, err
	}
	return running, []string{"-nats", running.NATS, "-redis", running.Redis, "-worker", "http://" + addr + "/step"}, nil
}

func startWorker(ctx context.Context, running *stack.Stack, senders int) (string, error) {
	addr, err := child.FreeAddr(ctx)
	if err != nil {
		return "", err
	}
	worker, err := running.Run(ctx, "worker", "worker", "-addr", addr, "-senders", strconv.Itoa(senders))
	if err != nil {
		return "", err
	}
	starting, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return addr, worker.Serving(starting, addr)
}
