package flow_test

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// wantOutput compares what a step gave as one output.
func wantOutput(t *testing.T, l *life, stepID, name, want string) {
	t.Helper()
	if got := string(l.step(stepID).Outputs[name]); got != want {
		t.Errorf("output %s of step %s is %s, want %s", name, stepID, got, want)
	}
}

// wantError compares the reason why a step failed or was skipped.
func wantError(t *testing.T, l *life, stepID, want string) {
	t.Helper()
	if st := l.step(stepID); st.Error != want {
		t.Errorf("step %s is %s (%q), want %q", stepID, flow.StepStatusName(st.Status), st.Error, want)
	}
}

func TestEachElementIsAWorkItem(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"sum"},
		step("square", each(required("n")), constant("unit", `"m"`), output("area"), parallel(2)),
		step("sum", required("area"), output("total")),
	), map[string]string{"n": `[ 3, 1.50, 12345678901234567890 ]`})
	l.do(complete(itemRef("square", 1, 1), succeeded("area", "2.25", "note", "1")))
	l.do(complete(itemRef("square", 2, 1), succeeded("area", "7")))
	l.do(complete(itemRef("square", 0, 1), succeeded("area", "9")))
	want := `[{"n":3,"area":9},{"n":1.50,"area":2.25},{"n":12345678901234567890,"area":7}]`
	wantOutput(t, l, "square", "area", want)
	if got := jsonOf(l.step("sum").Inputs); got != `{"area":`+want+`}` {
		t.Errorf("inputs of sum are %s", got)
	}
	if got := jsonOf(l.step("square").Outputs); strings.Contains(got, "note") {
		t.Errorf("outputs are %s: what is not declared stays with its work item", got)
	}
	if got := jsonOf(l.step("square").Items[1].Outputs); got != `{"area":2.25,"note":1}` {
		t.Errorf("the work item's outputs are %s", got)
	}
	wantTrace(t, l,
		"flow_started step_started:square work_started:square#1 work_started:square.1#1",
		"work_succeeded:square.1#1 work_started:square.2#1",
		"work_succeeded:square.2#1",
		"work_succeeded:square#1 step_completed:square attribute_set:area step_started:sum work_started:sum#1")
}

func TestAWorkItemIsCalledWithItsElement(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", each(required("n")), constant("unit", `"m"`), output("x"))),
		map[string]string{"n": `[5,6]`})
	l.do(complete(itemRef("a", 0, 1), succeeded("x", "1")))
	started := l.log[1].GetEvents()[1].GetWorkStarted()
	if own := started.GetInputs(); len(own) != 1 || string(l.log[1].GetValues()[own["n"]-1]) != "6" {
		t.Errorf("the event says that the work item has the inputs %v", own)
	}
	check := func(inv *sluicev1.Invocation) {
		if len(inv.GetArguments()) != 2 || string(inv.GetArguments()["n"]) != "6" || string(inv.GetArguments()["unit"]) != `"m"` ||
			inv.GetWork().GetItem() != 1 {
			t.Errorf("invocation %v", inv)
		}
	}
	check(l.state.Effects(l.log[1]).Invocations[0])
	l.do(report(itemRef("a", 1, 1), notCompleted("busy", 0)))
	l.now = fxTimer(t, l)
	l.do(wake())
	check(l.state.Effects(l.log[3]).Invocations[0])
}

func TestSeveralListsGiveTheirProduct(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"},
		step("a", each(constant("color", `["red","blue"]`)), each(required("size")), output("x"), parallel(9)),
	), map[string]string{"size": "[1,2,3]"})
	for i := range 6 {
		l.do(complete(itemRef("a", i, 1), succeeded("x", strconv.Itoa(i))))
	}
	wantResult(t, l, `{"x":[{"color":"red","size":1,"x":0},{"color":"red","size":2,"x":1},{"color":"red","size":3,"x":2},`+
		`{"color":"blue","size":1,"x":3},{"color":"blue","size":2,"x":4},{"color":"blue","size":3,"x":5}]}`)
}

func TestOneElementGivesAnArrayToo(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", each(required("n")), output("x"), output("y"))), map[string]string{"n": "[7]"})
	l.do(complete(ref("a", 1), succeeded("x", "1")))
	wantResult(t, l, `{"x":[{"n":7,"x":1}],"y":[{"n":7}]}`)
}

