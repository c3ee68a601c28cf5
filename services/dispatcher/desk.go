package dispatcher

import (
	"context"
	"time"

	"github.com/sluiceflow/sluice/services/dispatcher/internal/logclock"
	"github.com/sluiceflow/sluice/services/dispatcher/internal/slots"
)

const (
	// tick is how often waiting calls are looked at.
	tick = 100 * time.Millisecond
	// handBack is when another dispatcher gets what this one gives up because it
	// stops. Not at once, or the last pull would bring it back.
	handBack = 250 * time.Millisecond
	// eventBuffer keeps calls that end from waiting for the desk.
	eventBuffer = 256
)

// A desk decides what happens to invocations. Everything in it belongs to the
// goroutine of [desk.run]; the channels are how others talk to it.
type desk struct {
	// grants hands a puller the number of invocations that it may pull.
	grants chan int
	// unused takes back what a puller did not get.
	unused   chan int
	arrivals chan *call
	ended    chan ended
	// pulled is closed when nothing will be pulled any more.
	pulled chan struct{}

	table *slots.Table[*call]
	held  map[place]*call
	// granted counts what may still arrive.
	granted int
	// share is the most that one puller is granted at once.
	share    int
	stopping bool

	touchAfter time.Duration
	lastTouch  time.Time
	clock      *logclock.Clock
	metrics    *metrics
	effects    deskEffects
}

// deskEffects are what a desk has others do. None of them waits.
type deskEffects struct {
	serve  func(*call)                // starts the call
	bury   func(*call)                // starts to put garbage away
	park   func(*call, time.Duration) // puts it back, uncalled
	finish func(*call)                // acks it
	touch  func(*call)                // tells NATS that it is worked on
}

// ended says that a call's slot is free, or that the call is settled and
// nothing more will be done about it.
type ended struct {
	call    *call
	took    time.Duration
	settled bool
}

func newDesk(limits slots.Limits, pullers int, ackWait time.Duration, clock *logclock.Clock, m *metrics) *desk {
	return &desk{
		grants:     make(chan int),
		unused:     make(chan int),
		arrivals:   make(chan *call),
		ended:      make(chan ended, eventBuffer),
		pulled:     make(chan struct{}),
		table:      slots.New[*call](limits),
		held:       make(map[place]*call, limits.Total),
		share:      max(1, limits.Total/pullers),
		touchAfter: ackWait / 3,
		clock:      clock,
		metrics:    m,
	}
}

// run works until stop ended, nothing is pulled any more and all that is held
// is settled.
func (d *desk) run(stop context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	stopped, pulled := stop.Done(), d.pulled
	for !d.stopping || pulled != nil || d.table.Held() > 0 {
		grants, n := d.allowance()
		select {
		case grants <- n:
			d.granted += n
		case n := <-d.unused:
			d.granted -= n
		case c := <-d.arrivals:
			if stopped != nil && stop.Err() != nil { // both are there: nothing begins any more
				stopped = nil
				d.stop()
			}
			d.arrived(c, time.Now())
		case e := <-d.ended:
			d.end(e, time.Now())
		case now := <-ticker.C:
			d.look(now)
		case <-stopped:
			stopped = nil
			d.stop()
		case <-pulled:
			pulled = nil
		}
	}
}

// allowance returns how many invocations the next puller may pull, and the
// channel to say so, which is nil where there is nothing to grant.
func (d *desk) allowance() (chan<- int, int) {
	n := min(d.table.Free()-d.granted, d.share)
	if n < 1 || d.stopping {
		return nil, 0
	}
	return d.grants, n
}

func (d *desk) arrived(c *call, now time.Time) {
	d.granted--
	if c.deliveries > 1 {
		d.metrics.redeliveries.Inc()
	}
	if running, ok := d.held[c.place]; ok {
		// Its acks of progress were lost. The first delivery goes on, and its
		// ack will settle both.
		running.touched = now
		d.effects.touch(c)
		return
	}
	d.clock.Learn(c.place.storedNS)
	d.hold(c)
	switch {
	case c.garbage != nil:
		d.effects.bury(c)
	case c.inv.GetDeadlineNs() != 0 && d.clock.Now() >= c.inv.GetDeadlineNs():
		// The engine times the attempt out by itself.
		d.metrics.expired.Inc()
		d.effects.finish(c)
		d.release(c)
	case d.stopping:
		d.park(c, handBack)
	default:
		d.offer(c, now)
	}
}

func (d *desk) offer(c *call, now time.Time) {
	switch decision, delay := d.table.Offer(c.slot(), c, now); decision {
	case slots.Run:
		d.effects.serve(c)
	case slots.Wait:
	case slots.Park:
		d.metrics.parked.Inc()
		d.park(c, delay)
	}
}

func (d *desk) end(e ended, now time.Time) {
	if e.settled {
		d.release(e.call)
		return
	}
	if next, ok := d.table.Done(e.call.slot(), e.took, now); ok {
		d.effects.serve(next)
	}
}

// look parks what waited too long, and keeps NATS from delivering again what
// is still held.
func (d *desk) look(now time.Time) {
	d.table.Expired(now, func(c *call, delay time.Duration) {
		d.metrics.parked.Inc()
		d.park(c, delay)
	})
	if now.Sub(d.lastTouch) < d.touchAfter/4 {
		return
	}
	d.lastTouch = now
	for _, c := range d.held {
		if now.Sub(c.touched) >= d.touchAfter {
			c.touched = now
			d.effects.touch(c)
		}
	}
}

// stop gives what has not begun to other dispatchers.
func (d *desk) stop() {
	d.stopping = true
	d.table.Evict(func(c *call) { d.park(c, handBack) })
}

func (d *desk) park(c *call, delay time.Duration) {
	d.effects.park(c, delay)
	d.release(c)
}

func (d *desk) hold(c *call) {
	d.held[c.place] = c
	d.table.Hold(1)
	d.metrics.held.Inc()
}

func (d *desk) release(c *call) {
	delete(d.held, c.place)
	d.table.Release(1)
	d.metrics.held.Dec()
}
