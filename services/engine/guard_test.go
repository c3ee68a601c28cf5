package engine_test

import (
	"testing"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/services/engine"
)

// Rule 9: a history whose reading panics costs its own commands, not the engine.
func TestAHistoryThatPanicsEndsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start()
	w.begin("f", planned(t, []string{"poison"}, asyncStep("poison", out("x"))))
	w.begin("g", planned(t, []string{"a"}, asyncStep("a", out("x"))))
	first, second := w.invocation("f", "poison"), w.invocation("g", "a")
	w.idle()
	stop()
	for _, value := range []string{"1", "2"} { // they come in one batch
		w.send(subject.SourceHook, success(first, "x", value))
	}
	w.send(subject.SourceHook, success(second, "x", "1"))
	w.startOn(w.bus, func(e *engine.Engine) { engine.PanicAtPlan(e, "poison") })
	w.ended("g")
	w.until("both completions are dead letters", func() bool { return w.messages(w.bus.Dead()) == 2 })
	w.idle()
}
