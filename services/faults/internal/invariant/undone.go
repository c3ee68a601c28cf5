package invariant

import (
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// success is one that is undone where its flow does not complete.
type success struct{ step, item, token, outputs string }

// undone is invariant 8: what succeeded in a flow that did not complete is undone,
// the last success first and one after the other, and only then the flow ends;
// nothing else is undone.
func (c *check) undone(id string, h History) {
	u := undoer{check: c, id: id, given: map[success]string{}, awaited: map[string]bool{}}
	tokens := map[string]string{}
	for a, arguments := range c.asked(h) {
		tokens[a.step+" "+a.token] = arguments
	}
	for _, e := range h.Events {
		u.event(e, tokens[e.StepID+" "+e.Token])
	}
	if h.State.Status == client.Completed && len(u.order) > 0 {
		c.broken(Undone, id, "it is completed, and %d of its successes were undone", len(u.order))
	}
	if h.State.Status != client.Completed {
		for _, s := range u.stack {
			c.broken(Undone, id, "step %s, work item %s: it succeeded, the flow is %s, and it is not undone", s.step, s.item, h.State.Status)
		}
	}
	for _, s := range u.order {
		if it := h.State.Executions[s.step].WorkItems[s.item]; it.Status != client.Compensated {
			c.broken(Undone, id, "step %s, work item %s: it was to be undone, and is %s", s.step, s.item, it.Status)
		}
	}
	u.calls()
}

// undoer follows what a history says is undone.
type undoer struct {
	*check

	id string
	// given are the arguments of what succeeded, and was not undone before.
	given map[success]string
	stack []success
	// order is that in which successes began to be undone.
	order []success
	// open is the one that is being undone, and nil while none is.
	open *success
	// awaited are the work items that may still succeed, so that it has to be undone.
	awaited map[string]bool
}

func (u *undoer) event(e event.Event, arguments string) {
	switch e.Type { //nolint:exhaustive // the rest undoes nothing
	case event.WorkStarted:
		u.awaited[e.StepID+" "+e.Item] = u.Book.Steps[e.StepID].Undone
	case event.WorkFailed:
		delete(u.awaited, e.StepID+" "+e.Item)
	case event.FlowCompleted:
		clear(u.awaited)
	case event.FlowDeactivated:
		u.deactivated()
	case event.WorkSucceeded:
		delete(u.awaited, e.StepID+" "+e.Item)
		if u.Book.Steps[e.StepID].Undone {
			s := success{e.StepID, e.Item, e.Token, canonicalOf(e.Outputs)}
			u.stack = append(u.stack, s)
			u.given[s] = arguments
		}
	case event.WorkCompensating:
		u.begin(e)
	case event.WorkCompensated, event.CompensationFailed:
		u.open = nil
	case event.FlowFailed, event.FlowCanceled:
		if u.open != nil || len(u.stack) > 0 {
			u.broken(Undone, u.id, "it ended, and %d successes were not undone before", len(u.stack))
		}
	}
}

// deactivated checks that nothing more can come of a flow that says so.
func (u *undoer) deactivated() {
	for item, awaited := range u.awaited {
		if awaited {
			u.broken(Undone, u.id, "no outcome counts any more, and work item %s may still succeed", item)
		}
	}
}

func (u *undoer) begin(e event.Event) {
	if e.Attempt > 1 {
		return
	}
	n := len(u.stack) - 1
	switch {
	case u.open != nil:
		u.broken(Undone, u.id, "step %s, work item %s begins to be undone while %s is", e.StepID, e.Item, u.open.step)
		return
	case n < 0 || u.stack[n].step != e.StepID || u.stack[n].item != e.Item:
		u.broken(Undone, u.id, "step %s, work item %s is undone, and is not the last success that is not undone yet", e.StepID, e.Item)
		return
	}
	u.open = &u.stack[n]
	u.order = append(u.order, u.stack[n])
	u.stack = u.stack[:n]
}

// calls checks what whoever undoes was called with, and when.
func (u *undoer) calls() {
	by := map[string][]ledger.Undo{}
	for _, call := range u.undos[u.id] {
		key := call.Step + " " + prefix(call.Token)
		by[key] = append(by[key], call)
	}
	var before time.Time
	for _, s := range u.order {
		key := s.step + " " + s.token
		begun, taken := u.called(s, by[key])
		switch {
		case taken.IsZero():
			u.broken(Undone, u.id, "step %s, work item %s: no call that undoes it was taken", s.step, s.item)
		case begun.Before(before):
			u.broken(Undone, u.id, "step %s, work item %s: it was called to be undone before the success after it was undone", s.step, s.item)
		}
		before = taken
		delete(by, key)
	}
	for _, calls := range by {
		u.broken(Undone, u.id, "step %s was called to undo what it does not have to", calls[0].Step)
	}
}

// called returns when the first call to undo a success came, and when the first of
// them was taken.
func (u *undoer) called(s success, calls []ledger.Undo) (begun, taken time.Time) {
	attempts := map[uint32]int{}
	for _, call := range calls {
		if begun.IsZero() || call.Begun.Before(begun) {
			begun = call.Begun
		}
		if call.OK() && (taken.IsZero() || call.Answered.Before(taken)) {
			taken = call.Answered
		}
		if call.Inputs != u.given[s] || call.Outputs != s.outputs {
			u.broken(Undone, u.id, "step %s, work item %s: it is undone with other inputs or outputs: %.200s %.200s",
				s.step, s.item, call.Inputs, call.Outputs)
		}
		if attempts[call.Attempt]++; attempts[call.Attempt] > 1 && u.Quiet {
			u.broken(Undone, u.id, "step %s, work item %s: attempt %d to undo it came twice, and nothing was broken", s.step, s.item, call.Attempt)
		}
		u.sameToken(call)
	}
	return begun, taken
}

// sameToken checks that a success is undone under the token that its work was done
// under.
func (u *undoer) sameToken(call ledger.Undo) {
	for _, work := range u.check.calls[u.id] {
		if work.Step == call.Step && prefix(work.Token) == prefix(call.Token) && work.Token != call.Token {
			u.broken(Undone, u.id, "step %s is undone under another token than its work was done under", call.Step)
		}
	}
}
