package engine_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/engine"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// each makes work items of the elements of a constant.
func each(name string, elements []byte) option {
	return func(s *sluicev1.PlannedStep) {
		s.Attributes = append(s.Attributes, &sluicev1.StepAttribute{
			Name: name, Role: sluicev1.AttributeRole_ATTRIBUTE_ROLE_CONST, Type: "array", Default: elements, ForEach: true,
		})
	}
}

func parallel(n int) option {
	return func(s *sluicev1.PlannedStep) { s.GetWork().Parallelism = int32(n) }
}

// numbers is the array of the numbers from 0 on.
func numbers(n int) []byte {
	list := make([]string, n)
	for i := range list {
		list[i] = strconv.Itoa(i)
	}
	return []byte("[" + strings.Join(list, ",") + "]")
}

// invocations takes so many invocations of a flow that runs one step.
func (w *world) invocations(n int) []*sluicev1.Invocation {
	w.t.Helper()
	var all []*sluicev1.Invocation
	deadline := time.Now().Add(patience + time.Duration(n)*20*time.Millisecond)
	for len(all) < n {
		inv, ok := w.nextInvocation(w.t.Context())
		if ok {
			all = append(all, inv)
		} else if time.Now().After(deadline) {
			w.t.Fatalf("%d invocations, want %d", len(all), n)
		}
	}
	return all
}

func twice(inv *sluicev1.Invocation) *sluicev1.Command {
	n, err := strconv.Atoi(string(inv.GetArguments()["n"]))
	if err != nil {
		panic(err)
	}
	return success(inv, "twice", strconv.Itoa(2*n))
}

// All work items of a step run and complete at once, in any order: what they
// gave stands in input order. SLUICE_WORK_ITEMS says how many there are.
func TestManyWorkItemsCompleteAtOnce(t *testing.T) {
	t.Parallel()
	items := 1000
	if text, ok := os.LookupEnv("SLUICE_WORK_ITEMS"); ok {
		var err error
		if items, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	stop := w.start()
	began := time.Now()
	w.begin("f", planned(t, []string{"sum"},
		asyncStep("double", each("n", numbers(items)), out("twice"), parallel(items)), asyncStep("sum", in("twice"), out("total"))))
	invoked := w.invocations(items)
	t.Logf("%d work items began within %s", items, time.Since(began))
	w.idle()
	stop()
	rand.Shuffle(len(invoked), func(i, j int) { invoked[i], invoked[j] = invoked[j], invoked[i] })
	for _, inv := range invoked {
		w.send(subject.SourceHook, twice(inv))
	}
	began = time.Now()
	w.start()
	sum := w.invocation("f", "sum")
	t.Logf("they completed within %s", time.Since(began))
	var got []struct {
		N     int `json:"n"`
		Twice int `json:"twice"`
	}
	if err := json.Unmarshal(sum.GetArguments()["twice"], &got); err != nil || len(got) != items {
		t.Fatalf("%d elements (%v)", len(got), err)
	}
	for i, e := range got {
		if e.N != i || e.Twice != 2*i {
			t.Fatalf("element %d is %+v", i, e)
		}
	}
	w.send(subject.SourceHook, success(sum, "total", "1"))
	history := w.ended("f")
	if n := count(history, func(e *sluicev1.Event) bool { return e.GetWorkSucceeded() != nil }); n != items+1 {
		t.Errorf("%d work items succeeded", n)
	}
	if n := count(history, func(e *sluicev1.Event) bool { return e.GetWorkStarted() != nil }); n != items+1 {
		t.Errorf("%d attempts began", n)
	}
	for _, c := range history {
		if size := proto.Size(c.Commit); size > mebibyte*8 {
			t.Errorf("revision %d takes %d bytes", c.Commit.GetRevision(), size)
		}
	}
	w.idle()
}

// At most so many work items run at once, also when an engine takes the flow
// over that knows nothing of it.
func TestParallelismBoundsWorkItems(t *testing.T) {
	t.Parallel()
	const items, atOnce = 90, 3
	w := newWorld(t)
	stop := w.start()
	w.begin("f", planned(t, []string{"double"}, asyncStep("double", each("n", numbers(items)), out("twice"), parallel(atOnce))))
	running := w.invocations(atOnce)
	for done := range items {
		if done == items/2 {
			w.idle()
			stop()
			w.start()
		}
		loaded, err := w.journal.Load(t.Context(), "f")
		if err != nil {
			t.Fatal(err)
		}
		active := 0
		for _, it := range loaded.State.Steps[0].Items {
			if it.Status == sluicev1.WorkStatus_WORK_STATUS_ACTIVE {
				active++
			}
		}
		if active > atOnce {
			t.Fatalf("%d work items run at once", active)
		}
		w.send(subject.SourceHook, twice(running[0]))
		running = running[1:]
		if done+atOnce < items {
			running = append(running, w.invocation("f", "double"))
		}
	}
	w.ended("f")
	loaded, err := w.journal.Load(t.Context(), "f")
	if err != nil || flow.StatusName(loaded.State.Status) != "completed" {
		t.Fatalf("%v (%v)", loaded.State.Status, err)
	}
	want := fmt.Sprintf(`{"n":%d,"twice":%d}]`, items-1, 2*(items-1))
	if got := string(loaded.State.Attributes["twice"].Value); !strings.HasSuffix(got, want) {
		t.Errorf("the last element of %s is not %s", got, want)
	}
	w.idle()
}

func TestMoreWorkItemsThanTheSettingFailTheStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOn(w.bus, nil, func(c *engine.Config) { c.MaxWorkItems = 10 })
	w.begin("f", planned(t, []string{"double"}, asyncStep("double", each("n", numbers(11)), out("twice"))))
	w.ended("f")
	loaded, err := w.journal.Load(t.Context(), "f")
	if err != nil || !strings.HasSuffix(loaded.State.Error, "11 work items are more than a step may have (10)") {
		t.Errorf("error %q (%v)", loaded.State.Error, err)
	}
}

// A work item whose attempts come to nothing fails at its deadline, however many
// retries it has.
func TestWorkItemFailsAtItsDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.begin("f", planned(t, []string{"a"}, asyncStep("a", out("x"), retries(-1, 50), func(s *sluicev1.PlannedStep) {
		s.GetWork().DeadlineMs = 700
	})))
	w.send(subject.SourceHook, completion(w.invocation("f", "a"), &sluicev1.Outcome{
		NotCompleted: true, Error: "busy", Digest: []byte("busy"),
	}))
	history := w.ended("f")
	first, last := history[0].Commit, history[len(history)-1].Commit
	if took := time.Duration(last.GetTimeNs() - first.GetTimeNs()); took < 700*time.Millisecond {
		t.Errorf("it ended after %s", took)
	}
	ran := count(history, func(e *sluicev1.Event) bool { return e.GetWorkTimedOut().GetLimit() == "deadline" })
	failed := count(history, func(e *sluicev1.Event) bool { return e.GetWorkFailed() != nil })
	if ran != 1 || failed != 1 {
		t.Errorf("%d deadlines passed, %d work items failed", ran, failed)
	}
	w.idle()
}
