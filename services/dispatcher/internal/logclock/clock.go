// Package logclock tells the time of the log, by which deadlines are set, without
// asking for it.
package logclock

import (
	"math"
	"sync/atomic"
	"time"
)

// A Clock tells the log's time, by which deadlines were set: local time,
// less the smallest lag that a stored message ever showed. A message is stored
// before it is received, so the clock never runs ahead of the log's, however
// wrong the local one is.
type Clock struct {
	base time.Time // monotonic
	lag  atomic.Int64
}

// New returns a clock that has learned nothing yet.
func New() *Clock {
	c := &Clock{base: time.Now()}
	c.lag.Store(math.MaxInt64)
	return c
}

// local is steady: setting the machine's clock does not move it.
func (c *Clock) local() int64 { return c.base.UnixNano() + int64(time.Since(c.base)) }

// Learn takes the time at which a message was stored that came just now.
func (c *Clock) Learn(storedNS int64) {
	lag := c.local() - storedNS
	for {
		known := c.lag.Load()
		if lag >= known || c.lag.CompareAndSwap(known, lag) {
			return
		}
	}
}

// Now returns the log's time in Unix nanoseconds. It makes sense only once a
// message came.
func (c *Clock) Now() int64 { return c.local() - c.lag.Load() }