func TestForEachOverNothing(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"b"},
		step("a", each(required("m")), each(required("n")), output("x"), output("y")),
		step("b", required("x"), output("z")),
	), map[string]string{"n": " [ ] ", "m": "[1,2]"})
	wantTrace(t, l, "flow_started step_started:a step_completed:a attribute_set:x attribute_set:y step_started:b work_started:b#1")
	if got := jsonOf(l.step("b").Inputs); got != `{"x":[]}` {
		t.Errorf("inputs of b are %s", got)
	}
	if v := l.do(complete(ref("a", 1), succeeded())); v.Kind != flow.Impossible {
		t.Errorf("an outcome of a work item that does not exist: %v", v.Kind)
	}
	l.do(complete(ref("b", 1), succeeded("z", "1")))
	wantStatus(t, l, "completed", "")

	goal := begin(t, planned(t, []string{"a"}, step("a", each(required("n")), output("x"))), map[string]string{"n": "[]"})
	wantResult(t, goal, `{"x":[]}`)
	silent := begin(t, planned(t, []string{"a"}, step("a", each(required("n")))), map[string]string{"n": "[]"})
	wantStatus(t, silent, "completed", "")
}

// An optional for_each input that nobody gave does not expand: the work items are
// those of the other lists.
func TestAbsentOptionalListDoesNotExpand(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", each(optional("n", "")), output("x"))), nil)
	l.do(complete(ref("a", 1), succeeded("x", "1")))
	wantResult(t, l, `{"x":[{"x":1}]}`)

	beside := begin(t, planned(t, []string{"a"},
		step("a", each(required("m")), each(optional("n", "")), output("x"), parallel(2))), map[string]string{"m": "[1,2]"})
	beside.do(complete(itemRef("a", 1, 1), succeeded("x", "1")))
	beside.do(complete(itemRef("a", 0, 1), succeeded()))
	wantResult(t, beside, `{"x":[{"m":1},{"m":2,"x":1}]}`)

	byDefault := begin(t, planned(t, []string{"a"}, step("a", each(optional("n", `["d"]`)), output("x"))), nil)
	byDefault.do(complete(ref("a", 1), succeeded("x", "1")))
	wantResult(t, byDefault, `{"x":[{"n":"d","x":1}]}`)
}

func TestListsThatAreNoneFailTheStep(t *testing.T) {
	t.Parallel()
	typed := func(kind string) stepOption {
		return each(attribute("n", sluicev1.AttributeRole_ATTRIBUTE_ROLE_REQUIRED, kind, ""))
	}
	for value, tt := range map[string]struct {
		input stepOption
		want  string
	}{
		`{"0":1}`:   {typed("any"), `input "n" is no array, which for_each needs`},
		`null`:      {typed("array"), `input "n" is no array, which for_each needs`},
		`[1,2,"3"]`: {typed("number"), `input "n" has an element 2 that is not of type number`},
		`[1,2,3,4]`: {typed("any"), `4 work items are more than a step may have (3)`},
	} {
		l := newLife(t)
		l.items = 3
		l.do(startFlow(planned(t, []string{"b"}, step("a", output("n")), step("b", tt.input, output("x"))), nil))
		l.do(complete(ref("a", 1), succeeded("n", value)))
		wantError(t, l, "b", tt.want)
		wantStatus(t, l, "failed", `goal "b" failed: `+tt.want)
	}
}

func TestProductsThatNobodyCouldCountFailTheStep(t *testing.T) {
	t.Parallel()
	long := "[" + strings.Repeat("1,", 99_999) + "1]"
	var options []stepOption
	init := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d"} {
		options, init[name] = append(options, each(required(name))), long
	}
	l := begin(t, planned(t, []string{"s"}, step("s", options...)), init)
	if got := l.step("s").Error; !strings.HasSuffix(got, "work items are more than a step may have (100000)") {
		t.Errorf("error %q", got)
	}
	empty := begin(t, planned(t, []string{"s"}, step("s", append(options, each(constant("e", "[]")))...)), init)
	wantStatus(t, empty, "completed", "")
}

// A step fails when all its work items are done and one failed.
func TestOneFailedWorkItemFailsTheStepAtItsEnd(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"b"},
		step("a", each(constant("n", "[1,2,3]")), typedOutput("x", "number"), parallel(2)),
		step("b", optional("x", "0"), output("y")),
	), nil)
	l.do(complete(itemRef("a", 1, 1), succeeded("x", `"1"`)))
	l.do(complete(itemRef("a", 0, 1), succeeded("x", "1")))
	if got := l.step("a").Status; got != sluicev1.StepStatus_STEP_STATUS_ACTIVE {
		t.Fatalf("the step is %s while a work item runs", flow.StepStatusName(got))
	}
	l.do(complete(itemRef("a", 2, 1), failed("no")))
	wantError(t, l, "a", `work item 1 failed: output "x" is not of type number`)
	if got := jsonOf(l.step("b").Inputs); got != `{"x":0}` {
		t.Errorf("inputs of b are %s", got)
	}
}

