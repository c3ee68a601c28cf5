package client

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	firstPoll = 20 * time.Millisecond
	lastPoll  = 2 * time.Second
)

var errRuns = errors.New("the flow has not ended")

// WaitFlow returns how the flow ended, failed and canceled ones too. It asks
// again, ever more seldom, until then, also while the console cannot be reached;
// it returns the console's last error, or none, together with ctx's when that
// ends first.
func (c *Client) WaitFlow(ctx context.Context, id string) (Digest, error) {
	wait := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstPoll), backoff.WithMaxInterval(lastPoll), backoff.WithMaxElapsedTime(0))
	var last error
	digest, err := backoff.RetryWithData(func() (Digest, error) {
		d, err := c.FlowStatus(ctx, id)
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

// passing reports whether asking again may help: no answer at all, or one that
// says so.
func passing(err error) bool {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Temporary()
	}
	_, ok := errors.AsType[*url.Error](err)
	return ok
}
