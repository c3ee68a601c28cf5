package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/compare"
	"github.com/sluiceflow/sluice/bench/internal/measure"
	"github.com/sluiceflow/sluice/bench/internal/proc"
	"github.com/sluiceflow/sluice/bench/internal/report"
	"github.com/sluiceflow/sluice/bench/internal/waiting"
)

func row(c int, rate, floorRate, p50, floorP50 float64) compare.Row {
	return compare.Row{
		Sluice: measure.Result{Concurrency: c, FlowsPerS: rate, FlowP50: p50},
		Floor:  measure.Result{Concurrency: c, FlowsPerS: floorRate, FlowP50: floorP50},
	}
}

func waited() *waiting.Result {
	return &waiting.Result{
		Flows: 100_000, StartsPerS: 1500, Takeover: 1.5, Checked: 201, Duplicates: 3,
		Idle:    map[string]proc.Memory{"engine": {RSS: 30 << 20, Peak: 31 << 20}, "console": {RSS: 20 << 20}},
		Waiting: map[string]proc.Memory{"engine": {RSS: 150 << 20, Peak: 160 << 20}, "console": {RSS: 80 << 20}},
		After:   map[string]proc.Memory{"engine": {RSS: 40 << 20, Peak: 50 << 20}, "console": {RSS: 90 << 20}},
	}
}

func write(t *testing.T, page report.Page) string {
	t.Helper()
	var text strings.Builder
	if err := report.Write(&text, page); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func contains(t *testing.T, page string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	fast := compare.Row{
		Sluice: measure.Result{
			Concurrency: 64, FlowsPerS: 1200, FlowP50: 40, FlowP99: 90, WebhookP50: 5, WebhookP99: 20, FlowsDone: 900, Checked: 100,
			Duplicates: 1, Errors: map[string]int64{"webhook: 503": 2}, CPU: map[string]float64{"engine": .5},
		},
		Floor: measure.Result{Concurrency: 64, FlowsPerS: 2000, FlowP50: 25, FlowP99: 50, CPU: map[string]float64{"worker": .25}},
	}
	synced := row(512, 650, 500, 90, 100)
	synced.Floor.CPU = map[string]float64{"worker": .75}
	page := write(t, report.Page{
		About: report.About{
			Command: "make bench", Date: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), Cores: 2, Go: "go1", Seconds: 10, Rounds: 3, Steps: 3,
		},
		Fast: []compare.Row{fast}, Synced: []compare.Row{synced}, Waiting: waited(),
		Engines: &compare.Engines{
			One: measure.Result{Concurrency: 64, FlowsPerS: 1000, FlowP50: 50, CPU: map[string]float64{"engine": 1}},
			Two: measure.Result{Concurrency: 64, FlowsPerS: 900, FlowP50: 60, CPU: map[string]float64{"engine": 1, "engine-2": 2}},
		},
	})
	contains(
		t, page,
		"chain of 3 async steps", "- command: `make bench`", "- date: 2026-01-02", "- machine: 2 cores, go1", "10 s a run, median of 3 rounds",
		"## Fast mode", "| 64 | 1200 | 2000 | 0.60 | 40.0 | 25.0 | 1.60 | 90.0 | 50.0 | 5.00 | 20.0 |",
		"900 flows of Sluice finished; 100 of them", "1 invocations came more than once", `Sent again after "webhook: 503": 2.`,
		"## Synced mode", "| 512 | 650 | 500 | 1.30 | 90.0 | 100 | 0.90 |",
		"## Two engines", "| 1 | 1000 | 1.00 | 50.0 | 1.00 |", "| 2 | 900 | 0.90 | 60.0 | 1.20 |",
		"## Waiting flows", "100000 flows of one async step", "1500 flows/s", "| engine | 30.0 | 150 | 160 | 40.0 | 50.0 |",
		"| console | 20.0 | 80.0 | 0.00 | 90.0 | 0.00 |", "1.50 s after the kill", "the histories of 201", "3 invocations came",
		"| process | c=64 | synced, c=512 | one engine | two engines |",
		"| sluice: engine | 0.50 | - | 1.00 | 1.00 |", "| sluice: engine-2 | - | - | - | 2.00 |", "| floor: worker | 0.25 | 0.75 | - | - |",
	)
}

// What was not measured is not on the page, and neither is its aim.
func TestWriteOneSection(t *testing.T) {
	t.Parallel()
	page := write(t, report.Page{Fast: []compare.Row{row(16, 100, 200, 2, 1)}})
	contains(t, page, "## Fast mode", "| 16 | 100 | 200 | 0.50 | 2.00 | 1.00 | 2.00 |", "## Processor time")
	for _, other := range []string{"Aims", "Synced", "engines", "Waiting"} {
		if strings.Contains(page, "## "+other) || strings.Contains(page, "Two engines") {
			t.Errorf("the page has %q:\n%s", other, page)
		}
	}
}

func TestAims(t *testing.T) {
	t.Parallel()
	greedy, late, lossy := waited(), waited(), waited()
	greedy.After["engine"] = proc.Memory{RSS: 40 << 20, Peak: waiting.MaxEngineRSS}
	late.Takeover = 10.5
	lossy.Lost = []string{"flow f-7 is gone"}
	tests := []struct {
		name string
		page report.Page
		want []string
	}{
		{
			name: "fast mode, met",
			page: report.Page{Fast: []compare.Row{row(1, 1, 1, 8, 4), row(64, 600, 1000, 9, 1)}},
			want: []string{
				"Fast mode, c=64: at least 0.6 times the floor's flows/s | 0.60 | met |",
				"Fast mode, c=1: at most 2 times the floor's p50 | 2.00 | met |",
			},
		},
		{
			name: "fast mode, missed",
			page: report.Page{Fast: []compare.Row{row(1, 1, 1, 8.1, 4), row(64, 590, 1000, 1, 1)}},
			want: []string{"flows/s | 0.59 | **missed** |", "p50 | 2.02 | **missed** |"},
		},
		{
			name: "synced mode, met",
			page: report.Page{Synced: []compare.Row{row(64, 120, 100, 1, 1), row(512, 130, 100, 1, 1)}},
			want: []string{
				"Synced mode, c=64: at least 1.2 times the floor's flows/s | 1.20 | met |",
				"Synced mode, c=512: at least 1.3 times the floor's flows/s | 1.30 | met |",
			},
		},
		{
			name: "synced mode, missed",
			page: report.Page{Synced: []compare.Row{row(64, 119, 100, 1, 1), row(512, 125, 100, 1, 1)}},
			want: []string{"| 1.19 | **missed** |", "| 1.25 | **missed** |"},
		},
		{
			name: "waiting flows, met",
			page: report.Page{Waiting: waited()},
			want: []string{
				"100000 waiting flows: the engine never holds 256 MiB | 160 MiB | met |",
				"100000 waiting flows: at most 10 s from kill -9 of the engine until a result is applied | 1.50 s | met |",
				"100000 waiting flows: nothing is lost, nothing is applied twice | 201 checked, 0 wrong | met |",
			},
		},
		{name: "too much memory after the kill", page: report.Page{Waiting: greedy}, want: []string{"| 256 MiB | **missed** |"}},
		{name: "a late takeover", page: report.Page{Waiting: late}, want: []string{"| 10.5 s | **missed** |"}},
		{
			name: "a lost flow", page: report.Page{Waiting: lossy},
			want: []string{"| 202 checked, 1 wrong | **missed** |", "**Wrong**: flow f-7 is gone."},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			contains(t, write(t, tt.page), tt.want...)
		})
	}
}
