package flow

import (
	"fmt"
	"maps"
	"slices"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// toOthers are the commands to other flows that the nth event of a commit asks
// for, as far as they are still wanted. Whoever gets one again knows it for a
// repeat.
func (s *State) toOthers(c *sluicev1.Commit, n int) []*sluicev1.Command {
	e := c.GetEvents()[n]
	switch e.GetKind().(type) {
	case *sluicev1.Event_FlowCompleted, *sluicev1.Event_FlowFailed, *sluicev1.Event_FlowCanceled:
		return s.tellParent()
	}
	i, it := s.item(e.GetStepId(), e.GetItem())
	if it == nil || e.Item == nil || e.GetAttempt() == 0 || !s.startsFlow(i) {
		return nil
	}
	j := int(e.GetItem())
	switch e.GetKind().(type) {
	case *sluicev1.Event_WorkStarted:
		if s.wants(i, j, e.GetAttempt()) {
			return []*sluicev1.Command{s.startCommand(i, j)}
		}
	case *sluicev1.Event_WorkSucceeded:
		if e.GetAttempt() > 1 { // it may be an earlier one that did
			return s.cancelUnwanted(i, j, e.GetAttempt(), "an earlier attempt succeeded")
		}
	case *sluicev1.Event_WorkFailed:
		if !endsAttempt(c, n) { // else its child ended, or is canceled because of that
			return s.cancelUnwanted(i, j, e.GetAttempt(), e.GetWorkFailed().GetError())
		}
	case *sluicev1.Event_WorkTimedOut:
		return s.cancelUnwanted(i, j, e.GetAttempt(), timedOut(e.GetWorkTimedOut().GetLimit()))
	case *sluicev1.Event_StepOverridden:
		return s.cancelUnwanted(i, j, e.GetAttempt(), "its step was repaired by hand: "+e.GetStepOverridden().GetAction())
	}
	return nil
}

// endsAttempt reports whether the event before the nth ends the attempt that the
// nth is about.
func endsAttempt(c *sluicev1.Commit, n int) bool {
	if n == 0 {
		return false
	}
	e, before := c.GetEvents()[n], c.GetEvents()[n-1]
	return (before.GetWorkTimedOut() != nil || before.GetWorkNotCompleted() != nil) &&
		before.GetStepId() == e.GetStepId() && before.GetItem() == e.GetItem()
}

// tellParent tells the parent of a child flow that it ended.
func (s *State) tellParent() []*sluicev1.Command {
	if !s.untold() || !s.Final() {
		return nil
	}
	return []*sluicev1.Command{s.EndOfChild()}
}

// EndOfChild is what the parent of a child flow that ended is told.
func (s *State) EndOfChild() *sluicev1.Command {
	return &sluicev1.Command{FlowId: s.ParentFlow, Kind: &sluicev1.Command_ChildEnded{ChildEnded: &sluicev1.ChildEnded{
		Work: s.Parent.GetWork(), ChildFlowId: s.ID, Outcome: s.outcome(),
	}}}
}

// outcome is what the end of a child flow comes to for the attempt that it was
// started for. One that failed may be tried again; one that was canceled is not,
// for somebody did not want it.
func (s *State) outcome() *sluicev1.Outcome {
	switch s.Status { //nolint:exhaustive // it ended
	case sluicev1.FlowStatus_FLOW_STATUS_COMPLETED:
		o := &sluicev1.Outcome{Success: true, Outputs: map[string][]byte{}}
		for _, name := range s.Parent.GetAttributes() {
			if attribute, ok := s.Attributes[name]; ok {
				o.Outputs[name] = attribute.Value
			}
		}
		return o
	case sluicev1.FlowStatus_FLOW_STATUS_CANCELED:
		return &sluicev1.Outcome{Error: fmt.Sprintf("child flow %q was canceled: %s", s.ID, s.Error)}
	default:
		return &sluicev1.Outcome{NotCompleted: true, Error: fmt.Sprintf("child flow %q failed: %s", s.ID, s.Error)}
	}
}

// startCommand starts the child of a work item's attempt that runs.
func (s *State) startCommand(i, j int) *sluicev1.Command {
	attempt, child := s.Steps[i].Items[j].Attempt, s.Plan.Steps[i].Proto.GetChild()
	id, request := s.childOf(i, j, attempt)
	start := &sluicev1.StartFlow{
		Plan: child.GetPlan(), Init: map[string][]byte{}, Labels: s.Labels, RequestDigest: request,
		ParentFlowId: s.ID, ParentStepId: s.Plan.Steps[i].ID, Parent: s.link(i, j, attempt),
	}
	inputs := s.inputsOf(i, j)
	for name, from := range child.GetInputs() {
		if value, ok := inputs[from]; ok {
			start.Init[name] = value
		}
	}
	return &sluicev1.Command{FlowId: id, Kind: &sluicev1.Command_StartFlow{StartFlow: start}}
}

func (s *State) link(i, j int, attempt uint32) *sluicev1.ParentLink {
	told := slices.Sorted(maps.Values(s.Plan.Steps[i].Proto.GetChild().GetOutputs()))
	return &sluicev1.ParentLink{
		Work: &sluicev1.WorkRef{
			Run: s.Run, StepId: s.Plan.Steps[i].ID, Item: uint32(j), //nolint:gosec // far fewer than 2^32 work items
			Generation: s.Steps[i].Items[j].Generation, Attempt: attempt,
		},
		Attributes: slices.Compact(told),
	}
}

func (s *State) cancelUnwanted(i, j int, attempt uint32, reason string) []*sluicev1.Command {
	if s.wants(i, j, attempt) {
		return nil
	}
	return []*sluicev1.Command{s.cancelCommand(i, j, attempt, reason)}
}

// cancelCommand cancels the child of an attempt. One that has ended stays as it is.
func (s *State) cancelCommand(i, j int, attempt uint32, reason string) *sluicev1.Command {
	id, request := s.childOf(i, j, attempt)
	return &sluicev1.Command{FlowId: id, Kind: &sluicev1.Command_CancelChild{CancelChild: &sluicev1.CancelChild{
		ParentFlowId: s.ID, Parent: s.link(i, j, attempt), RequestDigest: request, Labels: s.Labels,
		Reason: fmt.Sprintf("parent flow %q does not want it any more: %s", s.ID, reason),
	}}}
}

// orphans cancels the children of a flow whose ending was decided; where it was
// made to go on since, those of before.
func (s *State) orphans() []*sluicev1.Command {
	reason := "it went on after it had failed"
	if s.over() {
		reason = "it is " + s.lot()
	}
	var commands []*sluicev1.Command
	for i := range s.Steps {
		if !s.startsFlow(i) {
			continue
		}
		for j := range s.Steps[i].Items {
			it, attempt := &s.Steps[i].Items[j], s.Steps[i].Items[j].Attempt
			if s.wants(i, j, attempt) {
				attempt-- // the last one before
			}
			if attempt > 0 && !it.final() {
				commands = append(commands, s.cancelCommand(i, j, attempt, reason))
			}
		}
	}
	return commands
}

// Open are the commands to other flows that this one has asked for, and of which
// its state cannot know that they were stored: what was lost with a store's tail
// has to be asked again.
func (s *State) Open() []*sluicev1.Command {
	commands := s.tellParent()
	if s.over() {
		return append(commands, s.orphans()...)
	}
	for i := range s.Steps {
		if !s.startsFlow(i) {
			continue
		}
		for j := range s.Steps[i].Items {
			if s.wants(i, j, s.Steps[i].Items[j].Attempt) {
				commands = append(commands, s.startCommand(i, j))
			}
		}
	}
	return commands
}

// HasOpen reports whether the flow is a child or has children, and its end is not
// the end of that.
func (s *State) HasOpen() bool {
	if s.Deactivated || !s.Exists() {
		return false
	}
	if s.Parent != nil {
		return true
	}
	for i := range s.Steps {
		if s.Steps[i].active > 0 && s.startsFlow(i) {
			return true
		}
	}
	return false
}
