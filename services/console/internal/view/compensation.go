package view

import (
	"time"

	"github.com/sluiceflow/sluice/services/internal/flow"
)

// Ending is how a flow will end once what succeeded is compensated.
type Ending struct {
	Status    string    `json:"status"`
	Error     string    `json:"error,omitempty"`
	DecidedAt time.Time `json:"decided_at"`
}

// Compensation is where a work item is in being undone.
type Compensation struct {
	Attempt     uint32    `json:"attempt"`
	RetryCount  uint32    `json:"retry_count"`
	NextRetryAt time.Time `json:"next_retry_at,omitzero"`
	StartedAt   time.Time `json:"started_at"`
	CompletedAt time.Time `json:"completed_at,omitzero"`
	Error       string    `json:"error,omitempty"`
}

// endingOf is nil for a flow that has ended, or whose ending is not decided.
func endingOf(s *flow.State) *Ending {
	if s.Ending.At == 0 || s.Final() {
		return nil
	}
	return &Ending{Status: flow.StatusName(s.Ending.Status), Error: s.Ending.Reason, DecidedAt: Time(s.Ending.At)}
}

func compensationOf(c *flow.Compensation) *Compensation {
	if c == nil {
		return nil
	}
	return &Compensation{
		Attempt: c.Attempt, RetryCount: c.RetryCount, NextRetryAt: Time(c.NextRetry),
		StartedAt: Time(c.Started), CompletedAt: Time(c.Completed), Error: c.Error,
	}
}
