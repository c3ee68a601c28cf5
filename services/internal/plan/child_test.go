package plan_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/step"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// starting makes a step of words (see registered) that starts a flow with one
// goal.
func starting(id, goal string, words ...string) plan.Registered {
	r := registered(id, words...)
	r.Definition.Type, r.Definition.HTTP = step.KindFlow, nil
	r.Definition.Flow = &step.Child{Goals: []string{goal}}
	return r
}

// childOf is the plan of what a step of a plan starts.
func childOf(t *testing.T, p *sluicev1.Plan, id string) *sluicev1.Plan {
	t.Helper()
	i := slices.IndexFunc(p.GetSteps(), func(s *sluicev1.PlannedStep) bool { return s.GetId() == id })
	if i < 0 || p.GetSteps()[i].GetChild() == nil {
		t.Fatalf("step %q starts nothing in %v", id, p)
	}
	child := &sluicev1.Plan{}
	if err := proto.Unmarshal(p.GetSteps()[i].GetChild().GetPlan(), child); err != nil {
		t.Fatal(err)
	}
	return child
}

func TestChildrenArePlannedWithTheirParents(t *testing.T) {
	t.Parallel()
	kyc := starting("kyc", "fetch", "uid", ">name")
	kyc.Definition.Flow.InputMap, kyc.Definition.Flow.OutputMap = map[string]string{"uid": "user_id"}, map[string]string{"user_name": "name"}
	steps := []plan.Registered{
		kyc, registered("greet", "name", ">greeting"), registered("fetch", "user_id", "zone", ">user_name"),
		registered("locate", "user_id", ">zone"), starting("outer", "greet", "uid", ">greeting2"),
	}
	p, err := plan.NewIndex(steps).Build([]string{"outer"}, initOf("uid"), defaults())
	if err != nil {
		t.Fatal(err)
	}
	middle := childOf(t, p, "outer")
	inner := childOf(t, middle, "kyc")
	if ids(p) != "outer" || ids(middle) != "greet kyc" || ids(inner) != "fetch locate" {
		t.Errorf("steps %q, in the child %q, in its child %q", ids(p), ids(middle), ids(inner))
	}
	child := middle.GetSteps()[1].GetChild()
	if !maps.Equal(child.GetInputs(), map[string]string{"user_id": "uid"}) || !maps.Equal(child.GetOutputs(), map[string]string{"name": "user_name"}) {
		t.Errorf("inputs %v, outputs %v", child.GetInputs(), child.GetOutputs())
	}
	again, err := plan.NewIndex(steps).Build([]string{"outer"}, initOf("uid"), defaults())
	if err != nil || !proto.Equal(p, again) {
		t.Errorf("planned again it differs (%v)", err)
	}
	text, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plan.Decode(text); err != nil {
		t.Error(err)
	}
	p.GetSteps()[0].GetChild().Plan = []byte{0xff}
	if text, err = proto.Marshal(p); err != nil {
		t.Fatal(err)
	}
	if _, err := plan.Decode(text); !errors.Is(err, plan.ErrMalformed) {
		t.Errorf("a child's plan that is none: %v", err)
	}
	p.GetSteps()[0].Child = nil
	if text, err = proto.Marshal(p); err != nil {
		t.Fatal(err)
	}
	if _, err := plan.Decode(text); !errors.Is(err, plan.ErrMalformed) {
		t.Errorf("a flow step that starts nothing: %v", err)
	}
}

// What is retried in a child is for its steps to say, and it cannot get lost.
func TestDefaultsOfFlowSteps(t *testing.T) {
	t.Parallel()
	given := starting("given", "g", ">y")
	given.Definition.WorkConfig = &step.WorkConfig{MaxRetries: 2, TimeoutMS: 500}
	p, err := plan.NewIndex([]plan.Registered{starting("plain", "g", ">x"), given, registered("g", ">z")}).Build([]string{"plain", "given"}, nil, defaults())
	if err != nil {
		t.Fatal(err)
	}
	g, d := p.GetSteps()[0].GetWork(), p.GetSteps()[1].GetWork()
	if d.GetMaxRetries() != 0 || d.GetTimeoutMs() != 0 || g.GetMaxRetries() != 2 || g.GetTimeoutMs() != 500 {
		t.Errorf("without work_config %v, with it %v", d, g)
	}
	if inner := childOf(t, p, "plain").GetSteps()[0].GetWork(); inner.GetMaxRetries() != 10 {
		t.Errorf("a step of the child: %v", inner)
	}
}

