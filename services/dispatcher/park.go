package dispatcher

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sluiceflow/sluice/services/internal/bus"
)

const (
	// maxParkings bounds the parkings that are not counted yet. One that is
	// never counted makes a first call look repeated, which is the safe side.
	maxParkings = 4096
	// counters is how many of them are counted at once.
	counters = 4
	// countTimeout bounds the last ones when the dispatcher stops.
	countTimeout = time.Second
)

// putBack gives an invocation that was not called back to its stream.
func (d *Dispatcher) putBack(ctx context.Context, c *call, delay time.Duration) {
	select {
	case d.parkings <- c.place.String():
	default:
	}
	d.nak(ctx, c, delay)
}

func (d *Dispatcher) nak(ctx context.Context, c *call, delay time.Duration) {
	if err := c.msg.NakWithDelay(delay); err != nil {
		// It comes back all the same, once its ack wait is over.
		d.log.WarnContext(ctx, "invocation not put back", slog.Any("error", err))
	}
}

// startCounting counts parkings in the background, so that no call waits for
// Redis. What it returns waits for the last of them, but not for long; the
// channel is closed before.
func (d *Dispatcher) startCounting(work context.Context) (wait func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(work))
	var counting sync.WaitGroup
	for range counters {
		counting.Go(func() {
			for key := range d.parkings {
				if ctx.Err() != nil {
					return
				}
				if err := d.index.Parked(ctx, key); err != nil {
					d.log.DebugContext(ctx, "parking not counted", slog.Any("error", err))
				}
			}
		})
	}
	return func() {
		patience := time.AfterFunc(countTimeout, cancel)
		defer patience.Stop()
		counting.Wait()
		cancel()
	}
}

// repeated reports whether an earlier delivery of the same invocation may have
// reached the endpoint; of one that was redriven nobody knows.
func (d *Dispatcher) repeated(ctx context.Context, c *call) bool {
	if c.msg.Headers().Get(bus.HeaderRedrives) != "" {
		return true
	}
	if c.deliveries == 1 {
		return false
	}
	parked, known, err := d.index.Parkings(ctx, c.place.String())
	if err != nil {
		d.log.WarnContext(ctx, "parkings not known, a call counts as repeated", slog.Any("error", err))
		return true
	}
	return !known || c.deliveries != uint64(max(parked, 0))+1
}
