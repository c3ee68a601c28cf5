package engine

import (
	"sync"
	"sync/atomic"
	"time"
)

// clock is the log's: the local monotonic time plus the offset learned from the
// times at which the server stored messages. Two engines whose own clocks are
// apart judge deadlines alike.
type clock struct {
	start  time.Time
	skew   time.Duration // of the local clock; only tests and the builds of the fault suite set it
	offset atomic.Int64  // of now in the window that is closed
	best   atomic.Int64  // of the window that is open

	mu     sync.Mutex // of whoever observes
	opened int64      // when the window was, in local time since start
}

// window is how long an offset counts: a server whose clock was set back is
// believed after two of them.
const window = 30 * time.Second

func newClock(skew time.Duration) *clock {
	c := &clock{start: time.Now(), skew: skew}
	c.best.Store(minOffset)
	c.offset.Store(minOffset)
	return c
}

const minOffset = int64(-1) << 62

func (c *clock) local() int64 {
	return c.start.UnixNano() + int64(c.skew) + int64(time.Since(c.start))
}

// observe learns from a message that was stored at that time and has just come.
// What was stored is older than what the server's clock shows now, so the
// largest difference is the best guess.
func (c *clock) observe(stored time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := stored.UnixNano() - c.local()
	since := int64(time.Since(c.start))
	if since-c.opened > int64(window) {
		c.opened = since
		c.offset.Store(c.best.Load())
		c.best.Store(seen)
		return
	}
	if seen > c.best.Load() {
		c.best.Store(seen)
	}
}

// now is the log's time in Unix nanoseconds.
func (c *clock) now() int64 {
	offset := max(c.offset.Load(), c.best.Load())
	if offset == minOffset {
		offset = 0
	}
	return c.local() + offset
}
