package flow_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// inner is the plan of a child with one step, which takes uid and gives name.
func inner(t tb) []byte {
	t.Helper()
	return planned(t, []string{"fetch"}, step("fetch", required("uid"), output("name")))
}

// outer is a plan whose one step starts inner.
func outer(t tb, options ...stepOption) []byte {
	t.Helper()
	return planned(t, []string{"kyc"}, step("kyc", append([]stepOption{required("uid"), output("name"), starts(inner(t)), retries(0)}, options...)...))
}

// beginFamily starts a flow with that plan, and its child.
func beginFamily(t *testing.T, planBytes []byte) (*family, string) {
	t.Helper()
	f := newFamily(t)
	f.do("f", startFlow(planBytes, map[string]string{"uid": "7"}))
	f.deliver()
	return f, f.children()[0]
}

func (f *family) wantStatus(id, status, reason string) {
	f.t.Helper()
	s := f.life(id).state
	if got := flow.StatusName(s.Status); got != status || s.Error != reason {
		f.t.Fatalf("flow %s is %s (%q), want %s (%q):\n%s", id, got, s.Error, status, reason, f.life(id).trace())
	}
}

func TestAChildGivesItsParentWhatItAsksFor(t *testing.T) {
	t.Parallel()
	mapped := func(s *sluicev1.PlannedStep) {
		s.Child.Inputs, s.Child.Outputs = map[string]string{"uid": "id"}, map[string]string{"who": "name", "when": "never given"}
	}
	p := planned(t, []string{"kyc"}, step("kyc", required("id"), output("who"), output("when"), starts(inner(t)), mapped, retries(0)))
	f := newFamily(t)
	begun := startFlow(p, map[string]string{"id": "7", "other": "8"})
	begun.GetStartFlow().Labels = map[string]string{"team": "pay"}
	f.do("f", begun)
	l := f.life("f")
	if inv := l.state.Effects(l.log[0]).Invocations; len(inv) > 0 || len(f.sent) != 1 {
		t.Fatalf("invocations %v, commands %v", inv, f.sent)
	}
	start := f.sent[0].GetStartFlow()
	if string(start.GetInit()["uid"]) != "7" || len(start.GetInit()) != 1 || start.GetLabels()["team"] != "pay" ||
		start.GetParentFlowId() != "f" || start.GetParentStepId() != "kyc" || len(start.GetRequestDigest()) == 0 {
		t.Errorf("it is started by %v", start)
	}
	f.deliver()
	child := f.children()[0]
	if err := subject.CheckID(child); err != nil || !strings.HasPrefix(child, "f.kyc.") || l.state.ChildFlow(0, 0) != child {
		t.Errorf("the child is called %q (%v)", child, err)
	}
	inv := f.life(child).state.Effects(f.life(child).log[0]).Invocations[0]
	if inv.GetParentFlowId() != "f" || inv.GetParentStepId() != "kyc" || inv.GetLabels()["team"] != "pay" {
		t.Errorf("a step of the child is called with %v", inv)
	}
	f.do(child, complete(ref("fetch", 1), succeeded("name", `"ann"`, "undeclared", "1")))
	wantTrace(t, f.life(child), "flow_started step_started:fetch work_started:fetch#1",
		"work_succeeded:fetch#1 step_completed:fetch attribute_set:name flow_completed")
	if v := f.do(child, retire(0)); v.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_CONFLICT {
		t.Errorf("its history may go before its parent has heard of its end: %v", v)
	}
	if told := f.sent[0].GetChildEnded().GetOutcome(); len(told.GetOutputs()) != 1 {
		t.Errorf("the parent is told of %v", told)
	}
	f.deliver()
	wantTrace(t, l, "flow_started step_started:kyc work_started:kyc#1",
		"work_succeeded:kyc#1 step_completed:kyc attribute_set:who flow_completed flow_deactivated")
	if got := string(l.state.Attributes["who"].Value); got != `"ann"` {
		t.Errorf("the parent got %s", got)
	}
	if last := f.life(child).log[2]; word(last.GetEvents()[0]) != "parent_told" || word(last.GetEvents()[1]) != "flow_deactivated" {
		t.Errorf("then %v", last.GetEvents())
	}
	f.life(child).floor = f.life(child).seq
	if v := f.do(child, retire(0)); v.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_OK {
		t.Errorf("its history may not go: %v", v)
	}
}

