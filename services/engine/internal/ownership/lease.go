package ownership

import (
	"sync/atomic"
	"time"
)

// leaseOver is the end of a lease that was found to be over.
const leaseOver = int64(-1)

// lease is the time for which a member may count itself in, by its own monotonic
// clock. One that was over once is never renewed, whoever found that out: what
// was done under it must be given up first.
type lease struct {
	begin time.Time
	until atomic.Int64 // nanoseconds since begin
}

// newLease begins a lease at the time at which the member was about to say that
// it lives.
func newLease(begin time.Time) *lease {
	l := &lease{begin: begin}
	l.until.Store(int64(ownTerm))
	return l
}

func (l *lease) valid() bool {
	for {
		until := l.until.Load()
		if until == leaseOver {
			return false
		}
		if int64(time.Since(l.begin)) <= until {
			return true
		}
		if l.until.CompareAndSwap(until, leaseOver) {
			return false
		}
	}
}

// renew makes the lease longer, counted from the time at which the member was
// about to say that it lives, and reports whether it was not over before.
func (l *lease) renew(from time.Time) bool {
	until := l.until.Load()
	return l.valid() && l.until.CompareAndSwap(until, int64(from.Sub(l.begin)+ownTerm))
}
