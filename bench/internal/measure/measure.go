// Package measure holds the figures of one run and how several runs become one.
package measure

import (
	"maps"
	"math"
	"slices"
	"sync"
	"time"
)

// A Result is what one run of the load or of the floor gave. Latencies are in milliseconds.
type Result struct {
	Concurrency int     `json:"c"`
	Steps       int     `json:"steps"`
	Seconds     float64 `json:"seconds"`
	FlowsDone   int     `json:"flows_done"`
	FlowsPerS   float64 `json:"flows_per_s"`
	StepsPerS   float64 `json:"steps_per_s"`
	FlowP50     float64 `json:"flow_p50_ms"`
	FlowP99     float64 `json:"flow_p99_ms"`
	// Webhook figures are those of the load alone.
	WebhookP50 float64 `json:"webhook_p50_ms,omitempty"`
	WebhookP99 float64 `json:"webhook_p99_ms,omitempty"`
	// Duplicates counts invocations that came more than once.
	Duplicates int64 `json:"duplicate_invocations,omitempty"`
	// Errors counts what went wrong, by kind; all of it was repeated until it went right.
	Errors map[string]int64 `json:"errors,omitempty"`
	// Checked flows were read back from the control API when the load had ended; all of them had completed.
	Checked int `json:"checked,omitempty"`
	// CPU is the processor time of each process for one flow, in milliseconds.
	CPU map[string]float64 `json:"cpu_ms_per_flow,omitempty"`
}

// Rates sets the figures that follow from how much was done in which time.
func (r *Result) Rates(flows, steps int, elapsed time.Duration) {
	r.Seconds = round(elapsed.Seconds())
	r.FlowsDone = flows
	r.FlowsPerS = round(float64(flows) / elapsed.Seconds())
	r.StepsPerS = round(float64(steps) / elapsed.Seconds())
}

// SetCPU sets the processor time for one flow from what each process used in all.
func (r *Result) SetCPU(used map[string]time.Duration) {
	if r.FlowsDone == 0 {
		return
	}
	r.CPU = make(map[string]float64, len(used))
	for name, d := range used {
		r.CPU[name] = round(Milliseconds(d) / float64(r.FlowsDone))
	}
}

// Median takes each figure's median over the runs; counts are summed.
func Median(runs []Result) Result {
	if len(runs) == 0 {
		return Result{}
	}
	m := Result{Concurrency: runs[0].Concurrency, Steps: runs[0].Steps, Errors: map[string]int64{}, CPU: map[string]float64{}}
	of := func(get func(Result) float64) float64 {
		values := make([]float64, len(runs))
		for i, r := range runs {
			values[i] = get(r)
		}
		return median(values)
	}
	m.Seconds = of(func(r Result) float64 { return r.Seconds })
	m.FlowsPerS = of(func(r Result) float64 { return r.FlowsPerS })
	m.StepsPerS = of(func(r Result) float64 { return r.StepsPerS })
	m.FlowP50 = of(func(r Result) float64 { return r.FlowP50 })
	m.FlowP99 = of(func(r Result) float64 { return r.FlowP99 })
	m.WebhookP50 = of(func(r Result) float64 { return r.WebhookP50 })
	m.WebhookP99 = of(func(r Result) float64 { return r.WebhookP99 })
	for name := range runs[0].CPU {
		m.CPU[name] = of(func(r Result) float64 { return r.CPU[name] })
	}
	for _, r := range runs {
		m.FlowsDone += r.FlowsDone
		m.Duplicates += r.Duplicates
		m.Checked += r.Checked
		for kind, n := range r.Errors {
			m.Errors[kind] += n
		}
	}
	return m
}

func median(values []float64) float64 {
	slices.Sort(values)
	mid := len(values) / 2
	if len(values)%2 == 1 {
		return values[mid]
	}
	return round((values[mid-1] + values[mid]) / 2)
}

// Latencies collects durations from many goroutines. The zero value is ready.
type Latencies struct {
	mu sync.Mutex
	ms []float64
}

// Add notes one duration.
func (l *Latencies) Add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ms = append(l.ms, Milliseconds(d))
}

// Count says how many were noted.
func (l *Latencies) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ms)
}

// Percentile gives the duration, in milliseconds, that the share p (0 to 1) of all stays under; 0 if there are none.
func (l *Latencies) Percentile(p float64) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ms) == 0 {
		return 0
	}
	slices.Sort(l.ms)
	return round(l.ms[min(len(l.ms)-1, int(p*float64(len(l.ms))))])
}

// Counts counts by kind, from many goroutines. The zero value is ready.
type Counts struct {
	mu sync.Mutex
	n  map[string]int64
}

// Add counts one of the kind.
func (c *Counts) Add(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[string]int64)
	}
	c.n[kind]++
}

// All gives a copy of what was counted.
func (c *Counts) All() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]int64, len(c.n))
	maps.Copy(all, c.n)
	return all
}

// Milliseconds is a duration as a fraction of milliseconds.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func round(f float64) float64 { return math.Round(f*100) / 100 }