// Histories name their children by this: it must never change.
func TestTheNameOfAChild(t *testing.T) {
	t.Parallel()
	f, child := beginFamily(t, outer(t))
	if want := "f.kyc.xcwea2veg5ememaz8922ma74a4"; child != want {
		t.Errorf("the child is called %q, and was %q", child, want)
	}
	long := newFamily(t)
	id := strings.Repeat("p", 128)
	long.do(id, startFlow(planned(t, []string{strings.Repeat("s", 128)}, step(strings.Repeat("s", 128), starts(inner(t)))), nil))
	if name := long.sent[0].GetFlowId(); subject.CheckID(name) != nil || name == child {
		t.Errorf("the child of one with a long name is called %q", name)
	}
	f.do("f", override(doRetry, "kyc"))
	f.deliver()
	if ids := f.children(); len(ids) != 2 || ids[0] == ids[1] {
		t.Errorf("the children of two attempts are called %q", ids)
	}
}

func TestAFailureTravelsUp(t *testing.T) {
	t.Parallel()
	f, child := beginFamily(t, outer(t))
	f.do(child, complete(ref("fetch", 1), failed("no such user")))
	f.deliver()
	reason := `child flow "` + child + `" failed: goal "fetch" failed: no such user`
	f.wantStatus("f", "failed", `goal "kyc" failed: not completed after 1 attempts: `+reason)
	for _, cmd := range []*sluicev1.Command{retry(), override(doRetry, "fetch")} {
		if v := f.do(child, cmd); v.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_CONFLICT || !strings.Contains(v.Reply.GetDetail(), `"kyc" of flow "f"`) {
			t.Errorf("a child that ended goes on: %v", v.Reply)
		}
	}
	f.do("f", retry())
	f.deliver()
	children := f.children()
	f.do(children[1], complete(ref("fetch", 1), succeeded("name", "1")))
	f.deliver()
	f.wantStatus("f", "completed", "")
	if running := f.running(); len(running) > 0 {
		t.Errorf("%q have not ended", running)
	}
}

func TestAFailedChildIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	f, child := beginFamily(t, outer(t, retries(1)))
	f.do(child, complete(ref("fetch", 1), failed("no")))
	f.deliver()
	f.now = f.life("f").wakeAt
	f.do("f", wake())
	f.deliver()
	second := f.children()[1]
	f.do(second, complete(ref("fetch", 1), failed("no")))
	f.deliver()
	f.wantStatus("f", "failed", `goal "kyc" failed: not completed after 2 attempts: child flow "`+second+`" failed: goal "fetch" failed: no`)
}

// Somebody did not want it: nobody starts it again.
func TestAChildThatIsCanceledFailsItsWorkItem(t *testing.T) {
	t.Parallel()
	f, child := beginFamily(t, outer(t, retries(5)))
	f.do(child, cancel())
	f.deliver()
	f.wantStatus("f", "failed", `goal "kyc" failed: child flow "`+child+`" was canceled: asked`)
	if ids := f.children(); len(ids) != 1 {
		t.Errorf("there are %d children", len(ids))
	}
}

func TestACancelTravelsDown(t *testing.T) {
	t.Parallel()
	f, child := beginFamily(t, outer(t))
	f.do("f", cancel())
	f.deliver()
	f.wantStatus("f", "canceled", "asked")
	f.wantStatus(child, "canceled", `parent flow "f" does not want it any more: it is canceled`)
	if running := f.running(); len(running) > 0 {
		t.Errorf("%q have not ended", running)
	}
}

