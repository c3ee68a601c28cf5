package flow_test

import (
	"testing"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// Rule 5: effects are a function of one commit and the state now.
func TestInvocationIsWantedWhileItsAttemptRuns(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", required("n"), output("x"))), map[string]string{"n": "12"})
	started := l.log[0]
	fx := l.state.Effects(started)
	if len(fx.Invocations) != 1 {
		t.Fatalf("%d invocations, want 1", len(fx.Invocations))
	}
	inv := fx.Invocations[0]
	if inv.GetWork().GetAttempt() != 1 || inv.GetWork().GetRun() != run || string(inv.GetArguments()["n"]) != "12" ||
		inv.GetEndpoint() != "http://worker/a" || inv.GetDeadlineNs() != l.now+3600*second || inv.GetToken() != "" {
		t.Errorf("invocation %v", inv)
	}
	if again := l.replica.Effects(started).Invocations; len(again) != 1 {
		t.Errorf("from replayed state: %d invocations, want 1", len(again))
	}
	l.do(report(ref("a", 1), notCompleted("busy", 0)))
	if again := l.state.Effects(started).Invocations; len(again) != 0 {
		t.Errorf("after the attempt ended: %d invocations, want none", len(again))
	}
	l.now = fxTimer(t, l)
	l.do(wake())
	if second := l.state.Effects(l.log[2]).Invocations; len(second) != 1 || second[0].GetWork().GetAttempt() != 2 {
		t.Errorf("the second attempt's invocations: %v", second)
	}
	l.do(cancel())
	if after := l.state.Effects(l.log[2]).Invocations; len(after) != 0 {
		t.Errorf("after the end: %d invocations, want none", len(after))
	}
}

func fxTimer(t *testing.T, l *life) int64 {
	t.Helper()
	fx := l.state.Effects(l.log[len(l.log)-1])
	if next, _ := l.state.NextDeadline(); fx.Timer == 0 || fx.Timer != next {
		t.Fatalf("timer %d, next deadline %d", fx.Timer, next)
	}
	return fx.Timer
}

func TestMarks(t *testing.T) {
	t.Parallel()
	twoSteps := planned(t, []string{"b"}, step("a", output("x")), step("b", required("x")))
	contested := func() *sluicev1.Command {
		c := complete(ref("a", 1), succeeded("x", "1"))
		c.GetCompleteWork().Contested = true
		return c
	}
	for name, tt := range map[string]struct {
		commands []*sluicev1.Command
		want     []flow.Mark
	}{
		"an ordinary success costs no call": {
			commands: []*sluicev1.Command{complete(ref("a", 1), succeeded("x", "1"))},
		},
		"a contested success is decided": {
			commands: []*sluicev1.Command{contested()},
			want:     []flow.Mark{{Kind: flow.Decided, Success: true, Digest: []byte("okx|1")}},
		},
		"a final failure is decided": {
			commands: []*sluicev1.Command{complete(ref("a", 1), failed("no"))},
			want:     []flow.Mark{{Kind: flow.Decided, Digest: []byte("failedno")}},
		},
		"a failure that no payload brought is closed": {
			commands: []*sluicev1.Command{report(ref("a", 1), failed("404"))},
			want:     []flow.Mark{{Kind: flow.Closed}},
		},
		"a retry supersedes the attempt": {
			commands: []*sluicev1.Command{complete(ref("a", 1), notCompleted("busy", 0))},
			want:     []flow.Mark{{Kind: flow.Superseded, Attempt: 1}},
		},
		"an ignored outcome names the one that stands": {
			commands: []*sluicev1.Command{
				complete(ref("a", 1), succeeded("x", "1")), complete(ref("a", 1), succeeded("x", "2")),
			},
			want: []flow.Mark{{Kind: flow.Decided, Success: true, Digest: []byte("okx|1")}},
		},
		"an ignored failure of a superseded attempt leaves the token open": {
			commands: []*sluicev1.Command{
				report(ref("a", 1), notCompleted("busy", 0)), complete(ref("a", 1), failed("late")),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := begin(t, twoSteps, nil)
			for _, cmd := range tt.commands {
				l.do(cmd)
			}
			got := l.state.Effects(l.log[len(l.log)-1]).Marks
			if len(got) != len(tt.want) {
				t.Fatalf("marks %+v, want %+v", got, tt.want)
			}
			for i, want := range tt.want {
				if got[i].Kind != want.Kind || got[i].Success != want.Success || got[i].Attempt != want.Attempt ||
					string(got[i].Digest) != string(want.Digest) || got[i].Claims.StepID != "a" || got[i].Claims.Run != run {
					t.Errorf("mark %+v, want %+v", got[i], want)
				}
			}
		})
	}
}

func TestKindNamesTheEnding(t *testing.T) {
	t.Parallel()
	plan := planned(t, []string{"a"}, step("a"))
	for want, cmd := range map[subject.Kind]*sluicev1.Command{
		subject.KindAdvanced:  complete(ref("a", 1), notCompleted("busy", 0)),
		subject.KindCompleted: complete(ref("a", 1), succeeded()),
		subject.KindFailed:    complete(ref("a", 1), failed("no")),
		subject.KindCanceled:  cancel(),
	} {
		l := begin(t, plan, nil)
		l.do(cmd)
		if got := flow.Kind(l.log[1]); got != want {
			t.Errorf("kind %q, want %q", got, want)
		}
	}
}
