package flow_test

import (
	"encoding/json"
	"strings"
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

func wantTrace(t *testing.T, l *life, want ...string) {
	t.Helper()
	if got := l.trace(); got != strings.Join(want, "\n") {
		t.Errorf("trace:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

func wantStatus(t *testing.T, l *life, want, reason string) {
	t.Helper()
	if got := flow.StatusName(l.state.Status); got != want || l.state.Error != reason {
		t.Errorf("flow is %s (%q), want %s (%q)", got, l.state.Error, want, reason)
	}
}

// wantResult compares what the flow completed with, as JSON.
func wantResult(t *testing.T, l *life, want string) {
	t.Helper()
	commit := l.log[len(l.log)-1]
	for _, e := range commit.GetEvents() {
		if c := e.GetFlowCompleted(); c != nil {
			result := map[string]json.RawMessage{}
			for name, ref := range c.GetResult() {
				result[name] = commit.GetValues()[ref-1]
			}
			if got := jsonOf(result); got != want {
				t.Errorf("the result is %s, want %s", got, want)
			}
			return
		}
	}
	t.Error("the last commit does not complete the flow")
}

func TestChainOfStepsCompletes(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"b"},
		step("a", required("order"), output("reserved")),
		step("b", required("reserved"), constant("currency", `"EUR"`), optional("note", `"none"`), output("receipt")),
	), map[string]string{"order": `{"n": 12345678901234567890.10}`})
	l.do(complete(ref("a", 1), succeeded("reserved", "true", "extra", "1")))
	if got, want := jsonOf(l.step("b").Inputs), `{"currency":"EUR","note":"none","reserved":true}`; got != want {
		t.Errorf("inputs of b are %s, want %s", got, want)
	}
	l.do(complete(ref("b", 1), succeeded("receipt", `"r1"`)))
	wantTrace(t, l,
		"flow_started step_started:a work_started:a#1",
		"work_succeeded:a#1 step_completed:a attribute_set:reserved step_started:b work_started:b#1",
		"work_succeeded:b#1 step_completed:b attribute_set:receipt flow_completed flow_deactivated")
	wantStatus(t, l, "completed", "")
	if got, want := jsonOf(l.step("a").Outputs), `{"extra":1,"reserved":true}`; got != want {
		t.Errorf("outputs of a are %s, want %s", got, want)
	}
	if _, ok := l.state.Attributes["extra"]; ok {
		t.Error("an undeclared output became an attribute")
	}
	if got := string(l.state.Attributes["order"].Value); got != `{"n": 12345678901234567890.10}` {
		t.Errorf("a value changed on its way: %s", got)
	}
	wantResult(t, l, `{"receipt":"r1"}`)
}

func TestOptionalInputIsAwaited(t *testing.T) {
	t.Parallel()
	plan := planned(t, []string{"goal"},
		step("goal", optional("hint", `"none"`), required("base"), output("out")),
		step("need", output("base")),
		step("slow", output("hint")),
	)
	t.Run("until it is there", func(t *testing.T) {
		t.Parallel()
		l := begin(t, plan, nil)
		l.do(complete(ref("need", 1), succeeded("base", "1")))
		if got := l.step("goal").Status; got != sluicev1.StepStatus_STEP_STATUS_PENDING {
			t.Fatalf("goal is %s though its optional input may still come", got)
		}
		l.do(complete(ref("slow", 1), succeeded("hint", `"h"`)))
		if got := jsonOf(l.step("goal").Inputs); got != `{"base":1,"hint":"h"}` {
			t.Errorf("inputs are %s", got)
		}
	})
	t.Run("until its provider failed", func(t *testing.T) {
		t.Parallel()
		l := begin(t, plan, nil)
		l.do(complete(ref("need", 1), succeeded("base", "1")))
		l.do(complete(ref("slow", 1), failed("no")))
		if got := jsonOf(l.step("goal").Inputs); got != `{"base":1,"hint":"none"}` {
			t.Errorf("inputs are %s", got)
		}
		l.do(complete(ref("goal", 1), succeeded("out", "1")))
		wantStatus(t, l, "completed", "")
	})
}

func TestFirstValueStands(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"goal"},
		step("fast", output("x")),
		step("goal", required("x"), optional("y", ""), output("out")),
		step("late", output("x"), output("y")),
	), nil)
	l.do(complete(ref("fast", 1), succeeded("x", "1")))
	l.do(complete(ref("late", 1), succeeded("x", "2", "y", "3")))
	if got := jsonOf(l.step("goal").Inputs); got != `{"x":1,"y":3}` {
		t.Errorf("inputs are %s, want the first x", got)
	}
	if got := l.state.Attributes["x"].Step; got != "fast" {
		t.Errorf("x was given by %q", got)
	}
}

