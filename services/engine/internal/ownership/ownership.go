// Package ownership says which partitions an engine works on: those that
// rendezvous hashing gives it among the engines that live, which tell each other
// of themselves in a bucket.
//
// It only saves work. What keeps two engines from writing the same flow is the
// log's expected sequence, so an engine that is wrong here does no harm.
package ownership

import (
	"context"
	"time"
)

// What the times are to each other matters more than what they are: a member
// takes itself for dead before others do, and others before the bucket does.
const (
	// beatEvery is how often a member says that it lives.
	beatEvery = 500 * time.Millisecond
	// ownTerm is how long a member counts itself in after it last said so.
	ownTerm = 2 * time.Second
	// peerTerm is how long others count it in after they last heard it. The
	// bucket keeps what it said for 3 s.
	peerTerm = 2500 * time.Millisecond
	// patience is how long a member waits for another one to let go of a
	// partition that is its own now. After that it works on it all the same.
	patience = time.Second
	// listEvery is how often all members are read, whatever was announced.
	listEvery = 3 * time.Second
	// lookEvery is how often a member looks whether a time is up.
	lookEvery = 100 * time.Millisecond
	// writeTimeout bounds each write to the bucket.
	writeTimeout = time.Second
	// rejoinEvery is the pause before a member that is out tries to come back.
	rejoinEvery = 250 * time.Millisecond
)

// A Hold is a partition that an engine owns for as long as the context that came
// with it lasts.
type Hold struct {
	// Partition is its number.
	Partition int

	lease *lease
}

// Valid reports whether the partition may be worked on. It turns false, for
// good, when others may take the engine for dead: also while the process is
// stopped, and so before its context ends.
func (h Hold) Valid() bool { return h.lease == nil || h.lease.valid() }

// Work works on a partition until ctx ends, and returns when it has let go of
// all that it held of it.
type Work func(ctx context.Context, hold Hold)
