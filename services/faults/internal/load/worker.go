package load

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

const maxInvocation = 8 << 20

func (l *Load) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /work", l.work)
	mux.HandleFunc("POST "+undoPath, l.undo)
	mux.HandleFunc("POST "+endedPath, l.ended)
	l.misbehaving(mux)
	return mux
}

// A task is what a worker is called for.
type task struct {
	*step.Metadata

	// element is the one that the work item is for; empty where it is the only one.
	element string
}

// work takes an invocation.
func (l *Load) work(rw http.ResponseWriter, r *http.Request) {
	m, ok := l.called(rw, r)
	if !ok {
		return
	}
	if m.WebhookURL == "" {
		l.answer(rw, m)
		return
	}
	l.accept(rw, m)
}

// called writes an invocation down. A worker knows by the webhook's URL that it
// is asked to complete later.
func (l *Load) called(rw http.ResponseWriter, r *http.Request) (task, bool) {
	var req step.Request
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxInvocation))
	if err != nil || json.Unmarshal(body, &req) != nil {
		rw.WriteHeader(http.StatusBadRequest)
		return task{}, false
	}
	m := task{Metadata: &req.Metadata}
	_ = json.Unmarshal(req.Arguments[element], &m.element) // steps without one have none
	arguments, err := json.Marshal(req.Arguments)
	if err != nil {
		rw.WriteHeader(http.StatusBadRequest)
		return task{}, false
	}
	call := ledger.Call{
		Flow: m.FlowID, Step: m.StepID, Token: m.ReceiptToken, Attempt: m.Attempt, Async: m.WebhookURL != "",
		Given: req.Arguments, Arguments: ledger.Canonical(arguments), At: time.Now(),
	}
	if !call.Async && !l.unwell(m) {
		call.Outcome = new(good(m))
	}
	if p := m.LastProgress; p != nil {
		call.Progress = p.Message
	}
	l.cfg.Ledger.Call(call)
	return m, true
}

// unwell reports whether a sync step's worker answers 503 this time.
func (l *Load) unwell(m task) bool {
	return m.Attempt == 1 && l.dice("unwell", m.FlowID, m.StepID, m.element).IntN(10) == 0
}

func (l *Load) answer(rw http.ResponseWriter, m task) {
	if l.unwell(m) {
		rw.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(rw, body(good(m), 0)) // who has gone calls again
}

// accept answers that the outcome will come, and brings it: before the answer,
// or after it.
func (l *Load) accept(rw http.ResponseWriter, m task) {
	j := l.job(m)
	if j.refuses {
		rw.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if j.manner == early {
		l.send(l.life, j.post(ledger.Success, good(m)))
	}
	l.background(func() { j.run(l.life) })
	rw.WriteHeader(http.StatusAccepted)
}

// good is the outcome that a worker has for its work item.
func good(m task) ledger.Outcome { return success(m, "good") }

func success(m task, mark string) ledger.Outcome {
	return ledger.Outcome{Kind: ledger.Success, Outputs: map[string]json.RawMessage{
		output(m.StepID): text(strings.TrimSpace(mark + " of " + m.FlowID + " " + m.StepID + " " + m.element)),
		"precise":        json.RawMessage("12345678901234567890.50"),
	}}
}

func failure(m task, attempt uint32, mark string) ledger.Outcome {
	return ledger.Outcome{Kind: ledger.Failure, Error: mark + " in attempt " + attemptText(attempt) + " of " + strings.TrimSpace(m.FlowID+" "+m.StepID+" "+m.element)}
}

// doomed is the failure of a worker that has no other outcome. One that brings it
// again in a later attempt says the same.
func (j *job) doomed(mark string) ledger.Outcome {
	if j.l.cfg.Again {
		return failure(j.task, 1, mark)
	}
	return failure(j.task, j.Attempt, mark)
}

func notCompleted(m task, mark string) ledger.Outcome {
	o := failure(m, m.Attempt, mark)
	o.Kind = ledger.NotCompleted
	return o
}
