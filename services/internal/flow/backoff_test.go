package flow_test

import (
	"fmt"
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// Ten thousand flows that came to nothing at the same moment come back one by
// one, all over the tenth of their delay that jitter adds.
func TestRetriesSpreadOverTheirJitter(t *testing.T) {
	t.Parallel()
	const flows, slices, delay = 10_000, 20, 60 * second
	planBytes := planned(t, []string{"a"}, step("a", work(func(w *sluicev1.WorkConfig) { w.BackoffMs = 60_000 })))
	begin := startFlow(planBytes, nil)
	fails := complete(ref("a", 1), notCompleted("down", 0))
	var spread [slices]int
	for i := range flows {
		id := fmt.Sprintf("flow-%d", i)
		begin.FlowId, fails.FlowId = id, id
		turn := flow.New(id, plan.Decode).Begin(flow.Env{Now: start, Run: run, Token: mint})
		turn.Apply(begin, flow.Position{Sequence: 1, Time: start})
		turn.Apply(fails, flow.Position{Sequence: 2, Time: start})
		after := turn.Due() - start - delay
		if after < 0 || after >= delay/10 {
			t.Fatalf("%s tries again %d ns after its delay", id, after)
		}
		spread[after*slices/(delay/10)]++
	}
	for i, n := range spread {
		if n < flows/slices*8/10 || n > flows/slices*12/10 {
			t.Errorf("%d of %d flows come back in part %d of %d", n, flows, i, slices)
		}
	}
}
