package e2e_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/worker"
)

// vetting is a worker of the steps of a child flow: check is called and answers,
// confirm answers by webhook.
type vetting struct {
	t       *testing.T
	console *client.Client

	mu      sync.Mutex
	calls   int
	parents map[string]string // child to parent
	stalled func(call int)    // what happens in the middle of a call
}

func newVetting(t *testing.T, consoleURL string) *vetting {
	t.Helper()
	console, err := client.New(consoleURL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v := &vetting{t: t, console: console, parents: map[string]string{}, stalled: func(int) {}}
	w, err := worker.New(worker.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w.Sync("check", v.answer("who", "score"))
	w.Async("confirm", v.answer("score", "verdict"))
	server := httptest.NewServer(w)
	t.Cleanup(func() {
		server.Close()
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	required, output := step.Attribute{Role: step.RoleRequired}, step.Attribute{Role: step.RoleOutput}
	patient := &step.WorkConfig{MaxRetries: -1, BackoffMS: new(int64(100)), BackoffType: step.BackoffFixed, TimeoutMS: 5000}
	for _, d := range []step.Definition{
		{ID: "check", Type: step.KindSync, HTTP: &step.HTTP{Endpoint: server.URL, Timeout: 2000}, WorkConfig: patient, Attributes: map[string]step.Attribute{"who": required, "score": output}},
		{ID: "confirm", Type: step.KindAsync, HTTP: &step.HTTP{Endpoint: server.URL, Timeout: 2000}, WorkConfig: patient, Attributes: map[string]step.Attribute{"score": required, "verdict": output}},
		{
			ID: "vet", Type: step.KindFlow, WorkConfig: &step.WorkConfig{Parallelism: 2},
			Attributes: map[string]step.Attribute{"person": {Role: step.RoleRequired, ForEach: true}, "verdicts": output},
			Flow:       &step.Child{Goals: []string{"confirm"}, InputMap: map[string]string{"person": "who"}, OutputMap: map[string]string{"verdict": "verdicts"}},
		},
	} {
		registerStep(t, console, d)
	}
	return v
}

// answer is a handler that gives its input with the step's id behind it.
func (v *vetting) answer(input, output string) worker.Func {
	return func(_ context.Context, call worker.Call) (worker.Outputs, error) {
		var in map[string]string
		if err := call.Bind(&in); err != nil {
			return nil, err
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.parents[call.Metadata.FlowID] = call.Metadata.ParentFlowID
		v.calls++
		v.stalled(v.calls)
		return worker.Outputs{output: in[input] + " " + call.Metadata.StepID}, nil
	}
}

func (v *vetting) parentOf(child string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.parents[child]
}

// families is how many flows steps were called for.
func (v *vetting) families() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.parents)
}

// The engine, and the dispatcher, are killed in the middle of the calls of child
// flows: each child is one flow, and its parent hears of its end once.
func TestKillsInTheMiddleOfChildFlows(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	v := newVetting(t, "http://"+s.addrs["console"])
	kills := map[int]string{2: "engine", 7: "dispatcher", 11: "engine", 16: "engine"}
	v.stalled = func(call int) {
		if role := kills[call]; role != "" {
			s.roles[role].Kill()
			s.start(role)
			delete(kills, call)
		}
	}
	const flows = 3
	people := []string{"ann", "bob", "cid"}
	for i := range flows {
		id := fmt.Sprintf("order-%d", i)
		startFlow(t, v.console, client.StartRequest{ID: id, Goals: []string{"vet"}, Init: map[string]any{"person": people}})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var children []string
	for i := range flows {
		id := fmt.Sprintf("order-%d", i)
		digest, err := v.console.WaitFlow(ctx, id)
		if err != nil || digest.Status != client.Completed {
			t.Fatalf("%s: %+v (%v)", id, digest, err)
		}
		state, err := v.console.Flow(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		const want = `[{"person":"ann","verdicts":"ann check confirm"},{"person":"bob","verdicts":"bob check confirm"},{"person":"cid","verdicts":"cid check confirm"}]`
		if got := string(state.Attributes["verdicts"].Value); got != want {
			t.Errorf("%s gave %s", id, got)
		}
		for _, it := range state.Executions["vet"].WorkItems {
			children = append(children, it.ChildFlowID)
			if parent := v.parentOf(it.ChildFlowID); parent != id {
				t.Errorf("a step of %s was called for the parent %q", it.ChildFlowID, parent)
			}
		}
	}
	slices.Sort(children)
	if children = slices.Compact(children); len(children) != flows*len(people) || v.families() != flows*len(people) {
		t.Errorf("%d children, and %d were called for", len(children), v.families())
	}
	for _, id := range children {
		events, err := v.console.FlowEvents(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		var types []string
		for _, e := range events {
			types = append(types, string(e.Type))
		}
		if all := strings.Join(types, " "); strings.Count(all, "work_succeeded") != 2 || strings.Count(all, "flow_completed") != 1 {
			t.Errorf("the history of %s is %s", id, all)
		}
	}
	if found := s.verify(); len(found) > 0 {
		t.Errorf("verify finds %v", found)
	}
	if len(kills) > 0 {
		t.Errorf("%v were not killed", kills)
	}
}
