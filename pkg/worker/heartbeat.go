package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/sluiceflow/sluice/pkg/step"
)

// heartbeatKey is where the function of an async step finds how to send its
// heartbeats.
type heartbeatKey struct{}

// Heartbeat tells that the function of an async step, which runs under ctx, still
// works: the part that is done, from 0 to 1, and a text, both as far as there is
// something to say. A step with heartbeat_timeout_ms needs one more often than
// that. It is sent once; what fails may be left for the next one, but for a
// [*RefusedError]: the work item is closed then, and nobody waits for the outcome.
func Heartbeat(ctx context.Context, progress float64, message string) error {
	send, ok := ctx.Value(heartbeatKey{}).(func(context.Context, step.Progress) error)
	if !ok {
		return errors.New("only the function of an async step has somebody to send heartbeats to")
	}
	return send(ctx, step.Progress{Progress: progress, Message: message})
}

// beating is the context under which the function of a call can send heartbeats.
func (w *Worker) beating(ctx context.Context, call Call) context.Context {
	if call.Metadata.WebhookURL == "" {
		return ctx
	}
	return context.WithValue(ctx, heartbeatKey{}, func(ctx context.Context, p step.Progress) error {
		return w.opts.Sender.Heartbeat(ctx, call.Metadata.WebhookURL, p)
	})
}

// Heartbeat posts one heartbeat of the attempt that a webhook URL is of. It does
// not try again. It returns a [*RefusedError] when the work item is closed or the
// heartbeat makes no sense. Errors do not hold the URL, whose token is a secret.
func (s *Sender) Heartbeat(ctx context.Context, webhookURL string, p step.Progress) error {
	target, err := url.Parse(webhookURL)
	if err != nil {
		return errors.New("the webhook URL is none")
	}
	body, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write the heartbeat: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.JoinPath("heartbeat").String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("the webhook URL is none")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	traceOf(ctx).set(req.Header)
	resp, err := s.client().Do(req)
	if err != nil {
		return fmt.Errorf("post the heartbeat: %w", withoutURL(err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxWebhookAnswer))
	switch {
	case resp.StatusCode >= 500 || tryAgain(resp.StatusCode):
		return fmt.Errorf("post the heartbeat: the gateway answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	case resp.StatusCode >= http.StatusMultipleChoices:
		return &RefusedError{Status: resp.StatusCode, Detail: detailOf(answer)}
	case err != nil:
		return fmt.Errorf("post the heartbeat: %w", err)
	}
	return nil
}
