// Package check says what is wrong with the history of a flow. It does no I/O:
// commits go in, findings come out.
package check

// A Kind says what sort of damage a finding is. Programs rely on these.
type Kind string

// The kinds of findings.
const (
	// Gap means that revisions are missing between two commits.
	Gap Kind = "gap"
	// NoBeginning means that a history does not begin with revision 1, though
	// its flow was not retired.
	NoBeginning Kind = "no_beginning"
	// Break means that a commit is not what was written, or does not follow the
	// one before it.
	Break Kind = "break"
	// Misplaced means that a message stands on a subject that is not its own.
	Misplaced Kind = "misplaced"
	// Replay means that commits which hang together make no state.
	Replay Kind = "replay"
	// Snapshot means that a snapshot is not the state that the commits before it
	// make, or that a commit names another one than the last.
	Snapshot Kind = "snapshot"
	// GivenUp means that an engine found the history damaged and ended its flow.
	GivenUp Kind = "given_up"
	// TwoOutcomes means that a work item was given an outcome twice.
	TwoOutcomes Kind = "two_outcomes"
	// Orphan means that a message is for a flow that does not exist.
	Orphan Kind = "orphan"
	// LostTail means that something names messages which their stream does not
	// have any more, or has given to others: its end was lost.
	LostTail Kind = "lost_tail"
	// LostOutcome means that an outcome was acknowledged and is nowhere.
	LostOutcome Kind = "lost_outcome"
	// Family means that a flow and its child do not agree, and that no command is
	// on its way from one to the other.
	Family Kind = "family"
	// Unreadable means that the server cannot read, or has dropped, messages of
	// its own.
	Unreadable Kind = "unreadable"
)

// A Finding is one thing that is wrong. Fields that do not apply are empty.
type Finding struct {
	Kind     Kind   `json:"kind"`
	Stream   string `json:"stream"`
	Sequence uint64 `json:"sequence,omitempty"` // in the stream
	FlowID   string `json:"flow_id,omitempty"`
	Revision uint64 `json:"revision,omitempty"` // of the flow
	StepID   string `json:"step_id,omitempty"`
	Item     uint32 `json:"item,omitempty"` // place of the work item, from 0
	Detail   string `json:"detail"`
}