func TestUnneededForEachIsSkipped(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"goal"},
		step("first", output("list")),
		step("goal", required("x")),
		step("many", each(required("list")), output("x")),
		step("one", output("x")),
	), nil)
	l.do(complete(ref("one", 1), succeeded("x", "[]")))
	wantError(t, l, "many", "outputs not needed")
}

// What the work items gave must fit into one message with the commit.
func TestArraysThatCannotBeKeptFailTheStep(t *testing.T) {
	t.Parallel()
	l := newSmallLife(t)
	l.do(startFlow(planned(t, []string{"a"}, step("a", each(constant("n", "[1,2,3]")), output("x"))), nil))
	for i := range 3 {
		l.do(complete(itemRef("a", i, 1), hashed(succeeded("x", text("x", 1400)))))
	}
	wantStatus(t, l, "failed", `goal "a" failed: what 3 work items gave takes more than can be kept (4000 bytes)`)
}

// Ten thousand work items that may run at once start in portions, each in a
// commit of its own; no event lists them.
func TestManyWorkItemsStartInPortions(t *testing.T) {
	t.Parallel()
	const items = 2500
	l := newLife(t)
	numbers := make([]string, items)
	for i := range numbers {
		numbers[i] = strconv.Itoa(i)
	}
	l.do(startFlow(planned(t, []string{"a"}, step("a", each(required("n")), output("x"), parallel(items))),
		map[string]string{"n": "[" + strings.Join(numbers, ",") + "]"}))
	if size := proto.Size(l.log[0].GetEvents()[1]); size > 100 {
		t.Errorf("step_started takes %d bytes", size)
	}
	for rounds := 0; len(openItems(l)) < items; rounds++ {
		if l.due != l.now || rounds > 10 {
			t.Fatalf("%d work items run after %d wakes, and the next is due in %d ns", len(openItems(l)), rounds, l.due-l.now)
		}
		l.do(wake())
	}
	if l.due == l.now {
		t.Error("all run, and yet the flow is to be woken at once")
	}
	for _, c := range l.log {
		if n := len(l.state.Effects(c).Invocations); n > 1000 {
			t.Errorf("revision %d asks for %d invocations", c.GetRevision(), n)
		}
	}
	for i, w := range openItems(l) {
		if l.do(complete(w, succeeded("x", strconv.Itoa(i)))).Kind != flow.Folded {
			t.Fatalf("outcome of work item %d does not count", i)
		}
		if i == 10 {
			break // each one is checked against a replay of everything
		}
	}
	wantPlaces(t, l, "a", items)
}

// wantPlaces looks whether each work item that started has the element at its place.
func wantPlaces(t *testing.T, l *life, stepID string, items int) {
	t.Helper()
	for i := range items {
		if got := string(l.step(stepID).Items[i].Inputs["n"]); got != strconv.Itoa(i) {
			t.Fatalf("work item %d has the element %s", i, got)
		}
	}
}

// Elements that fit into no commit together start one after the other.
func TestLargeElementsStartOneAfterTheOther(t *testing.T) {
	t.Parallel()
	l := newSmallLife(t)
	l.do(startFlow(planned(t, []string{"a"}, step("a",
		each(constant("n", fmt.Sprintf("[%s,%s,%s]", text("x", 1200), text("y", 1200), text("z", 1200)))), output("x"), parallel(3))), nil))
	for n := 0; l.wakeAt == l.now && n < 5; n++ {
		l.fire()
	}
	if open := openItems(l); len(open) != 3 {
		t.Errorf("%d work items run", len(open))
	}
	for _, c := range l.log {
		if size := proto.Size(c); size > smallCommit {
			t.Errorf("revision %d takes %d bytes", c.GetRevision(), size)
		}
	}
}

// What a completion costs does not grow with the number of work items, gathering
// the outputs of all included. Memory is counted here, for time depends on what
// else the machine does: see BenchmarkCompletion.
func TestCompletionsTakeNoMoreMemoryAmongMany(t *testing.T) { //nolint:paralleltest // it counts what the process allocates
	for _, batch := range []int{1, 256} {
		few, many := allocated(t, 100, batch), allocated(t, 10_000, batch)
		if many > few*3/2 {
			t.Errorf("in batches of %d: %d bytes a completion among 10,000, and %d among 100", batch, many, few)
		}
	}
}

// allocated is how many bytes one completion takes among so many.
func allocated(t *testing.T, items, batch int) uint64 {
	t.Helper()
	f := newFan(t, items)
	f.begin()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f.complete(batch)
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / uint64(items)
}
