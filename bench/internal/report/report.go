// Package report writes the figures down for people.
package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/compare"
	"github.com/sluiceflow/sluice/bench/internal/waiting"
)

// A Page is all that was measured in one run. A section that was not measured is nil and not written.
type Page struct {
	About   About
	Fast    []compare.Row // each number of flows in flight, beside the floor
	Synced  []compare.Row // the same with servers that sync every write
	Engines *compare.Engines
	Waiting *waiting.Result
}

// About says how the figures came to be.
type About struct {
	Command string
	Date    time.Time
	Cores   int
	Go      string // version
	Seconds int    // of load in one run
	Rounds  int
	Steps   int
}

const intro = `# Benchmarks

How fast Sluice runs a chain of %[1]d async steps, beside the floor: the same I/O (JetStream work queues, Redis, HTTP both ways, one commit
for each transition) without any engine; and what flows cost that wait. What is compared runs in turn on the same machine, each against a
nats-server and a redis-server of its own; every role, the load with its worker and the servers are processes on loopback and share the
cores. A machine's own figures differ by a factor of two from day to day: read the ratios.

- command: %[2]s
- date: %[3]s
- machine: %[4]d cores, %[5]s
- load: %[6]d s a run, median of %[7]d rounds; c = flows in flight
`

// Write writes the page.
func Write(w io.Writer, page Page) error {
	var b strings.Builder
	a := page.About
	fmt.Fprintf(&b, intro, a.Steps, "`"+a.Command+"`", a.Date.UTC().Format(time.DateOnly), a.Cores, a.Go, a.Seconds, a.Rounds)
	writeAims(&b, aims(page))
	writeFloor(&b, "Fast mode", "nats-server syncs its files every two minutes.", page.Fast)
	writeFloor(&b, "Synced mode", "nats-server syncs every write before it acknowledges it, on both sides.", page.Synced)
	writeEngines(&b, page.Engines)
	writeWaiting(&b, page.Waiting)
	writeCPU(&b, page)
	_, err := io.WriteString(w, b.String())
	return err
}

// section begins a section.
func section(b *strings.Builder, title, text string) {
	b.WriteString("\n## " + title + "\n\n")
	if text != "" {
		b.WriteString(text + "\n\n")
	}
}
