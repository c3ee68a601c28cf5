// Package report writes the figures down for people.
package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/compare"
)

// About says how the figures came to be.
type About struct {
	Command string
	Date    time.Time
	Cores   int
	Go      string // version
	Seconds int    // of load in one run
	Rounds  int
	Steps   int
	Sync    bool
}

const intro = `# Benchmarks

How fast Sluice runs a chain of %d async steps, beside the floor: the same I/O (JetStream work queues, Redis, HTTP both ways, one commit
for each transition) without any engine. Both run in turn on the same machine, each against a nats-server and a redis-server of its own;
every role, the load with its worker and the servers are processes on loopback and share the cores. A machine's own figures differ by a
factor of two from day to day: read the ratios.

Aims: at c=64 at least 0.6 of the floor's flows/s, at c=1 at most twice the floor's p50.

- command: %s
- date: %s
- machine: %d cores, %s
- load: %d s a run, median of %d rounds; c = flows in flight
- durability: %s
`

// Write writes the page.
func Write(w io.Writer, about About, rows []compare.Row) error {
	durability := "fast (nats-server syncs its files every two minutes)"
	if about.Sync {
		durability = "synced (nats-server syncs every write before it acknowledges it)"
	}
	var b strings.Builder
	fmt.Fprintf(&b, intro, about.Steps, "`"+about.Command+"`", about.Date.UTC().Format(time.DateOnly), about.Cores, about.Go,
		about.Seconds, about.Rounds, durability)
	b.WriteString("\n## Throughput and latency\n\n")
	Table(&b, rows)
	b.WriteString("\n")
	notes(&b, rows)
	b.WriteString("\n## Processor time of a flow\n\nMilliseconds for each flow, start and end of the processes included.\n\n")
	cpu(&b, rows)
	_, err := io.WriteString(w, b.String())
	return err
}

// Table is the comparison alone.
func Table(b *strings.Builder, rows []compare.Row) {
	line(b, "c", "flows/s", "floor", "ratio", "p50 ms", "floor", "ratio", "p99 ms", "floor", "webhook p50 ms", "webhook p99 ms")
	line(b, slices.Repeat([]string{"---:"}, 11)...)
	for _, r := range rows {
		s, f := r.Sluice, r.Floor
		line(b, strconv.Itoa(s.Concurrency),
			number(s.FlowsPerS), number(f.FlowsPerS), ratio(s.FlowsPerS, f.FlowsPerS),
			number(s.FlowP50), number(f.FlowP50), ratio(s.FlowP50, f.FlowP50),
			number(s.FlowP99), number(f.FlowP99), number(s.WebhookP50), number(s.WebhookP99))
	}
}

// notes says what the table does not: how much was done and checked, and what went wrong on the way.
func notes(b *strings.Builder, rows []compare.Row) {
	flows, checked, duplicates := 0, 0, int64(0)
	errors := map[string]int64{}
	for _, r := range rows {
		flows += r.Sluice.FlowsDone
		checked += r.Sluice.Checked
		duplicates += r.Sluice.Duplicates
		for kind, n := range r.Sluice.Errors {
			errors[kind] += n
		}
	}
	fmt.Fprintf(b, "%d flows of Sluice finished; %d of them were read back and all were completed. %d invocations came more than once.\n",
		flows, checked, duplicates)
	for _, kind := range slices.Sorted(maps.Keys(errors)) {
		fmt.Fprintf(b, "Sent again after %q: %d.\n", kind, errors[kind])
	}
}

// cpu lists the processes of both sides, by name.
func cpu(b *strings.Builder, rows []compare.Row) {
	names := map[string]bool{}
	for _, r := range rows {
		for name := range r.Sluice.CPU {
			names["sluice: "+name] = true
		}
		for name := range r.Floor.CPU {
			names["floor: "+name] = true
		}
	}
	head, rule := []string{"process"}, []string{"---"}
	for _, r := range rows {
		head, rule = append(head, "c="+strconv.Itoa(r.Sluice.Concurrency)), append(rule, "---:")
	}
	line(b, head...)
	line(b, rule...)
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(names))) {
		cells := []string{name}
		for _, r := range rows {
			side, process, _ := strings.Cut(name, ": ")
			used := r.Floor.CPU
			if side == "sluice" {
				used = r.Sluice.CPU
			}
			cells = append(cells, number(used[process]))
		}
		line(b, cells...)
	}
}

func line(b *strings.Builder, cells ...string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func ratio(a, b float64) string {
	if b == 0 {
		return "-"
	}
	return strconv.FormatFloat(a/b, 'f', 2, 64)
}

// number keeps three digits or so: more would pretend.
func number(f float64) string {
	switch {
	case f >= 100:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case f >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	default:
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
}
