package event

import (
	"encoding/json"
	"time"
)

// ApprovalLinks are the two links by which one person answers: who follows one
// gets a page that asks once more.
type ApprovalLinks struct {
	Approve string `json:"approve"`
	Reject  string `json:"reject"`
}

// Event is one fact about a flow. What does not apply to its type is left out.
type Event struct {
	Type   Type   `json:"type"`
	FlowID string `json:"flow_id"`
	// StepID is empty for events of the flow.
	StepID string `json:"step_id,omitempty"`
	// Item is the work item's place in input order, from "0"; empty for events
	// of a step or flow.
	Item string `json:"item,omitempty"`
	// Token is the first 8 characters of the work item's token.
	Token string `json:"token,omitempty"`
	// Attempt counts from 1; 0 means that the event is about none. From a
	// work_compensating on it counts the calls that undo the success.
	Attempt uint32 `json:"attempt,omitempty"`
	// Time is when it was decided, in UTC.
	Time time.Time `json:"time"`
	// Revision counts the flow's transitions from 1; events of one transition
	// share it.
	Revision uint64 `json:"revision"`

	// Goals, Init, Labels, TimeoutMS, StartAt and the parent come with flow_started.
	Goals        []string                   `json:"goals,omitempty"`
	Init         map[string]json.RawMessage `json:"init,omitempty"`
	Labels       map[string]string          `json:"labels,omitempty"`
	TimeoutMS    int64                      `json:"timeout_ms,omitempty"`
	ParentFlowID string                     `json:"parent_flow_id,omitempty"`
	ParentStepID string                     `json:"parent_step_id,omitempty"`
	CallbackURL  string                     `json:"callback_url,omitempty"`
	// StartAt is when the steps were asked to start; zero means at once. Where it is
	// later than the flow_started, a flow_begun says that it came.
	StartAt time.Time `json:"start_at,omitzero"`

	// Inputs of a step, or of a work item where they differ from its step's.
	Inputs map[string]json.RawMessage `json:"inputs,omitempty"`
	// Outputs of a step or work item.
	Outputs map[string]json.RawMessage `json:"outputs,omitempty"`
	// Key and Value of an attribute_set.
	Key   string          `json:"key,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
	// Result is what the goals of a completed flow gave. The names in Omitted
	// are too large to stand here: their values are in earlier attribute_sets.
	Result  map[string]json.RawMessage `json:"result,omitempty"`
	Omitted []string                   `json:"omitted,omitempty"`
	// Error says why something failed or was not completed.
	Error string `json:"error,omitempty"`
	// Reason says why somebody, or the engine, did something.
	Reason string `json:"reason,omitempty"`
	// By names the key or person that asked.
	By string `json:"by,omitempty"`
	// Action of a repair by hand: retry, skip, complete or fail.
	Action string `json:"action,omitempty"`
	// Unsatisfied names the inputs that a failed or skipped step lacked.
	Unsatisfied []string `json:"unsatisfied,omitempty"`
	// WorkItems is how many a started step has.
	WorkItems uint32 `json:"work_items,omitempty"`
	// RetryCount and NextRetryAt come with retry_scheduled.
	RetryCount  uint32    `json:"retry_count,omitempty"`
	NextRetryAt time.Time `json:"next_retry_at,omitzero"`
	// ChildFlowID is the flow that the attempt of a flow step starts.
	ChildFlowID string `json:"child_flow_id,omitempty"`
	// Deadline is when a started attempt, or a call that undoes a success, times
	// out.
	Deadline time.Time `json:"deadline,omitzero"`
	// WaitUntil is when a started wait for a time is over.
	WaitUntil time.Time `json:"wait_until,omitzero"`
	// Limit is the one that a work_timed_out ran into: timeout, heartbeat or
	// deadline.
	Limit string `json:"limit,omitempty"`
	// Ending is how the flow will end once what succeeded is compensated, failed or
	// canceled; only in the work_compensating that decides it, whose Reason says why.
	Ending string `json:"ending,omitempty"`
	// Outcome is what an ignored completion said: succeeded, failed or
	// not_completed.
	Outcome string `json:"outcome,omitempty"`
	// Approved and Comment are what a person said in an approval_given; By is who.
	Approved *bool  `json:"approved,omitempty"`
	Comment  string `json:"comment,omitempty"`
	// MessageID is what the sender of a message named it.
	MessageID string `json:"message_id,omitempty"`
	// WaiterFlowID is the flow of a work item that waits; only in events of mailboxes,
	// which have the name of their messages as Name and the key as Value.
	WaiterFlowID string `json:"waiter_flow_id,omitempty"`
	Name         string `json:"name,omitempty"`
	// Links are those by which people answer what a started work item waits for, a
	// pair for each of them. Only the console gives them, to who may operate.
	Links []ApprovalLinks `json:"links,omitempty"`
	// Memoized says that the outcome came from the cache.
	Memoized bool `json:"memoized,omitempty"`
	// Progress and Message are what a work_heartbeat says: the part that is done,
	// from 0 to 1, and a text.
	Progress float64 `json:"progress,omitempty"`
	Message  string  `json:"message,omitempty"`
	// Duration in whole milliseconds; nil where nothing was measured.
	Duration *int64 `json:"duration,omitempty"`
}
