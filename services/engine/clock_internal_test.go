package engine

import (
	"testing"
	"time"
)

// Rule 7: an engine whose own clock is minutes off judges by the log's.
func TestClockFollowsTheLog(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{0, 5 * time.Minute, -5 * time.Minute} {
		c := newClock(skew)
		c.observe(time.Now().Add(-time.Second)) // came late
		c.observe(time.Now())
		c.observe(time.Now().Add(-time.Minute)) // an old message says little
		if apart := time.Duration(c.now() - time.Now().UnixNano()); apart.Abs() > 500*time.Millisecond {
			t.Errorf("with a clock off by %s, the log's is missed by %s", skew, apart)
		}
	}
	if apart := time.Duration(newClock(0).now() - time.Now().UnixNano()); apart.Abs() > 500*time.Millisecond {
		t.Errorf("before any message the local clock stands in, and is off by %s", apart)
	}
}
