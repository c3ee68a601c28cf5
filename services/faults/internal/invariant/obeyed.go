package invariant

import (
	"net/http"
	"slices"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// obeyed is invariant 11: what a person asked for and got a 2xx for is in the
// history, each time, and nothing starts in a flow while it is paused.
func (c *check) obeyed(id string, h History) {
	done := map[ledger.Action]int{}
	status := client.Active
	for _, e := range h.Events {
		switch e.Type { //nolint:exhaustive // the rest is about nothing that a person asked for
		case event.FlowPaused:
			done[ledger.Pause]++
			status = client.Paused
		case event.FlowFailed:
			status = client.Failed
		case event.FlowCompleted, event.FlowCanceled:
			status = client.Completed
		case event.FlowResumed:
			action := ledger.Resume
			if status == client.Failed {
				action = ledger.Retry
			}
			done[action]++
			status = client.Active
		case event.StepStarted, event.WorkStarted, event.PredicateAsked:
			if status == client.Paused {
				c.broken(Obeyed, id, "%s of step %s while the flow is paused", e.Type, e.StepID)
			}
		}
	}
	for _, action := range []ledger.Action{ledger.Pause, ledger.Resume, ledger.Retry} {
		must, may := 0, 0
		for _, asked := range c.controls[id] {
			if asked.Action != action {
				continue
			}
			if asked.Status >= 200 && asked.Status < 300 {
				must++
			}
			if asked.Status < 400 || asked.Status >= 500 {
				may++
			}
		}
		if n := done[action]; n < must || n > may {
			c.broken(Obeyed, id, "the history has %d of %s, and between %d and %d were asked for", n, action, must, may)
		}
	}
}

// heard is invariant 12: no worker is given up that was heard in time, and the next
// one is told what it said last.
func (c *check) heard(id string, h History) {
	begun := map[attempt]time.Time{}
	for _, e := range h.Events {
		a := attempt{e.StepID, e.Token, e.Attempt}
		switch e.Type { //nolint:exhaustive // the rest is not about attempts
		case event.WorkStarted:
			begun[a] = e.Time
		case event.WorkTimedOut:
			if e.Limit == "heartbeat" && !c.silent(id, a, begun[a], e.Time) {
				c.broken(Heard, id, "attempt %d of step %s is given up, and its worker was heard in time", e.Attempt, e.StepID)
			}
		}
	}
	for _, call := range c.calls[id] {
		c.progress(id, call)
	}
}

// silent reports whether the worker of an attempt can have been silent for too long
// at some time between two moments.
func (c *check) silent(id string, a attempt, from, to time.Time) bool {
	limit := c.Book.Steps[a.step].Silence
	for _, b := range c.beats[id] {
		mine := b.Step == a.step && prefix(b.Token) == a.token && (b.Attempt == 0 || b.Attempt == a.number)
		if !mine || b.Status != 200 || b.Sent.Before(from) || b.Sent.After(to) {
			continue
		}
		if b.Answered.Sub(from) >= limit {
			return true
		}
		from = b.Sent
	}
	return to.Sub(from) >= limit
}

// uninformed checks that calls say what was to be said, but for one in ten: a call does
// not wait for it where Redis is slow for a moment.
func (c *check) uninformed() {
	if n := len(c.untold); c.informed > 0 && n <= max(1, (n+c.informed)/10) {
		return
	}
	for _, call := range c.untold {
		c.broken(Heard, call.Flow, "attempt %d of step %s is not told what the one before it said", call.Attempt, call.Step)
	}
}

// progress checks what a call says that an earlier attempt said. One that is
// repeated may say what this attempt said after the first call.
func (c *check) progress(id string, call ledger.Call) {
	var said []string
	stored := false
	for _, b := range c.beats[id] {
		earlier := b.Attempt < call.Attempt || b.Attempt == call.Attempt && !c.Quiet
		if b.Token == call.Token && b.Sent.Before(call.At) && earlier {
			said = append(said, b.Message)
			stored = stored || b.Status == http.StatusOK && b.Answered.Before(call.At)
		}
	}
	switch {
	case call.Progress == "" && c.Quiet && stored:
		c.untold = append(c.untold, call)
	case call.Progress != "" && slices.Contains(said, call.Progress):
		c.informed++
	case call.Progress != "" && !slices.Contains(said, call.Progress):
		c.broken(Heard, id, "attempt %d of step %s is told what none before it said: %s", call.Attempt, call.Step, call.Progress)
	}
}
