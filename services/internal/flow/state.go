package flow

import (
	"encoding/json"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// Plans decodes the bytes of a plan. It must be a function of the bytes alone;
// the shell hands in one that remembers, since many flows share a plan.
type Plans func(planBytes []byte) (*plan.Plan, error)

// A State is a flow as its commits made it. The zero Revision means that there
// is no such flow. All times are Unix nanoseconds by the log's clock; 0 means
// that it has not come to that.
type State struct {
	ID       string
	Run      uint64 // random; tells the flow from others that had its id
	Revision uint64 // number of commits
	Status   sluicev1.FlowStatus

	Created   int64
	Completed int64
	Updated   int64
	StartAt   int64 // when its steps were asked to start; 0 means at once
	Begun     int64 // when that came, where it was later than Created
	Deadline  int64 // when the flow times out; 0 means never
	Reopened  int64 // when it was made to go on after it had failed

	Labels        map[string]string
	Error         string
	RequestDigest []byte // of the request that started it
	ParentFlow    string
	ParentStep    string
	Parent        *sluicev1.ParentLink // of a child flow; nil for others
	Told          bool                 // the parent has heard of its end
	CallbackURL   string
	// CallbackSecret is what the callback is signed with, as the shell sealed it.
	CallbackSecret []byte

	Plan       *plan.Plan
	Attributes map[string]Attribute
	Steps      []Step // in the order of Plan.Steps

	Ending        Ending // decided, though it may wait for compensations
	EndedRevision uint64 // revision of the commit that ended the flow; 0 while it runs
	Deactivated   bool   // ended, and nothing of it can act any more
	Retired       bool   // its history is about to be purged

	planBytes []byte
	plans     Plans
	mail      *mailbox // nil for flows
	folded    folded
	deadlines deadlines
	strays    []stray

	successes    uint32  // of work items that can be compensated
	undone       []place // of these the ones that are not, in the order of their success
	compensating bool    // one is being compensated

	// left says that a turn may have left something that could start. It is no
	// part of what the flow is: whoever left it asked to be woken.
	left bool

	commitsSinceSnapshot int
	eventsSinceSnapshot  int
}

// An Attribute is a named value of a flow. The first one stands.
type Attribute struct {
	Value json.RawMessage
	Step  string // the step that gave it; empty for init
}

// A Step is one step of the flow's plan.
type Step struct {
	Status      sluicev1.StepStatus
	Started     int64
	Completed   int64 // when it ended, however it ended
	Inputs      map[string]json.RawMessage
	Outputs     map[string]json.RawMessage // undeclared ones too
	Error       string                     // why it failed or was skipped
	Unsatisfied []string                   // the inputs that it lacked, sorted
	Items       []Item                     // in input order

	questions uint32 // how often its predicate was asked
	asked     bool   // the last question has no answer
	held      bool   // the predicate was true, and the step has not started

	lists  []list // of the for_each inputs, until each of the items has started
	fresh  int    // items that never started and have no outcome
	next   int    // no item before it is pending
	active int    // items that hold one of the step's parallel slots
	ended  int    // items that succeeded or failed
	failed int
}

// An Item is a work item: one token in each generation, one outcome.
type Item struct {
	Status     sluicev1.WorkStatus
	Token      string // its first 8 characters
	Attempt    uint32 // counts from 1 and never starts again; 0 before the first
	Generation uint32 // counts retries by hand
	RetryCount uint32
	Started    int64 // of the first attempt
	Completed  int64
	Deadline   int64                      // when the running attempt times out, at the latest with the work item; 0 means never
	NextRetry  int64                      // when the next attempt starts; 0 when none is due
	Until      int64                      // when the wait that runs is over; 0 where it is for no time
	Heartbeat  int64                      // when the running attempt ends if no heartbeat came until then; 0 means that none is asked for
	Inputs     map[string]json.RawMessage // its own: the elements of for_each inputs
	Outputs    map[string]json.RawMessage
	Error      string // of the last attempt

	mailbox string     // id of the mailbox that was told that it waits
	keyed   uint32     // in which attempt it was
	took    messageRef // the message that it took in that attempt

	Approvals []Approval // of what it waits for, in this attempt

	Compensation *Compensation // nil until its success is being undone

	order        uint32 // of its success among those that can be compensated, from 1
	digest       []byte // of the payload that was applied; nil when no payload was
	ignored      []seen
	notCompleted []seen

	// listen is when to ask again whether the worker was heard; 0 means at
	// Heartbeat. It is no part of what the flow is: a state that is made anew asks
	// at once.
	listen int64
}

// seen is a completion that must not be written down twice.
type seen struct {
	digest     string
	attempt    uint32
	generation uint32
	dead       bool // it could not be decided, and may be when it is redriven
}

// maxSeen is how many refused completions of a work item are remembered. What
// comes past them is counted and no more, so that nobody can fill the log with
// one token.
const maxSeen = 16

// New returns the state of a flow that has no commit yet.
func New(id string, plans Plans) *State {
	return &State{ID: id, plans: plans}
}

// Exists reports whether the flow has been started, or the mailbox opened.
func (s *State) Exists() bool { return s.Revision > 0 || s.Plan != nil || s.mail != nil }

// Final reports whether the flow has ended.
func (s *State) Final() bool {
	switch s.Status {
	case sluicev1.FlowStatus_FLOW_STATUS_COMPLETED, sluicev1.FlowStatus_FLOW_STATUS_FAILED,
		sluicev1.FlowStatus_FLOW_STATUS_CANCELED:
		return true
	case sluicev1.FlowStatus_FLOW_STATUS_UNSPECIFIED, sluicev1.FlowStatus_FLOW_STATUS_ACTIVE,
		sluicev1.FlowStatus_FLOW_STATUS_PAUSED:
		return false
	}
	return false
}

// final reports whether the step has ended, however it ended.
func (st *Step) final() bool {
	return st.Status == sluicev1.StepStatus_STEP_STATUS_COMPLETED ||
		st.Status == sluicev1.StepStatus_STEP_STATUS_SKIPPED ||
		st.Status == sluicev1.StepStatus_STEP_STATUS_FAILED
}

// final reports whether the work item has its outcome.
func (it *Item) final() bool {
	return it.succeeded() || it.Status == sluicev1.WorkStatus_WORK_STATUS_FAILED
}

// succeeded reports whether the work item's outcome is a success, whatever has
// become of that since.
func (it *Item) succeeded() bool {
	return it.Status == sluicev1.WorkStatus_WORK_STATUS_SUCCEEDED ||
		it.Status == sluicev1.WorkStatus_WORK_STATUS_COMPENSATING ||
		it.Status == sluicev1.WorkStatus_WORK_STATUS_COMPENSATED ||
		it.Status == sluicev1.WorkStatus_WORK_STATUS_COMPENSATION_FAILED
}

// underway reports whether the work item's time for all attempts runs: it started,
// be it that the next attempt waits to begin, and has no outcome.
func (it *Item) underway() bool { return it.Started != 0 && !it.final() }

// open reports whether the work item takes one of its step's parallel slots.
func (it *Item) open() bool {
	return it.Status == sluicev1.WorkStatus_WORK_STATUS_ACTIVE || it.Status == sluicev1.WorkStatus_WORK_STATUS_NOT_COMPLETED
}

// due returns when the work item needs attention without anybody's message, or
// 0 for never.
func (it *Item) due() int64 {
	switch it.Status {
	case sluicev1.WorkStatus_WORK_STATUS_ACTIVE:
		if it.Until != 0 {
			return it.waitDue()
		}
		if heartbeat := max(it.Heartbeat, it.listen); heartbeat != 0 && (it.Deadline == 0 || heartbeat < it.Deadline) {
			return heartbeat
		}
		return it.Deadline
	case sluicev1.WorkStatus_WORK_STATUS_NOT_COMPLETED:
		return it.NextRetry
	case sluicev1.WorkStatus_WORK_STATUS_UNSPECIFIED, sluicev1.WorkStatus_WORK_STATUS_PENDING,
		sluicev1.WorkStatus_WORK_STATUS_SUCCEEDED, sluicev1.WorkStatus_WORK_STATUS_FAILED,
		sluicev1.WorkStatus_WORK_STATUS_COMPENSATING, sluicev1.WorkStatus_WORK_STATUS_COMPENSATED,
		sluicev1.WorkStatus_WORK_STATUS_COMPENSATION_FAILED:
		return 0
	}
	return 0
}

// item returns the work item with that place in that step, or nil.
func (s *State) item(step string, place uint32) (int, *Item) {
	if s.Plan == nil {
		return 0, nil
	}
	i, ok := s.Plan.Index[step]
	if !ok || int(place) >= len(s.Steps[i].Items) {
		return 0, nil
	}
	return i, &s.Steps[i].Items[place]
}
