package flow_test

import (
	"strconv"
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// What a command costs must not grow with the flow's history: compare the rows.
func BenchmarkCommandAfterHistory(b *testing.B) {
	for _, commits := range []int{100, 10_000, 100_000} {
		b.Run(strconv.Itoa(commits), func(b *testing.B) {
			s := flow.New("f", plan.Decode)
			var seq uint64
			now := start
			do := func(cmd *sluicev1.Command) {
				seq++
				turn := s.Begin(flow.Env{Now: now, Run: run, Floor: seq - min(seq, 10), Token: mint})
				turn.Apply(cmd, flow.Position{Sequence: seq, Time: now})
				if c := turn.Commit(); c != nil {
					s.Effects(c)
				}
			}
			do(startFlow(planned(b, []string{"a"}, step("a", work(func(w *sluicev1.WorkConfig) { w.MaxRetries = -1 }))), nil))
			round := func() {
				do(report(ref("a", s.Steps[0].Items[0].Attempt), notCompleted("busy", 0)))
				now = s.Steps[0].Items[0].NextRetry
				do(wake())
			}
			for s.Revision < uint64(commits) {
				round()
			}
			b.ReportAllocs()
			for b.Loop() {
				round()
			}
		})
	}
}

// A flow of three async steps from start to end: what the core takes of the
// engine's time.
func BenchmarkChainOfThree(b *testing.B) {
	planBytes := planned(b, []string{"c"},
		step("a", required("n"), output("x")), step("b", required("x"), output("y")), step("c", required("y"), output("z")))
	p, err := plan.Decode(planBytes)
	if err != nil {
		b.Fatal(err)
	}
	plans := func([]byte) (*plan.Plan, error) { return p, nil }
	b.ReportAllocs()
	for b.Loop() {
		s := flow.New("f", plans)
		for i, cmd := range []*sluicev1.Command{
			startFlow(planBytes, map[string]string{"n": "1"}),
			complete(ref("a", 1), succeeded("x", "1")),
			complete(ref("b", 1), succeeded("y", "1")),
			complete(ref("c", 1), succeeded("z", "1")),
		} {
			turn := s.Begin(flow.Env{Now: start, Run: run, Token: mint})
			turn.Apply(cmd, flow.Position{Sequence: uint64(i + 1), Time: start})
			s.Effects(turn.Commit())
		}
		if !s.Final() {
			b.Fatal("the flow did not end")
		}
	}
}
