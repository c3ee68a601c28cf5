package plan_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/sluiceflow/sluice/pkg/step"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// registered makes a step of words: "a" requires a, "a?" takes a as optional,
// ">a" outputs a, "a*" is for_each; "a:number" says the type too.
func registered(id string, words ...string) plan.Registered {
	d := step.Definition{ID: id, Type: step.KindAsync, HTTP: &step.HTTP{Endpoint: "http://h/" + id}, Attributes: map[string]step.Attribute{}}
	for _, w := range words {
		name, kind, _ := strings.Cut(w, ":")
		a := step.Attribute{Role: step.RoleRequired, Type: step.Type(kind)}
		name, a.ForEach = strings.CutSuffix(name, "*")
		switch {
		case strings.HasPrefix(name, ">"):
			name, a.Role = name[1:], step.RoleOutput
		case strings.HasSuffix(name, "?"):
			name, a.Role = name[:len(name)-1], step.RoleOptional
		}
		d.Attributes[name] = a
	}
	return plan.Registered{Definition: d, Revision: 7}
}

func defaults() plan.Defaults {
	return plan.Defaults{
		MaxRetries: 10, BackoffMS: 1000, MaxBackoffMS: 60_000, BackoffType: sluicev1.BackoffType_BACKOFF_TYPE_EXPONENTIAL,
		StepTimeoutMS: 30_000, AttemptTimeoutMS: 86_400_000,
	}
}

func initOf(names ...string) map[string]json.RawMessage {
	init := map[string]json.RawMessage{}
	for _, n := range names {
		init[n] = json.RawMessage(`1`)
	}
	return init
}

func ids(p *sluicev1.Plan) string {
	var list []string
	for _, s := range p.GetSteps() {
		list = append(list, s.GetId())
	}
	return strings.Join(list, " ")
}

func TestPlanning(t *testing.T) {
	t.Parallel()
	steps := []plan.Registered{
		registered("a", "seed", ">x"), registered("b", "x", ">y"), registered("c", "y", "hint?", ">z"),
		registered("hinter", ">hint"), registered("unrelated", ">u"), registered("never", "nobody", ">y"),
	}
	for name, tt := range map[string]struct {
		goals, init                         []string
		steps, required, satisfied, missing string
	}{
		"backward from the goal":              {[]string{"c"}, []string{"seed"}, "a b c hinter", "seed", "", "never:nobody"},
		"a step whose outputs init gives":     {[]string{"c"}, []string{"y"}, "c hinter", "y", "b never", ""},
		"a goal that init gives is reached":   {[]string{"a"}, []string{"x"}, "", "", "a", ""},
		"so is one that can never run":        {[]string{"never"}, []string{"y"}, "", "", "never", ""},
		"the other goals run all the same":    {[]string{"c", "b"}, []string{"y", "hint"}, "c", "y", "b hinter never", ""},
		"one goal feeds another":              {[]string{"b", "a"}, []string{"seed"}, "a b", "seed", "", ""},
		"an optional input brings its givers": {[]string{"c"}, []string{"y", "hint"}, "c", "y", "b hinter never", ""},
	} {
		p, err := plan.NewIndex(steps).Build(tt.goals, initOf(tt.init...), defaults())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var missing []string
		for _, m := range p.GetMissing() {
			missing = append(missing, m.GetStepId()+":"+strings.Join(m.GetInputs(), ","))
		}
		got := []string{ids(p), strings.Join(p.GetRequired(), " "), strings.Join(p.GetSatisfied(), " "), strings.Join(missing, " ")}
		if want := []string{tt.steps, tt.required, tt.satisfied, tt.missing}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		text, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if decoded, err := plan.Decode(text); err != nil || len(decoded.Goals)+len(p.GetGivenGoals()) != len(tt.goals) {
			t.Errorf("%s: the plan does not decode: %v", name, err)
		}
	}
}

func TestResultsAreWhatTheGoalsGive(t *testing.T) {
	t.Parallel()
	steps := []plan.Registered{registered("a", "seed", ">x", ">z"), registered("b", "x", ">y", ">x2"), registered("silent", "x")}
	p, err := plan.NewIndex(steps).Build([]string{"silent", "b", "a"}, initOf("x", "z"), defaults())
	if err != nil {
		t.Fatal(err)
	}
	text, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := plan.Decode(text)
	if err != nil || ids(p) != "b silent" || !slices.Equal(decoded.Goals, []int{1, 0}) ||
		!slices.Equal(decoded.Results, []string{"x2", "y", "x", "z"}) {
		t.Errorf("steps %q, goals %v, results %q (%v)", ids(p), decoded.Goals, decoded.Results, err)
	}
	p.GivenGoals = nil
	if text, err = proto.Marshal(p); err != nil {
		t.Fatal(err)
	}
	if _, err := plan.Decode(text); !errors.Is(err, plan.ErrMalformed) {
		t.Errorf("a goal from nowhere: %v", err)
	}
}

