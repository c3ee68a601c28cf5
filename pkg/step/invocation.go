package step

import (
	"encoding/json"
	"time"
)

// Request is the body of an invocation: what a worker gets.
type Request struct {
	// Arguments are JSON values by name.
	Arguments map[string]json.RawMessage `json:"arguments"`
	Metadata  Metadata                   `json:"metadata"`
}

// Compensation is the body of a call that undoes the success of a work item.
type Compensation struct {
	// Inputs are what the work item was called with, and Outputs what it gave:
	// JSON values by name.
	Inputs   map[string]json.RawMessage `json:"inputs"`
	Outputs  map[string]json.RawMessage `json:"outputs"`
	Metadata Metadata                   `json:"metadata"`
}

// Metadata says which work item an invocation is for.
type Metadata struct {
	FlowID       string `json:"flow_id"`
	StepID       string `json:"step_id"`
	ReceiptToken string `json:"receipt_token"`
	// Attempt counts from 1; in a [Compensation] it counts the calls that undo the
	// success.
	Attempt uint32 `json:"attempt"`
	// WebhookURL is where the outcome goes; async steps only.
	WebhookURL string `json:"webhook_url,omitempty"`
	// Deadline is when this attempt times out; zero when it does not.
	Deadline time.Time `json:"deadline,omitzero"`
	// LastProgress is the last heartbeat of an earlier attempt, or nil.
	LastProgress *Progress         `json:"last_progress,omitempty"`
	ParentFlowID string            `json:"parent_flow_id,omitempty"`
	ParentStepID string            `json:"parent_step_id,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
}

// Progress is what a heartbeat says. Both may be absent.
type Progress struct {
	// Progress is the part that is done, from 0 to 1.
	Progress float64 `json:"progress,omitzero"`
	Message  string  `json:"message,omitempty"`
}
