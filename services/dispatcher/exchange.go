package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/sluiceflow/sluice/services/dispatcher/internal/answer"
	"github.com/sluiceflow/sluice/services/internal/endpoint"
)

const (
	// defaultTimeout is for an invocation that says none.
	defaultTimeout = 30 * time.Second
	// maxDiscard is how much of a body that nobody wants is read, so that its
	// connection can be used again.
	maxDiscard = 4 << 10
)

// exchange posts the invocation and takes the answer. It returns an error where
// no call was made and none can be made now; whatever a call brings, be it no
// answer, is an Answer.
func (d *Dispatcher) exchange(ctx context.Context, c *call) (answer.Answer, error) {
	if c.target.refused != nil {
		return refused(c.target.refused), nil
	}
	timeout, err := d.timeout(c)
	if err != nil {
		return answer.Answer{}, err
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := d.request(bounded, c)
	var cannot *uncalled
	switch {
	case errors.As(err, &cannot):
		return answer.Answer{}, err
	case err != nil:
		return refused(err), nil
	}
	began := time.Now()
	a := d.post(req)
	d.metrics.duration.Observe(time.Since(began).Seconds())
	if errors.Is(a.Err, context.DeadlineExceeded) && bounded.Err() != nil {
		a.Err = fmt.Errorf("no answer within %s", timeout)
	}
	return a, nil
}

func refused(err error) answer.Answer { return answer.Answer{Refused: true, Err: err} }

// timeout returns how long the call may take: no longer than the attempt.
func (d *Dispatcher) timeout(c *call) (time.Duration, error) {
	timeout := time.Duration(c.inv.GetCallTimeoutMs()) * time.Millisecond
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	deadline := c.inv.GetDeadlineNs()
	if deadline == 0 {
		return timeout, nil
	}
	left := time.Duration(deadline - d.clock.Now())
	if left <= 0 {
		return 0, errExpired
	}
	return min(timeout, left), nil
}

// post sends the request once. It uses the transport itself: a client would
// look where redirects go, and none is followed.
func (d *Dispatcher) post(req *http.Request) answer.Answer {
	resp, err := d.transport.RoundTrip(req)
	switch {
	case errors.Is(err, endpoint.ErrRefused):
		return refused(err)
	case err != nil:
		return answer.Answer{Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	a := answer.Answer{Status: resp.StatusCode, RetryAfter: resp.Header.Get("Retry-After")}
	if a.Status < 200 || a.Status >= 300 {
		if resp.ContentLength > 0 && resp.ContentLength <= maxDiscard {
			_, _ = io.CopyN(io.Discard, resp.Body, resp.ContentLength)
		}
		return a
	}
	a.Body, a.TooLarge, a.Err = d.readBody(resp)
	return a
}

func (d *Dispatcher) readBody(resp *http.Response) (body []byte, tooLarge bool, err error) {
	limit := int64(d.bus.Config.MaxBodyBytes)
	switch {
	case resp.ContentLength == 0:
		return nil, false, nil
	case resp.ContentLength > limit:
		return nil, true, nil
	case resp.ContentLength > 0:
		body = make([]byte, resp.ContentLength)
		_, err = io.ReadFull(resp.Body, body)
	default:
		body, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
	}
	if err != nil {
		return nil, false, fmt.Errorf("the answer broke off: %w", err)
	}
	return body, int64(len(body)) > limit, nil
}