// A flow completes without a step that another one was faster than.
func TestAChildThatNobodyWaitsForIsCanceled(t *testing.T) {
	t.Parallel()
	p := planned(t, []string{"goal"}, step("goal", required("name")),
		step("kyc", required("uid"), output("name"), starts(inner(t)), retries(0)), step("known", output("name")))
	f, child := beginFamily(t, p)
	f.do("f", complete(ref("known", 1), succeeded("name", "1")))
	f.do("f", complete(ref("goal", 1), succeeded()))
	f.deliver()
	f.wantStatus("f", "completed", "")
	f.wantStatus(child, "canceled", `parent flow "f" does not want it any more: it is completed`)
}

// The command that cancels a child comes before the one that starts it.
func TestAChildIsCanceledBeforeItStarts(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.do("f", startFlow(outer(t), map[string]string{"uid": "7"}))
	f.do("f", cancel())
	slices.Reverse(f.sent)
	f.deliver()
	child := f.children()[0]
	wantTrace(t, f.life(child), "flow_started flow_canceled", "parent_told flow_deactivated")
	if len(f.life("f").log) != 2 {
		t.Errorf("the parent's history goes on:\n%s", f.life("f").trace())
	}
}

func TestAnAttemptThatTimesOutTakesItsChildAlong(t *testing.T) {
	t.Parallel()
	limits := work(func(w *sluicev1.WorkConfig) { w.MaxRetries, w.TimeoutMs, w.DeadlineMs = 5, 4000, 7000 })
	f, child := beginFamily(t, outer(t, limits))
	f.now = f.life("f").wakeAt
	f.do("f", wake())
	f.deliver()
	f.wantStatus(child, "canceled", `parent flow "f" does not want it any more: no outcome in time`)
	f.now = f.life("f").wakeAt
	f.life("f").fire() // the second attempt
	f.do("f", wake())
	for f.life("f").state.Status == sluicev1.FlowStatus_FLOW_STATUS_ACTIVE {
		f.now = fxTimer(t, f.life("f"))
		f.do("f", wake())
	}
	f.sent = append(f.life("f").state.Effects(f.life("f").log[0]).Commands, f.sent...) // comes once more, and is too late
	f.deliver()
	second := f.children()[1]
	f.wantStatus(second, "canceled", `parent flow "f" does not want it any more: no outcome in time`)
	if running := f.running(); len(running) > 0 {
		t.Errorf("%q have not ended", running)
	}
}

// A success counts from whichever attempt; the child of the one that runs has to go.
func TestALateSuccessOfAChildCounts(t *testing.T) {
	t.Parallel()
	f, child := beginFamily(t, outer(t, work(func(w *sluicev1.WorkConfig) { w.MaxRetries, w.TimeoutMs = 5, 4000 })))
	f.do(child, complete(ref("fetch", 1), succeeded("name", `"ann"`)))
	late := f.sent
	f.sent = nil
	f.now = f.life("f").wakeAt
	f.do("f", wake())
	f.now = fxTimer(t, f.life("f"))
	f.do("f", wake())
	f.deliver()
	second := f.children()[1]
	f.wantStatus(second, "active", "")
	f.sent = late
	f.deliver()
	f.wantStatus("f", "completed", "")
	f.wantStatus(second, "canceled", `parent flow "f" does not want it any more: an earlier attempt succeeded`)
	if running := f.running(); len(running) > 0 {
		t.Errorf("%q have not ended", running)
	}
}

