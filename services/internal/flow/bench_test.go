package flow_test

import (
	"fmt"
	"strconv"
	"strings"
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

// What a completion costs must not grow with the number of work items that
// complete at once, the last of which gathers the outputs of all: compare the
// ns/completion of the rows.
func BenchmarkCompletion(b *testing.B) {
	for _, items := range []int{100, 10_000} {
		for _, batch := range []int{1, 256} {
			b.Run(fmt.Sprintf("items=%d/batch=%d", items, batch), func(b *testing.B) {
				f := newFan(b, items)
				b.ReportAllocs()
				completions := 0
				for b.Loop() {
					b.StopTimer()
					f.begin()
					b.StartTimer()
					f.complete(batch)
					completions += items
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(completions), "ns/completion")
			})
		}
	}
}

// fan is a flow whose only step has many work items that run at once.
type fan struct {
	t        tb
	items    int
	plan     *plan.Plan
	start    *sluicev1.Command
	outcomes []*sluicev1.Command
	s        *flow.State
	seq      uint64
}

func newFan(t tb, items int) *fan {
	t.Helper()
	numbers := make([]string, items)
	f := &fan{t: t, items: items}
	for i := range numbers {
		numbers[i] = strconv.Itoa(i)
		f.outcomes = append(f.outcomes, complete(itemRef("a", i, 1), hashed(succeeded("x", numbers[i]))))
	}
	planBytes := planned(t, []string{"a"}, step("a", each(required("n")), output("x"), parallel(int32(items))))
	p, err := plan.Decode(planBytes)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	f.plan, f.start = p, startFlow(planBytes, map[string]string{"n": "[" + strings.Join(numbers, ",") + "]"})
	return f
}

// begin makes the flow, with all its work items running.
func (f *fan) begin() {
	f.s, f.seq = flow.New("f", func([]byte) (*plan.Plan, error) { return f.plan, nil }), 0
	f.fold(f.start)
	for f.s.Steps[0].Items[f.items-1].Attempt == 0 {
		f.fold(wake())
	}
}

// complete folds all outcomes, so many into one commit.
func (f *fan) complete(batch int) {
	for n := 0; n < f.items; n += batch {
		f.fold(f.outcomes[n:min(n+batch, f.items)]...)
	}
	if !f.s.Final() {
		f.t.Fatalf("the flow did not end")
	}
}

func (f *fan) fold(commands ...*sluicev1.Command) {
	turn := f.s.Begin(flow.Env{Now: start, Run: run, Floor: f.seq / 1000 * 1000, Token: mint})
	for _, cmd := range commands {
		f.seq++
		turn.Apply(cmd, flow.Position{Sequence: f.seq, Time: start})
	}
	if c := turn.Commit(); c != nil {
		f.s.Effects(c)
	}
	turn.Due()
}
