package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	// MaxWait is the longest that the console lets a request wait.
	MaxWait = time.Minute
	// askFor is how long one request waits for an end that may take any time.
	askFor    = 20 * time.Second
	firstPoll = 20 * time.Millisecond
	lastPoll  = 2 * time.Second
)

var errRuns = errors.New("the flow has not ended")

// A ReadOption changes how a flow is read.
type ReadOption func(query url.Values)

// Wait has the console answer when the flow ended, or after d with what is then;
// d may be up to [MaxWait]. The HTTP client must be more patient than that.
func Wait(d time.Duration) ReadOption {
	return func(query url.Values) { query.Set("wait_ms", strconv.FormatInt(d.Milliseconds(), 10)) }
}

func queryOf(opts []ReadOption) url.Values {
	query := url.Values{}
	for _, opt := range opts {
		opt(query)
	}
	return query
}

// StartAndWait starts a flow as [Client.StartFlow] does, and waits up to d, which
// may be up to [MaxWait], for its end. Also of a flow that runs on it returns the
// state, and its id alone where the state could not be read.
func (c *Client) StartAndWait(ctx context.Context, r StartRequest, d time.Duration) (FlowState, error) {
	var answer struct {
		FlowID string    `json:"flow_id"`
		Flow   FlowState `json:"flow"`
	}
	_, err := c.call(ctx, http.MethodPost, []string{"flow"}, queryOf([]ReadOption{Wait(d)}), r, &answer)
	answer.Flow.ID = answer.FlowID
	return answer.Flow, err
}

// WaitFlow returns how the flow ended, failed and canceled ones too. It asks
// again until then, also while the console cannot be reached; it returns the
// console's last error, or none, together with ctx's when that ends first.
func (c *Client) WaitFlow(ctx context.Context, id string) (Digest, error) {
	wait := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstPoll), backoff.WithMaxInterval(lastPoll), backoff.WithMaxElapsedTime(0))
	patience := c.patience()
	var last error
	digest, err := backoff.RetryWithData(func() (Digest, error) {
		began := time.Now()
		d, err := c.FlowStatus(ctx, id, Wait(patience))
		if time.Since(began) > lastPoll { // the console waited: the next request may follow at once
			wait.Reset()
		}
		switch {
		case err == nil && d.Status.Ended():
			return d, nil
		case err == nil:
			last = nil
			return d, errRuns
		case !passing(err):
			return d, backoff.Permanent(err)
		case ctx.Err() == nil:
			last = err
		}
		return d, err
	}, backoff.WithContext(wait, ctx))
	if err != nil && ctx.Err() != nil {
		return digest, errors.Join(context.Cause(ctx), last)
	}
	return digest, err
}

// patience is how long one request may wait so that the HTTP client does not
// give it up.
func (c *Client) patience() time.Duration {
	if c.http.Timeout > 0 {
		return min(askFor, c.http.Timeout/2)
	}
	return askFor
}

// passing reports whether asking again may help: no answer at all, or one that
// says so.
func passing(err error) bool {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Temporary()
	}
	_, ok := errors.AsType[*url.Error](err)
	return ok
}
