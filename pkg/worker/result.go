package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
)

// notCompletedError is an error that another attempt may cure.
type notCompletedError struct {
	err   error
	after time.Duration
}

func (e *notCompletedError) Error() string { return e.err.Error() }
func (e *notCompletedError) Unwrap() error { return e.err }

// NotCompleted says that this attempt came to nothing: the engine tries again,
// with the step's backoff, and not before retryAfter. 0 leaves it to the engine.
func NotCompleted(err error, retryAfter time.Duration) error {
	if err == nil {
		err = errors.New("not completed")
	}
	return &notCompletedError{err: err, after: retryAfter}
}

// resultOf makes a StepResult of what a function returned.
func resultOf(ctx context.Context, out Outputs, err error) step.Result {
	if again, ok := errors.AsType[*notCompletedError](err); ok {
		after := min(max(again.after, 0), step.MaxRetryAfter)
		return step.Result{Error: err.Error(), NotCompleted: true, RetryAfterMS: after.Milliseconds()}
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return step.Result{Error: err.Error(), NotCompleted: true}
	case err != nil:
		return step.Result{Error: err.Error()}
	}
	result := step.Result{Success: true, Outputs: make(map[string]json.RawMessage, len(out))}
	for name, value := range out {
		text, err := json.Marshal(value)
		if err != nil {
			return step.Result{Error: fmt.Sprintf("output %s: %v", name, err)}
		}
		result.Outputs[name] = text
	}
	return result
}

// encode writes a StepResult as the contract has it.
func encode(r step.Result) ([]byte, error) {
	text, err := json.Marshal(struct {
		Success      bool                       `json:"success"`
		Outputs      map[string]json.RawMessage `json:"outputs,omitempty"`
		Error        string                     `json:"error,omitempty"`
		NotCompleted bool                       `json:"not_completed,omitempty"`
		RetryAfterMS int64                      `json:"retry_after_ms,omitempty"`
		Attempt      uint32                     `json:"attempt,omitempty"`
	}{r.Success, r.Outputs, r.Error, r.NotCompleted, r.RetryAfterMS, r.Attempt})
	if err != nil {
		return nil, fmt.Errorf("write the result: %w", err)
	}
	return text, nil
}