func TestRepairsByHandCancelChildren(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cmd    *sluicev1.Command
		status string
		starts int
	}{
		"retry":               {override(doRetry, "kyc"), "active", 2},
		"skip":                {override(doSkip, "kyc"), "completed", 1},
		"complete":            {override(doComplete, "kyc", "name", "1"), "completed", 1},
		"fail":                {override(doFail, "kyc"), "failed", 1},
		"of the one item":     {ofItem(override(doComplete, "kyc", "name", "1"), 0), "completed", 1},
		"a skip of that item": {ofItem(override(doSkip, "kyc"), 0), "completed", 1},
	} {
		f, child := beginFamily(t, outer(t))
		if v := f.do("f", tt.cmd); v.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_OK {
			t.Errorf("%s: %v", name, v.Reply)
		}
		f.deliver()
		if got := flow.StatusName(f.life("f").state.Status); got != tt.status || len(f.children()) != tt.starts {
			t.Errorf("%s: the flow is %s, with %d children", name, got, len(f.children()))
		}
		if s := f.life(child).state; s.Status != sluicev1.FlowStatus_FLOW_STATUS_CANCELED || !s.Deactivated {
			t.Errorf("%s: the child is %s:\n%s", name, flow.StatusName(s.Status), f.life(child).trace())
		}
	}
}

// A flow that went on after it had failed begins its open work items anew: what
// they had started before has to go, also where only a redelivery says so.
func TestChildrenOfBeforeAFlowWentOn(t *testing.T) {
	t.Parallel()
	p := planned(t, []string{"a", "kyc"}, step("a"), step("kyc", required("uid"), starts(inner(t)), retries(0)))
	f, child := beginFamily(t, p)
	f.do("f", complete(ref("a", 1), failed("no")))
	f.sent = nil // the engine died before it sent them
	f.do("f", retry())
	f.deliver()
	f.wantStatus(child, "active", "")
	l := f.life("f")
	f.sent = l.state.Effects(l.log[1]).Commands
	f.deliver()
	f.wantStatus(child, "canceled", `parent flow "f" does not want it any more: it went on after it had failed`)
	f.wantStatus(f.children()[1], "active", "")
}

// While its parent is paused a child goes on, and its end is applied.
func TestAChildGoesOnWhileItsParentIsPaused(t *testing.T) {
	t.Parallel()
	f, child := beginFamily(t, outer(t))
	f.do("f", pause())
	f.do(child, complete(ref("fetch", 1), succeeded("name", "1")))
	f.deliver()
	f.wantStatus("f", "paused", "")
	f.do("f", resume())
	f.wantStatus("f", "completed", "")
}

func TestAChildForEachWorkItem(t *testing.T) {
	t.Parallel()
	p := planned(t, []string{"kyc"}, step("kyc", each(required("uid")), output("name"), starts(inner(t)), retries(0), parallel(2)))
	f := newFamily(t)
	f.do("f", startFlow(p, map[string]string{"uid": "[10,20,30]"}))
	f.deliver()
	if ids := f.children(); len(ids) != 2 {
		t.Fatalf("%d children run", len(ids))
	}
	for i := range 3 {
		child := f.children()[i]
		uid := f.life(child).state.Attributes["uid"].Value
		f.do(child, complete(ref("fetch", 1), succeeded("name", string(uid)+"1")))
		f.deliver()
	}
	want := `[{"uid":10,"name":101},{"uid":20,"name":201},{"uid":30,"name":301}]`
	if got := string(f.life("f").state.Attributes["name"].Value); got != want {
		t.Errorf("it gave %s, want %s", got, want)
	}
}

