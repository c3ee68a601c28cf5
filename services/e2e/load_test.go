package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/worker"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// load is a worker of a chain of two async steps and a sync one, and the ledger
// of what it was told.
type load struct {
	t      *testing.T
	api    *client.Client
	server *httptest.Server
	worker *worker.Worker

	// again lets the worker complete what it completed before, when it is called
	// again: a store that lost its end asks for what it had.
	again bool
	// gates hold the completions of steps back until they are closed.
	gates map[string]chan struct{}
	// payload makes the commits of a flow larger.
	payload string

	mu     sync.Mutex
	stored map[string]bool            // flow/step whose outcome got a 2xx
	held   map[string]map[string]bool // flows, by step
	flows  []string
}

func newLoad(t *testing.T, console string) *load {
	t.Helper()
	l := &load{t: t, stored: map[string]bool{}, held: map[string]map[string]bool{}, gates: map[string]chan struct{}{}}
	api, err := client.New(console, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.api = api
	w, err := worker.New(worker.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l.worker = w
	w.Sync("receipt", func(_ context.Context, call worker.Call) (worker.Outputs, error) {
		return worker.Outputs{"receipt": "for " + string(call.Arguments["payment"])}, nil
	})
	l.server = httptest.NewServer(http.HandlerFunc(l.serve))
	t.Cleanup(l.server.Close)
	l.register()
	return l
}

func (l *load) register() {
	l.t.Helper()
	in := step.Attribute{Role: step.RoleRequired, Type: step.TypeString}
	out := step.Attribute{Role: step.RoleOutput, Type: step.TypeString}
	call := &step.HTTP{Endpoint: l.server.URL}
	retries := &step.WorkConfig{MaxRetries: 50, BackoffMS: new(int64(100)), MaxBackoffMS: new(int64(1000)), TimeoutMS: 5000}
	for _, d := range []step.Definition{
		{ID: "reserve", Type: step.KindAsync, HTTP: call, WorkConfig: retries, Attributes: map[string]step.Attribute{"order": in, "reservation": out}},
		{ID: "charge", Type: step.KindAsync, HTTP: call, WorkConfig: retries, Attributes: map[string]step.Attribute{"reservation": in, "payment": out}},
		{ID: "receipt", Type: step.KindSync, HTTP: call, WorkConfig: retries, Attributes: map[string]step.Attribute{"payment": in, "receipt": out}},
	} {
		registerStep(l.t, l.api, d)
	}
}

// registerStep registers a step, again and again until it is stored.
func registerStep(t *testing.T, api *client.Client, d step.Definition) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		_, err := api.RegisterStep(t.Context(), d)
		return err
	})
}

// serve accepts async calls and completes them once. A worker that had a 2xx
// says nothing more, even when it is called again: a lost completion would be
// seen by a flow that does not end.
func (l *load) serve(rw http.ResponseWriter, r *http.Request) {
	var req step.Request
	body := http.MaxBytesReader(rw, r.Body, 1<<20)
	text, err := io.ReadAll(body)
	if err != nil || json.Unmarshal(text, &req) != nil {
		rw.WriteHeader(http.StatusBadRequest)
		return
	}
	if req.Metadata.StepID == "receipt" {
		r.Body = io.NopCloser(bytes.NewReader(text))
		l.worker.ServeHTTP(rw, r)
		return
	}
	rw.WriteHeader(http.StatusAccepted)
	go l.complete(req.Metadata) //nolint:contextcheck // the call is answered; the completion has its own deadline
}

func (l *load) complete(m step.Metadata) {
	key := m.FlowID + "/" + m.StepID
	l.mu.Lock()
	known := l.stored[key]
	if l.held[m.StepID] == nil {
		l.held[m.StepID] = map[string]bool{}
	}
	l.held[m.StepID][m.FlowID] = true
	l.mu.Unlock()
	if known && !l.again {
		return
	}
	if gate := l.gates[m.StepID]; gate != nil {
		<-gate
	}
	output := map[string]string{"reserve": "reservation", "charge": "payment"}[m.StepID]
	result := step.Result{Success: true, Outputs: map[string]json.RawMessage{output: json.RawMessage(`"` + key + `"`)}}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var sender worker.Sender
	if _, err := sender.Send(ctx, m.WebhookURL, result); err == nil {
		l.mu.Lock()
		l.stored[key] = true
		l.mu.Unlock()
	}
}

// hold holds the completions of a step back until release is called.
func (l *load) hold(stepID string) (release func()) {
	gate := make(chan struct{})
	l.gates[stepID] = gate
	release = sync.OnceFunc(func() { close(gate) })
	l.t.Cleanup(release)
	return release
}

// waitHeld waits until the completions of n flows' step came to its gate.
func (l *load) waitHeld(stepID string, n int) {
	l.t.Helper()
	testkit.Eventually(l.t, patience, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if got := len(l.held[stepID]); got < n {
			return fmt.Errorf("%d completions of %s are held, want %d", got, stepID, n)
		}
		return nil
	})
}

// begin starts n flows, each until it is stored.
func (l *load) begin(n int) {
	l.t.Helper()
	for range n {
		id := fmt.Sprintf("order-%d", len(l.flows))
		l.flows = append(l.flows, id)
		startFlow(l.t, l.api, client.StartRequest{ID: id, Goals: []string{"receipt"}, Init: map[string]any{"order": id + l.payload}})
	}
}

// startFlow starts a flow, as a caller does that cares: again and again until it is
// stored. While an engine is dead nobody answers for its partitions.
func startFlow(t *testing.T, api *client.Client, r client.StartRequest) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		_, err := api.StartFlow(t.Context(), r)
		return err
	})
}

// finish waits until all flows ended well and checks the promise: each stored
// outcome stands in its flow's history once, as applied.
func (l *load) finish() {
	l.t.Helper()
	for _, id := range l.flows {
		testkit.Eventually(l.t, 2*patience, func() error {
			// Of its history: the list of flows is behind where NATS lost its end.
			state, err := l.api.Flow(l.t.Context(), id)
			if err == nil && state.Status != client.Completed {
				err = fmt.Errorf("flow %s is %s", id, state.Status)
			}
			return err
		})
		l.once(id)
	}
}

// once checks that each outcome of a flow stands in its history once.
func (l *load) once(id string) {
	l.t.Helper()
	var events []event.Event
	testkit.Eventually(l.t, patience, func() (err error) {
		events, err = l.api.FlowEvents(l.t.Context(), id)
		return err
	})
	applied := map[string]int{}
	for _, e := range events {
		if e.Type == event.WorkSucceeded {
			applied[e.StepID]++
		}
	}
	for _, s := range []string{"reserve", "charge", "receipt"} {
		if applied[s] != 1 {
			l.t.Errorf("flow %s: the outcome of %s is applied %d times", id, s, applied[s])
		}
	}
}

// storedSoFar is how many outcomes got a 2xx.
func (l *load) storedSoFar() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.stored)
}

// waitStored waits until n outcomes got a 2xx.
func (l *load) waitStored(n int) {
	l.t.Helper()
	testkit.Eventually(l.t, patience, func() error {
		if got := l.storedSoFar(); got < n {
			return fmt.Errorf("%d outcomes are stored, want %d", got, n)
		}
		return nil
	})
}
