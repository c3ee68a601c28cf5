package model

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

const maxBody = 1 << 20

// refusal is an answer other than 2xx.
type refusal struct {
	status int
	detail string
}

func (r *refusal) Error() string { return r.detail }

func (e *Engine) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /engine/step", e.postStep)
	mux.HandleFunc("POST /engine/flow", e.postFlow)
	mux.HandleFunc("GET /engine/flow/{id}", e.ofFlow(func(f *flow) any { return f.shown() }))
	mux.HandleFunc("GET /engine/flow/{id}/status", e.ofFlow(func(f *flow) any { return f.digest() }))
	mux.HandleFunc("GET /engine/flow/{id}/events", e.ofFlow(func(f *flow) any {
		return map[string]any{"events": append([]event.Event{}, f.events...), "count": len(f.events)}
	}))
	mux.HandleFunc("POST /engine/flow/{id}/cancel", e.postCancel)
	mux.HandleFunc("POST /engine/flow/{id}/pause", e.byHand((*flow).pause))
	mux.HandleFunc("POST /engine/flow/{id}/resume", e.byHand((*flow).resume))
	mux.HandleFunc("POST /engine/flow/{id}/retry", e.byHand((*flow).mend))
	mux.HandleFunc("POST /webhook/{flow}/{step}/{token}", e.postWebhook)
	mux.HandleFunc("POST /webhook/{flow}/{step}/{token}/heartbeat", e.postBeat)
	return mux
}

func answer(rw http.ResponseWriter, status int, value any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(value) // who has gone asks again
}

func refuse(rw http.ResponseWriter, err error) {
	status, detail := http.StatusInternalServerError, err.Error()
	if r, ok := errors.AsType[*refusal](err); ok {
		status = r.status
	}
	answer(rw, status, map[string]any{"type": "urn:sluice:problem:refused", "status": status, "detail": detail})
}

func (e *Engine) postStep(rw http.ResponseWriter, r *http.Request) {
	var d step.Definition
	if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
		refuse(rw, &refusal{http.StatusBadRequest, err.Error()})
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.steps[d.ID] = d
	answer(rw, http.StatusCreated, map[string]any{"step": d})
}

// startRequest is what a flow is started with.
type startRequest struct {
	ID             string                     `json:"id"`
	Goals          []string                   `json:"goals"`
	Init           map[string]json.RawMessage `json:"init"`
	Labels         map[string]string          `json:"labels"`
	TimeoutMS      int64                      `json:"timeout_ms"`
	CallbackURL    string                     `json:"callback_url"`
	CallbackSecret string                     `json:"callback_secret"`
}

func (e *Engine) postFlow(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
	var req startRequest
	if err != nil || json.Unmarshal(body, &req) != nil {
		refuse(rw, &refusal{http.StatusBadRequest, "no flow"})
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	id := map[string]string{"flow_id": req.ID}
	if f := e.flows[req.ID]; f != nil {
		if f.request != ledger.Canonical(body) && !e.breaks(StartTwice, req.ID) {
			refuse(rw, &refusal{http.StatusConflict, "the flow was started by another request"})
			return
		}
		answer(rw, http.StatusOK, id)
		return
	}
	if !e.breaks(StartForgotten, req.ID) {
		e.begin(req, ledger.Canonical(body))
	}
	answer(rw, http.StatusCreated, id)
}

// ofFlow answers with a part of a flow.
func (e *Engine) ofFlow(part func(*flow) any) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		f := e.flows[r.PathValue("id")]
		if f == nil {
			refuse(rw, &refusal{http.StatusNotFound, "no such flow"})
			return
		}
		answer(rw, http.StatusOK, part(f))
	}
}

func (e *Engine) postCancel(rw http.ResponseWriter, r *http.Request) {
	var ask struct {
		Reason string `json:"reason"`
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		refuse(rw, &refusal{http.StatusBadRequest, err.Error()})
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.flows[r.PathValue("id")]
	switch {
	case f == nil:
		refuse(rw, &refusal{http.StatusNotFound, "no such flow"})
		return
	case f.over():
		refuse(rw, &refusal{http.StatusConflict, "it has ended"})
		return
	}
	if !e.breaks(CancelForgotten, f.state.ID) {
		f.revision++
		f.end(event.Event{Type: event.FlowCanceled, Reason: ask.Reason})
	}
	answer(rw, http.StatusOK, map[string]string{"status": "canceled"})
}

func (e *Engine) postWebhook(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
	if err != nil {
		refuse(rw, &refusal{http.StatusRequestEntityTooLarge, "too large"})
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	flowID, stepID := r.PathValue("flow"), r.PathValue("step")
	if err := e.checkToken(flowID, stepID, r.PathValue("token")); err != nil {
		refuse(rw, &refusal{http.StatusNotFound, err.Error()})
		return
	}
	result, err := parse(body, r)
	if err != nil {
		if e.breaks(GarbageAccepted, flowID) {
			answer(rw, http.StatusOK, map[string]string{"status": "accepted"})
			return
		}
		refuse(rw, err)
		return
	}
	said, err := e.webhook(e.flows[flowID], r.PathValue("token"), &result)
	if err != nil {
		refuse(rw, err)
		return
	}
	if said == "replayed" {
		rw.Header().Set("Idempotency-Replayed", "true")
	}
	answer(rw, http.StatusOK, map[string]string{"status": said})
}