// Only when a child starts its values are there to be looked at.
func TestAChildWhoseInputsAreOfAnotherType(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		option stepOption
		uid    string
		want   string
	}{
		"a number":        {attribute("uid", sluicev1.AttributeRole_ATTRIBUTE_ROLE_REQUIRED, "number", ""), `"7"`, "of type number"},
		"of a list":       {each(attribute("uid", sluicev1.AttributeRole_ATTRIBUTE_ROLE_REQUIRED, "number", "")), `["7"]`, "an array of values of type number"},
		"no list":         {each(required("uid")), `7`, "an array of values of type any"},
		"one that it has": {typedOutput("uid", "number"), `"7"`, "of type number"},
	} {
		child := planned(t, []string{"g"}, step("g", tt.option))
		f := newFamily(t)
		f.do("f", startFlow(planned(t, []string{"kyc"}, step("kyc", required("uid"), starts(child), retries(0))), map[string]string{"uid": tt.uid}))
		f.deliver()
		id := f.children()[0]
		f.wantStatus(id, "failed", "init.uid is not "+tt.want+`, as step "g" has it`)
		if s := f.life("f").state; s.Status != sluicev1.FlowStatus_FLOW_STATUS_FAILED {
			t.Errorf("%s: the parent is %s", name, flow.StatusName(s.Status))
		}
	}
}

func TestRepeatsBetweenParentAndChild(t *testing.T) {
	t.Parallel()
	f, child := beginFamily(t, outer(t))
	l, c := f.life("f"), f.life(child)
	begun := l.state.Effects(l.log[0]).Commands[0]
	if v := f.do(child, reparse(t, begun)); v.Kind != flow.Nothing || v.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_REPEATED {
		t.Errorf("started again: %v", v)
	}
	other := reparse(t, begun)
	other.GetStartFlow().RequestDigest = []byte("another")
	if v := f.do(child, other); v.Kind != flow.Nothing || v.Reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_CONFLICT {
		t.Errorf("started by somebody else: %v", v)
	}
	f.do(child, complete(ref("fetch", 1), succeeded("name", "1")))
	ended := f.sent[0]
	f.deliver()
	for range 2 {
		if v := f.do("f", reparse(t, ended)); v.Kind != flow.Nothing {
			t.Errorf("told again: %v", v)
		}
		if heard := f.sent[0]; f.do(child, reparse(t, heard)).Kind != flow.Nothing {
			t.Error("heard again, and something follows")
		}
		f.sent = nil
	}
	if open := c.state.Open(); len(open) > 0 || c.state.HasOpen() || l.state.HasOpen() {
		t.Errorf("still open: %v", open)
	}
	stranger := &sluicev1.WorkRef{Run: run + 1, StepId: "kyc", Attempt: 1}
	if v := f.do("f", childEnded(stranger, succeeded())); v.Kind != flow.Absent {
		t.Errorf("the child of an earlier flow of that id: %v", v)
	}
	if v := f.do("f", childEnded(ref("nobody", 1), succeeded())); v.Kind != flow.Impossible {
		t.Errorf("the child of a step that starts none: %v", v)
	}
}

// Plan and inputs of a child are one message.
func TestAChildThatIsTooLargeFailsItsStep(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	p := outer(t)
	l.arguments = len(inner(t)) + 20
	l.do(startFlow(p, map[string]string{"uid": `"` + strings.Repeat("x", 40) + `"`}))
	if l.state.Status != sluicev1.FlowStatus_FLOW_STATUS_FAILED || !strings.Contains(l.state.Error, "more than an invocation can carry") {
		t.Errorf("it is %s: %s", flow.StatusName(l.state.Status), l.state.Error)
	}
}

// Each child that starts is a message with a plan: one commit starts no more of
// them than it is large itself.
func TestHowManyChildrenStartAtOnce(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	l.commit = 10 * len(inner(t))
	elements := "[" + strings.Repeat("1,", 99) + "1]"
	l.do(startFlow(planned(t, []string{"kyc"}, step("kyc", each(constant("uid", elements)), starts(inner(t)), parallel(100))), nil))
	for n := 1; l.due != 0 && n < 100; n++ {
		last := l.log[len(l.log)-1]
		size := 0
		for _, cmd := range l.state.Effects(last).Commands {
			size += proto.Size(cmd)
		}
		if size > 5*l.commit {
			t.Fatalf("commit %d asks for %d bytes of commands", n, size)
		}
		l.fire()
	}
	if got := len(l.state.Open()); got != 100 {
		t.Errorf("%d children run", got)
	}
}
