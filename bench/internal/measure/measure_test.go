package measure_test

import (
	"testing"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/measure"
)

func TestPercentile(t *testing.T) {
	t.Parallel()
	var l measure.Latencies
	if got := l.Percentile(.5); got != 0 {
		t.Errorf("percentile of nothing = %v, want 0", got)
	}
	for i := 100; i > 0; i-- {
		l.Add(time.Duration(i) * time.Millisecond)
	}
	for p, want := range map[float64]float64{0: 1, .5: 51, .99: 100, 1: 100} {
		if got := l.Percentile(p); got != want {
			t.Errorf("percentile %v = %v, want %v", p, got, want)
		}
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	runs := []measure.Result{
		{Concurrency: 16, FlowsPerS: 30, FlowP50: 1, FlowsDone: 10, Checked: 1, Errors: map[string]int64{"webhook: 503": 2}},
		{Concurrency: 16, FlowsPerS: 10, FlowP50: 4, FlowsDone: 20, Checked: 2, CPU: map[string]float64{"engine": 1}},
		{Concurrency: 16, FlowsPerS: 20, FlowP50: 2, FlowsDone: 30, Checked: 3, Errors: map[string]int64{"webhook: 503": 1}},
	}
	m := measure.Median(runs)
	if m.Concurrency != 16 || m.FlowsPerS != 20 || m.FlowP50 != 2 {
		t.Errorf("figures are not medians: %+v", m)
	}
	if m.FlowsDone != 60 || m.Checked != 6 || m.Errors["webhook: 503"] != 3 {
		t.Errorf("counts are not sums: %+v", m)
	}
	if even := measure.Median(runs[:2]); even.FlowsPerS != 20 || even.FlowP50 != 2.5 {
		t.Errorf("median of two = %+v, want the middle", even)
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	var r measure.Result
	r.Rates(20, 60, 4*time.Second)
	r.SetCPU(map[string]time.Duration{"engine": time.Second})
	if r.FlowsPerS != 5 || r.StepsPerS != 15 || r.Seconds != 4 || r.CPU["engine"] != 50 {
		t.Errorf("got %+v", r)
	}
}
