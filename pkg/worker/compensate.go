package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
)

// Compensation is a call that undoes the success of a work item: its flow failed
// or was canceled. It may come more than once: Metadata.ReceiptToken is that of
// the work item, and serves as idempotency key towards others.
type Compensation struct {
	step.Compensation
}

// BindInputs reads what the work item was called with, by the rules of
// [Call.Bind].
func (c Compensation) BindInputs(into any) error { return bind("inputs", c.Inputs, into) }

// BindOutputs reads what the work item gave, by the rules of [Call.Bind].
func (c Compensation) BindOutputs(into any) error { return bind("outputs", c.Outputs, into) }

// Undo takes back what a work item did. Without an error it is undone. An error
// gives it up: it is logged, and the flow says that the answer was 422. After one
// that came from [NotCompleted], and after a panic, Sluice calls again as the step
// is retried. ctx ends at the call's deadline, when a worker that is closing loses
// patience, and when the caller hung up; an error after that is not completed.
type Undo func(ctx context.Context, c Compensation) error

// Compensate sets the function that undoes a step's successes. The step's
// http.compensate must be a URL of this worker: it tells these calls from the
// others by their body. What was undone before must count as undone again.
func (w *Worker) Compensate(stepID string, undo Undo) { w.undo[stepID] = undo }

// incoming is any call to a worker.
type incoming struct {
	step.Request

	Inputs  map[string]json.RawMessage `json:"inputs"`
	Outputs map[string]json.RawMessage `json:"outputs"`
}

// compensates tells a call that undoes from one that asks for work, which has
// arguments, though there may be none.
func (in *incoming) compensates() bool {
	return in.Arguments == nil && in.Inputs != nil && in.Outputs != nil
}

func (w *Worker) serveCompensation(rw http.ResponseWriter, r *http.Request, c Compensation) {
	undo, known := w.undo[c.Metadata.StepID]
	if !known {
		refuse(rw, http.StatusNotFound, fmt.Errorf("this worker cannot compensate step %q", c.Metadata.StepID))
		return
	}
	if !w.pool.enter() {
		busy(rw, "the worker is closing")
		return
	}
	defer w.pool.work.Done()
	ctx, cancel := context.WithCancel(traceFrom(r.Header).in(r.Context()))
	defer cancel()
	defer context.AfterFunc(w.pool.base, cancel)() //nolint:contextcheck // closing cancels requests too
	result := w.guard(ctx, c.Metadata, func(ctx context.Context) (Outputs, error) { return nil, undo(ctx, c) })
	if !result.Success {
		w.opts.Log.ErrorContext(ctx, "not compensated", attrs(c.Metadata,
			slog.String("error", result.Error), slog.Bool("again", result.NotCompleted))...)
	}
	switch {
	case result.Success:
		answer(rw, http.StatusOK, []byte(`{"success":true}`))
	case result.NotCompleted:
		if after := time.Duration(result.RetryAfterMS) * time.Millisecond; after > 0 {
			rw.Header().Set("Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
		}
		refuse(rw, http.StatusServiceUnavailable, errors.New(result.Error))
	default:
		refuse(rw, http.StatusUnprocessableEntity, errors.New(result.Error))
	}
}
