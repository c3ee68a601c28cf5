package flow

import (
	"slices"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// A Position is the place of a command in its stream and when it was stored
// there. The sequence alone proves nothing: a store that lost its tail uses it
// again.
type Position struct {
	Sequence uint64
	Time     int64 // Unix nanoseconds
}

// folded are the commands that a flow's commits took in and whose messages may
// still be delivered again, sorted by sequence.
type folded struct {
	commands []foldedCommand
	// Commands at or below floor were acked when the commit at floorTime pruned.
	floor     uint64
	floorTime int64
}

type foldedCommand struct {
	Position

	revision uint64
	kind     string
}

// add remembers that the commit with that revision folded c.
func (f *folded) add(c foldedCommand) {
	i, _ := f.search(c.Sequence)
	if i < len(f.commands) && f.commands[i].Sequence == c.Sequence {
		f.commands[i] = c // the store lost its tail and gave the sequence out again
		return
	}
	f.commands = slices.Insert(f.commands, i, c)
}

func (f *folded) search(sequence uint64) (int, bool) {
	return slices.BinarySearchFunc(f.commands, sequence, func(c foldedCommand, seq uint64) int {
		switch {
		case c.Sequence < seq:
			return -1
		case c.Sequence > seq:
			return 1
		default:
			return 0
		}
	})
}

// repeat reports whether the command at p was folded before, and by which
// commit; 0 when that is forgotten.
func (f *folded) repeat(p Position) (uint64, bool) {
	if i, ok := f.search(p.Sequence); ok && f.commands[i].Time == p.Time {
		return f.commands[i].revision, true
	}
	return 0, p.Sequence <= f.floor && p.Time < f.floorTime
}

// prune forgets the commands at or below floor.
func (f *folded) prune(floor uint64, at int64) {
	if floor <= f.floor {
		return
	}
	f.floor, f.floorTime = floor, at
	n, _ := f.search(floor + 1)
	f.commands = f.commands[n:] // the rest stays where it is: there may be thousands
}

// above reports whether a command other than the one at except is above floor.
func (f *folded) above(floor, except uint64) bool {
	for i := len(f.commands) - 1; i >= 0 && f.commands[i].Sequence > floor; i-- {
		if f.commands[i].Sequence != except {
			return true
		}
	}
	return false
}

// kindOf names a command in a commit's cause.
func kindOf(cmd *sluicev1.Command) string {
	switch cmd.GetKind().(type) {
	case *sluicev1.Command_StartFlow:
		return "start_flow"
	case *sluicev1.Command_CompleteWork:
		return "complete_work"
	case *sluicev1.Command_ReportCall:
		return "report_call"
	case *sluicev1.Command_ScriptResult:
		return "script_result"
	case *sluicev1.Command_MemoResult:
		return "memo_result"
	case *sluicev1.Command_CancelFlow:
		return "cancel_flow"
	case *sluicev1.Command_Wake:
		return "wake"
	case *sluicev1.Command_RetireFlow:
		return "retire_flow"
	case *sluicev1.Command_PauseFlow:
		return "pause_flow"
	case *sluicev1.Command_ResumeFlow:
		return "resume_flow"
	case *sluicev1.Command_RetryFlow:
		return "retry_flow"
	case *sluicev1.Command_OverrideStep:
		return "override_step"
	case *sluicev1.Command_DecideApproval:
		return "decide_approval"
	case *sluicev1.Command_AwaitMessage:
		return "await_message"
	case *sluicev1.Command_PostMessage:
		return "post_message"
	case *sluicev1.Command_EndWait:
		return "end_wait"
	case *sluicev1.Command_DeliverMessage:
		return "deliver_message"
	case *sluicev1.Command_ChildEnded:
		return "child_ended"
	case *sluicev1.Command_CancelChild:
		return "cancel_child"
	case *sluicev1.Command_ParentHeard:
		return "parent_heard"
	default:
		return "unknown"
	}
}
