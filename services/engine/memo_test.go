package engine_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/engine"
	"github.com/sluiceflow/sluice/services/internal/journal"
)

func memoizable(s *sluicev1.PlannedStep) { s.Memoizable = true }

func isMemoized(e *sluicev1.Event) bool { return e.GetWorkSucceeded().GetMemoized() }

// beginWith starts a flow with an init value n.
func (w *world) beginWith(id string, planBytes []byte, n string) {
	w.t.Helper()
	cmd := startCommand(id, planBytes, "request")
	cmd.GetStartFlow().Init = map[string][]byte{"n": []byte(n)}
	w.wantBegun(cmd)
}

// Equal work is done once: the next flow gets the outcome without a call. Another
// engine knows nothing of it, and replays what is in the log.
func TestEqualWorkIsDoneOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.startOn(w.bus, nil)
	text := planned(t, []string{"a"}, asyncStep("a", in("n"), out("x"), memoizable))
	w.beginWith("first", text, `{"a":1,"b":2}`)
	w.send(subject.SourceHook, success(w.invocation("first", "a"), "x", "7"))
	if history := w.ended("first"); count(history, isMemoized) != 0 {
		t.Error("the first one is memoized")
	}
	w.idle() // the engine learns the outcome before it acks, and after it has committed
	w.beginWith("second", text, `{"b":2,"a":1.0}`)
	history := w.ended("second")
	if count(history, isMemoized) != 1 || string(resultOf(t, history)) != "7" {
		t.Errorf("the second one: %d memoized, result %s", count(history, isMemoized), resultOf(t, history))
	}
	if n := w.messages(w.bus.Invocations(0)); n > 0 {
		t.Errorf("%d invocations", n)
	}
	w.beginWith("other", text, `{"a":1,"b":3}`)
	w.invocation("other", "a")
	if n := e.figure(t, "sluice_engine_memo_total"); n != 3 { // one of them recalled
		t.Errorf("%v are counted", n)
	}
	e.stop()
	w.start()
	w.beginWith("third", text, `{"a":1,"b":2}`)
	w.send(subject.SourceHook, success(w.invocation("third", "a"), "x", "8"))
	if history := w.ended("third"); count(history, isMemoized) != 0 {
		t.Error("another engine remembers")
	}
	if again, err := w.journal.Load(t.Context(), "second"); err != nil || !again.State.Final() {
		t.Errorf("the second one, read again: %v", err)
	}
}

// resultOf is what a flow of one goal completed with.
func resultOf(t *testing.T, history []journal.Stored) []byte {
	t.Helper()
	for _, stored := range history {
		for _, e := range stored.Commit.GetEvents() {
			if done := e.GetFlowCompleted(); done != nil {
				return stored.Commit.GetValues()[done.GetResult()["x"]-1]
			}
		}
	}
	t.Fatal("it did not complete")
	return nil
}

// A memory of two keeps the two that were used last.
func TestTheLeastRecentlyUsedIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(func(c *engine.Config) { c.MemoCacheSize = 2 })
	text := planned(t, []string{"a"}, asyncStep("a", in("n"), out("x"), memoizable))
	do := func(id, n string, known bool) {
		t.Helper()
		w.beginWith(id, text, n)
		if !known {
			w.send(subject.SourceHook, success(w.invocation(id, "a"), "x", n))
		}
		if history := w.ended(id); (count(history, isMemoized) == 1) != known || string(resultOf(t, history)) != n {
			t.Errorf("%s: memoized %v, result %s", id, count(history, isMemoized) == 1, resultOf(t, history))
		}
		w.idle()
	}
	do("f1", "1", false)
	do("f2", "2", false)
	do("f3", "1", true)
	do("f4", "3", false) // forgets 2
	do("f5", "1", true)
	do("f6", "2", false)
}

// Work items of one step are equal work too, and a thousand of them that are known
// are a thousand commands.
func TestAListIsRecalled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	list := asyncStep("a", out("x"), memoizable)
	list.GetWork().Parallelism = 100
	list.Attributes = append([]*sluicev1.StepAttribute{{
		Name: "n", Role: sluicev1.AttributeRole_ATTRIBUTE_ROLE_REQUIRED, Type: "any", ForEach: true,
	}}, list.GetAttributes()...)
	text := planned(t, []string{"a"}, proto.CloneOf(list))
	w.beginWith("one", text, "[1]")
	w.send(subject.SourceHook, success(w.invocation("one", "a"), "x", "7"))
	w.ended("one")
	w.idle()
	many := []byte("[1")
	for range 999 {
		many = append(many, ",1"...)
	}
	w.beginWith("many", text, string(append(many, ']')))
	if history := w.ended("many"); count(history, isMemoized) != 1000 {
		t.Errorf("%d of 1000 are memoized", count(history, isMemoized))
	}
	if n := w.messages(w.bus.Invocations(0)); n > 0 {
		t.Errorf("%d invocations", n)
	}
}
