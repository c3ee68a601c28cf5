package dispatcher

import (
	"context"
	"crypto/rand"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/sluiceflow/sluice/services/internal/bus"
)

// startSpan continues the trace that the invocation came with. Where there is
// none, and none is made because nobody collects them, the call gets a trace
// context of its own: workers are promised one.
func (d *Dispatcher) startSpan(ctx context.Context, c *call) (context.Context, trace.Span) {
	ctx = bus.Extract(ctx, c.msg.Headers())
	ctx, span := d.tracer.Start(ctx, "invoke", trace.WithSpanKind(trace.SpanKindClient))
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("sluice.flow_id", c.inv.GetFlowId()),
			attribute.String("sluice.step_id", c.inv.GetWork().GetStepId()),
			attribute.Int64("sluice.attempt", int64(c.inv.GetWork().GetAttempt())))
	}
	if !span.SpanContext().IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, randomSpan())
	}
	return ctx, span
}

func randomSpan() trace.SpanContext {
	var id struct {
		trace trace.TraceID
		span  trace.SpanID
	}
	_, _ = rand.Read(id.trace[:]) // never fails
	_, _ = rand.Read(id.span[:])
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id.trace, SpanID: id.span, Remote: true})
}
