package flow_test

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// fuzzed is a plan with all that a plan of this release can have.
func fuzzed(t tb) []byte {
	return marshalPlan(t, &sluicev1.Plan{
		Goals: []string{"b", "given", "m", "p", "w"}, GivenGoals: []*sluicev1.GivenGoal{givenGoal("given", "g")},
		Steps: []*sluicev1.PlannedStep{
			step("a", required("n"), typedOutput("x", "number"), compensable()),
			step("b", required("x"), optional("y", "1"), constant("c", "2"), output("z")),
			step("d", each(constant("list", "[1,2]")), output("y"), compensable(), scripted, predicate, work(func(w *sluicev1.WorkConfig) {
				w.HeartbeatTimeoutMs, w.DeadlineMs = 10_000, 60_000
			})),
			step("m", output("paid"), waitsFor("paid", 60_000)),
			step("p", output("approved"), waits(&sluicev1.Wait{Approval: &sluicev1.WaitApproval{Approvers: 2}, TimeoutMs: 60_000})),
			step("w", required("x"), output("over"), waits(&sluicev1.Wait{DurationMs: 30_000, TimeoutMs: 60_000})),
		},
	})
}

func fuzzedStart(t tb) *sluicev1.Command {
	cmd := startFlow(fuzzed(t), map[string]string{"n": "1", "g": "2"})
	cmd.GetStartFlow().TimeoutMs = 3_600_000
	return cmd
}

// fuzzedLives are flows at the moments between which commands make a difference.
func fuzzedLives(t tb) []*life {
	running, retrying, ended, compensating := newLife(t), newLife(t), newLife(t), newLife(t)
	asked, failing, paused := newLife(t), newLife(t), newLife(t)
	for _, l := range []*life{asked, running, retrying, ended, compensating, failing, paused} {
		l.do(fuzzedStart(t))
	}
	for _, l := range []*life{running, retrying, ended, compensating} {
		l.do(answered("d", 1, true))
	}
	retrying.do(complete(ref("a", 1), succeeded("x", "1")))
	retrying.do(report(ref("d", 1), notCompleted("busy", 0)))
	ended.do(cancel())
	compensating.do(complete(ref("a", 1), succeeded("x", "1")))
	compensating.do(cancel())
	compensating.do(undone(ref("a", 1), notCompleted("busy", 0)))
	failing.do(complete(ref("a", 1), failed("no")))
	paused.do(complete(ref("a", 1), failed("no")))
	paused.do(retry())
	paused.do(pause())
	return []*life{newLife(t), asked, running, retrying, ended, compensating, failing, paused}
}

// Whatever stands on a subject of commands: it is decided without a panic, and
// replay, snapshot and restore agree on what follows (life.deliver checks it).
func FuzzCommand(f *testing.F) {
	w := ref("a", 1)
	for _, cmd := range []*sluicev1.Command{
		fuzzedStart(f), complete(w, succeeded("x", "1")), complete(w, succeeded("x", `"1"`)), complete(w, failed("no")),
		complete(w, notCompleted("busy", 5000)), report(ref("d", 2), failed("no")), wake(),
		answered("d", 1, true), answered("d", 1, false), unanswered("d", 1, "no"), scriptResult(ref("d", 1), succeeded("y", "1")), cancel(), retire(0), retire(2),
		heard(start+1000*second, start, start+second, ref("d", 1)),
		complete(&sluicev1.WorkRef{Run: run}, succeeded()), undone(w, succeeded()), undone(w, notCompleted("busy", 0)), undone(w, failed("no")),
		pause(), resume(), retry(), override(doRetry, "d"), override(doSkip, "b"), override(doComplete, "a", "x", "1"),
		ofItem(override(doFail, "d"), 0), childEnded(w, succeeded("x", "1")), cancelled(), parentHeard(w),
		scriptResult(ref("m", 1), succeeded("result", "1")), deliverTo(ref("m", 1), box(&office{t: f}, "1"), 1),
		decide(ref("p", 1), true, "link/1"), decide(ref("p", 1), false, "link/1"), decide(ref("a", 1), true, "link/1"),
	} {
		data, err := proto.Marshal(cmd)
		if err != nil {
			f.Fatal(err)
		}
		for moment := range uint8(8) {
			f.Add(moment, int64(1000), data)
		}
	}
	f.Fuzz(func(t *testing.T, moment uint8, laterMS int64, data []byte) {
		var cmd sluicev1.Command
		if proto.Unmarshal(data, &cmd) != nil {
			return
		}
		lives := fuzzedLives(t)
		l := lives[int(moment)%len(lives)]
		l.now += max(0, laterMS%(1<<40)) * 1_000_000
		cmd.FlowId = "f"
		stored := delivery{&cmd, l.position()}
		if v := l.deliver(stored)[0]; v.Kind == flow.Folded {
			l.state.Effects(l.log[len(l.log)-1])
			if again := l.deliver(stored)[0]; again.Kind != flow.Repeat {
				t.Errorf("the same command again: verdict %v", again.Kind)
			}
		}
		if next, due := l.state.NextDeadline(); due && next < start {
			t.Errorf("the next deadline is %d, before the flow began", next)
		}
		l.do(wake())
	})
}

