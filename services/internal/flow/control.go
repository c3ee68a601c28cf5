package flow

import (
	"fmt"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// pauseFlow lets nothing new start. What comes in for what runs is applied as
// ever, attempts time out, and so does the flow.
func (t *Turn) pauseFlow(c *sluicev1.PauseFlow) Verdict {
	if t.s.over() || t.s.paused() {
		return t.senseless("it is " + t.s.lotNow())
	}
	t.emit(&sluicev1.Event{Kind: &sluicev1.Event_FlowPaused{FlowPaused: &sluicev1.FlowPaused{
		Reason: c.GetReason(), By: c.GetBy(),
	}}})
	return done()
}

// resumeFlow starts what a pause held back.
func (t *Turn) resumeFlow(c *sluicev1.ResumeFlow) Verdict {
	if !t.s.paused() {
		return t.senseless("it is " + t.s.lotNow() + " and not paused")
	}
	t.emit(&sluicev1.Event{Kind: &sluicev1.Event_FlowResumed{FlowResumed: &sluicev1.FlowResumed{
		Reason: c.GetReason(), By: c.GetBy(),
	}}})
	t.goOn()
	return done()
}

// retryFlow begins the failed steps again, and with them a flow that failed.
func (t *Turn) retryFlow(c *sluicev1.RetryFlow) Verdict {
	if reason := t.closedForGood(); reason != "" {
		return t.senseless(reason)
	}
	var failed []int
	for i := range t.s.Steps {
		st := &t.s.Steps[i]
		if st.Status == sluicev1.StepStatus_STEP_STATUS_FAILED && !st.consequence() && st.hasMore() {
			failed = append(failed, i)
		}
	}
	if len(failed) == 0 && !t.s.Final() {
		return t.senseless("none of its steps failed")
	}
	t.reopen(c.GetReason(), c.GetBy())
	for _, i := range failed {
		t.overridden(i, nil, &sluicev1.StepOverridden{Action: actionRetry, Reason: c.GetReason(), By: c.GetBy()})
	}
	t.goOn()
	return done()
}

// goOn starts what may start by now, and ends the flow when its goals say so.
func (t *Turn) goOn() {
	for i := range t.s.Steps {
		if t.s.Steps[i].Status == sluicev1.StepStatus_STEP_STATUS_ACTIVE {
			t.fill(i)
		}
	}
	t.advance()
}

// closedForGood says why nobody can make the flow go on, or nothing where
// somebody can.
func (t *Turn) closedForGood() string {
	switch {
	case t.s.Retired:
		return "its history is about to go"
	case t.s.Parent != nil && t.s.Final():
		return fmt.Sprintf("it is a child, and its parent was told of its end: retry step %q of flow %q", t.s.ParentStep, t.s.ParentFlow)
	case t.s.Status == sluicev1.FlowStatus_FLOW_STATUS_COMPLETED, t.s.Status == sluicev1.FlowStatus_FLOW_STATUS_CANCELED,
		t.s.over() && !t.s.Final():
		return "it is " + t.s.lotNow()
	case t.s.over() && !t.s.Deactivated:
		return "a worker of it may still succeed, and that is undone then"
	case t.s.over() && t.s.undidSome():
		return "what its steps did was undone"
	}
	return ""
}

// undidSome reports whether a success was compensated, or was tried to be.
func (s *State) undidSome() bool {
	for i := range s.Steps {
		for j := range s.Steps[i].Items {
			if s.Steps[i].Items[j].Compensation != nil {
				return true
			}
		}
	}
	return false
}

// lotNow is what has become of a flow, ended or not.
func (s *State) lotNow() string {
	if s.over() {
		return s.lot()
	}
	return StatusName(s.Status)
}

// reopen makes a flow that failed go on. It gets as much time as it had.
func (t *Turn) reopen(reason, by string) {
	if !t.s.Final() {
		return
	}
	resumed := &sluicev1.FlowResumed{Reason: reason, By: by}
	if t.s.Deadline != 0 {
		resumed.DeadlineNs = t.now + t.s.timeout()
	}
	t.emit(&sluicev1.Event{Kind: &sluicev1.Event_FlowResumed{FlowResumed: resumed}})
}

// senseless refuses what makes no sense in the flow's state.
func (t *Turn) senseless(reason string) Verdict {
	return refused(sluicev1.ReplyCode_REPLY_CODE_CONFLICT, fmt.Sprintf("flow %q: %s", t.s.ID, reason))
}

func refused(code sluicev1.ReplyCode, detail string) Verdict {
	return Verdict{Reply: &sluicev1.Reply{Code: code, Detail: detail}}
}

func done() Verdict {
	return Verdict{Reply: &sluicev1.Reply{Code: sluicev1.ReplyCode_REPLY_CODE_OK}}
}

// paused reports whether nothing new may start.
func (s *State) paused() bool {
	return s.Status == sluicev1.FlowStatus_FLOW_STATUS_PAUSED && !s.over()
}

// timeout is how long the flow may take from its start, or from when it was made
// to go on, in nanoseconds.
func (s *State) timeout() int64 { return s.Deadline - max(s.Created, s.Begun, s.Reopened) }

// applyResumed makes a paused flow go on, or one that had failed. The tokens of
// what was open when it failed are closed: it begins anew under others, and so
// does what failed since, or in a step of which other work items were open.
func (s *State) applyResumed(e *sluicev1.FlowResumed, at int64) {
	ended := s.Final()
	s.Status = sluicev1.FlowStatus_FLOW_STATUS_ACTIVE
	if ended {
		s.Error, s.Completed, s.EndedRevision, s.Deactivated = "", 0, 0, false
		s.Reopened, s.Deadline, s.Ending = at, e.GetDeadlineNs(), Ending{}
		for i := range s.Steps {
			st := &s.Steps[i]
			st.asked = false // whoever was asked had nobody to answer to
			for j := range st.Items {
				if it := &st.Items[j]; !st.final() && !it.succeeded() && it.Attempt > 0 {
					st.again(j, true)
				}
			}
		}
		s.reconsider()
	}
	s.rebuildDeadlines()
}

// Why steps end that never started, for the sake of others alone.
const (
	notNeeded   = "outputs not needed"
	unavailable = "required input no longer available"
)

// consequence reports whether the step ended only because of what became of
// others.
func (st *Step) consequence() bool {
	return st.final() && st.Started == 0 && (st.Error == notNeeded || st.Error == unavailable)
}

// hasMore reports whether there is anything of the step that could begin again:
// what its work items gave may be more than can be kept, though all succeeded.
func (st *Step) hasMore() bool { return st.Started == 0 || st.failed > 0 || st.ended < len(st.Items) }

// reconsider makes those steps pending again that had ended only because of
// others: what became of those has changed.
func (s *State) reconsider() {
	for i := range s.Steps {
		if st := &s.Steps[i]; st.consequence() {
			st.begin(sluicev1.StepStatus_STEP_STATUS_PENDING)
		}
	}
}

// begin takes back that the step ended.
func (st *Step) begin(status sluicev1.StepStatus) {
	st.Status, st.Completed, st.Error, st.Unsatisfied, st.Outputs = status, 0, "", nil, nil
	st.asked, st.held = false, false
}

// again makes a work item pending, with all its retries before it; renewed says
// that its token is used up, and that it gets another one.
func (st *Step) again(j int, renewed bool) {
	it := &st.Items[j]
	if it.open() {
		st.active--
	}
	if it.final() {
		st.ended--
		if it.Attempt == 0 {
			st.fresh++
		}
	}
	if it.Status == sluicev1.WorkStatus_WORK_STATUS_FAILED {
		st.failed--
	}
	if renewed {
		it.remember(it.digest)
		it.Generation++
		it.Token, it.digest, it.Started = "", nil, 0
	}
	it.Status, it.Completed, it.RetryCount, it.Outputs, it.Error = sluicev1.WorkStatus_WORK_STATUS_PENDING, 0, 0, nil, ""
	it.Deadline, it.NextRetry, it.Heartbeat, it.listen, it.Until = 0, 0, 0, 0, 0
	it.Approvals = nil
	st.next = min(st.next, j)
}

// remember keeps the outcome of a generation that is over, so that a repeat of it
// is known for one.
func (it *Item) remember(digest []byte) {
	if len(digest) == 0 {
		return
	}
	if len(it.notCompleted) == maxSeen {
		it.notCompleted = it.notCompleted[1:]
	}
	it.notCompleted = append(it.notCompleted, seen{digest: string(digest), attempt: it.Attempt, generation: it.Generation})
}

// pending returns the first pending work item from st.next on, and remembers
// where it is.
func (st *Step) pending() (int, bool) {
	for ; st.next < len(st.Items); st.next++ {
		if st.Items[st.next].Status == sluicev1.WorkStatus_WORK_STATUS_PENDING {
			return st.next, true
		}
	}
	return 0, false
}
