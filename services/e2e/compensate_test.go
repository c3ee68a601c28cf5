package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/worker"
)

// refunds is a worker whose steps reserve and charge can be undone and whose last
// step ships nothing.
type refunds struct {
	t       *testing.T
	console *client.Client

	mu      sync.Mutex
	tokens  map[string]string   // of each work item: flow and step to token
	undone  map[string][]string // by flow: the steps, in the order in which they were undone
	calls   int
	stalled func() // what happens in the middle of a call to undo
}

func newRefunds(t *testing.T, consoleURL string) *refunds {
	t.Helper()
	console, err := client.New(consoleURL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := &refunds{t: t, console: console, tokens: map[string]string{}, undone: map[string][]string{}, stalled: func() {}}
	w, err := worker.New(worker.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"reserve", "charge"} {
		w.Sync(id, r.work)
		w.Compensate(id, r.undo)
	}
	w.Sync("ship", func(context.Context, worker.Call) (worker.Outputs, error) { return nil, errors.New("out of stock") })
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	required, output := step.Attribute{Role: step.RoleRequired}, step.Attribute{Role: step.RoleOutput}
	for id, attributes := range map[string]map[string]step.Attribute{
		"reserve": {"order": required, "reserve": output},
		"charge":  {"reserve": required, "charge": output},
		"ship":    {"charge": required, "parcel": output},
	} {
		d := step.Definition{
			ID: id, Type: step.KindSync, Attributes: attributes,
			HTTP:       &step.HTTP{Endpoint: server.URL, Timeout: 2000},
			WorkConfig: &step.WorkConfig{MaxRetries: -1, BackoffMS: new(int64(100)), BackoffType: step.BackoffFixed, TimeoutMS: 5000},
		}
		if id != "ship" {
			d.HTTP.Compensate = server.URL + "/undo"
		}
		registerStep(t, console, d)
	}
	return r
}

func (r *refunds) work(_ context.Context, call worker.Call) (worker.Outputs, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens[call.Metadata.FlowID+"/"+call.Metadata.StepID] = call.Metadata.ReceiptToken
	return worker.Outputs{call.Metadata.StepID: call.Metadata.FlowID}, nil
}

func (r *refunds) undo(_ context.Context, c worker.Compensation) error {
	flowID, stepID := c.Metadata.FlowID, c.Metadata.StepID
	var outputs map[string]string
	if err := c.BindOutputs(&outputs); err != nil || outputs[stepID] != flowID {
		r.t.Errorf("%s/%s is undone with outputs %s (%v)", flowID, stepID, c.Outputs, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if want := r.tokens[flowID+"/"+stepID]; c.Metadata.ReceiptToken != want {
		r.t.Errorf("%s/%s is undone under another key", flowID, stepID)
	}
	if r.calls++; r.calls%3 == 1 {
		r.stalled()
	}
	if !slices.Contains(r.undone[flowID], stepID) {
		r.undone[flowID] = append(r.undone[flowID], stepID)
	}
	return nil
}

// The engine, and the dispatcher, are killed in the middle of compensations: each
// success is undone all the same, in reverse order, under the key that it was made
// with.
func TestKillsInTheMiddleOfCompensations(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	r := newRefunds(t, "http://"+s.addrs["console"])
	kills := []string{"engine", "dispatcher", "engine"}
	r.stalled = func() {
		if len(kills) > 0 {
			s.roles[kills[0]].Kill()
			s.start(kills[0])
			kills = kills[1:]
		}
	}
	const flows = 5
	for i := range flows {
		id := fmt.Sprintf("order-%d", i)
		startFlow(t, r.console, client.StartRequest{ID: id, Goals: []string{"ship"}, Init: map[string]any{"order": i}})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for i := range flows {
		id := fmt.Sprintf("order-%d", i)
		digest, err := r.console.WaitFlow(ctx, id)
		if err != nil || digest.Status != client.Failed || digest.Error != `goal "ship" failed: out of stock` {
			t.Fatalf("%s: %+v (%v)", id, digest, err)
		}
		state, err := r.console.Flow(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		for _, stepID := range []string{"reserve", "charge"} {
			it := state.Executions[stepID].WorkItems["0"]
			if it.Status != client.Compensated || it.Compensation == nil || it.Compensation.CompletedAt.IsZero() {
				t.Errorf("%s: work item of %s: %+v", id, stepID, it)
			}
		}
		r.mu.Lock()
		if !slices.Equal(r.undone[id], []string{"charge", "reserve"}) {
			t.Errorf("%s: undone are %v", id, r.undone[id])
		}
		r.mu.Unlock()
	}
	if len(kills) > 0 {
		t.Errorf("%v were not killed", kills)
	}
}
