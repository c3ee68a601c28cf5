package dispatcher

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/dispatcher/internal/answer"
	"github.com/sluiceflow/sluice/services/internal/dead"
)

// What becomes of callbacks, in a metric.
const (
	callbackTaken = "taken"
	callbackAgain = "again"
	callbackDead  = "dead"
)

// decodeCallback says why there is nobody to call back, or nil.
func (c *call) decodeCallback(stepID string) error {
	callback := c.inv.GetCallback()
	if stepID != subject.CallbackStep {
		return dead.Poisoned(dead.Misplaced, "a callback stands on the subject of a step")
	}
	if _, _, ok := endingOf(callback.GetStatus()); !ok {
		return dead.Poisoned(dead.Impossible, "a flow that is %s has not ended", callback.GetStatus())
	}
	if callback.GetSigned() && callback.GetSecret() == "" {
		return dead.Poisoned(dead.Impossible, "it has to be signed, and the token key is gone that its secret was sealed by")
	}
	return nil
}

// endingOf says how an ending is called.
func endingOf(status sluicev1.FlowStatus) (kind event.Type, name string, ok bool) {
	switch status {
	case sluicev1.FlowStatus_FLOW_STATUS_COMPLETED:
		return event.FlowCompleted, "completed", true
	case sluicev1.FlowStatus_FLOW_STATUS_FAILED:
		return event.FlowFailed, "failed", true
	case sluicev1.FlowStatus_FLOW_STATUS_CANCELED:
		return event.FlowCanceled, "canceled", true
	case sluicev1.FlowStatus_FLOW_STATUS_UNSPECIFIED, sluicev1.FlowStatus_FLOW_STATUS_ACTIVE,
		sluicev1.FlowStatus_FLOW_STATUS_PAUSED:
	}
	return "", "", false
}

// callBack tells a flow's end and settles that. What it needs to know of earlier
// tries NATS knows: how often, and since when.
func (d *Dispatcher) callBack(work context.Context, c *call) {
	began := time.Now()
	d.metrics.began(c, began)
	ctx, span := d.startSpan(work, c)
	defer span.End()

	a, err := d.tell(ctx, c)
	d.desk.ended <- ended{call: c, took: time.Since(began)}
	d.settleCallback(ctx, c, a, err)
	d.desk.ended <- ended{call: c, settled: true}
}

// tell posts the callback once. It returns an error where that was cut short or
// can never be done. A panic becomes such an error, as in [Dispatcher.attempt].
func (d *Dispatcher) tell(ctx context.Context, c *call) (a answer.Answer, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			d.log.ErrorContext(ctx, "callback panicked", slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
			err = dead.Poisoned(dead.Panic, "the callback panics: %v", cause)
		}
	}()
	if c.target.refused != nil {
		return refused(c.target.refused), nil
	}
	bounded, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	req, err := d.callbackRequest(bounded, c, time.Now())
	if err != nil {
		return answer.Answer{}, dead.Poisoned(dead.Impossible, "%v", err)
	}
	began := time.Now()
	a = d.post(req)
	d.metrics.duration.Observe(time.Since(began).Seconds())
	switch {
	case a.Err != nil && ctx.Err() != nil:
		return answer.Answer{}, errCutShort
	case errors.Is(a.Err, context.DeadlineExceeded) && bounded.Err() != nil:
		a.Err = fmt.Errorf("no answer within %s", defaultTimeout)
	}
	return a, nil
}

// settleCallback acks what was taken, gives up what never will be, or is too old,
// and puts back the rest.
func (d *Dispatcher) settleCallback(ctx context.Context, c *call, a answer.Answer, err error) {
	if errors.Is(err, errCutShort) {
		d.nak(ctx, c, handBack)
		return
	}
	if err != nil {
		d.metrics.callbacks.WithLabelValues(callbackDead).Inc()
		d.bury(context.WithoutCancel(ctx), c, err)
		return
	}
	class, reason, after := answer.ClassifyCallback(a, time.Now())
	age := time.Duration(d.clock.Now() - c.place.storedNS)
	switch {
	case class == answer.Succeeded:
		d.metrics.callbacks.WithLabelValues(callbackTaken).Inc()
		d.ack(ctx, c)
	case class == answer.Failed:
		d.metrics.callbacks.WithLabelValues(callbackDead).Inc()
		d.bury(context.WithoutCancel(ctx), c, dead.Poisoned(dead.Undelivered, "%s", reason))
	case age >= d.cfg.CallbackRetryFor:
		d.metrics.callbacks.WithLabelValues(callbackDead).Inc()
		d.bury(context.WithoutCancel(ctx), c,
			dead.Poisoned(dead.Undelivered, "nobody took the callback for %s: %s", d.cfg.CallbackRetryFor, reason))
	default:
		d.metrics.callbacks.WithLabelValues(callbackAgain).Inc()
		delay := min(max(after, d.cfg.callbackDelay(c.deliveries)), d.cfg.CallbackRetryFor-age)
		d.log.DebugContext(ctx, "callback not taken", slog.String("flow_id", c.inv.GetFlowId()),
			slog.String("reason", reason), slog.Duration("again_in", delay))
		d.nak(ctx, c, delay)
	}
}

// callbackRequest makes the HTTP request of a callback, as the contract says.
func (d *Dispatcher) callbackRequest(ctx context.Context, c *call, now time.Time) (*http.Request, error) {
	body, err := encodeCallback(c.inv)
	if err != nil {
		return nil, err
	}
	header := make(http.Header, 8)
	header["Content-Type"] = []string{mediaType}
	header["Accept"] = []string{mediaType}
	header["User-Agent"] = d.userAgent
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
	secret, err := base64.RawURLEncoding.DecodeString(c.inv.GetCallback().GetSecret())
	if err != nil {
		return nil, errors.New("what it is to be signed with is not base64url")
	}
	if err := sign(header, string(secret), callbackID(c.inv), body, now); err != nil {
		return nil, err
	}
	return postOf(ctx, c.target.url, header, body), nil
}

func encodeCallback(inv *sluicev1.Invocation) ([]byte, error) {
	callback := inv.GetCallback()
	kind, status, _ := endingOf(callback.GetStatus())
	out := event.Callback{
		Type: kind, FlowID: inv.GetFlowId(), Status: status,
		Outputs: make(map[string]json.RawMessage, len(callback.GetOutputs())), Omitted: callback.GetOmitted(),
		Error: callback.GetError(), CompletedAt: time.Unix(0, callback.GetCompletedNs()).UTC(), Labels: inv.GetLabels(),
	}
	for name, value := range callback.GetOutputs() {
		out.Outputs[name] = value
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	body, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("write the callback as JSON: %w", err)
	}
	return body, nil
}

// callbackID names a flow's ending: it is the same however often that is told.
func callbackID(inv *sluicev1.Invocation) string {
	sum := sha256.Sum256([]byte("callback/" + inv.GetFlowId() + "/" + strconv.FormatUint(inv.GetWork().GetRun(), 36) + "/" +
		strconv.FormatUint(inv.GetCallback().GetRevision(), 10)))
	return "msg_" + hex.EncodeToString(sum[:16])
}
