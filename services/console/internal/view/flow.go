// Package view is how the control API shows what the core knows: the JSON of the
// contract.
package view

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/sluiceflow/sluice/services/internal/flow"
)

const millisecond = int64(time.Millisecond)

type values = map[string]json.RawMessage

// Flow is the whole state of a flow.
type Flow struct {
	ID           string               `json:"id"`
	Status       string               `json:"status"`
	CreatedAt    time.Time            `json:"created_at"`
	CompletedAt  time.Time            `json:"completed_at,omitzero"`
	LastUpdated  time.Time            `json:"last_updated"`
	StartAt      time.Time            `json:"start_at,omitzero"` // when its steps were asked to start
	BegunAt      time.Time            `json:"begun_at,omitzero"` // when that came, where it was later than the start
	TimeoutAt    time.Time            `json:"timeout_at,omitzero"`
	Plan         Plan                 `json:"plan"`
	Labels       map[string]string    `json:"labels,omitempty"`
	Error        string               `json:"error,omitempty"`
	Ending       *Ending              `json:"ending,omitempty"`
	ParentFlowID string               `json:"parent_flow_id,omitempty"`
	ParentStepID string               `json:"parent_step_id,omitempty"`
	Attributes   map[string]Attribute `json:"attributes"`
	Executions   map[string]Execution `json:"executions"`
}

// Attribute is a value and the step that gave it; init's have none.
type Attribute struct {
	Value json.RawMessage `json:"value"`
	Step  string          `json:"step,omitempty"`
}

// Execution is what has become of one step of the plan.
type Execution struct {
	Status      string              `json:"status"`
	StartedAt   time.Time           `json:"started_at,omitzero"`
	CompletedAt time.Time           `json:"completed_at,omitzero"`
	Inputs      values              `json:"inputs,omitempty"`
	Outputs     values              `json:"outputs,omitempty"`
	Error       string              `json:"error,omitempty"`
	Unsatisfied []string            `json:"unsatisfied,omitempty"`
	Duration    *int64              `json:"duration,omitempty"` // milliseconds
	WorkItems   map[string]WorkItem `json:"work_items"`
}

// WorkItem is what has become of one work item. Its inputs are those that it has
// of its own where the step has for_each, for the step has the rest; there may
// be ten thousand.
type WorkItem struct {
	Status      string    `json:"status"`
	Token       string    `json:"token,omitempty"` // its first 8 characters
	Attempt     uint32    `json:"attempt,omitempty"`
	Inputs      values    `json:"inputs,omitempty"`
	Outputs     values    `json:"outputs,omitempty"`
	Error       string    `json:"error,omitempty"`
	RetryCount  uint32    `json:"retry_count"`
	NextRetryAt time.Time `json:"next_retry_at,omitzero"`
	StartedAt   time.Time `json:"started_at,omitzero"`
	CompletedAt time.Time `json:"completed_at,omitzero"`
	Deadline    time.Time `json:"deadline,omitzero"`
	WaitUntil   time.Time `json:"wait_until,omitzero"`     // when a wait for a time is over
	ChildFlowID string    `json:"child_flow_id,omitempty"` // of the last attempt
	Progress    *Progress `json:"progress,omitempty"`

	Approval     *Approval     `json:"approval,omitempty"`
	Compensation *Compensation `json:"compensation,omitempty"`
}

// Progress is what a worker's last heartbeat said, and when.
type Progress struct {
	Progress float64   `json:"progress,omitzero"`
	Message  string    `json:"message,omitempty"`
	At       time.Time `json:"at"`
}

// Digest is a flow in short.
type Digest struct {
	Status      string    `json:"status"`
	CreatedAt   time.Time `json:"created_at"`
	CompletedAt time.Time `json:"completed_at,omitzero"`
	Error       string    `json:"error,omitempty"`
}

// Time is a moment given in Unix nanoseconds; 0 is the zero time.
func Time(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// DigestOf shows a flow in short.
func DigestOf(s *flow.State) Digest {
	return Digest{
		Status: flow.StatusName(s.Status), CreatedAt: Time(s.Created), CompletedAt: Time(s.Completed), Error: s.Error,
	}
}

// FlowOf shows the whole state. It shares values with s.
func FlowOf(s *flow.State) Flow {
	out := Flow{
		ID:           s.ID,
		Status:       flow.StatusName(s.Status),
		CreatedAt:    Time(s.Created),
		CompletedAt:  Time(s.Completed),
		LastUpdated:  Time(s.Updated),
		StartAt:      Time(s.StartAt),
		BegunAt:      Time(s.Begun),
		TimeoutAt:    Time(s.Deadline),
		Plan:         PlanOf(s.Plan.Proto),
		Labels:       s.Labels,
		Error:        s.Error,
		Ending:       endingOf(s),
		ParentFlowID: s.ParentFlow,
		ParentStepID: s.ParentStep,
		Attributes:   make(map[string]Attribute, len(s.Attributes)),
		Executions:   make(map[string]Execution, len(s.Steps)),
	}
	for name, a := range s.Attributes {
		out.Attributes[name] = Attribute{Value: a.Value, Step: a.Step}
	}
	for i := range s.Steps {
		out.Executions[s.Plan.Steps[i].ID] = executionOf(s, i)
		addApprovals(out.Executions[s.Plan.Steps[i].ID], s, i)
	}
	return out
}

func executionOf(s *flow.State, i int) Execution {
	st, forEach := &s.Steps[i], s.Plan.Steps[i].ForEach
	out := Execution{
		Status:      flow.StepStatusName(st.Status),
		StartedAt:   Time(st.Started),
		CompletedAt: Time(st.Completed),
		Inputs:      st.Inputs,
		Outputs:     st.Outputs,
		Error:       st.Error,
		Unsatisfied: st.Unsatisfied,
		WorkItems:   make(map[string]WorkItem, len(st.Items)),
	}
	if st.Started != 0 && st.Completed != 0 {
		took := (st.Completed - st.Started) / millisecond
		out.Duration = &took
	}
	for place := range st.Items {
		item := workItemOf(&st.Items[place])
		item.ChildFlowID = s.ChildFlow(i, place)
		if !forEach {
			item.Inputs = st.Inputs
		}
		out.WorkItems[strconv.Itoa(place)] = item
	}
	return out
}

func workItemOf(it *flow.Item) WorkItem {
	return WorkItem{
		Status:      flow.WorkStatusName(it.Status),
		Token:       it.Token,
		Attempt:     it.Attempt,
		Inputs:      it.Inputs,
		Outputs:     it.Outputs,
		Error:       it.Error,
		RetryCount:  it.RetryCount,
		NextRetryAt: Time(it.NextRetry),
		StartedAt:   Time(it.Started),
		CompletedAt: Time(it.Completed),
		Deadline:    Time(it.Deadline),
		WaitUntil:   Time(it.Until),

		Compensation: compensationOf(it.Compensation),
	}
}
