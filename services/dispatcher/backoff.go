package dispatcher

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// The ways in which delays grow.
const (
	backoffFixed       = "fixed"
	backoffLinear      = "linear"
	backoffExponential = "exponential"
)

// validateBackoff reports what cannot be the delays between callbacks.
func (c Config) validateBackoff() error {
	var mistakes []error
	if c.RetryBackoffMS < 0 || c.RetryMaxBackoffMS < c.RetryBackoffMS {
		mistakes = append(mistakes, fmt.Errorf("RETRY_BACKOFF_MS, RETRY_MAX_BACKOFF_MS: %d and %d are no delays that grow",
			c.RetryBackoffMS, c.RetryMaxBackoffMS))
	}
	switch c.RetryBackoffType {
	case backoffFixed, backoffLinear, backoffExponential:
	default:
		mistakes = append(mistakes, fmt.Errorf("RETRY_BACKOFF_TYPE is %q, and must be fixed, linear or exponential", c.RetryBackoffType))
	}
	return errors.Join(mistakes...)
}

// callbackDelay is how long a callback rests that was delivered so often. Jitter
// adds up to a tenth, so that many do not come back at once.
func (c Config) callbackDelay(deliveries uint64) time.Duration {
	delay, most := c.RetryBackoffMS, c.RetryMaxBackoffMS
	switch c.RetryBackoffType {
	case backoffLinear:
		for n := uint64(1); n < deliveries && delay < most && c.RetryBackoffMS > 0; n++ {
			delay += c.RetryBackoffMS
		}
	case backoffExponential:
		for n := uint64(1); n < deliveries && delay < most && delay > 0; n++ {
			delay *= 2
		}
	}
	rest := time.Duration(min(delay, most)) * time.Millisecond
	return rest + time.Duration(rand.Int64N(int64(rest)/10+1)) //nolint:gosec // nobody gains by guessing it
}
