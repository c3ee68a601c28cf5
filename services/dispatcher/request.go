package dispatcher

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.opentelemetry.io/otel/propagation"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

const mediaType = "application/json"

// progressTimeout is how long a call waits to learn what an earlier attempt said.
const progressTimeout = 250 * time.Millisecond

// request makes the HTTP request of an invocation, as the contract says. An
// error that is no [uncalled] says that it can never be made.
func (d *Dispatcher) request(ctx context.Context, c *call) (*http.Request, error) {
	secret, own, err := d.credentials(ctx, c)
	if err != nil {
		return nil, err
	}
	body, err := encode(c.inv, d.lastProgress(ctx, c))
	if err != nil {
		return nil, err
	}
	header := make(http.Header, 8+len(own))
	for name, value := range own {
		header.Set(name, value)
	}
	header["Content-Type"] = []string{mediaType}
	header["Accept"] = []string{mediaType}
	header["User-Agent"] = d.userAgent
	header["Idempotency-Key"] = []string{c.inv.GetToken()}
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
	if secret != "" {
		if err := sign(header, secret, attemptID(c.inv), body, time.Now()); err != nil {
			return nil, err
		}
	}
	return postOf(ctx, c.target.url, header, body), nil
}

// postOf is the request that posts a body once.
func postOf(ctx context.Context, to *url.URL, header http.Header, body []byte) *http.Request {
	req := (&http.Request{
		Method: http.MethodPost, URL: to, Host: to.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		// Without GetBody: the transport would repeat a request that has an
		// Idempotency-Key by itself, and nobody would know that the answer is one
		// to a repeated call.
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}).WithContext(ctx)
	if user := to.User; user != nil && header.Get("Authorization") == "" {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	return req
}

// lastProgress is what the last heartbeat of an earlier attempt said, as far as
// the token index knows. A call does without it. One that is repeated late is not
// told what later attempts said.
func (d *Dispatcher) lastProgress(ctx context.Context, c *call) *step.Progress {
	attempt := c.inv.GetWork().GetAttempt()
	if attempt <= 1 || !c.async() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, progressTimeout)
	defer cancel()
	progress, err := d.index.LastProgress(ctx, token.Hash(c.inv.GetToken()), attempt)
	if err != nil {
		d.log.DebugContext(ctx, "last progress not known", slog.Any("error", err))
	}
	return progress
}

// encode writes the body of an invocation.
func encode(inv *sluicev1.Invocation, progress *step.Progress) ([]byte, error) {
	meta := step.Metadata{
		FlowID:       inv.GetFlowId(),
		StepID:       inv.GetWork().GetStepId(),
		ReceiptToken: inv.GetToken(),
		Attempt:      inv.GetWork().GetAttempt(),
		LastProgress: progress,
		ParentFlowID: inv.GetParentFlowId(),
		ParentStepID: inv.GetParentStepId(),
		Labels:       inv.GetLabels(),
	}
	if inv.GetType() == sluicev1.StepType_STEP_TYPE_ASYNC {
		meta.WebhookURL = inv.GetWebhookUrl()
	}
	if ns := inv.GetDeadlineNs(); ns != 0 {
		meta.Deadline = time.Unix(0, ns).UTC()
	}
	var content any = step.Request{Arguments: rawValues(inv.GetArguments()), Metadata: meta}
	if inv.GetCompensate() {
		content = step.Compensation{Inputs: rawValues(inv.GetArguments()), Outputs: rawValues(inv.GetOutputs()), Metadata: meta}
	}
	body, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("write the invocation as JSON: %w", err)
	}
	return body, nil
}

func rawValues(values map[string][]byte) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(values))
	for name, value := range values {
		out[name] = value
	}
	return out
}

// attemptID names an attempt to a receiver that remembers ids: the same when it
// is delivered again, another for the next attempt, which must not be taken for a
// replay.
func attemptID(inv *sluicev1.Invocation) string {
	id := "msg_" + token.Hash(inv.GetToken()) + "_"
	if inv.GetCompensate() {
		id += "undo_"
	}
	return id + strconv.FormatUint(uint64(inv.GetWork().GetAttempt()), 10)
}

// sign adds the Standard Webhooks headers: without a secret those that say which
// message it is, and when it was sent.
func sign(header http.Header, secret, id string, body []byte, now time.Time) error {
	header.Set(standardwebhooks.HeaderWebhookID, id)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	if secret == "" {
		return nil
	}
	hook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return fmt.Errorf("use the secret to sign with: %w", err)
	}
	signature, err := hook.Sign(id, now, body)
	if err != nil {
		return fmt.Errorf("sign the message: %w", err)
	}
	header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return nil
}