func TestStepsNeedIDs(t *testing.T) {
	t.Parallel()
	text, err := proto.Marshal(&sluicev1.Plan{Steps: []*sluicev1.PlannedStep{{Id: ""}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plan.Decode(text); !errors.Is(err, plan.ErrMalformed) {
		t.Errorf("a step without an id: %v", err)
	}
}

func TestSatisfiedStepsAreLeftOut(t *testing.T) {
	t.Parallel()
	steps := []plan.Registered{registered("goal", "x", "w", ">out"), registered("two", ">x", ">w"), registered("one", ">w", ">v")}
	p, err := plan.NewIndex(steps).Build([]string{"goal"}, initOf("x"), defaults())
	if err != nil || ids(p) != "goal one two" {
		t.Errorf("steps %q (%v): w is still needed", ids(p), err)
	}
	p, err = plan.NewIndex([]plan.Registered{registered("goal", "w", ">out"), registered("mid", "x", ">w"), registered("two", ">x", ">v")}).Build(
		[]string{"goal"}, initOf("x"), defaults())
	if err != nil || ids(p) != "goal mid" {
		t.Errorf("steps %q (%v)", ids(p), err)
	}
}

func TestWhatCannotBePlanned(t *testing.T) {
	t.Parallel()
	steps := []plan.Registered{
		registered("a", "seed:number", ">x"), registered("b", "x", "other", ">y"),
		registered("p", "q", ">r"), registered("q", "r", ">q"),
	}
	_, err := plan.NewIndex(steps).Build([]string{"b", "nope", "none"}, nil, defaults())
	if e, ok := errors.AsType[*plan.UnknownGoalError](err); !ok || !slices.Equal(e.Goals, []string{"nope", "none"}) {
		t.Errorf("unknown goals: %v", err)
	}
	_, err = plan.NewIndex(steps).Build([]string{"b"}, nil, defaults())
	if e, ok := errors.AsType[*plan.MissingInputsError](err); !ok || !slices.Equal(e.Inputs, []string{"other", "seed"}) {
		t.Errorf("missing inputs: %v", err)
	}
	_, err = plan.NewIndex(steps).Build([]string{"p"}, nil, defaults())
	if _, ok := errors.AsType[*plan.MissingInputsError](err); !ok {
		t.Errorf("steps that need each other: %v", err)
	}
	_, err = plan.NewIndex(steps).Build([]string{"a"}, map[string]json.RawMessage{"seed": []byte(`"1"`)}, defaults())
	if e, ok := errors.AsType[*plan.InitTypeError](err); !ok || e.Attribute != "seed" {
		t.Errorf("init of another type: %v", err)
	}
	reached := []plan.Registered{registered("a", "seed", ">x:number")}
	_, err = plan.NewIndex(reached).Build([]string{"a"}, map[string]json.RawMessage{"x": []byte(`"1"`)}, defaults())
	if e, ok := errors.AsType[*plan.InitTypeError](err); !ok || e.Attribute != "x" {
		t.Errorf("a goal given with another type: %v", err)
	}
}

// The attributes of a step with for_each are arrays: of what its type says, as far
// as that is another one than array.
func TestTypesOfForEach(t *testing.T) {
	t.Parallel()
	steps := []plan.Registered{
		registered("a", "n*:number", "m:number", ">x:string"), registered("b", "x:array", ">y"), registered("c", "x*:string", ">z:array"),
	}
	if err := plan.Check(steps); err != nil {
		t.Fatalf("steps that go together: %v", err)
	}
	for other, ok := range map[string]bool{"x:string": false, "n:number": false, "n:array": true, "z:array": true, ">x:array": true} {
		if err := plan.Check(append(steps, registered("d", other))); (err == nil) != ok {
			t.Errorf("another step with %s: %v", other, err)
		}
	}
	for init, wrong := range map[string]string{
		`{"n":[1,2],"m":1}`:       "",
		`{"n":[],"m":1}`:          "",
		`{"n":1,"m":1}`:           "n",
		`{"n":[1,"2"],"m":1}`:     "n",
		`{"n":null,"m":1}`:        "n",
		`{"n":[1],"m":[1]}`:       "m",
		`{"x":"given"}`:           "x",
		`{"x":["what","ever",1]}`: "",
	} {
		var values map[string]json.RawMessage
		if err := json.Unmarshal([]byte(init), &values); err != nil {
			t.Fatal(err)
		}
		_, err := plan.NewIndex(steps).Build([]string{"a"}, values, defaults())
		e, isType := errors.AsType[*plan.InitTypeError](err)
		if (err == nil) != (wrong == "") || isType && e.Attribute != wrong {
			t.Errorf("init %s: %v, want it to name %q", init, err, wrong)
		}
	}
}

func TestForEachStandsInThePlan(t *testing.T) {
	t.Parallel()
	s := registered("a", "n*:number", "list*:array", ">x:string", ">y:array")
	s.Definition.WorkConfig = &step.WorkConfig{DeadlineMS: 5000}
	p, err := plan.NewIndex([]plan.Registered{s, registered("b", "x", ">z:array")}).Build([]string{"b"}, map[string]json.RawMessage{
		"n": []byte("[1]"), "list": []byte("[2]"),
	}, defaults())
	if err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	d, err := plan.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	a, b := d.Steps[0], d.Steps[1]
	if !a.ForEach || b.ForEach || a.Proto.GetWork().GetDeadlineMs() != 5000 || b.Proto.GetWork().GetDeadlineMs() != 0 {
		t.Errorf("steps %+v", d.Steps)
	}
	if list, n := a.Inputs[0], a.Inputs[1]; !list.ForEach || list.Element != step.TypeAny || !n.ForEach || n.Element != step.TypeNumber {
		t.Errorf("inputs %+v", a.Inputs)
	}
	if a.Outputs[0].Type != step.TypeString || a.Outputs[1].Type != step.TypeAny || b.Outputs[0].Type != step.TypeArray {
		t.Errorf("outputs %+v and %+v", a.Outputs, b.Outputs)
	}
	p.GetSteps()[0].GetAttributes()[2].ForEach = true
	if data, err = proto.Marshal(p); err != nil {
		t.Fatal(err)
	}
	if _, err := plan.Decode(data); !errors.Is(err, plan.ErrMalformed) {
		t.Errorf("an output that is for_each: %v", err)
	}
}

func TestPreviewNamesWhatIsNeeded(t *testing.T) {
	t.Parallel()
	steps := []plan.Registered{registered("a", "seed", ">x"), registered("b", "x", "other", ">y"), registered("c", "y", ">z")}
	p, err := plan.NewIndex(steps).Preview([]string{"c"}, nil, defaults())
	if err != nil || ids(p) != "a b c" || !slices.Equal(p.GetRequired(), []string{"other", "seed"}) {
		t.Errorf("steps %q, required %q (%v)", ids(p), p.GetRequired(), err)
	}
	if _, err := plan.NewIndex(steps).Preview([]string{"nope"}, nil, defaults()); err == nil {
		t.Error("an unknown goal is planned")
	}
}

func TestDefaultsAreFilledIn(t *testing.T) {
	t.Parallel()
	plain, given := registered("plain", ">x"), registered("given", ">y")
	given.Definition.WorkConfig = &step.WorkConfig{BackoffMS: new(int64(500)), BackoffType: "fixed", TimeoutMS: -1, Parallelism: 4, HeartbeatTimeoutMS: 700}
	given.Definition.HTTP = &step.HTTP{Endpoint: "http://h", Timeout: 5, Secret: "whsec_x", Compensate: "http://h/undo"}
	p, err := plan.NewIndex([]plan.Registered{plain, given}).Build([]string{"plain", "given"}, nil, defaults())
	if err != nil {
		t.Fatal(err)
	}
	g, d := p.GetSteps()[0], p.GetSteps()[1]
	if w := d.GetWork(); w.GetMaxRetries() != 10 || w.GetBackoffMs() != 1000 || w.GetTimeoutMs() != 86_400_000 || d.GetCallTimeoutMs() != 30_000 || w.GetParallelism() != 1 {
		t.Errorf("without work_config: %v, call timeout %d", w, d.GetCallTimeoutMs())
	}
	if w := g.GetWork(); w.GetMaxRetries() != 0 || w.GetBackoffMs() != 500 || w.GetMaxBackoffMs() != 60_000 || w.GetTimeoutMs() != 0 || w.GetHeartbeatTimeoutMs() != 700 ||
		w.GetParallelism() != 4 || w.GetBackoffType() != sluicev1.BackoffType_BACKOFF_TYPE_FIXED {
		t.Errorf("with work_config: %v", w)
	}
	limited := registered("limited", ">x")
	limited.Definition.WorkConfig = &step.WorkConfig{MaxBackoffMS: new(int64(300))}
	if p, err = plan.NewIndex([]plan.Registered{limited}).Build([]string{"limited"}, nil, defaults()); err != nil {
		t.Fatal(err)
	}
	if w := p.GetSteps()[0].GetWork(); w.GetBackoffMs() != 300 || w.GetMaxBackoffMs() != 300 {
		t.Errorf("a limit under the default backoff: %v", w)
	}
	if g.GetCompensate() != "http://h/undo" || d.GetCompensate() != "" {
		t.Errorf("compensate %q and %q", g.GetCompensate(), d.GetCompensate())
	}
	if !g.GetHasCredentials() || g.GetCallTimeoutMs() != 5 || g.GetRegistryRevision() != 7 || strings.Contains(string(g.GetDefinition()), "whsec_") {
		t.Errorf("planned step %v", g)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	if err := plan.Check([]plan.Registered{registered("a", "x:number", ">y:string"), registered("b", "y:string", ">z"), registered("c", "y:any")}); err != nil {
		t.Errorf("steps that go together: %v", err)
	}
	for name, steps := range map[string][]plan.Registered{
		"types differ":          {registered("a", ">x:number"), registered("b", "x:string")},
		"a circle":              {registered("a", "x", ">y"), registered("b", "y", ">x")},
		"a circle by optionals": {registered("a", "x?", ">y"), registered("b", "y?", ">z"), registered("c", "z", ">x")},
	} {
		e, ok := errors.AsType[*plan.ClashError](plan.Check(steps))
		if !ok || e.Step == "" || e.Other == "" {
			t.Errorf("%s: %v", name, e)
		}
	}
}

// The planner agrees with a naive one: a step can run if repeated passes over
// all steps say so, and it is in the plan if a recursive walk reaches it. A goal
// that init gives needs neither.
func TestPlanAgreesWithTheModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		steps := drawSteps(t)
		init := initOf(rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a0", "a1", "a2", "a3"}), func(s string) string { return s }).Draw(t, "init")...)
		goal := rapid.SampledFrom(steps).Draw(t, "goal").Definition.ID
		can := canRun(steps, init)
		p, err := plan.NewIndex(steps).Build([]string{goal}, init, defaults())
		possible := can[goal] || satisfied(steps, init, goal)
		if _, missing := errors.AsType[*plan.MissingInputsError](err); missing == possible || (err != nil && !missing) {
			t.Fatalf("error %v, the model says it can be reached: %v", err, possible)
		}
		if err != nil {
			return
		}
		want := map[string]bool{}
		reach(steps, init, can, goal, want)
		if got := len(p.GetSteps()); got != len(want) {
			t.Fatalf("steps %s, the model has %v", ids(p), want)
		}
		for _, s := range p.GetSteps() {
			if !want[s.GetId()] {
				t.Fatalf("step %s is not in the model's %v", s.GetId(), want)
			}
		}
		if got, want := p.GetMissing(), lacking(steps, init, can, want); !slices.EqualFunc(got, want, sameMissing) {
			t.Fatalf("missing %v, the model has %v", got, want)
		}
	})
}

func sameMissing(a, b *sluicev1.MissingInputs) bool {
	return a.GetStepId() == b.GetStepId() && slices.Equal(a.GetInputs(), b.GetInputs())
}

// lacking are the steps that could feed the plan if they could run, and what
// they lack.
func lacking(steps []plan.Registered, init map[string]json.RawMessage, can, planned map[string]bool) []*sluicev1.MissingInputs {
	var list []*sluicev1.MissingInputs
	for _, s := range steps { // which are sorted
		id := s.Definition.ID
		if can[id] || satisfied(steps, init, id) || !slices.ContainsFunc(steps, func(consumer plan.Registered) bool {
			return planned[consumer.Definition.ID] && feeds(s, consumer, init)
		}) {
			continue
		}
		m := &sluicev1.MissingInputs{StepId: id}
		for _, name := range slices.Sorted(maps.Keys(s.Definition.Attributes)) {
			if s.Definition.Attributes[name].Role == step.RoleRequired && init[name] == nil && !given(steps, can, name) {
				m.Inputs = append(m.Inputs, name)
			}
		}
		list = append(list, m)
	}
	return list
}

// feeds reports whether s outputs what the consumer takes and init does not give.
func feeds(s, consumer plan.Registered, init map[string]json.RawMessage) bool {
	for name, a := range consumer.Definition.Attributes {
		takes := a.Role == step.RoleRequired || a.Role == step.RoleOptional
		if takes && init[name] == nil && s.Definition.Attributes[name].Role == step.RoleOutput {
			return true
		}
	}
	return false
}

func drawSteps(t *rapid.T) []plan.Registered {
	var steps []plan.Registered
	for i := range rapid.IntRange(1, 6).Draw(t, "steps") {
		var words []string
		for a := range 4 {
			if w := rapid.SampledFrom([]string{"", "", "a%d", "a%d?", ">a%d"}).Draw(t, "word"); w != "" {
				words = append(words, fmt.Sprintf(w, a))
			}
		}
		steps = append(steps, registered(fmt.Sprintf("s%d", i), words...))
	}
	return steps
}

func canRun(steps []plan.Registered, init map[string]json.RawMessage) map[string]bool {
	can := map[string]bool{}
	for range steps {
		for _, s := range steps {
			ok := true
			for name, a := range s.Definition.Attributes {
				if a.Role == step.RoleRequired && init[name] == nil && !given(steps, can, name) {
					ok = false
				}
			}
			can[s.Definition.ID] = ok
		}
	}
	return can
}

func given(steps []plan.Registered, can map[string]bool, name string) bool {
	return slices.ContainsFunc(steps, func(s plan.Registered) bool {
		return can[s.Definition.ID] && s.Definition.Attributes[name].Role == step.RoleOutput
	})
}

func attributesOf(steps []plan.Registered, id string) map[string]step.Attribute {
	i := slices.IndexFunc(steps, func(s plan.Registered) bool { return s.Definition.ID == id })
	return steps[i].Definition.Attributes
}

func satisfied(steps []plan.Registered, init map[string]json.RawMessage, id string) bool {
	outputs, open := 0, false
	for name, a := range attributesOf(steps, id) {
		if a.Role == step.RoleOutput {
			outputs++
			open = open || init[name] == nil
		}
	}
	return outputs > 0 && !open
}

func reach(steps []plan.Registered, init map[string]json.RawMessage, can map[string]bool, id string, into map[string]bool) {
	if into[id] || satisfied(steps, init, id) {
		return
	}
	into[id] = true
	for name, a := range attributesOf(steps, id) {
		if init[name] != nil || a.Role == step.RoleOutput {
			continue
		}
		for _, s := range steps {
			if other := s.Definition.ID; other != id && can[other] && s.Definition.Attributes[name].Role == step.RoleOutput {
				reach(steps, init, can, other, into)
			}
		}
	}
}

func TestEqualPlansHaveEqualBytes(t *testing.T) {
	t.Parallel()
	steps := []plan.Registered{registered("a", "seed", ">x"), registered("b", "x", ">y"), registered("c", "y", ">z")}
	var first []byte
	for range 20 {
		slices.Reverse(steps)
		p, err := plan.NewIndex(steps).Build([]string{"c"}, initOf("seed"), defaults())
		if err != nil {
			t.Fatal(err)
		}
		text, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = text
		} else if string(first) != string(text) {
			t.Fatal("equal plans have different bytes")
		}
	}
}

func TestCache(t *testing.T) {
	t.Parallel()
	cache := plan.NewCache(2)
	p, err := plan.NewIndex([]plan.Registered{registered("a", ">x")}).Build([]string{"a"}, nil, defaults())
	if err != nil {
		t.Fatal(err)
	}
	text, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	first, err := cache.Decode(text)
	second, again := cache.Decode(slices.Clone(text))
	if err != nil || again != nil || first != second {
		t.Errorf("decoded twice: %v %v", err, again)
	}
	if _, err := cache.Decode([]byte{0xff}); !errors.Is(err, plan.ErrMalformed) {
		t.Errorf("what is no plan: %v", err)
	}
}

// chain is n steps of which each takes what the one before it gives.
func chain(n int) []plan.Registered {
	var steps []plan.Registered
	for i := range n {
		steps = append(steps, registered(fmt.Sprintf("s%d", i), fmt.Sprintf("a%d", i), fmt.Sprintf(">a%d", i+1)))
	}
	return steps
}

// What the first plan after a change of the registry takes besides.
func BenchmarkIndexOfMany(b *testing.B) {
	steps := chain(10_000)
	b.ReportAllocs()
	for b.Loop() {
		plan.NewIndex(steps)
	}
}

// A plan of 50 steps among 10,000 that are registered.
func BenchmarkBuildAmongMany(b *testing.B) {
	steps := chain(10_000)
	index := plan.NewIndex(steps)
	b.ReportAllocs()
	for b.Loop() {
		p, err := index.Build([]string{"s149"}, initOf("a100"), defaults())
		if err != nil || len(p.GetSteps()) != 50 {
			b.Fatalf("%d steps, %v", len(p.GetSteps()), err)
		}
	}
}
