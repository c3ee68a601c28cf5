package ownership

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestLeaseThatWasOverIsNeverRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLease(time.Now())
		hold := Hold{Partition: 3, lease: l}
		time.Sleep(ownTerm - 1)
		asked := time.Now().Add(-time.Second) // the answer took a second
		if !hold.Valid() || !l.renew(asked) {
			t.Fatal("it was over too early")
		}
		time.Sleep(ownTerm - time.Second)
		if !hold.Valid() {
			t.Error("a renewal does not count from when it was asked for")
		}
		time.Sleep(2 * time.Nanosecond)
		if l.renew(time.Now()) || hold.Valid() {
			t.Error("a lease that was over was renewed")
		}
	})
}

// Whoever finds it over makes it so for all: the loops of partitions look at it
// while the member renews it.
func TestLeaseIsOverForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLease(time.Now())
		time.Sleep(ownTerm)
		asked := time.Now()
		var all sync.WaitGroup
		var renewed, seen bool
		all.Go(func() { time.Sleep(time.Nanosecond); seen = l.valid() })
		all.Go(func() { time.Sleep(time.Nanosecond); renewed = l.renew(asked) })
		all.Wait()
		if renewed || seen || l.valid() {
			t.Errorf("over: renewed %t, valid %t", renewed, seen)
		}
	})
}
