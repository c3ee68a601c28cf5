package dispatcher

import (
	"math"
	"testing"
	"time"
)

func TestCallbackDelay(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, tt := range []struct {
		kind        string
		first, most int64
		deliveries  uint64
		want        time.Duration
	}{
		{backoffExponential, 1000, 60_000, 1, 1000 * ms},
		{backoffExponential, 1000, 60_000, 2, 2000 * ms},
		{backoffExponential, 1000, 60_000, 6, 32_000 * ms},
		{backoffExponential, 1000, 60_000, 7, 60_000 * ms},
		{backoffExponential, 1000, 60_000, math.MaxUint64, 60_000 * ms},
		{backoffExponential, 0, 60_000, math.MaxUint64, 0},
		{backoffLinear, 1000, 60_000, 3, 3000 * ms},
		{backoffLinear, 1000, 60_000, math.MaxUint64, 60_000 * ms},
		{backoffLinear, 0, 60_000, math.MaxUint64, 0},
		{backoffFixed, 1000, 60_000, 1, 1000 * ms},
		{backoffFixed, 1000, 60_000, math.MaxUint64, 1000 * ms},
	} {
		c := Config{RetryBackoffType: tt.kind, RetryBackoffMS: tt.first, RetryMaxBackoffMS: tt.most}
		for range 100 {
			if got := c.callbackDelay(tt.deliveries); got < tt.want || got > tt.want+tt.want/10 {
				t.Errorf("%+v: %s", tt, got)
			}
		}
	}
}