// Whatever a commit holds: it is replayed, or refused with an error that says
// what is wrong with it; and what was replayed can be stored as a snapshot.
func FuzzReplay(f *testing.F) {
	for _, l := range fuzzedLives(f) {
		for _, c := range l.log {
			data, err := proto.Marshal(c)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
			c.Snapshot = l.state.Snapshot()
			if data, err = proto.Marshal(c); err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c sluicev1.Commit
		if proto.Unmarshal(data, &c) != nil {
			return
		}
		c.FlowId = "f"
		state := flow.New("f", plan.Decode)
		switch before := c.GetSnapshot(); {
		case before != nil:
			restored, err := flow.Restore("f", before, plan.Decode)
			if err != nil {
				checkRefused(t, err)
				return
			}
			state = restored
		case c.GetRevision() > 1:
			l := newLife(t)
			l.do(fuzzedStart(t))
			state = l.replica
		}
		c.Revision = state.Revision + 1
		if err := state.Replay(&c); err != nil {
			checkRefused(t, err)
			return
		}
		state.Effects(&c)
		next, due := state.NextDeadline()
		restored, err := flow.Restore("f", reparse(t, state.Snapshot()), plan.Decode)
		if err != nil {
			t.Fatalf("what was replayed makes no snapshot: %v", err)
		}
		if !proto.Equal(restored.Snapshot(), state.Snapshot()) {
			t.Errorf("restored differs\n%v\n%v", restored.Snapshot(), state.Snapshot())
		}
		if at, ok := restored.NextDeadline(); at != next || ok != due {
			t.Errorf("restored, the next deadline is %d, and was %d", at, next)
		}
	})
}

func checkRefused(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, flow.ErrMalformed) && !errors.Is(err, flow.ErrGap) && !errors.Is(err, flow.ErrForeign) {
		t.Errorf("refused for no reason that is known: %v", err)
	}
}

// Whatever a mailbox's commit holds: it is replayed, or refused with an error that
// says what is wrong with it; and what was replayed can be stored as a snapshot.
func FuzzMailbox(f *testing.F) {
	o := newOffice(f)
	o.send(o.post("17", "m-1", "1", hourMS))
	o.send(o.post("17", "m-2", "2", hourMS))
	for _, id := range []string{"f", "g", "h"} {
		o.begin(id, "17", 0)
	}
	o.settle()
	id := box(o, "17")
	for _, c := range o.of(id).log {
		for _, snap := range []*sluicev1.Snapshot{nil, o.of(id).state.Snapshot()} {
			c.Snapshot = snap
			data, err := proto.Marshal(c)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c sluicev1.Commit
		if proto.Unmarshal(data, &c) != nil {
			return
		}
		state := flow.New(id, plan.Decode)
		if snap := c.GetSnapshot(); snap != nil {
			restored, err := flow.Restore(id, snap, plan.Decode)
			if err != nil {
				checkRefused(t, err)
				return
			}
			state = restored
		}
		c.FlowId, c.Revision = id, state.Revision+1
		if err := state.Replay(&c); err != nil {
			checkRefused(t, err)
			return
		}
		state.Effects(&c)
		restored, err := flow.Restore(id, reparse(t, state.Snapshot()), plan.Decode)
		if err != nil {
			t.Fatalf("what was replayed makes no snapshot: %v", err)
		}
		if !proto.Equal(restored.Snapshot(), state.Snapshot()) {
			t.Errorf("restored differs\n%v\n%v", restored.Snapshot(), state.Snapshot())
		}
	})
}