func TestUnneededStepIsSkipped(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"goal"},
		step("first", output("seed")),
		step("goal", required("x"), output("out")),
		step("one", output("x")),
		step("two", required("seed"), output("x")),
	), nil)
	l.do(complete(ref("one", 1), succeeded("x", "1")))
	two := l.step("two")
	if two.Status != sluicev1.StepStatus_STEP_STATUS_SKIPPED || two.Error != "outputs not needed" {
		t.Errorf("two is %s (%q)", two.Status, two.Error)
	}
	l.do(complete(ref("goal", 1), succeeded("out", "1")))
	wantStatus(t, l, "completed", "")
}

func TestFailureReachesGoals(t *testing.T) {
	t.Parallel()
	chain := planned(t, []string{"c"},
		step("a", output("x")), step("b", required("x"), output("y")), step("c", required("y"), output("z")))
	t.Run("a step fails", func(t *testing.T) {
		t.Parallel()
		l := begin(t, chain, nil)
		l.do(complete(ref("a", 1), failed("out of stock")))
		wantStatus(t, l, "failed", `goal "c" failed: required input no longer available`)
		if got := l.step("b").Unsatisfied; len(got) != 1 || got[0] != "x" {
			t.Errorf("b lacks %v, want [x]", got)
		}
		if got := l.step("a").Error; got != "out of stock" {
			t.Errorf("error of a is %q", got)
		}
	})
	t.Run("a step completes without the output", func(t *testing.T) {
		t.Parallel()
		l := begin(t, chain, nil)
		l.do(complete(ref("a", 1), succeeded("other", "1")))
		wantStatus(t, l, "failed", `goal "c" failed: required input no longer available`)
	})
	t.Run("an output has another type", func(t *testing.T) {
		t.Parallel()
		l := begin(t, planned(t, []string{"a"}, step("a", typedOutput("n", "number"))), nil)
		l.do(complete(ref("a", 1), succeeded("n", `"12"`)))
		wantStatus(t, l, "failed", `goal "a" failed: output "n" is not of type number`)
	})
}

func TestRetries(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"},
		step("a", output("x"), work(func(w *sluicev1.WorkConfig) { w.MaxRetries = 1 }))), nil)
	l.now += second
	l.do(report(ref("a", 1), notCompleted("503", 0)))
	due := l.step("a").Items[0].NextRetry
	if least, most := l.now+second, l.now+second+second/10; due < least || due > most {
		t.Fatalf("retry is due %d ns after the failure, want 1 s and up to a tenth", due-l.now)
	}
	if next, ok := l.state.NextDeadline(); !ok || next != due {
		t.Fatalf("next deadline is %d, want %d", next, due)
	}
	l.now = due - 1
	if v := l.do(wake()); v.Kind != flow.Nothing {
		t.Fatalf("a wake before its time: verdict %v", v.Kind)
	}
	l.now = due
	l.do(wake())
	l.do(report(ref("a", 2), notCompleted("502", 0)))
	wantTrace(t, l,
		"flow_started step_started:a work_started:a#1",
		"work_not_completed:a#1 retry_scheduled:a#1",
		"work_started:a#2",
		"work_not_completed:a#2 work_failed:a#2 step_failed:a flow_failed flow_deactivated")
	wantStatus(t, l, "failed", `goal "a" failed: not completed after 2 attempts: 502`)
	if _, ok := l.state.NextDeadline(); ok {
		t.Error("an ended flow has a deadline")
	}
}

