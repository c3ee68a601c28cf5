package faults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/worker"
)

// postersAtOnce is how many completions are under way at once.
const postersAtOnce = 64

// All work items of one step complete at once, and the engine is killed in the
// middle of it: each counts once, in its place, and the flows of others go on.
func TestRowManyWorkItems(t *testing.T) {
	t.Parallel()
	items := 1000
	if form(t) == longForm {
		items = 10_000
	}
	play(t, row{
		fault: fmt.Sprintf("%d work items complete at once, and kill -9 of the only engine in the middle", items), short: 1, long: 1,
		pause: 10 * second,
		once:  func(r *run) { r.fanOut(items) },
	})
}

// fanOut runs a flow of one step with so many work items.
func (r *run) fanOut(items int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*patience)
	defer cancel()
	calls := make(chan step.Request, 2*items)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var call step.Request
		if err := json.NewDecoder(req.Body).Decode(&call); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		calls <- call
	}))
	defer endpoint.Close()
	console, err := client.New(r.w.Consoles[0], client.Options{})
	r.must(err)
	_, err = console.RegisterStep(ctx, step.Definition{
		ID: "many", Type: step.KindAsync, HTTP: &step.HTTP{Endpoint: endpoint.URL},
		Attributes: map[string]step.Attribute{
			"place": {Role: step.RoleRequired, Type: step.TypeNumber, ForEach: true},
			"twice": {Role: step.RoleOutput, Type: step.TypeNumber},
		},
		WorkConfig: &step.WorkConfig{Parallelism: int32(items), MaxRetries: -1},
	})
	r.must(err)
	places := make([]int, items)
	for i := range places {
		places[i] = i
	}
	id, err := console.StartFlow(ctx, client.StartRequest{ID: "many-work-items", Goals: []string{"many"}, Init: map[string]any{"place": places}})
	r.must(err)
	r.post(r.collect(calls, items))
	ended, err := console.WaitFlow(ctx, id)
	r.must(err)
	if ended.Status != client.Completed {
		r.t.Errorf("flow %s is %s: %s", id, ended.Status, ended.Error)
	}
	r.gathered(console, id, items)
	r.lean("engine-1")
}

// collect waits for the first call of each work item.
func (r *run) collect(calls <-chan step.Request, items int) map[string]step.Request {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	open := map[string]step.Request{}
	for len(open) < items {
		select {
		case call := <-calls:
			open[string(call.Arguments["place"])] = call
		case <-ctx.Done():
			r.t.Fatalf("%d of %d work items were called", len(open), items)
		}
	}
	return open
}

// post completes all of them, and kills the engine when half is done.
func (r *run) post(open map[string]step.Request) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	began := time.Now()
	var senders errgroup.Group
	senders.SetLimit(postersAtOnce)
	var half sync.Once
	done := 0
	sender := worker.Sender{FirstDelay: 50 * time.Millisecond, MaxDelay: time.Second}
	for place, call := range open {
		if done++; done > len(open)/2 {
			half.Do(func() {
				r.w.Kill("engine-1")
				r.must(r.w.Restart(r.t.Context(), "engine-1"))
			})
		}
		senders.Go(func() error {
			n, err := strconv.Atoi(place)
			if err != nil {
				return fmt.Errorf("place of a work item: %w", err)
			}
			_, err = sender.Send(ctx, call.Metadata.WebhookURL, step.Result{
				Success: true, Outputs: map[string]json.RawMessage{"twice": json.RawMessage(strconv.Itoa(2 * n))},
			})
			return err
		})
	}
	r.must(senders.Wait())
	r.await("engine-1")
	r.t.Logf("%d completions were accepted within %s", len(open), time.Since(began).Round(time.Millisecond))
}

// gathered checks that each work item succeeded, and that its output is at its
// place.
func (r *run) gathered(console *client.Client, id string, items int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	began := time.Now()
	state, err := console.Flow(ctx, id)
	r.must(err)
	r.t.Logf("its state was read within %s", time.Since(began).Round(time.Millisecond))
	var got []struct {
		Place int `json:"place"`
		Twice int `json:"twice"`
	}
	r.must(json.Unmarshal(state.Attributes["twice"].Value, &got))
	if len(got) != items || len(state.Executions["many"].WorkItems) != items {
		r.t.Fatalf("%d elements of %d work items, want %d", len(got), len(state.Executions["many"].WorkItems), items)
	}
	for i, element := range got {
		if element.Place != i || element.Twice != 2*i {
			r.t.Fatalf("element %d is %+v", i, element)
		}
		if it := state.Executions["many"].WorkItems[strconv.Itoa(i)]; it.Status != client.Succeeded {
			r.t.Fatalf("work item %d is %s", i, it.Status)
		}
	}
}
