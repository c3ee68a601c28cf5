package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/sluiceflow/sluice/services/dispatcher/internal/answer"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/fault"
)

// Why a call came to nothing that could be reported.
var (
	errCutShort = errors.New("the dispatcher stopped during the call")
	errExpired  = errors.New("the attempt timed out before the call")
)

// uncalled says that the call could not be made now.
type uncalled struct{ cause error }

func (e *uncalled) Error() string { return e.cause.Error() }

// uncalledDelay is when an invocation comes back whose call could not be made.
const uncalledDelay = time.Second

// serve makes a call and settles it.
func (d *Dispatcher) serve(work context.Context, c *call) {
	if c.inv.GetCallback() != nil {
		d.callBack(work, c)
		return
	}
	began := time.Now()
	d.metrics.began(c, began)
	ctx, span := d.startSpan(work, c)
	defer span.End()

	verdict, status, err := d.attempt(ctx, c)
	d.desk.ended <- ended{call: c, took: time.Since(began)}
	d.settle(ctx, c, verdict, status, err)
	d.desk.ended <- ended{call: c, settled: true}
}

// attempt calls the endpoint and says what its answer means. A panic becomes an
// error, so that one message cannot take the others down.
func (d *Dispatcher) attempt(ctx context.Context, c *call) (verdict answer.Verdict, status int, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			d.log.ErrorContext(ctx, "call panicked", slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
			err = dead.Poisoned(dead.Panic, "the call panics: %v", cause)
		}
	}()
	a, err := d.exchange(ctx, c)
	if err != nil {
		return answer.Verdict{}, 0, err
	}
	if ctx.Err() != nil && a.Err != nil {
		return answer.Verdict{}, 0, errCutShort
	}
	about := answer.Call{Async: c.async(), Compensates: c.inv.GetCompensate(), Now: time.Now()}
	about.Repeated = a.DependsOnRepetition() && d.repeated(ctx, c)
	verdict = answer.Classify(about, a)
	d.metrics.calls[verdict.Class].Inc()
	return verdict, a.Status, nil
}

// settle makes the end of a call known: to the engine, where it changes what
// the engine knows, and then to the stream.
func (d *Dispatcher) settle(ctx context.Context, c *call, verdict answer.Verdict, status int, err error) {
	if err == nil && verdict.Class != answer.Accepted {
		err = d.report(ctx, c, verdict, status)
	}
	var cannot *uncalled
	switch {
	case err == nil:
		d.ack(ctx, c)
	case errors.Is(err, errExpired):
		d.metrics.expired.Inc()
		d.ack(ctx, c)
	case errors.Is(err, errCutShort):
		d.nak(ctx, c, handBack)
	case errors.As(err, &cannot):
		d.log.WarnContext(ctx, "call not made", slog.Any("error", err),
			slog.String("flow_id", c.inv.GetFlowId()), slog.String("step_id", c.inv.GetWork().GetStepId()))
		d.putBack(ctx, c, uncalledDelay)
	default:
		d.bury(context.WithoutCancel(ctx), c, err)
	}
}

func (d *Dispatcher) ack(ctx context.Context, c *call) {
	if err := c.msg.Ack(); err != nil {
		d.log.WarnContext(ctx, "invocation not acked, it will be delivered again", slog.Any("error", err))
	}
}

// credentials returns an [uncalled] where asking again may help; another error
// says that the step's credentials are gone or useless.
func (d *Dispatcher) credentials(ctx context.Context, c *call) (secret string, headers map[string]string, err error) {
	if !c.inv.GetHasCredentials() {
		return "", nil, nil
	}
	secret, headers, err = d.registry.Credentials(ctx, c.inv.GetWork().GetStepId(), c.inv.GetRegistryRevision())
	switch fault.KindOf(err) {
	case "":
		return secret, headers, nil
	case fault.NotFound, fault.Invalid:
		return "", nil, fmt.Errorf("read the step's credentials: %w", err)
	case fault.Internal, fault.Conflict, fault.Unavailable:
	}
	return "", nil, &uncalled{fmt.Errorf("read the step's credentials: %w", err)}
}
