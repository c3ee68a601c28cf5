// Package slots decides which calls may run at once, so that one slow endpoint
// takes neither the slots nor the time of the others. It knows no clock and
// starts nothing: callers pass the time and obey.
package slots

import (
	"math"
	"time"
)

const (
	// A call waits here only where a slot is likely within patience; longer
	// waits happen in the stream, where any dispatcher may pick them up.
	patience = 500 * time.Millisecond
	minPark  = 25 * time.Millisecond
	maxPark  = 30 * time.Second
	// guess stands for how long a call takes until one has ended.
	guess = 100 * time.Millisecond
)

// Limits bound the calls of one dispatcher.
type Limits struct {
	// PerEndpoint is how many calls to one host and port run at once.
	PerEndpoint int
	// Total is how many invocations are held at once, running, waiting for a
	// slot, or being reported.
	Total int
}

// Decision says what to do with an invocation.
type Decision int

const (
	// Run it now; its end is told with [Table.Done].
	Run Decision = iota + 1
	// Wait for a slot: Done or Expired will return it.
	Wait
	// Park it: back to the stream, for the delay given with the decision.
	Park
)

// Table keeps who runs and who waits. T is what a caller knows an invocation
// by. A Table is not safe for concurrent use.
type Table[T any] struct {
	limits    Limits
	held      int
	endpoints map[string]*state[T]
}

type state[T any] struct {
	running  int
	waiting  []waiter[T]
	latency  time.Duration // smoothed; 0 until a call has ended
	progress time.Time     // when a call last ended, or the first one began
	horizon  time.Time     // until when the slots are spoken for by what is parked
	parked   uint64
}

type waiter[T any] struct {
	item  T
	since time.Time
}

// New returns an empty table.
func New[T any](limits Limits) *Table[T] {
	return &Table[T]{limits: limits, endpoints: make(map[string]*state[T])}
}

// Free returns how many more invocations may be pulled. [Table.Hold] takes
// them, [Table.Release] gives them back.
func (t *Table[T]) Free() int { return t.limits.Total - t.held }

// Held returns how many invocations are held.
func (t *Table[T]) Held() int { return t.held }

// Hold takes n of the total.
func (t *Table[T]) Hold(n int) { t.held += n }

// Release gives n of the total back.
func (t *Table[T]) Release(n int) { t.held -= n }

// Offer decides about a held invocation for an endpoint. The delay is given
// with Park; its caller releases the invocation.
func (t *Table[T]) Offer(endpoint string, item T, now time.Time) (Decision, time.Duration) {
	e := t.endpoints[endpoint]
	if e == nil {
		e = &state[T]{progress: now}
		t.endpoints[endpoint] = e
	}
	switch {
	case t.crowded(e):
		return Park, e.park(now, t.limits.PerEndpoint)
	case e.running < t.limits.PerEndpoint && len(e.waiting) == 0:
		if e.running == 0 {
			e.progress = now
		}
		e.running++
		return Run, 0
	case len(e.waiting) < t.limits.PerEndpoint && e.wait(now, t.limits.PerEndpoint) < patience:
		e.waiting = append(e.waiting, waiter[T]{item, now})
		return Wait, 0
	}
	return Park, e.park(now, t.limits.PerEndpoint)
}

// Done says that a call ended, which took so long, and returns the waiting
// invocation that runs in its place, if there is one.
func (t *Table[T]) Done(endpoint string, took time.Duration, now time.Time) (next T, ok bool) {
	e := t.endpoints[endpoint]
	if e.latency == 0 {
		e.latency = took
	}
	e.latency += (took - e.latency) / 8
	e.progress = now
	if len(e.waiting) == 0 {
		e.running--
		return next, false
	}
	next = e.waiting[0].item
	e.waiting[0] = waiter[T]{}
	e.waiting = e.waiting[1:]
	return next, true
}

// Expired removes the invocations that waited longer than patience and gives
// them to park with their delays. It forgets endpoints that nothing is known
// of any more that would matter.
func (t *Table[T]) Expired(now time.Time, park func(T, time.Duration)) {
	for name, e := range t.endpoints {
		for len(e.waiting) > 0 && now.Sub(e.waiting[0].since) >= patience {
			park(e.waiting[0].item, e.park(now, t.limits.PerEndpoint))
			e.waiting[0] = waiter[T]{}
			e.waiting = e.waiting[1:]
		}
		if e.running == 0 && len(e.waiting) == 0 && now.Sub(e.progress) > time.Minute && now.After(e.horizon) {
			delete(t.endpoints, name)
		}
	}
}

// Evict removes all that waits and gives it to park.
func (t *Table[T]) Evict(park func(T)) {
	for _, e := range t.endpoints {
		for _, w := range e.waiting {
			park(w.item)
		}
		e.waiting = nil
	}
}

// Endpoints returns how many endpoints are known.
func (t *Table[T]) Endpoints() int { return len(t.endpoints) }

// crowded reports whether the endpoint has its share when little is left: the
// last quarter is for those with fewer calls, so that many endpoints that hang
// leave room for one that does not.
func (t *Table[T]) crowded(e *state[T]) bool {
	if t.Free() > t.limits.Total/4 {
		return false
	}
	share := max(1, t.limits.Total/4/len(t.endpoints))
	return e.running+len(e.waiting) >= share
}

// pace estimates the time between two calls that end while all slots are taken.
func (e *state[T]) pace(now time.Time, slots int) time.Duration {
	latency := e.latency
	if latency == 0 {
		latency = guess
	}
	// Where nothing has ended for long, calls take at least that long by now.
	return max(latency, now.Sub(e.progress)) / time.Duration(slots)
}

func (e *state[T]) wait(now time.Time, slots int) time.Duration {
	return time.Duration(len(e.waiting)+1) * e.pace(now, slots)
}

// park gives each parked invocation its own moment to come back, one pace after
// the one before, so that the delay grows with the backlog and they do not all
// come back at once.
func (e *state[T]) park(now time.Time, slots int) time.Duration {
	if e.horizon.Before(now) {
		e.horizon = now
	}
	e.horizon = e.horizon.Add(e.pace(now, slots))
	delay := e.horizon.Sub(now)
	if delay <= maxPark {
		return max(delay, minPark)
	}
	e.horizon = now.Add(maxPark)
	// Past the bound the order is lost, but they stay spread: multiples of the
	// golden ratio fill an interval evenly.
	e.parked++
	_, spread := math.Modf(float64(e.parked) * math.Phi)
	return maxPark/2 + time.Duration(spread*float64(maxPark/2))
}
