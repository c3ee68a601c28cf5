package client

import (
	"encoding/json"
	"time"

	"github.com/sluiceflow/sluice/pkg/event"
)

// A Status is what a flow, step or work item has come to.
type Status string

// The statuses. A work item succeeds, everything else completes.
const (
	Pending      Status = "pending"
	Active       Status = "active"
	Paused       Status = "paused"
	Completed    Status = "completed"
	Failed       Status = "failed"
	Canceled     Status = "canceled"
	Skipped      Status = "skipped"
	NotCompleted Status = "not_completed"
	Succeeded    Status = "succeeded"

	Compensating       Status = "compensating" // it succeeded, and is being undone
	Compensated        Status = "compensated"
	CompensationFailed Status = "compensation_failed"
)

// Ended reports whether a flow with this status has come to its end.
func (s Status) Ended() bool { return s == Completed || s == Failed || s == Canceled }

// Digest is a flow in short.
type Digest struct {
	Status      Status    `json:"status"`
	CreatedAt   time.Time `json:"created_at"`
	CompletedAt time.Time `json:"completed_at,omitzero"`
	Error       string    `json:"error,omitempty"`
}

// FlowState is the whole state of a flow.
type FlowState struct {
	ID          string    `json:"id"`
	Status      Status    `json:"status"`
	CreatedAt   time.Time `json:"created_at"`
	CompletedAt time.Time `json:"completed_at,omitzero"`
	LastUpdated time.Time `json:"last_updated"`
	// StartAt is when the steps were asked to start; zero means at once.
	StartAt time.Time `json:"start_at,omitzero"`
	// BegunAt is when that came, where it was later than CreatedAt; zero means
	// that the flow still waits for it.
	BegunAt time.Time         `json:"begun_at,omitzero"`
	Plan    Plan              `json:"plan"`
	Labels  map[string]string `json:"labels,omitempty"`
	Error   string            `json:"error,omitempty"`
	// Ending is how the flow will end once what succeeded is compensated; nil
	// before that is decided, and once it has ended.
	Ending       *Ending              `json:"ending,omitempty"`
	ParentFlowID string               `json:"parent_flow_id,omitempty"`
	ParentStepID string               `json:"parent_step_id,omitempty"`
	Attributes   map[string]Attribute `json:"attributes"`
	// Executions are the steps of the plan, by id.
	Executions map[string]Execution `json:"executions"`
}

// Attribute is one that has its value.
type Attribute struct {
	Value json.RawMessage `json:"value"`
	// Step gave it; empty for one that the flow started with.
	Step string `json:"step,omitempty"`
}

// Execution is the state of one step.
type Execution struct {
	Status      Status    `json:"status"`
	StartedAt   time.Time `json:"started_at,omitzero"`
	CompletedAt time.Time `json:"completed_at,omitzero"`
	Inputs      Values    `json:"inputs,omitempty"`
	Outputs     Values    `json:"outputs,omitempty"`
	Error       string    `json:"error,omitempty"`
	// Unsatisfied names the inputs that a failed or skipped step lacked.
	Unsatisfied []string `json:"unsatisfied,omitempty"`
	// Duration in milliseconds.
	Duration int64 `json:"duration,omitempty"`
	// WorkItems by their place in input order, from "0".
	WorkItems map[string]WorkItem `json:"work_items"`
}

// WorkItem is the state of one work item.
type WorkItem struct {
	Status Status `json:"status"`
	// Token is its first 8 characters.
	Token   string `json:"token,omitempty"`
	Attempt uint32 `json:"attempt,omitempty"`
	// Inputs are those that it has of its own where the step has for_each; the
	// step has the rest.
	Inputs      Values    `json:"inputs,omitempty"`
	Outputs     Values    `json:"outputs,omitempty"`
	Error       string    `json:"error,omitempty"`
	RetryCount  uint32    `json:"retry_count"`
	NextRetryAt time.Time `json:"next_retry_at,omitzero"`
	StartedAt   time.Time `json:"started_at,omitzero"`
	CompletedAt time.Time `json:"completed_at,omitzero"`
	// WaitUntil is when a wait for a time is over.
	WaitUntil time.Time `json:"wait_until,omitzero"`
	// ChildFlowID is the flow that the last attempt started, in a step of type flow.
	ChildFlowID string `json:"child_flow_id,omitempty"`
	// Progress is what the worker's last heartbeat said, while it works.
	Progress *Progress `json:"progress,omitempty"`
	// Approval is what it asks people; nil where it asks nobody.
	Approval *Approval `json:"approval,omitempty"`
	// Compensation is nil until the work item's success is being undone.
	Compensation *Compensation `json:"compensation,omitempty"`
}

// Approval is what a work item asks people, and what they said.
type Approval struct {
	Title string `json:"title,omitempty"`
	// Approvers is how many must approve.
	Approvers int     `json:"approvers"`
	Given     []Given `json:"given"`
	// Links are a pair for each of them, while it is open; only who may operate
	// gets them.
	Links []event.ApprovalLinks `json:"links,omitempty"`
}

// Given is what one person said.
type Given struct {
	Approved bool      `json:"approved"`
	By       string    `json:"by,omitempty"`
	Comment  string    `json:"comment,omitempty"`
	At       time.Time `json:"at"`
}

// Progress is what a heartbeat said, and when.
type Progress struct {
	// Progress is the part that is done, from 0 to 1.
	Progress float64   `json:"progress,omitzero"`
	Message  string    `json:"message,omitempty"`
	At       time.Time `json:"at"`
}

// Ending is how a flow will end.
type Ending struct {
	Status    Status    `json:"status"`
	Error     string    `json:"error,omitempty"`
	DecidedAt time.Time `json:"decided_at"`
}

// Compensation is where a work item is in being undone.
type Compensation struct {
	// Attempt counts the calls from 1.
	Attempt     uint32    `json:"attempt"`
	RetryCount  uint32    `json:"retry_count"`
	NextRetryAt time.Time `json:"next_retry_at,omitzero"`
	StartedAt   time.Time `json:"started_at"`
	CompletedAt time.Time `json:"completed_at,omitzero"`
	// Error is what the last call came to.
	Error string `json:"error,omitempty"`
}

// Values are JSON values by name.
type Values map[string]json.RawMessage
