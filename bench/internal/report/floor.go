package report

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sluiceflow/sluice/bench/internal/compare"
	"github.com/sluiceflow/sluice/bench/internal/measure"
)

// writeFloor is a section of Sluice beside the floor.
func writeFloor(b *strings.Builder, title, text string, rows []compare.Row) {
	if len(rows) == 0 {
		return
	}
	section(b, title, text)
	head(b, 0, "c", "flows/s", "floor", "ratio", "p50 ms", "floor", "ratio", "p99 ms", "floor", "webhook p50 ms", "webhook p99 ms")
	results := make([]measure.Result, len(rows))
	for i, r := range rows {
		s, f := r.Sluice, r.Floor
		results[i] = s
		line(b, strconv.Itoa(s.Concurrency),
			number(s.FlowsPerS), number(f.FlowsPerS), ratio(s.FlowsPerS, f.FlowsPerS),
			number(s.FlowP50), number(f.FlowP50), ratio(s.FlowP50, f.FlowP50),
			number(s.FlowP99), number(f.FlowP99), number(s.WebhookP50), number(s.WebhookP99))
	}
	b.WriteString("\n")
	notes(b, results)
}

// writeEngines is the section of two engines beside one.
func writeEngines(b *strings.Builder, e *compare.Engines) {
	if e == nil {
		return
	}
	section(b, "Two engines", fmt.Sprintf("Fast mode, c=%d; ratios are to one engine. All share the cores of one machine: this shows what a\nsecond engine "+
		"costs, and not what it brings on a machine of its own.", e.One.Concurrency))
	head(b, 0, "engines", "flows/s", "ratio", "p50 ms", "ratio", "p99 ms", "webhook p50 ms", "webhook p99 ms")
	for i, r := range []measure.Result{e.One, e.Two} {
		line(b, strconv.Itoa(i+1), number(r.FlowsPerS), ratio(r.FlowsPerS, e.One.FlowsPerS), number(r.FlowP50), ratio(r.FlowP50, e.One.FlowP50),
			number(r.FlowP99), number(r.WebhookP50), number(r.WebhookP99))
	}
	b.WriteString("\n")
	notes(b, []measure.Result{e.One, e.Two})
}

// notes says what a table does not: how much was done and checked, and what went wrong on the way.
func notes(b *strings.Builder, results []measure.Result) {
	flows, checked, duplicates := 0, 0, int64(0)
	errors := map[string]int64{}
	for _, r := range results {
		flows += r.FlowsDone
		checked += r.Checked
		duplicates += r.Duplicates
		for kind, n := range r.Errors {
			errors[kind] += n
		}
	}
	fmt.Fprintf(b, "%d flows of Sluice finished; %d of them were read back and all were completed. %d invocations came more than once.\n",
		flows, checked, duplicates)
	sentAgain(b, errors)
}

func sentAgain(b *strings.Builder, errors map[string]int64) {
	for _, kind := range slices.Sorted(maps.Keys(errors)) {
		fmt.Fprintf(b, "Sent again after %q: %d.\n", kind, errors[kind])
	}
}
