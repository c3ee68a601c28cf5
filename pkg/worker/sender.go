package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/sluiceflow/sluice/pkg/step"
)

const (
	defaultPatience   = 24 * time.Hour
	defaultPostTime   = 15 * time.Second
	defaultFirstDelay = 200 * time.Millisecond
	defaultMaxDelay   = 30 * time.Second
	maxRetryAfter     = 5 * time.Minute
	maxWebhookAnswer  = 64 << 10
)

// A Status is what the gateway says of a completion that it took.
type Status string

// What becomes of a completion.
const (
	Accepted Status = "accepted" // stored durably
	Replayed Status = "replayed" // it had been stored before
)

// RefusedError is an answer that sending again does not change: 409 when the token
// carries another outcome, 410 when the work item is closed, 404 when there is
// no such token, 400 and others when this is no StepResult.
type RefusedError struct {
	// Status is the HTTP status.
	Status int
	// Detail is the gateway's own words.
	Detail string
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("the gateway refuses it: %d %s", e.Status, http.StatusText(e.Status))
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Sender posts completions to webhook URLs. The zero value works.
type Sender struct {
	// HTTP does the requests; nil means a client that gives each 15 seconds.
	// Redirects are not followed.
	HTTP *http.Client
	// Patience is how long one completion is sent again and again; 0 means a day.
	Patience time.Duration
	// FirstDelay is the delay before the second try, which doubles, with jitter,
	// up to MaxDelay; 0 means 200 ms and 30 s.
	FirstDelay, MaxDelay time.Duration
}

// Send posts a result until the gateway stored it, and returns whether this was
// the first time. No answer, 408, 425, 429 and 5xx are tried again, not before
// their Retry-After; that is safe, for an equal result counts once. It returns a
// [*RefusedError] for any other answer, and the last failure when ctx or the patience
// ends. Errors do not hold the URL, whose token is a secret.
func (s *Sender) Send(ctx context.Context, webhookURL string, result step.Result) (Status, error) {
	body, err := encode(result)
	if err != nil {
		return "", err
	}
	delays := s.delays()
	var last error
	status, err := backoff.RetryWithData(func() (Status, error) {
		status, err := s.post(ctx, webhookURL, body, delays)
		if err != nil && (ctx.Err() == nil || last == nil) {
			last = err
		}
		return status, err
	}, backoff.WithContext(delays, ctx))
	if err != nil && ctx.Err() != nil {
		return "", fmt.Errorf("%w, after: %w", context.Cause(ctx), last)
	}
	return status, err
}

func (s *Sender) delays() *delays {
	return &delays{ExponentialBackOff: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(orDefault(s.FirstDelay, defaultFirstDelay)),
		backoff.WithMaxInterval(orDefault(s.MaxDelay, defaultMaxDelay)),
		backoff.WithMultiplier(2),
		backoff.WithMaxElapsedTime(orDefault(s.Patience, defaultPatience)),
	)}
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// delays are never shorter than what the last answer asked for.
type delays struct {
	*backoff.ExponentialBackOff

	atLeast time.Duration
}

// NextBackOff gives the delay before the next try.
func (d *delays) NextBackOff() time.Duration {
	next := d.ExponentialBackOff.NextBackOff()
	if next == backoff.Stop {
		return next
	}
	next, d.atLeast = max(next, d.atLeast), 0
	return next
}

// post sends once. Its error is permanent when sending again is no cure.
func (s *Sender) post(ctx context.Context, webhookURL string, body []byte, next *delays) (Status, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, webhookURL, bytes.NewReader(body))
	if err != nil {
		return "", backoff.Permanent(errors.New("the webhook URL is none"))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	traceOf(ctx).set(req.Header)
	resp, err := s.client().Do(req)
	if err != nil {
		return "", fmt.Errorf("post the completion: %w", withoutURL(err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxWebhookAnswer))
	switch {
	case resp.StatusCode >= 500 || tryAgain(resp.StatusCode):
		next.atLeast = retryAfter(resp.Header.Get("Retry-After"))
		return "", fmt.Errorf("post the completion: the gateway answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	case resp.StatusCode >= http.StatusMultipleChoices:
		return "", backoff.Permanent(&RefusedError{Status: resp.StatusCode, Detail: detailOf(answer)})
	case err != nil:
		return "", fmt.Errorf("post the completion: %w", err)
	}
	return statusOf(resp.Header, answer)
}

func (s *Sender) client() *http.Client {
	client := http.Client{Timeout: defaultPostTime}
	if s.HTTP != nil {
		client = *s.HTTP
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// statusOf reads a 2xx, which is a promise only where it says so: a page of a
// proxy between is none.
func statusOf(header http.Header, answer []byte) (Status, error) {
	var said struct {
		Status Status `json:"status"`
	}
	if json.Unmarshal(answer, &said) == nil && (said.Status == Accepted || said.Status == Replayed) {
		return said.Status, nil
	}
	if header.Get("Idempotency-Replayed") == "true" {
		return Replayed, nil
	}
	return "", errors.New("post the completion: the answer does not say that it is accepted")
}

func tryAgain(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return false
}

func retryAfter(header string) time.Duration {
	seconds, err := strconv.Atoi(strings.TrimSpace(header))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(min(seconds, int(maxRetryAfter/time.Second)))*time.Second, maxRetryAfter)
}

func detailOf(answer []byte) string {
	var problem struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(answer, &problem) != nil {
		return ""
	}
	return problem.Detail
}