func TestRetryAfterIsKept(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a")), nil)
	l.do(complete(ref("a", 1), notCompleted("busy", 5000)))
	if delay := l.step("a").Items[0].NextRetry - l.now; delay < 5*second || delay > 5*second+second/2 {
		t.Errorf("retry after %d ns, want 5 s and up to a tenth", delay)
	}
}

func TestDelays(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		kind sluicev1.BackoffType
		want []int64 // milliseconds before each retry
	}{
		"fixed":       {sluicev1.BackoffType_BACKOFF_TYPE_FIXED, []int64{100, 100, 100, 100, 100}},
		"linear":      {sluicev1.BackoffType_BACKOFF_TYPE_LINEAR, []int64{100, 200, 300, 400, 450}},
		"exponential": {sluicev1.BackoffType_BACKOFF_TYPE_EXPONENTIAL, []int64{100, 200, 400, 450, 450}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := begin(t, planned(t, []string{"a"}, step("a", work(func(w *sluicev1.WorkConfig) {
				w.MaxRetries, w.BackoffMs, w.MaxBackoffMs, w.BackoffType = -1, 100, 450, tt.kind
			}))), nil)
			for i, want := range tt.want {
				l.do(report(ref("a", uint32(i+1)), notCompleted("busy", 0)))
				delay := l.step("a").Items[0].NextRetry - l.now
				if low := want * 1_000_000; delay < low || delay > low+low/10 {
					t.Errorf("delay %d is %d ns, want %d ms and up to a tenth", i+1, delay, want)
				}
				l.now += delay
				l.do(wake())
			}
		})
	}
}

func TestAttemptTimesOut(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", output("x"),
		work(func(w *sluicev1.WorkConfig) { w.TimeoutMs = 60_000 }))), nil)
	deadline := l.now + 60*second
	if next, _ := l.state.NextDeadline(); next != deadline {
		t.Fatalf("next deadline is %d, want %d", next, deadline)
	}
	l.now = deadline
	l.do(wake())
	if it := l.step("a").Items[0]; it.Status != sluicev1.WorkStatus_WORK_STATUS_NOT_COMPLETED || it.Error != "no outcome in time" {
		t.Fatalf("work item is %s (%q)", it.Status, it.Error)
	}
	l.do(complete(ref("a", 1), succeeded("x", "1")))
	wantStatus(t, l, "completed", "") // a success counts from whichever attempt
}

func TestOutcomeIsJudgedAtItsStoredTime(t *testing.T) {
	t.Parallel()
	plan := planned(t, []string{"a"}, step("a", work(func(w *sluicev1.WorkConfig) { w.TimeoutMs, w.MaxRetries = 60_000, 0 })))
	late := begin(t, plan, nil)
	at := flow.Position{Sequence: 10, Time: late.now + 60*second}
	late.now += 3600 * second
	late.deliver(delivery{complete(ref("a", 1), failed("too late")), at})
	wantStatus(t, late, "failed", `goal "a" failed: not completed after 1 attempts: no outcome in time`)

	early := begin(t, plan, nil)
	at = flow.Position{Sequence: 10, Time: early.now + 60*second - 1}
	early.now += 3600 * second // no engine was there
	early.deliver(delivery{complete(ref("a", 1), succeeded()), at})
	wantStatus(t, early, "completed", "")
}

func TestFlowTimesOut(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	cmd := startFlow(planned(t, []string{"a"}, step("a")), nil)
	cmd.GetStartFlow().TimeoutMs = 5000
	l.do(cmd)
	l.now += 5 * second
	l.do(wake())
	wantStatus(t, l, "failed", "the flow did not end within 5000 ms")
}

func TestCancel(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a")), nil)
	if v := l.do(cancel()); v.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_OK || v.Reply.GetRevision() != 2 {
		t.Errorf("reply %v", v.Reply)
	}
	wantStatus(t, l, "canceled", "asked")
	if v := l.do(cancel()); v.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_CONFLICT || v.Kind != flow.Nothing {
		t.Errorf("a second cancel: %v, %v", v.Kind, v.Reply)
	}
	fx := l.state.Effects(l.log[1])
	if len(fx.Marks) != 1 || fx.Marks[0].Kind != flow.Closed || !fx.Ended {
		t.Errorf("effects of the ending: %+v", fx)
	}
}

