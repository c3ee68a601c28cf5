package engine_test

import (
	"testing"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

func controlled(id string, fill func(*sluicev1.Command)) *sluicev1.Command {
	cmd := &sluicev1.Command{FlowId: id}
	fill(cmd)
	return cmd
}

func overridden(id, step string, action sluicev1.OverrideAction) *sluicev1.Command {
	return controlled(id, func(cmd *sluicev1.Command) {
		cmd.Kind = &sluicev1.Command_OverrideStep{OverrideStep: &sluicev1.OverrideStep{StepId: step, Action: action, Outputs: map[string][]byte{"x": []byte("1")}}}
	})
}

func (w *world) wantOK(cmd *sluicev1.Command) {
	w.t.Helper()
	if reply := w.ask(cmd); reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_OK {
		w.t.Fatalf("%v: %v", cmd, reply)
	}
}

func TestARetryByHandHasANewTokenAndClosesTheOld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := testkit.Redis(t)
	w.withRedis(url, url)
	w.start()
	w.begin("f", chain(t))
	first := w.invocation("f", "a")
	w.send(subject.SourceHook, completion(first, &sluicev1.Outcome{Error: "no", Digest: []byte("no")}))
	w.ended("f")
	w.wantOK(controlled("f", func(cmd *sluicev1.Command) {
		cmd.Kind = &sluicev1.Command_RetryFlow{RetryFlow: &sluicev1.RetryFlow{Reason: "mended", By: "ann"}}
	}))
	second := w.invocation("f", "a")
	if second.GetToken() == first.GetToken() || second.GetWork().GetGeneration() != 1 || second.GetWork().GetAttempt() != 2 {
		t.Errorf("called again under token %.8s after %.8s: %v", second.GetToken(), first.GetToken(), second.GetWork())
	}
	// A person is faster than the worker: its token is closed.
	w.wantOK(overridden("f", "a", sluicev1.OverrideAction_OVERRIDE_ACTION_COMPLETE))
	w.until("Redis says that the token is closed", func() bool {
		said, _, err := w.index.Begin(t.Context(), tokenindex.Outcome{
			TokenHash: token.Hash(second.GetToken()), Digest: []byte("late"), Success: true, Attempt: 2,
		})
		return err == nil && said == tokenindex.Gone
	})
	w.send(subject.SourceHook, success(w.invocation("f", "b"), "y", "2"))
	w.send(subject.SourceHook, success(w.invocation("f", "c"), "z", "3"))
	history := w.ended("f")
	endings := count(history, func(e *sluicev1.Event) bool { return e.GetFlowFailed() != nil || e.GetFlowCompleted() != nil })
	if endings != 2 || history[len(history)-1].Commit.GetEvents()[3].GetFlowCompleted() == nil {
		t.Errorf("%d endings, the last commit is %v", endings, history[len(history)-1].Commit)
	}
}

// What a pause holds back comes when the flow goes on, from another engine too.
func TestAPauseOutlivesTheEngine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start()
	w.begin("f", planned(t, []string{"a"}, asyncStep("a", out("x"), retries(-1, 1))))
	first := w.invocation("f", "a")
	w.wantOK(controlled("f", func(cmd *sluicev1.Command) { cmd.Kind = &sluicev1.Command_PauseFlow{PauseFlow: &sluicev1.PauseFlow{}} }))
	w.send(subject.SourceReport, &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_ReportCall{ReportCall: &sluicev1.ReportCall{
		Work: first.GetWork(), Outcome: &sluicev1.Outcome{NotCompleted: true, Error: "503"},
	}}})
	w.idle()
	stop()
	w.start()
	w.wantOK(controlled("f", func(cmd *sluicev1.Command) {
		cmd.Kind = &sluicev1.Command_ResumeFlow{ResumeFlow: &sluicev1.ResumeFlow{}}
	}))
	second := w.invocation("f", "a")
	if second.GetWork().GetAttempt() != 2 {
		t.Errorf("attempt %d is called", second.GetWork().GetAttempt())
	}
	history, err := w.journal.History(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	paused := false
	for _, c := range history {
		for _, e := range c.Commit.GetEvents() {
			switch {
			case e.GetFlowPaused() != nil:
				paused = true
			case e.GetFlowResumed() != nil:
				paused = false
			case e.GetWorkStarted() != nil && paused:
				t.Errorf("attempt %d began in the pause", e.GetAttempt())
			}
		}
	}
	w.send(subject.SourceHook, success(second, "x", "1"))
	w.ended("f")
}
