package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/token"
)

// ServeHTTP answers one invocation.
func (w *Worker) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, status, err := w.read(rw, r)
	if err != nil {
		refuse(rw, status, err)
		return
	}
	var in incoming
	if err := json.Unmarshal(body, &in); err != nil {
		refuse(rw, http.StatusBadRequest, fmt.Errorf("the body is not an invocation: %w", err))
		return
	}
	if in.compensates() {
		w.serveCompensation(rw, r, Compensation{step.Compensation{Inputs: in.Inputs, Outputs: in.Outputs, Metadata: in.Metadata}})
		return
	}
	w.serveWork(rw, r, Call{step.Request{Arguments: in.Arguments, Metadata: in.Metadata}})
}

func (w *Worker) serveWork(rw http.ResponseWriter, r *http.Request, call Call) {
	h, known := w.steps[call.Metadata.StepID]
	switch {
	case !known:
		refuse(rw, http.StatusNotFound, fmt.Errorf("this worker has no step %q", call.Metadata.StepID))
	case !h.async:
		w.serveSync(rw, r, h.do, call)
	case call.Metadata.WebhookURL == "":
		refuse(rw, http.StatusBadRequest, errors.New("metadata.webhook_url is missing: the step must be registered as async"))
	default:
		w.serveAsync(rw, traceFrom(r.Header), h.do, call)
	}
}

func (w *Worker) serveSync(rw http.ResponseWriter, r *http.Request, do Func, call Call) {
	if !w.pool.enter() {
		busy(rw, "the worker is closing")
		return
	}
	defer w.pool.work.Done()
	ctx, cancel := context.WithCancel(traceFrom(r.Header).in(r.Context()))
	defer cancel()
	defer context.AfterFunc(w.pool.base, cancel)() //nolint:contextcheck // closing cancels requests too
	body, err := encode(w.run(ctx, do, call))
	if err != nil {
		refuse(rw, http.StatusInternalServerError, err)
		return
	}
	answer(rw, http.StatusOK, body)
}

// serveAsync answers before the function runs.
func (w *Worker) serveAsync(rw http.ResponseWriter, from trace, do Func, call Call) {
	var result step.Result
	became := w.pool.start(attempt{call.Metadata.ReceiptToken, call.Metadata.Attempt}, func(ctx context.Context) {
		result = w.run(from.in(ctx), do, call)
	}, func(ctx context.Context) {
		w.complete(from.in(ctx), call, result)
	})
	switch became {
	case full:
		busy(rw, "the worker has no place for more calls")
	case closed:
		busy(rw, "the worker is closing")
	case admitted, running:
		answer(rw, http.StatusOK, []byte(`{"success":true}`))
	}
}

// run calls a step's function.
func (w *Worker) run(ctx context.Context, do Func, call Call) step.Result {
	return w.guard(ctx, call.Metadata, func(ctx context.Context) (Outputs, error) { return do(w.beating(ctx, call), call) })
}

// guard calls a function that has a deadline. A panic is not completed: it may be
// of this worker alone.
func (w *Worker) guard(ctx context.Context, of step.Metadata, do func(context.Context) (Outputs, error)) (result step.Result) {
	if deadline := of.Deadline; !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	defer func() {
		if p := recover(); p != nil {
			w.opts.Log.ErrorContext(ctx, "step panicked", attrs(of, slog.Any("panic", p), slog.String("stack", string(debug.Stack())))...)
			result = step.Result{Error: fmt.Sprintf("the worker panicked: %v", p), NotCompleted: true}
		}
	}()
	out, err := do(ctx)
	return resultOf(ctx, out, err)
}

func (w *Worker) complete(ctx context.Context, call Call, result step.Result) {
	status, err := w.opts.Sender.Send(ctx, call.Metadata.WebhookURL, result)
	if err != nil {
		w.opts.Log.ErrorContext(ctx, "completion not delivered", attrs(call.Metadata, slog.Any("error", err))...)
		return
	}
	w.opts.Log.DebugContext(ctx, "completion delivered", attrs(call.Metadata, slog.String("status", string(status)))...)
}

func attrs(of step.Metadata, more ...any) []any {
	return append([]any{
		slog.String("flow_id", of.FlowID), slog.String("step_id", of.StepID),
		slog.String("token", token.Prefix(of.ReceiptToken)), slog.Uint64("attempt", uint64(of.Attempt)),
	}, more...)
}

// read takes the body of a call, or says which status refuses it.
func (w *Worker) read(rw http.ResponseWriter, r *http.Request) ([]byte, int, error) {
	if r.Method != http.MethodPost {
		rw.Header().Set("Allow", http.MethodPost)
		return nil, http.StatusMethodNotAllowed, errors.New("invocations come by POST")
	}
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, w.opts.MaxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the body is over %d bytes", w.opts.MaxBody)
	}
	if err != nil {
		return nil, http.StatusRequestTimeout, errors.New("the body broke off")
	}
	if w.verify != nil {
		if err := w.verify.Verify(body, r.Header); err != nil {
			return nil, http.StatusUnauthorized, errors.New("the signature is missing, old or wrong")
		}
	}
	return body, 0, nil
}

func busy(rw http.ResponseWriter, why string) {
	rw.Header().Set("Retry-After", "1")
	refuse(rw, http.StatusServiceUnavailable, errors.New(why))
}

func refuse(rw http.ResponseWriter, status int, err error) {
	body, failed := json.Marshal(map[string]string{"error": err.Error()})
	if failed != nil {
		body = []byte(`{}`)
	}
	answer(rw, status, body)
}

// answer writes what a caller that went away does not read.
func answer(rw http.ResponseWriter, status int, body []byte) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_, _ = rw.Write(body)
}
