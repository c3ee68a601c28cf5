package flow

import (
	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// Effects are what a commit asks of the world, as far as the state still wants
// it. Emitting them twice is harmless.
type Effects struct {
	// Invocations of attempts that began and still run. Token and webhook URL
	// are for the shell to fill in.
	Invocations []*sluicev1.Invocation
	// Recalls are those of the invocations that need not be made where the outcome
	// of equal work is known.
	Recalls map[*sluicev1.Invocation]MemoKey
	// Memos are outcomes that equal work may have.
	Memos []Memo
	// Callback tells of the ending; nil where there is none, or nobody to tell.
	Callback *sluicev1.Invocation
	// Commands are to others: children, the parent and mailboxes.
	Commands []*sluicev1.Command
	// Trim is true when the history before the commit is not needed any more.
	Trim bool
	// Marks are what Redis should be told about tokens.
	Marks []Mark
	// Timer is the flow's earliest deadline in Unix nanoseconds; 0 means none.
	Timer int64
	// Ended is true when the commit ended the flow and nothing of it can act any
	// more: its timer goes.
	Ended bool
	// EndedLate is true when that comes later than the flow's ending. Who asked
	// to retire it in between has to ask again.
	EndedLate bool
	// Retired is true when the history up to and with the commit is to be purged.
	Retired bool
}

// A MarkKind says what has become of a token.
type MarkKind int

const (
	// Closed means that no outcome of the token counts any more.
	Closed MarkKind = iota + 1
	// Decided means that the outcome with the mark's digest stands.
	Decided
	// Superseded means that failures of the mark's attempt and of those
	// before it come too late.
	Superseded
)

// A Mark is what Redis should be told about one token: only where the gateway's
// own record would answer wrongly, so an ordinary success makes none.
type Mark struct {
	Claims  token.Claims
	Kind    MarkKind
	Digest  []byte // of a Decided outcome
	Success bool   // of a Decided outcome
	Attempt uint32 // that is Superseded
}

// Effects returns what the commit c of this flow asks for. It is a function of
// the commit's events and the state now, which may be past c.
func (s *State) Effects(c *sluicev1.Commit) Effects {
	if subject.IsMailbox(s.ID) {
		return s.mailEffects(c)
	}
	var fx Effects
	ending, closing := false, false
	for n, e := range c.GetEvents() {
		fx.Commands = append(fx.Commands, s.toOthers(c, n)...)
		switch e.GetKind().(type) {
		case *sluicev1.Event_WorkStarted:
			if inv := s.invocation(e); inv != nil {
				fx.Invocations = append(fx.Invocations, inv)
				s.memos(&fx, c, e)
			}
		case *sluicev1.Event_PredicateAsked:
			if inv := s.question(e); inv != nil {
				fx.Invocations = append(fx.Invocations, inv)
			}
		case *sluicev1.Event_FlowCompleted, *sluicev1.Event_FlowFailed, *sluicev1.Event_FlowCanceled:
			ending, closing = true, true
			fx.Callback = s.callback(c)
		case *sluicev1.Event_FlowDeactivated:
			fx.Ended, fx.EndedLate = s.Deactivated, s.Deactivated && !ending
		case *sluicev1.Event_WorkCompensating:
			closing = closing || e.GetWorkCompensating().GetEnding() != sluicev1.FlowStatus_FLOW_STATUS_UNSPECIFIED
			if inv := s.compensationCall(e); inv != nil {
				fx.Invocations = append(fx.Invocations, inv)
			}
		case *sluicev1.Event_FlowRetired:
			fx.Retired = true
		case *sluicev1.Event_WaitKeyed:
			if cmd := s.awaitEffect(e, c.GetValues()); cmd != nil {
				fx.Commands = append(fx.Commands, cmd)
			}
		default:
			if cmd := s.endEffect(e); cmd != nil {
				fx.Commands = append(fx.Commands, cmd)
			}
			s.memos(&fx, c, e)
			if mark, ok := s.mark(e); ok {
				fx.Marks = append(fx.Marks, mark)
			}
		}
	}
	if closing {
		fx.Commands = append(fx.Commands, s.orphans()...)
	}
	if closing && s.over() { // and was not made to go on since
		fx.Marks = append(fx.Marks, s.closeOpen()...)
		fx.Commands = append(fx.Commands, s.endWaits()...)
	}
	fx.Timer, _ = s.NextDeadline()
	return fx
}

// invocation returns the call that work_started asks for, unless the attempt is
// over by now.
func (s *State) invocation(e *sluicev1.Event) *sluicev1.Invocation {
	i, it := s.item(e.GetStepId(), e.GetItem())
	if it == nil || s.isWait(i) && !s.asksKey(i, it) || s.over() || it.Status != sluicev1.WorkStatus_WORK_STATUS_ACTIVE ||
		it.Attempt != e.GetAttempt() || it.Generation != e.GetGeneration() || s.startsFlow(i) {
		return nil
	}
	return s.call(i, int(e.GetItem()))
}

// call is an invocation of a work item's attempt.
func (s *State) call(i, j int) *sluicev1.Invocation {
	it, def := &s.Steps[i].Items[j], s.Plan.Steps[i].Proto
	inv := &sluicev1.Invocation{
		FlowId: s.ID,
		Work: &sluicev1.WorkRef{
			Run: s.Run, StepId: def.GetId(), Item: uint32(j), //nolint:gosec // a step has far fewer than 2^32 work items
			Generation: it.Generation, Attempt: it.Attempt,
		},
		Type:             def.GetType(),
		Arguments:        bytesOf(s.inputsOf(i, j)),
		Endpoint:         def.GetEndpoint(),
		CallTimeoutMs:    def.GetCallTimeoutMs(),
		DeadlineNs:       it.Deadline,
		Labels:           s.Labels,
		ParentFlowId:     s.ParentFlow,
		ParentStepId:     s.ParentStep,
		RegistryRevision: def.GetRegistryRevision(),
		HasCredentials:   def.GetHasCredentials(),
	}
	if def.GetScript() != nil {
		inv.Script = s.script(i, def.GetScript(), false)
	}
	if message := s.waitMessage(i); message != nil {
		inv.Script = s.script(i, message.GetKey(), false)
	}
	return inv
}

// mark returns what Redis should be told after an event of a work item.
func (s *State) mark(e *sluicev1.Event) (Mark, bool) {
	i, it := s.item(e.GetStepId(), e.GetItem())
	if it == nil || e.Item == nil || s.isWait(i) {
		return Mark{}, false
	}
	m := Mark{Claims: s.claims(i, e.GetItem(), e.GetGeneration())}
	switch k := e.GetKind().(type) {
	case *sluicev1.Event_WorkSucceeded:
		if !k.WorkSucceeded.GetContested() {
			return Mark{}, false
		}
	case *sluicev1.Event_WorkFailed, *sluicev1.Event_CompletionIgnored:
	case *sluicev1.Event_StepOverridden:
		return s.overriddenMark(m, i, it, e)
	case *sluicev1.Event_RetryScheduled:
		m.Kind, m.Attempt = Superseded, e.GetAttempt()
		return m, it.Compensation == nil
	case *sluicev1.Event_WorkNotCompleted, *sluicev1.Event_WorkTimedOut:
		// Where no retry follows before the work item's deadline.
		m.Kind, m.Attempt = Superseded, e.GetAttempt()
		return m, it.Status == sluicev1.WorkStatus_WORK_STATUS_NOT_COMPLETED && it.NextRetry == 0
	default:
		return Mark{}, false
	}
	return s.standing(m, i, it, e.GetGeneration())
}

// overriddenMark returns what Redis should be told when a work item was repaired
// by hand. A token that had its outcome keeps it.
func (s *State) overriddenMark(m Mark, i int, it *Item, e *sluicev1.Event) (Mark, bool) {
	switch {
	case e.GetAttempt() == 0, it.Generation != e.GetGeneration():
		return Mark{}, false
	case e.GetStepOverridden().GetAction() == actionRetry:
		m.Kind, m.Attempt = Superseded, e.GetAttempt()
		return m, true
	}
	return s.standing(m, i, it, e.GetGeneration())
}

// standing completes a mark with what has become of a work item's token, and
// reports false while it is open.
func (s *State) standing(m Mark, i int, it *Item, generation uint32) (Mark, bool) {
	switch {
	case len(it.digest) > 0 && it.Generation == generation:
		m.Kind, m.Digest, m.Success = Decided, it.digest, it.succeeded()
	case it.final() || s.over() && !s.accepts(i) || it.Generation != generation:
		m.Kind = Closed
	default:
		return Mark{}, false
	}
	return m, true
}

// Standing returns what has become of the token of a work item, and reports
// false while it is open or where there is no such item.
func (s *State) Standing(work *sluicev1.WorkRef) (Mark, bool) {
	i, it := s.item(work.GetStepId(), work.GetItem())
	if it == nil || work.GetRun() != s.Run {
		return Mark{}, false
	}
	return s.standing(Mark{Claims: s.claims(i, work.GetItem(), work.GetGeneration())}, i, it, work.GetGeneration())
}

// closeOpen closes the tokens that were handed out and have no outcome, but for
// those whose success would have to be compensated.
func (s *State) closeOpen() []Mark {
	var marks []Mark
	for i := range s.Steps {
		if s.accepts(i) || s.isWait(i) {
			continue
		}
		for j := range s.Steps[i].Items {
			if it := &s.Steps[i].Items[j]; it.Attempt > 0 && !it.final() {
				marks = append(marks, Mark{
					Claims: s.claims(i, uint32(j), it.Generation),
					Kind:   Closed,
				})
			}
		}
	}
	return marks
}

// Turned returns the status that a commit gave its flow by pausing it, making it
// go on, or deciding how it ends, which ends a pause; or nothing where it did none
// of these.
func Turned(c *sluicev1.Commit) string {
	status := ""
	for _, e := range c.GetEvents() {
		switch e.GetKind().(type) {
		case *sluicev1.Event_FlowPaused:
			status = StatusName(sluicev1.FlowStatus_FLOW_STATUS_PAUSED)
		case *sluicev1.Event_FlowResumed:
			status = StatusName(sluicev1.FlowStatus_FLOW_STATUS_ACTIVE)
		case *sluicev1.Event_WorkCompensating:
			if e.GetWorkCompensating().GetEnding() != sluicev1.FlowStatus_FLOW_STATUS_UNSPECIFIED {
				status = StatusName(sluicev1.FlowStatus_FLOW_STATUS_ACTIVE)
			}
		}
	}
	return status
}

// Kind returns the kind of subject that a commit is published on.
func Kind(c *sluicev1.Commit) subject.Kind {
	kind := subject.KindAdvanced
	for _, e := range c.GetEvents() {
		switch e.GetKind().(type) {
		case *sluicev1.Event_FlowCompleted:
			kind = subject.KindCompleted
		case *sluicev1.Event_FlowFailed:
			kind = subject.KindFailed
		case *sluicev1.Event_FlowCanceled:
			kind = subject.KindCanceled
		case *sluicev1.Event_FlowResumed:
			kind = subject.KindAdvanced // one that failed in this commit goes on in it
		case *sluicev1.Event_FlowRetired:
			kind = subject.KindRetired
		}
	}
	return kind
}
