package load

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

const maxInvocation = 8 << 20

func (l *Load) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /work", l.work)
	l.misbehaving(mux)
	return mux
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
func (l *Load) called(rw http.ResponseWriter, r *http.Request) (step.Metadata, bool) {
	var req step.Request
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxInvocation))
	if err != nil || json.Unmarshal(body, &req) != nil {
		rw.WriteHeader(http.StatusBadRequest)
		return step.Metadata{}, false
	}
	m := req.Metadata
	arguments, err := json.Marshal(req.Arguments)
	if err != nil {
		rw.WriteHeader(http.StatusBadRequest)
		return step.Metadata{}, false
	}
	call := ledger.Call{
		Flow: m.FlowID, Step: m.StepID, Token: m.ReceiptToken, Attempt: m.Attempt, Async: m.WebhookURL != "",
		Arguments: ledger.Canonical(arguments), At: time.Now(),
	}
	if !call.Async && !l.unwell(m) {
		call.Outcome = new(good(m))
	}
	l.cfg.Ledger.Call(call)
	return m, true
}

// unwell reports whether a sync step's worker answers 503 this time.
func (l *Load) unwell(m step.Metadata) bool {
	return m.Attempt == 1 && l.dice("unwell", m.FlowID, m.StepID).IntN(10) == 0
}

func (l *Load) answer(rw http.ResponseWriter, m step.Metadata) {
	if l.unwell(m) {
		rw.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(rw, body(good(m), 0)) // who has gone calls again
}

// accept answers that the outcome will come, and brings it: before the answer,
// or after it.
func (l *Load) accept(rw http.ResponseWriter, m step.Metadata) {
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
func good(m step.Metadata) ledger.Outcome { return success(m, "good") }

func success(m step.Metadata, mark string) ledger.Outcome {
	return ledger.Outcome{Kind: ledger.Success, Outputs: map[string]json.RawMessage{
		output(m.StepID): json.RawMessage(strconv.Quote(mark + " of " + m.FlowID + " " + m.StepID)),
		"precise":        json.RawMessage("12345678901234567890.50"),
	}}
}

func failure(m step.Metadata, attempt uint32, mark string) ledger.Outcome {
	return ledger.Outcome{Kind: ledger.Failure, Error: mark + " in attempt " + strconv.FormatUint(uint64(attempt), 10) + " of " + m.FlowID + " " + m.StepID}
}

// doomed is the failure of a worker that has no other outcome. One that brings it
// again in a later attempt says the same.
func (j *job) doomed(mark string) ledger.Outcome {
	if j.l.cfg.Again {
		return failure(*j.Metadata, 1, mark)
	}
	return failure(*j.Metadata, j.Attempt, mark)
}

func notCompleted(m step.Metadata, mark string) ledger.Outcome {
	o := failure(m, m.Attempt, mark)
	o.Kind = ledger.NotCompleted
	return o
}
