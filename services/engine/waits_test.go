package engine_test

import (
	"testing"
	"time"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// waitStep waits for what it is told.
func waitStep(id string, w *sluicev1.Wait, options ...option) *sluicev1.PlannedStep {
	return asyncStep(id, append(options, func(s *sluicev1.PlannedStep) {
		s.Type, s.Endpoint, s.CallTimeoutMs, s.Wait = sluicev1.StepType_STEP_TYPE_WAIT, "", 0, w
	})...)
}

// A wait outlives the engine that began it, and one whose moment is past is over
// at once.
func TestAWaitOutlivesTheEngine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start()
	past := time.Now().Add(-time.Hour).UnixNano()
	w.begin("f", planned(t, []string{"b"},
		waitStep("a", &sluicev1.Wait{DurationMs: 1500}, out("x")),
		waitStep("b", &sluicev1.Wait{UntilNs: &past}, in("x"), out("y"))))
	stop()
	w.start()
	history := w.wantEnd("f", sluicev1.FlowStatus_FLOW_STATUS_COMPLETED)
	begin, end := history[0].Commit.GetTimeNs(), history[len(history)-1].Commit.GetTimeNs()
	if took := time.Duration(end - begin); took < 1500*time.Millisecond {
		t.Errorf("the flow was over after %s", took)
	}
	w.idle()
	if n := w.messages(w.bus.Invocations(0)); n > 0 {
		t.Errorf("%d calls are asked for, and nobody is to be called", n)
	}
}
