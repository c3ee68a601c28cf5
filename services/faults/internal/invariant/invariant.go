// Package invariant says which promises were broken, from nothing but what the
// load wrote down and what the control API shows.
package invariant

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// The invariants, by their numbers.
const (
	Recorded  = 1  // what got a 2xx is in the history exactly once
	OneResult = 2  // a token has one outcome
	Ended     = 3  // no flow is stuck
	Answers   = 4  // 2xx only for what is stored, 4xx for what changes nothing
	Delivered = 5  // invocations arrive, with the same token and attempt
	Replayed  = 6  // the history gives the state
	Secret    = 7  // a bad token changes nothing and learns nothing
	Undone    = 8  // what succeeded is undone where the flow does not complete
	Told      = 9  // the end is told to who asked for that
	Computed  = 10 // scripts, predicates, elements: values are what they must be
	Obeyed    = 11 // pause, resume and retry by hand
	Heard     = 12 // a worker that is heard is not given up
	Waited    = 13 // waits end when they should, each message is taken once
	Nested    = 14 // a child flow's end is its step's outcome
)

// prefixLength is how much of a token histories show.
const prefixLength = 8

// Violation is one promise that was not kept.
type Violation struct {
	Invariant int
	Flow      string
	What      string
}

func (v Violation) String() string {
	return fmt.Sprintf("invariant %d, flow %s: %s", v.Invariant, v.Flow, v.What)
}

// History is a flow as the control API shows it.
type History struct {
	// Known is false where the API says that there is no such flow.
	Known  bool
	Events []event.Event
	State  client.FlowState
}

// Evidence is what is judged.
type Evidence struct {
	Book  ledger.Book
	Flows map[string]History
	// Quiet says that nothing was broken meanwhile: invocations must not
	// arrive twice.
	Quiet bool
	// IndexLost says that Redis lost data: a second outcome of a token may get a
	// 2xx, and is recorded as ignored, and the first may get a 409 meanwhile.
	IndexLost bool
	// Lossy says that commits were lost. An end that was told may be one of them,
	// and what came too late for an attempt may be applied when it is repeated.
	Lossy bool
	// EndBy is when every flow must have ended; zero asks only that it has.
	EndBy time.Time
	// Unreachable are the steps whose calls cannot arrive.
	Unreachable map[string]bool
}

// Check returns what was broken, by invariant and flow.
func Check(e Evidence) []Violation {
	c := newCheck(e)
	tokens := c.byToken()
	for _, id := range c.flows() {
		h := c.Flows[id]
		c.started(id, h)
		if !h.Known {
			continue
		}
		c.ended(id, h)
		c.canceled(id, h)
		c.replay(id, h)
		c.delivered(id, h)
		c.undone(id, h)
		c.toldOf(id, h)
		c.computed(id, h)
		c.obeyed(id, h)
		c.heard(id, h)
		c.waited(id, h)
		c.nested(id, h)
	}
	c.uninformed()
	for _, key := range sortedKeys(tokens) {
		c.token(key, tokens[key])
	}
	c.forged()
	slices.SortStableFunc(c.found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Invariant, b.Invariant), cmp.Compare(a.Flow, b.Flow))
	})
	return c.found
}

type check struct {
	Evidence

	found []Violation
	told  map[string]bool // what was said once

	starts  map[string][]ledger.Start // by flow, as the rest
	calls   map[string][]ledger.Call
	cancels map[string][]ledger.Cancel

	undos     map[string][]ledger.Undo
	callbacks map[string][]ledger.Callback
	controls  map[string][]ledger.Control
	beats     map[string][]ledger.Beat    // in the order in which they were answered
	messages  map[string][]ledger.Message // the same
	decisions map[string][]ledger.Decision
	// children are the flows that steps started.
	children map[string]bool
	// informed is how many calls said what an earlier attempt had said, and untold
	// are those that should have and did not.
	informed int
	untold   []ledger.Call
}

