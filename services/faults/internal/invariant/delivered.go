package invariant

import (
	"encoding/json"
	"maps"

	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// attempt is one invocation that the history asks for.
type attempt struct {
	step, token string
	number      uint32
}

// delivered is invariant 5: each attempt was called, with its token and its
// arguments, and nothing was called that the history does not ask for.
func (c *check) delivered(id string, h History) {
	asked, over := c.asked(h), overBeforeCalled(h)
	got := map[attempt]int{}
	tokens := map[string]string{}
	for _, call := range c.calls[id] {
		a := attempt{call.Step, prefix(call.Token), call.Attempt}
		got[a]++
		arguments, ok := asked[a]
		switch {
		case !ok:
			c.broken(Delivered, id, "step %s was called with attempt %d of a token, which the history does not ask for", call.Step, call.Attempt)
		case arguments != call.Arguments:
			c.broken(Delivered, id, "step %s was called with other arguments than its inputs: %.200s", call.Step, call.Arguments)
		}
		if known := tokens[call.Step+a.token]; known != "" && known != call.Token {
			c.broken(Delivered, id, "step %s was called with two tokens for one work item", call.Step)
		}
		tokens[call.Step+a.token] = call.Token
	}
	for a := range asked {
		switch n := got[a]; {
		case n == 0 && !over[a] && !c.Unreachable[a.step]:
			c.broken(Delivered, id, "attempt %d of step %s was never called", a.number, a.step)
		case n > 1 && c.Quiet:
			c.broken(Delivered, id, "attempt %d of step %s was called %d times, and nothing was broken", a.number, a.step, n)
		}
	}
	c.answered(id, h)
}

// asked are the attempts that the history asks to be called, with their arguments.
func (c *check) asked(h History) map[attempt]string {
	asked := map[attempt]string{}
	shared, own := map[string]ledger.Values{}, map[string]ledger.Values{}
	for _, e := range h.Events {
		item := e.StepID + " " + e.Item
		switch e.Type { //nolint:exhaustive // the rest is not about calls
		case event.StepStarted:
			shared[e.StepID] = e.Inputs
		case event.WorkStarted:
			if !c.Book.Steps[e.StepID].Calls() {
				continue
			}
			if own[item] == nil {
				own[item] = ledger.Values{}
				maps.Copy(own[item], shared[e.StepID])
				maps.Copy(own[item], e.Inputs)
			}
			asked[attempt{e.StepID, e.Token, e.Attempt}] = canonicalOf(own[item])
		}
	}
	return asked
}

// overBeforeCalled are the attempts that were over otherwise than by an answer:
// the flow ended, time ran out, or an earlier attempt's outcome came. Their calls
// may have been spared.
func overBeforeCalled(h History) map[attempt]bool {
	over, open := map[attempt]bool{}, map[attempt]bool{}
	for _, e := range h.Events {
		a := attempt{e.StepID, e.Token, e.Attempt}
		switch e.Type { //nolint:exhaustive // the rest is not about calls
		case event.WorkStarted:
			open[a] = true
		case event.WorkTimedOut:
			over[a] = true
			delete(open, a)
		case event.WorkSucceeded:
			over[a] = over[a] || a.number > 1
			delete(open, a)
		case event.WorkFailed, event.WorkNotCompleted:
			delete(open, a)
		case event.FlowCompleted, event.FlowFailed, event.FlowCanceled, event.WorkCompensating:
			for still := range open {
				over[still] = true
			}
		}
	}
	return over
}

// answered checks that what a sync step's history says was answered to a call.
func (c *check) answered(id string, h History) {
	answers, async := map[string]bool{}, map[string]bool{}
	for _, call := range c.calls[id] {
		async[call.Step] = async[call.Step] || call.Async
		if call.Outcome != nil {
			answers[call.Step+" "+call.Outcome.Digest()] = true
		}
	}
	for _, e := range h.Events {
		if e.Type == event.WorkSucceeded && !async[e.StepID] && c.Book.Steps[e.StepID].Calls() && !answers[e.StepID+" "+outcomeOf(e).Digest()] {
			c.broken(Recorded, id, "step %s: what is applied was no answer to a call: %.200s", e.StepID, outcomeOf(e).Digest())
		}
	}
}

func canonicalOf(values map[string]json.RawMessage) string {
	if len(values) == 0 {
		return "{}"
	}
	text, err := json.Marshal(values)
	if err != nil {
		return err.Error()
	}
	return ledger.Canonical(text)
}
