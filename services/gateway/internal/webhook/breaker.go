package webhook

import (
	"sync/atomic"
	"time"
)

const (
	breakAfter = 3           // failures in a row
	breakFor   = time.Second // then one call in that time tries again
)

// breaker spares webhooks the wait for a Redis that does not answer: while it
// is open, one call a second finds out whether it is back.
type breaker struct {
	failures atomic.Int64
	until    atomic.Int64 // Unix nanoseconds
}

// allows reports whether a call should be tried.
func (b *breaker) allows(now time.Time) bool {
	if b.failures.Load() < breakAfter {
		return true
	}
	until := b.until.Load()
	return now.UnixNano() >= until && b.until.CompareAndSwap(until, now.Add(breakFor).UnixNano())
}

// failed counts a failure and reports whether it opened the breaker.
func (b *breaker) failed(now time.Time) bool {
	b.until.Store(now.Add(breakFor).UnixNano())
	return b.failures.Add(1) == breakAfter
}

// worked closes the breaker and reports whether it was open.
func (b *breaker) worked() bool {
	return b.failures.Load() > 0 && b.failures.Swap(0) >= breakAfter
}
