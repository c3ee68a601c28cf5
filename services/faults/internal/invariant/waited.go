package invariant

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// waited is invariant 13: a wait for a time ends then and not before, a message that
// got a 2xx is taken once and in its turn, and a step that asks people gives what
// they said.
func (c *check) waited(id string, h History) {
	w := waiter{check: c, id: id, until: map[string]time.Time{}, given: map[string]event.Event{}}
	for _, m := range c.messages[id] {
		w.sent(m)
	}
	for _, e := range h.Events {
		w.event(e, c.Book.Steps[e.StepID])
	}
	if h.State.Status == client.Completed && len(w.taken) < len(w.stored) {
		c.broken(Waited, id, "it is completed, and %d of the %d messages that got a 2xx were taken", len(w.taken), len(w.stored))
	}
	c.early(id)
}

// waiter follows the waits of a history.
type waiter struct {
	*check

	id string
	// stored are the messages that got a 2xx, in the order in which they first did.
	stored []ledger.Message
	// until is when waits for a time are over, by step.
	until map[string]time.Time
	// taken are the messages that were, in order.
	taken []string
	// given is what people said, by step.
	given map[string]event.Event
}

func (w *waiter) sent(m ledger.Message) {
	if m.Status >= 400 && m.Status < 500 {
		w.broken(Waited, w.id, "message %s got %d, and it was good", m.ID, m.Status)
	}
	if m.Status < 200 || m.Status >= 300 {
		return
	}
	for _, known := range w.stored {
		if known.ID == m.ID {
			return
		}
	}
	w.stored = append(w.stored, m)
}

func (w *waiter) event(e event.Event, knows ledger.Step) {
	switch e.Type { //nolint:exhaustive // the rest is about no wait
	case event.WorkStarted:
		w.until[e.StepID] = e.WaitUntil
		if knows.Lasts > 0 && e.WaitUntil.Sub(e.Time) != knows.Lasts {
			w.broken(Waited, w.id, "step %s waits for %s, and should for %s", e.StepID, e.WaitUntil.Sub(e.Time), knows.Lasts)
		}
	case event.WaitKeyed:
		if !same(e.Value, json.RawMessage(strconv.Quote(w.id))) {
			w.broken(Waited, w.id, "step %s waits for another key than its flow's: %.200s", e.StepID, e.Value)
		}
	case event.MessageTaken:
		w.took(e)
	case event.ApprovalGiven:
		w.gave(e)
	case event.WorkSucceeded:
		w.ended(e, knows)
	case event.WorkFailed, event.WorkTimedOut:
		if !knows.Calls() && knows.Script == nil && knows.Child == nil {
			w.broken(Waited, w.id, "step %s waits in vain: %s", e.StepID, e.Error)
		}
	}
}

// took checks that a message is taken in its turn: each is sent only when the one
// before it was stored. One that got no 2xx yet may be the next.
func (w *waiter) took(e event.Event) {
	n := len(w.taken)
	w.taken = append(w.taken, e.MessageID)
	if n < len(w.stored) {
		if w.stored[n].ID != e.MessageID {
			w.broken(Waited, w.id, "step %s takes message %s, and it is the turn of %s", e.StepID, e.MessageID, w.stored[n].ID)
		}
		return
	}
	for _, before := range w.taken[:n] {
		if before == e.MessageID {
			w.broken(Waited, w.id, "step %s takes message %s, which was taken before", e.StepID, e.MessageID)
		}
	}
	if w.outputs(e.MessageID) == "" {
		w.broken(Waited, w.id, "step %s takes message %s, which nobody sent it", e.StepID, e.MessageID)
	}
}

// outputs are those of a message of the flow.
func (w *waiter) outputs(message string) string {
	for _, m := range w.messages[w.id] {
		if m.ID == message {
			return m.Outputs
		}
	}
	return ""
}

// gave checks that somebody said what the history says.
func (w *waiter) gave(e event.Event) {
	if _, twice := w.given[e.StepID]; twice {
		w.broken(Waited, w.id, "step %s has two answers of one person", e.StepID)
	}
	w.given[e.StepID] = e
	for _, d := range w.decisions[w.id] {
		mine := d.Step == e.StepID && d.By == e.By && d.Comment == e.Comment
		if mine && e.Approved != nil && *e.Approved == d.Approved {
			return
		}
	}
	w.broken(Waited, w.id, "step %s has an answer that nobody gave", e.StepID)
}

// ended checks the end of a wait.
func (w *waiter) ended(e event.Event, knows ledger.Step) {
	switch {
	case knows.Lasts > 0:
		w.over(e, knows)
	case knows.Takes != "":
		if n := len(w.taken); n == 0 || w.outputs(w.taken[n-1]) != canonicalOf(e.Outputs) {
			w.broken(Waited, w.id, "step %s gives what is in no message that it took: %.200s", e.StepID, canonicalOf(e.Outputs))
		}
	case knows.Asks > 0:
		said := w.given[e.StepID].Approved
		var approved *bool
		_ = json.Unmarshal(e.Outputs["approved"], &approved) // what is no boolean is none
		if said == nil || approved == nil || *said != *approved {
			w.broken(Waited, w.id, "step %s gives something else than was said: %.200s", e.StepID, canonicalOf(e.Outputs))
		}
	}
}

func (w *waiter) over(e event.Event, knows ledger.Step) {
	until := w.until[e.StepID]
	if e.Time.Before(until) {
		w.broken(Waited, w.id, "step %s is over %s too early", e.StepID, until.Sub(e.Time))
	}
	var at time.Time
	if json.Unmarshal(e.Outputs[knows.Gives], &at) != nil || !at.Equal(until) {
		w.broken(Waited, w.id, "step %s says that it was over at another time than %s: %.200s", e.StepID, until, canonicalOf(e.Outputs))
	}
}

// early checks by the load's own clock that nobody was called before a wait can have
// been over.
func (c *check) early(id string) {
	var begun time.Time
	for _, s := range c.starts[id] {
		if begun.IsZero() || s.Sent.Before(begun) {
			begun = s.Sent
		}
	}
	for _, call := range c.calls[id] {
		if took := call.At.Sub(begun); took < c.Book.Steps[call.Step].Earliest {
			c.broken(Waited, id, "step %s is called %s after the flow's start, before what it waits for", call.Step, took)
		}
	}
}
