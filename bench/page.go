package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/compare"
	"github.com/sluiceflow/sluice/bench/internal/report"
	"github.com/sluiceflow/sluice/bench/internal/waiting"
)

// What is measured unless flags say otherwise.
const (
	allSections  = "fast,synced,engines,waiting"
	fastFlows    = "1,16,64" // in flight
	enginesFlows = 64        // in flight
)

// syncedFlows are in flight in the synced mode: as many as in the fast mode, and enough for its group commits.
func syncedFlows() []int { return []int{64, 512} }

// pageOptions are the flags of the page.
type pageOptions struct {
	compare  compare.Config
	sections []string
	fast     []int // flows in flight
	waiting  int   // flows
	out      string
}

// runPage measures the sections one after the other and writes them on one page.
func runPage(ctx context.Context, flags *flag.FlagSet, args []string, stdout, stderr io.Writer) error {
	opts, err := parsePage(flags, args)
	if err != nil {
		return err
	}
	opts.compare.Log = slog.New(slog.NewTextHandler(stderr, nil))
	if opts.compare.Self, err = executable(); err != nil {
		return err
	}
	page := report.Page{About: report.About{
		Command: command(flags), Date: time.Now(), Cores: runtime.NumCPU(), Go: runtime.Version(),
		Seconds: opts.compare.Seconds, Rounds: opts.compare.Rounds, Steps: opts.compare.Steps,
	}}
	for _, section := range opts.sections {
		if err := opts.measure(ctx, section, &page); err != nil {
			return err
		}
	}
	if err := publish(stdout, opts.out, page); err != nil {
		return err
	}
	return lost(page)
}

func parsePage(flags *flag.FlagSet, args []string) (pageOptions, error) {
	var o pageOptions
	flags.StringVar(&o.compare.Sluice, "sluice", "bin/sluice", "binary to measure")
	flags.IntVar(&o.compare.Seconds, "seconds", 10, "seconds of load in each run")
	flags.IntVar(&o.compare.Rounds, "rounds", 3, "runs of each, of which the median counts")
	flags.IntVar(&o.compare.Steps, "steps", 3, "async steps in a flow's chain")
	flags.IntVar(&o.waiting, "flows", waitingFlows, "flows that wait, in section waiting")
	flags.StringVar(&o.out, "out", "docs/benchmarks.md", "page to write; empty for none")
	sections := flags.String("sections", allSections, "what to measure, comma-separated")
	fast := flags.String("c", fastFlows, "flows in flight in section fast, comma-separated")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.compare.Seconds < 1 || o.compare.Rounds < 1 || o.compare.Steps < 1 {
		return o, errors.New("-seconds, -rounds and -steps are at least 1")
	}
	if o.waiting < 2 {
		return o, errors.New("-flows is at least 2")
	}
	var err error
	if o.fast, err = numbers(*fast); err != nil {
		return o, fmt.Errorf("-c: %w", err)
	}
	o.sections = strings.Split(*sections, ",")
	for _, section := range o.sections {
		if !slices.Contains(strings.Split(allSections, ","), section) {
			return o, fmt.Errorf("-sections: no section %q, there are %s", section, allSections)
		}
	}
	return o, nil
}

func numbers(list string) ([]int, error) {
	var all []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a number of flows", text)
		}
		all = append(all, n)
	}
	return all, nil
}

// measure adds one section to the page.
func (o pageOptions) measure(ctx context.Context, section string, page *report.Page) (err error) {
	switch section {
	case "fast":
		page.Fast, err = compare.Floor(ctx, o.compare, o.fast, false)
	case "synced":
		page.Synced, err = compare.Floor(ctx, o.compare, syncedFlows(), true)
	case "engines":
		var engines compare.Engines
		engines, err = compare.TwoEngines(ctx, o.compare, enginesFlows)
		page.Engines = &engines
	case "waiting":
		var result waiting.Result
		result, err = waiting.Run(ctx, waiting.Config{Self: o.compare.Self, Sluice: o.compare.Sluice, Flows: o.waiting, Log: o.compare.Log})
		page.Waiting = &result
	}
	if err != nil {
		return fmt.Errorf("section %s: %w", section, err)
	}
	return nil
}

// lost is an error where flows were lost: the page says it too, but a figure that was missed is news and this is a failure.
func lost(page report.Page) error {
	if page.Waiting == nil || len(page.Waiting.Lost) == 0 {
		return nil
	}
	return page.Waiting.Err()
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
func publish(stdout io.Writer, path string, page report.Page) error {
	var text bytes.Buffer
	if err := report.Write(io.MultiWriter(&text, stdout), page); err != nil {
		return fmt.Errorf("print the figures: %w", err)
	}
	if path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a page for everybody to read
		return fmt.Errorf("make the folder of the page: %w", err)
	}
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil { //nolint:gosec // a page for everybody to read
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}
