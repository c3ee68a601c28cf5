package load_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/load"
)

// fake speaks the contract: a flow's steps are those registered, in order, one after the other.
type fake struct {
	url    string
	status string // of a flow whose last step completed

	mu       sync.Mutex
	steps    []step
	finished map[string]bool
	refusals int // starts that are still answered with 503
}

type step struct {
	ID   string `json:"id"`
	HTTP struct {
		Endpoint string `json:"endpoint"`
	} `json:"http"`
}

func newFake(t *testing.T, status string) *fake {
	t.Helper()
	f := &fake{status: status, finished: map[string]bool{}, refusals: 2}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /engine/step", f.register)
	mux.HandleFunc("POST /engine/flow", f.start)
	mux.HandleFunc("GET /engine/flow/{flow}", f.state)
	mux.HandleFunc("POST /webhook/{flow}/{step}", f.webhook)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

func (f *fake) register(w http.ResponseWriter, r *http.Request) {
	var s step
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps = append(f.steps, s)
	w.WriteHeader(http.StatusCreated)
}

func (f *fake) start(w http.ResponseWriter, r *http.Request) {
	var flow struct {
		ID string `json:"id"`
	}
	if err := json.NewDecoder(r.Body).Decode(&flow); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	f.refusals--
	refused := f.refusals >= 0
	f.mu.Unlock()
	if refused {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusCreated)
	go f.invoke(flow.ID, 0)
}

// invoke calls the worker twice, as a delivery that was repeated.
func (f *fake) invoke(flow string, i int) {
	f.mu.Lock()
	s := f.steps[i]
	f.mu.Unlock()
	metadata := map[string]string{"flow_id": flow, "step_id": s.ID, "webhook_url": f.url + "/webhook/" + flow + "/" + s.ID}
	body, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		panic(err)
	}
	for range 2 {
		if resp, err := http.Post(s.HTTP.Endpoint, "application/json", bytes.NewReader(body)); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	}
}

func (f *fake) webhook(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := r.PathValue("flow") + "/" + r.PathValue("step")
	if !f.finished[key] {
		f.finished[key] = true
		for i, s := range f.steps {
			if s.ID == r.PathValue("step") && i+1 < len(f.steps) {
				go f.invoke(r.PathValue("flow"), i+1)
			}
		}
	}
	w.WriteHeader(http.StatusOK)
}

func (f *fake) state(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	status := "active"
	if f.finished[r.PathValue("flow")+"/"+f.steps[len(f.steps)-1].ID] {
		status = f.status
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"status": status})
}

func TestRun(t *testing.T) {
	t.Parallel()
	f := newFake(t, "completed")
	r, err := load.Run(t.Context(), load.Config{API: f.url, Concurrency: 4, Steps: 3, Duration: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.FlowsDone < 4 || r.FlowsPerS <= 0 || r.FlowP50 <= 0 || r.WebhookP50 <= 0 || r.Checked == 0 {
		t.Errorf("figures are missing: %+v", r)
	}
	if r.Duplicates == 0 || r.Errors["start: 503"] != 2 {
		t.Errorf("repeated invocations and refused starts are not counted: %+v", r)
	}
	if len(f.steps) != 3 || f.steps[0].ID == f.steps[1].ID {
		t.Errorf("registered %+v, want a chain of three", f.steps)
	}
}

func TestRunRefused(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no such field", http.StatusBadRequest)
	}))
	t.Cleanup(server.Close)
	_, err := load.Run(t.Context(), load.Config{API: server.URL, Concurrency: 1, Steps: 1, Duration: time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "400 no such field") {
		t.Errorf("got %v, want the refusal", err)
	}
}

// A flow whose results were all accepted and that is something else than completed fails the run.
func TestRunNotCompleted(t *testing.T) {
	t.Parallel()
	f := newFake(t, "failed")
	_, err := load.Run(t.Context(), load.Config{API: f.url, Concurrency: 1, Steps: 1, Duration: time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), `"failed"`) {
		t.Errorf("got %v, want the flow's status", err)
	}
}
