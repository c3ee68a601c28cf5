package invariant

import (
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// Children are the flows that a history says were started by its steps.
func Children(h History) []string {
	var out []string
	for _, e := range h.Events {
		if e.Type == event.WorkStarted && e.ChildFlowID != "" {
			out = append(out, e.ChildFlowID)
		}
	}
	return out
}

// nested is invariant 14: each attempt of a step that starts flows has one child,
// whose end is its outcome; a child that nobody wants any more is canceled. That
// each child ends is asked of it as of every flow.
func (c *check) nested(id string, h History) {
	outcomes := map[uint32]event.Event{}
	var begun []event.Event
	for _, e := range h.Events {
		knows := c.Book.Steps[e.StepID]
		switch e.Type { //nolint:exhaustive // the rest is no attempt's beginning or end
		case event.WorkStarted:
			if (e.ChildFlowID != "") != (knows.Child != nil) {
				c.broken(Nested, id, "attempt %d of step %s has the child flow %q", e.Attempt, e.StepID, e.ChildFlowID)
			} else if knows.Child != nil {
				begun = append(begun, e)
			}
		case event.WorkSucceeded, event.WorkNotCompleted, event.WorkFailed:
			if knows.Child != nil {
				outcomes[e.Attempt] = e
			}
		}
	}
	for _, e := range begun {
		c.child(id, h, e, outcomes[e.Attempt])
	}
}

// child checks the flow that an attempt started against the attempt's outcome, which
// has no type where it has none.
func (c *check) child(id string, h History, begun, outcome event.Event) {
	name := begun.ChildFlowID
	child := c.Flows[name]
	if !child.Known {
		c.broken(Nested, name, "attempt %d of step %s of flow %s starts it, and it is not there", begun.Attempt, begun.StepID, id)
		return
	}
	if child.State.ParentFlowID != id || child.State.ParentStepID != begun.StepID {
		c.broken(Nested, name, "its parent is step %q of flow %q, and should be %q of %q",
			child.State.ParentStepID, child.State.ParentFlowID, begun.StepID, id)
	}
	c.ends(name, child)
	status := child.State.Status
	switch outcome.Type { //nolint:exhaustive // others are no outcomes
	case event.WorkSucceeded:
		if status != client.Completed {
			c.broken(Nested, id, "step %s succeeded, and its child %s is %s", begun.StepID, name, status)
			return
		}
		if got, want := canonicalOf(outcome.Outputs), canonicalOf(c.gave(begun.StepID, child)); got != want {
			c.broken(Nested, id, "step %s gives %.200s, and its child %s gave %.200s", begun.StepID, got, name, want)
		}
	case event.WorkNotCompleted, event.WorkFailed:
		if status == client.Completed {
			c.broken(Nested, id, "attempt %d of step %s came to nothing (%s), and its child %s is completed", begun.Attempt, begun.StepID, outcome.Error, name)
		}
	default:
		c.unwanted(name, h, child)
	}
}

// gave is what a child gave, by the outputs of the step that started it.
func (c *check) gave(step string, child History) ledger.Values {
	out := ledger.Values{}
	for output, from := range c.Book.Steps[step].Child {
		if a, ok := child.State.Attributes[from]; ok {
			out[output] = a.Value
		}
	}
	return out
}

// ends checks that a child has one end, and that its parent was told of it once.
func (c *check) ends(name string, child History) {
	ends, told := 0, 0
	for _, e := range child.Events {
		if e.Type.Ends() {
			ends++
		}
		if e.Type == event.ParentTold {
			told++
		}
	}
	if ends > 1 {
		c.broken(Nested, name, "it ends %d times", ends)
	}
	if child.State.Status.Ended() && told != 1 {
		c.broken(Nested, name, "it is %s, and its parent was told %d times", child.State.Status, told)
	}
}

// unwanted checks the child of an attempt that has no outcome, for its flow ended
// before. It may have ended by itself before it was canceled.
func (c *check) unwanted(name string, parent, child History) {
	s := child.State
	if !parent.State.Status.Ended() || !s.Status.Ended() || s.Status == client.Canceled {
		return // where one is open, that is a violation of its own
	}
	limit := canceledSoon
	if !c.Quiet {
		limit = canceledWithin
	}
	if late := s.CompletedAt.Sub(parent.State.CompletedAt); late > limit {
		c.broken(Nested, name, "it is %s %s after its parent ended, and was not canceled", s.Status, late)
	}
}

// canceledSoon is how long the cancellation of a child may take.
const canceledSoon = 8 * time.Second

// canceledWithin is how long the cancellation of a child may take while something is
// broken.
const canceledWithin = 30 * time.Second
