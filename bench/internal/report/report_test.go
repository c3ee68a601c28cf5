package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/compare"
	"github.com/sluiceflow/sluice/bench/internal/measure"
	"github.com/sluiceflow/sluice/bench/internal/report"
)

func TestWrite(t *testing.T) {
	t.Parallel()
	rows := []compare.Row{{
		Sluice: measure.Result{
			Concurrency: 64, FlowsPerS: 1200, FlowP50: 40, FlowP99: 90, WebhookP50: 5, WebhookP99: 20, FlowsDone: 900, Checked: 100,
			Duplicates: 1, Errors: map[string]int64{"webhook: 503": 2}, CPU: map[string]float64{"engine": .5},
		},
		Floor: measure.Result{Concurrency: 64, FlowsPerS: 2000, FlowP50: 25, FlowP99: 50, CPU: map[string]float64{"worker": .25}},
	}}
	about := report.About{
		Command: "make bench", Date: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), Cores: 2, Go: "go1", Seconds: 10, Rounds: 3, Steps: 3,
	}
	var page strings.Builder
	if err := report.Write(&page, about, rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- command: `make bench`", "- date: 2026-01-02", "- machine: 2 cores, go1", "10 s a run, median of 3 rounds", "durability: fast",
		"| 64 | 1200 | 2000 | 0.60 | 40.0 | 25.0 | 1.60 | 90.0 | 50.0 | 5.00 | 20.0 |",
		"900 flows of Sluice finished; 100 of them", "1 invocations came more than once", `Sent again after "webhook: 503": 2.`,
		"| sluice: engine | 0.50 |", "| floor: worker | 0.25 |",
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q:\n%s", want, page.String())
		}
	}
}