func newCheck(e Evidence) *check {
	children := map[string]bool{}
	for _, h := range e.Flows {
		for _, child := range Children(h) {
			children[child] = true
		}
	}
	return &check{
		children: children,
		Evidence: e, told: map[string]bool{},
		starts:    byFlow(e.Book.Starts, func(s ledger.Start) string { return s.Flow }),
		calls:     byFlow(e.Book.Calls, func(c ledger.Call) string { return c.Flow }),
		cancels:   byFlow(e.Book.Cancels, func(c ledger.Cancel) string { return c.Flow }),
		undos:     byFlow(e.Book.Undos, func(u ledger.Undo) string { return u.Flow }),
		callbacks: byFlow(e.Book.Callbacks, func(c ledger.Callback) string { return c.Flow }),
		controls:  byFlow(e.Book.Controls, func(c ledger.Control) string { return c.Flow }),
		beats:     byFlow(e.Book.Beats, func(b ledger.Beat) string { return b.Flow }),
		messages:  byFlow(e.Book.Messages, func(m ledger.Message) string { return m.Flow }),
		decisions: byFlow(e.Book.Decisions, func(d ledger.Decision) string { return d.Flow }),
	}
}

func byFlow[E any](entries []E, flow func(E) string) map[string][]E {
	out := map[string][]E{}
	for _, e := range entries {
		out[flow(e)] = append(out[flow(e)], e)
	}
	return out
}

func (c *check) broken(invariant int, flow, format string, args ...any) {
	v := Violation{Invariant: invariant, Flow: flow, What: fmt.Sprintf(format, args...)}
	if !c.told[v.String()] {
		c.told[v.String()] = true
		c.found = append(c.found, v)
	}
}

// flows are all that were started, or shown.
func (c *check) flows() []string {
	all := map[string]bool{}
	for id := range c.starts {
		all[id] = true
	}
	for id := range c.Flows {
		all[id] = true
	}
	return sortedKeys(all)
}

// started checks that a flow is there if its start got a 2xx, and only if
// somebody may have started it.
func (c *check) started(id string, h History) {
	stored, possible := false, c.children[id]
	requests := map[string]bool{}
	for _, s := range c.starts[id] {
		if s.Status >= 400 && s.Status < 500 && s.Status != http.StatusConflict {
			c.broken(Answers, id, "its start got %d, and the request was good", s.Status)
		}
		if s.Status >= 200 && s.Status < 300 {
			stored = true
			requests[s.Request] = true
		}
		possible = possible || s.Status < 400 || s.Status >= 500
	}
	switch {
	case stored && !h.Known:
		c.broken(Answers, id, "its start got a 2xx, and it is not there")
	case !possible && h.Known:
		c.broken(Answers, id, "it is there, though every request for it was refused")
	}
	if len(requests) > 1 {
		c.broken(Answers, id, "%d different requests to start it got a 2xx", len(requests))
	}
}

// ended checks that the flow reached its end, and in time.
func (c *check) ended(id string, h History) {
	s := h.State
	switch {
	case !s.Status.Ended():
		c.broken(Ended, id, "it is %s", s.Status)
	case s.CompletedAt.IsZero():
		c.broken(Ended, id, "it is %s without a time", s.Status)
	case !c.EndBy.IsZero() && s.CompletedAt.After(c.EndBy):
		c.broken(Ended, id, "it ended %s too late", s.CompletedAt.Sub(c.EndBy).Round(time.Millisecond))
	}
}

// canceled checks that a flow whose cancellation got a 2xx was canceled.
func (c *check) canceled(id string, h History) {
	for _, cancel := range c.cancels[id] {
		if cancel.Status >= 200 && cancel.Status < 300 && h.State.Status != client.Canceled {
			c.broken(Answers, id, "its cancellation got a 2xx, and it is %s", h.State.Status)
		}
	}
}

func prefix(token string) string {
	return token[:min(len(token), prefixLength)]
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
