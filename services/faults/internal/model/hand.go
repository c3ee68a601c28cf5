package model

import (
	"net/http"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
)

// held reports whether nothing may start.
func (f *flow) held() bool {
	return f.state.Status == client.Paused && !f.e.breaks(PauseIgnored, f.state.ID)
}

// byHand answers a request to do something to a flow; do returns why it makes no
// sense, or nothing.
func (e *Engine) byHand(do func(f *flow) string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		f := e.flows[r.PathValue("id")]
		if f == nil {
			refuse(rw, &refusal{http.StatusNotFound, "no such flow"})
			return
		}
		f.revision++
		if reason := do(f); reason != "" {
			f.revision--
			refuse(rw, &refusal{http.StatusConflict, reason})
			return
		}
		answer(rw, http.StatusOK, map[string]string{"status": string(f.state.Status)})
	}
}

func (f *flow) pause() string {
	if f.over() || f.state.Status == client.Paused {
		return "it is " + string(f.state.Status)
	}
	f.emit(event.Event{Type: event.FlowPaused})
	f.state.Status = client.Paused
	return ""
}

func (f *flow) resume() string {
	if f.over() || f.state.Status != client.Paused {
		return "it is not paused"
	}
	if f.e.breaks(ResumeForgotten, f.state.ID) {
		return ""
	}
	f.emit(event.Event{Type: event.FlowResumed})
	f.state.Status = client.Active
	f.goOn()
	return ""
}

// goOn starts what may start by now.
func (f *flow) goOn() {
	for _, d := range f.plan {
		for _, it := range f.items[d.ID] {
			if it.due {
				f.attempt(it)
			}
		}
		if f.state.Executions[d.ID].Status == client.Active {
			f.fill(d)
		}
	}
	f.advance()
}

// mend begins the failed steps of a flow again that failed. In the load's flows
// that are mended nothing else is open then.
func (f *flow) mend() string {
	if f.state.Status != client.Failed {
		return "it has not failed"
	}
	if f.e.breaks(RetryForgotten, f.state.ID) {
		return ""
	}
	f.emit(event.Event{Type: event.FlowResumed})
	f.state.Status, f.state.CompletedAt, f.state.Error = client.Active, time.Time{}, ""
	f.ending, f.quiet = nil, false
	var failed []string
	for id, x := range f.state.Executions {
		switch {
		case x.Status == client.Failed && x.StartedAt.IsZero():
			f.reopen(id, client.Pending)
		case x.Status == client.Failed:
			failed = append(failed, id)
		}
	}
	for _, id := range failed {
		f.emit(event.Event{Type: event.StepOverridden, StepID: id, Action: "retry"})
		for _, it := range f.items[id] {
			f.renew(it)
		}
		f.reopen(id, client.Active)
	}
	f.goOn()
	return ""
}

// renew gives a work item that failed another token.
func (f *flow) renew(it *item) {
	if it.status != client.Failed {
		return
	}
	if !f.e.breaks(TokenKept, f.state.ID) {
		it.generation++
	}
	renewed := &item{
		d: it.d, place: it.place, own: it.own, status: client.Pending, generation: it.generation, attempt: it.attempt, nothing: map[string]bool{},
	}
	for i := range f.items[it.d.ID] {
		if f.items[it.d.ID][i] == it {
			f.items[it.d.ID][i] = renewed
		}
	}
	f.hand(renewed)
	shown := f.shownItem(it)
	f.show(renewed, client.WorkItem{Status: client.Pending, Attempt: it.attempt, Inputs: shown.Inputs})
}

func (f *flow) reopen(id string, status client.Status) {
	x := f.state.Executions[id]
	x.Status, x.CompletedAt, x.Error, x.Unsatisfied, x.Outputs = status, time.Time{}, "", nil, nil
	f.state.Executions[id] = x
}

// listen gives up an attempt whose worker is silent for too long.
func (f *flow) listen(it *item) {
	limit := time.Duration(it.d.WorkConfig.HeartbeatTimeoutMS) * time.Millisecond
	if limit == 0 {
		return
	}
	n := it.attempt
	var look func()
	look = func() {
		quiet := time.Since(it.heard)
		switch {
		case it.status != client.Active || it.attempt != n:
		case quiet >= limit:
			f.giveUp(it, "heartbeat")
		default:
			it.listen = f.e.after(f, limit-quiet, look)
		}
	}
	it.listen = f.e.after(f, limit, look)
}

// postBeat takes a heartbeat.
func (e *Engine) postBeat(rw http.ResponseWriter, r *http.Request) {
	beat, err := parseBeat(r)
	if err != nil {
		refuse(rw, &refusal{http.StatusBadRequest, err.Error()})
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	flowID, stepID, token := r.PathValue("flow"), r.PathValue("step"), r.PathValue("token")
	if err := e.checkToken(flowID, stepID, token); err != nil {
		refuse(rw, &refusal{http.StatusNotFound, err.Error()})
		return
	}
	it := e.flows[flowID].tokens[token]
	if it == nil || it.final() || e.flows[flowID].over() {
		refuse(rw, &refusal{http.StatusGone, "closed"})
		return
	}
	if it.progress = &beat.Progress; (beat.Attempt == 0 || beat.Attempt == it.attempt) && !e.breaks(BeatIgnored, flowID) {
		it.heard = time.Now()
	}
	answer(rw, http.StatusOK, map[string]string{"status": "heard"})
}
