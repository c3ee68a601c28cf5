package worker

import (
	"context"
	"errors"
	"net/http"
	"net/url"
)

// trace is the W3C trace context that an invocation came with. The completion
// goes out with it, so that a flow's trace has no gap where the worker has no
// tracing of its own.
type trace struct{ parent, state string }

type traceKey struct{}

func traceFrom(h http.Header) trace {
	return trace{parent: h.Get("Traceparent"), state: h.Get("Tracestate")}
}

func traceOf(ctx context.Context) trace {
	t, _ := ctx.Value(traceKey{}).(trace)
	return t
}

func (t trace) in(ctx context.Context) context.Context { return context.WithValue(ctx, traceKey{}, t) }

func (t trace) set(h http.Header) {
	if t.parent == "" {
		return
	}
	h.Set("Traceparent", t.parent)
	if t.state != "" {
		h.Set("Tracestate", t.state)
	}
}

// withoutURL takes the address, and so the token, out of an error of net/http.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
