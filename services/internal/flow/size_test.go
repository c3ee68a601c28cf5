package flow_test

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// Sizes of a small world: an invocation carries 4 kB, a commit 7.
const (
	smallArguments = 4000
	smallCommit    = 7000
)

// newSmallLife is a life in a small world.
func newSmallLife(t tb) *life {
	l := newLife(t)
	l.arguments, l.commit = smallArguments, smallCommit
	return l
}

// text is a JSON string of that many bytes.
func text(letter string, bytes int) string { return `"` + strings.Repeat(letter, bytes-2) + `"` }

// hashed gives an outcome a digest as short as a real one.
func hashed(o *sluicev1.Outcome) *sluicev1.Outcome {
	digest := sha256.Sum256(o.GetDigest())
	o.Digest = digest[:16]
	return o
}

func TestStepsThatFitIntoNoCommitTogetherStartOneAfterTheOther(t *testing.T) {
	t.Parallel()
	l := newSmallLife(t)
	var steps []*sluicev1.PlannedStep
	var goals []string
	for i := range 3 {
		id := fmt.Sprintf("s%d", i)
		goals = append(goals, id)
		steps = append(steps, step(id, constant("big"+id, text(id[1:], 3000))))
	}
	l.do(startFlow(planned(t, goals, steps...), nil))
	for n := 0; l.due == l.now && n < 5; n++ {
		l.do(wake())
	}
	wantTrace(t, l, "flow_started",
		"step_started:s0 work_started:s0#1 step_started:s1 work_started:s1#1",
		"step_started:s2 work_started:s2#1")
}

func TestOutputsThatCannotBeKeptFailTheWorkItem(t *testing.T) {
	t.Parallel()
	l := newSmallLife(t)
	l.do(startFlow(planned(t, []string{"a"}, step("a", output("x"))), nil))
	l.do(complete(ref("a", 1), succeeded("x", text("x", 2000), "y", text("y", 2001))))
	wantStatus(t, l, "failed", `goal "a" failed: outputs of 4003 bytes are more than can be kept (4000)`)
}

func TestResultsThatFitNotAreLeftOut(t *testing.T) {
	t.Parallel()
	l := newSmallLife(t)
	l.do(startFlow(planned(t, []string{"a", "b", "c"},
		step("a", output("x"), output("y")), step("b", output("z")), step("c", output("last"))), nil))
	l.do(complete(ref("a", 1), hashed(succeeded("x", text("x", 1900), "y", text("y", 1900)))))
	l.do(complete(ref("b", 1), hashed(succeeded("z", text("z", 1900)))))
	l.do(complete(ref("c", 1), hashed(succeeded("last", text("l", 1900))))) // stands in the commit already
	last := l.log[len(l.log)-1].GetEvents()
	done := last[len(last)-2].GetFlowCompleted()
	if len(done.GetResult()) != 3 || len(done.GetOmitted()) != 1 || done.GetOmitted()[0] != "z" {
		t.Errorf("result of %d values, left out %v", len(done.GetResult()), done.GetOmitted())
	}
}

// A state that is too large for a commit goes without a snapshot, and its
// commits stay as small as others.
func TestSnapshotsThatAreTooLargeAreLeftOut(t *testing.T) {
	t.Parallel()
	l := newSmallLife(t)
	l.do(startFlow(planned(t, []string{"a"}, step("a", output("x"), work(func(w *sluicev1.WorkConfig) { w.MaxRetries = -1 }))),
		map[string]string{"one": text("1", 1500), "two": text("2", 1500)}))
	for i := range 100 {
		l.do(complete(ref("a", l.step("a").Items[0].Attempt), notCompleted(strconv.Itoa(i), 0)))
		l.now = l.due
		l.do(wake())
	}
	if len(l.log) != 201 {
		t.Fatalf("%d commits", len(l.log))
	}
	for _, c := range l.log[1:] {
		if c.GetSnapshot() != nil || proto.Size(c) > 500 {
			t.Fatalf("revision %d takes %d bytes", c.GetRevision(), proto.Size(c))
		}
	}
}

// Whatever is asked for, no commit is larger than its budget by more than one
// command, and no flow waits for ever for one that it fits into.
func TestCommitsKeepToTheirSize(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := newSmallLife(t)
		steps := drawBigSteps(t)
		var goals []string
		for _, s := range steps {
			goals = append(goals, s.GetId())
		}
		l.do(startFlow(planned(t, goals, steps...), map[string]string{"init": text("i", rapid.IntRange(2, 1000).Draw(t, "init"))}))
		for round := 0; !l.state.Final(); round++ {
			if round > 200 {
				t.Fatalf("it does not end:\n%s", l.trace())
			}
			if l.wakeAt != 0 && l.wakeAt <= l.now {
				l.fire()
				continue
			}
			open := openItems(l)
			if len(open) == 0 {
				t.Fatalf("nothing runs and nothing is due:\n%s", l.trace())
			}
			w := rapid.SampledFrom(open).Draw(t, "answered")
			id := w.GetStepId()
			outcome := succeeded("o"+id, text(id[1:], rapid.IntRange(2, 1000).Draw(t, "output")))
			if rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
				outcome = failed(strings.Repeat("e", rapid.IntRange(0, 1000).Draw(t, "error")))
			}
			l.do(complete(w, hashed(outcome)))
		}
		for _, c := range l.log[1:] {
			if size := proto.Size(c); size > 8000 {
				t.Fatalf("revision %d takes %d bytes: %s", c.GetRevision(), size, l.trace())
			}
		}
	})
}

// drawBigSteps draws steps with large constants that need what others give.
func drawBigSteps(t *rapid.T) []*sluicev1.PlannedStep {
	var steps []*sluicev1.PlannedStep
	for i := range rapid.IntRange(1, 8).Draw(t, "steps") {
		id := fmt.Sprintf("s%d", i)
		options := []stepOption{
			output("o" + id), required("init"), parallel(rapid.Int32Range(1, 4).Draw(t, "parallelism")),
			constant("c"+id, text(id[1:], rapid.IntRange(2, 4000).Draw(t, "constant"))),
		}
		for j := range i {
			if rapid.IntRange(0, 2).Draw(t, "needs") == 0 {
				options = append(options, required(fmt.Sprintf("os%d", j)))
			}
		}
		if rapid.IntRange(0, 2).Draw(t, "for each") == 0 {
			elements := make([]string, rapid.IntRange(0, 4).Draw(t, "elements"))
			for j := range elements {
				elements[j] = text(strconv.Itoa(j), rapid.IntRange(2, 1000).Draw(t, "element"))
			}
			options = append(options, each(constant("each"+id, "["+strings.Join(elements, ",")+"]")))
		}
		steps = append(steps, step(id, options...))
	}
	return steps
}

func TestSizeIsThatOfTheCommit(t *testing.T) {
	t.Parallel()
	s := flow.New("f", plan.Decode)
	turn := s.Begin(flow.Env{Now: start, Run: run, Token: mint})
	turn.Apply(startFlow(planned(t, []string{"a"}, step("a", required("i"), output("x"))), map[string]string{"i": text("i", 5000)}),
		flow.Position{Sequence: 1, Time: start})
	turn.Apply(complete(ref("a", 1), hashed(succeeded("x", text("x", 3000)))), flow.Position{Sequence: 2, Time: start})
	estimate := turn.Size()
	if size := proto.Size(turn.Commit()); estimate < size-64 || estimate > size+500 {
		t.Errorf("the commit takes %d bytes, expected were %d", size, estimate)
	}
}