func TestChildrenThatCannotBePlanned(t *testing.T) {
	t.Parallel()
	self := starting("self", "self", ">x")
	around := []plan.Registered{starting("a", "b", ">x"), starting("b", "c", ">y"), registered("c", "z", ">w"), starting("d", "a", ">z")}
	for name, tt := range map[string]struct {
		steps []plan.Registered
		goal  string
		in    string   // what init gives; 1 where it is empty
		want  []string // in the error
	}{
		"it contains itself": {[]plan.Registered{self}, "self", "", []string{`step "self"`, "contains itself"}},
		"so does one around": {around, "a", "", []string{`step "a"`, "contains itself: a starts b starts d starts a"}},
		"an unknown goal":    {[]plan.Registered{starting("s", "nope", ">x")}, "s", "", []string{`step "s"`, "nope"}},
		"a missing input":    {[]plan.Registered{starting("s", "g", "in", ">x"), registered("g", "in", "other", ">y")}, "s", "", []string{`step "s"`, "other"}},
		"another type": {
			[]plan.Registered{starting("s", "g", "in:string", ">x"), registered("g", "in:number", ">y")}, "s", `"1"`, []string{`step "s"`, "init.in", "number"},
		},
		"elements of another type": {
			[]plan.Registered{starting("s", "g", "in*:string", ">x"), registered("g", "in:number", ">y")}, "s", `["1"]`, []string{`step "s"`, "init.in", "number"},
		},
	} {
		init := map[string]json.RawMessage{"in": []byte(cmp.Or(tt.in, "1"))}
		_, err := plan.NewIndex(tt.steps).Build([]string{tt.goal}, init, defaults())
		e, ok := errors.AsType[*plan.ChildError](err)
		if !ok || e.Step != tt.goal {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, part := range tt.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", name, err, part)
			}
		}
		if _, err := plan.NewIndex(tt.steps).Preview([]string{tt.goal}, nil, defaults()); err == nil {
			t.Errorf("%s: it can be previewed", name)
		}
	}
}

// An optional input of a flow step may be there when its child starts, or not:
// steps of the child may have to give it.
func TestOptionalInputsOfChildren(t *testing.T) {
	t.Parallel()
	steps := []plan.Registered{starting("s", "g", "x?", "y?", ">z"), registered("g", "x", "y", ">w"), registered("giver", ">y")}
	p, err := plan.NewIndex(steps).Build([]string{"s"}, nil, defaults())
	if err != nil {
		t.Fatal(err)
	}
	if child := childOf(t, p, "s"); ids(child) != "g giver" {
		t.Errorf("the child has the steps %q", ids(child))
	}
}

func TestHowDeepChildrenMayBe(t *testing.T) {
	t.Parallel()
	steps := []plan.Registered{registered("s0", ">x0")}
	for i := 1; i <= 17; i++ {
		steps = append(steps, starting(fmt.Sprintf("s%d", i), fmt.Sprintf("s%d", i-1), fmt.Sprintf(">x%d", i)))
	}
	x := plan.NewIndex(steps)
	if _, err := x.Build([]string{"s16"}, nil, defaults()); err != nil {
		t.Errorf("16 deep: %v", err)
	}
	for name, goals := range map[string][]string{"alone": {"s17"}, "after one that is planned": {"s16", "s17"}} {
		_, err := x.Build(goals, nil, defaults())
		if _, ok := errors.AsType[*plan.ChildError](err); !ok || !strings.Contains(err.Error(), "more than 16 deep") {
			t.Errorf("17 deep, %s: %v", name, err)
		}
	}
}

// Steps that share children multiply their plans: that ends at a limit, and soon.
func TestChildrenThatAreSharedHaveALimit(t *testing.T) {
	t.Parallel()
	steps := []plan.Registered{registered("l0", ">x"), registered("r0", ">y")}
	for i := 1; i <= 16; i++ {
		for _, side := range []string{"l", "r"} {
			s := starting(fmt.Sprintf("%s%d", side, i), "", fmt.Sprintf(">%s-out%d", side, i))
			s.Definition.Flow.Goals = []string{fmt.Sprintf("l%d", i-1), fmt.Sprintf("r%d", i-1)}
			steps = append(steps, s)
		}
	}
	_, err := plan.NewIndex(steps).Build([]string{"l16"}, nil, defaults())
	if _, ok := errors.AsType[*plan.ChildError](err); !ok || !strings.Contains(err.Error(), "bytes, and may take") {
		t.Errorf("65,536 flows in one: %v", err)
	}
	if _, err := plan.NewIndex(steps).Build([]string{"l5"}, nil, defaults()); err != nil {
		t.Errorf("32 flows in one: %v", err)
	}
}
