package flow

import (
	"container/heap"
	"fmt"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// flowStart stands for the moment that a flow was started for where a deadline
// names a step.
const flowStart = -2

// unborn reports whether the flow waits for the moment that it was started for.
func (s *State) unborn() bool { return s.StartAt > s.Created && s.Begun == 0 && !s.over() }

// flowDue returns the flow's own deadline and what stands for it as a step; 0
// means that there is none. A flow that has not begun does not time out, and one
// that is paused does not begin.
func (s *State) flowDue() (at int64, step int) {
	switch {
	case s.over():
		return 0, flowDeadline
	case !s.unborn():
		return s.Deadline, flowDeadline
	case s.paused():
		return 0, flowStart
	default:
		return s.StartAt, flowStart
	}
}

// armFlow remembers the flow's own deadline.
func (s *State) armFlow() {
	if at, step := s.flowDue(); at != 0 {
		heap.Push(&s.deadlines, deadline{at: at, step: step})
	}
}

// begun reports whether steps may start, and says that the flow begins where its
// moment has come. Its timeout counts from here, however late that is.
func (t *Turn) begun() bool {
	if !t.s.unborn() {
		return true
	}
	if t.s.paused() || t.now < t.s.StartAt {
		return false
	}
	begun := &sluicev1.FlowBegun{}
	if t.s.Deadline != 0 {
		begun.DeadlineNs = t.now + t.s.Deadline - t.s.StartAt
	}
	t.emit(&sluicev1.Event{Kind: &sluicev1.Event_FlowBegun{FlowBegun: begun}})
	return true
}

func (s *State) applyBegun(e *sluicev1.FlowBegun, at int64) error {
	if !s.unborn() {
		return fmt.Errorf("%w: flow_begun of a flow that has begun", ErrMalformed)
	}
	s.Begun, s.Deadline = at, e.GetDeadlineNs()
	s.armFlow()
	return nil
}