func TestStartIsIdempotent(t *testing.T) {
	t.Parallel()
	plan := planned(t, []string{"a"}, step("a"))
	l := begin(t, plan, nil)
	if v := l.do(startFlow(plan, nil)); v.Kind != flow.Nothing || v.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_REPEATED {
		t.Errorf("the same request again: %v, %v", v.Kind, v.Reply)
	}
	other := startFlow(plan, nil)
	other.GetStartFlow().RequestDigest = []byte("other")
	if v := l.do(other); v.Kind != flow.Nothing || v.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_CONFLICT {
		t.Errorf("another request: %v, %v", v.Kind, v.Reply)
	}
}

func TestGoalsGivenByInitCompleteAtOnce(t *testing.T) {
	t.Parallel()
	l := begin(t, marshalPlan(t, &sluicev1.Plan{
		Goals: []string{"b", "a"}, GivenGoals: []*sluicev1.GivenGoal{givenGoal("a", "x", "y"), givenGoal("b", "z")},
	}), map[string]string{"x": "1", "y": `"why"`, "z": "2.50", "other": "0"})
	wantStatus(t, l, "completed", "")
	wantTrace(t, l, "flow_started flow_completed flow_deactivated")
	wantResult(t, l, `{"x":1,"y":"why","z":2.50}`)
	if fx := l.state.Effects(l.log[0]); !fx.Ended || len(fx.Invocations)+len(fx.Marks) > 0 || fx.Timer != 0 {
		t.Errorf("effects %+v", fx)
	}
}

func TestOtherGoalsRunBesideOneThatInitGives(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) *life {
		t.Helper()
		return begin(t, marshalPlan(t, &sluicev1.Plan{
			Goals: []string{"a", "b"}, GivenGoals: []*sluicev1.GivenGoal{givenGoal("a", "x")},
			Steps: []*sluicev1.PlannedStep{step("b", required("x"), output("y"))},
		}), map[string]string{"x": "1"})
	}
	t.Run("and complete the flow", func(t *testing.T) {
		t.Parallel()
		l := start(t)
		wantStatus(t, l, "active", "")
		l.do(complete(ref("b", 1), succeeded("y", "2")))
		wantStatus(t, l, "completed", "")
		wantResult(t, l, `{"x":1,"y":2}`)
	})
	t.Run("or fail it", func(t *testing.T) {
		t.Parallel()
		l := start(t)
		l.do(complete(ref("b", 1), failed("no")))
		wantStatus(t, l, "failed", `goal "b" failed: no`)
	})
}

func TestStepsThatWaitForEachOtherDoNotHang(t *testing.T) {
	t.Parallel()
	t.Run("by optional inputs", func(t *testing.T) {
		t.Parallel()
		l := begin(t, planned(t, []string{"a", "b"},
			step("a", optional("y", ""), output("x")), step("b", optional("x", ""), output("y"))), nil)
		l.do(complete(ref("a", 1), succeeded("x", "1")))
		l.do(complete(ref("b", 1), succeeded("y", "1")))
		wantStatus(t, l, "completed", "")
	})
	t.Run("by required inputs", func(t *testing.T) {
		t.Parallel()
		l := begin(t, planned(t, []string{"a"},
			step("a", required("y"), output("x")), step("b", required("x"), output("y"))), nil)
		wantStatus(t, l, "failed", `goal "a" failed: required input no longer available`)
	})
}

func TestArgumentsThatFitNoMessageFailTheStep(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	turn := l.state.Begin(flow.Env{Now: l.now, Run: run, Token: mint, ArgumentBytes: 10})
	turn.Apply(startFlow(planned(t, []string{"a"}, step("a", required("big"))), map[string]string{"big": `"0123456789"`}), l.position())
	turn.Commit()
	wantStatus(t, l, "failed", `goal "a" failed: inputs of 15 bytes are more than an invocation can carry (10)`)
}
