package dispatcher

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

const (
	// deadTimeout bounds the attempt to store a dead letter.
	deadTimeout = 5 * time.Second
	// deadDelay is when one that could not be stored is tried again.
	deadDelay = 30 * time.Second
)

// deadState keeps why the last dead letter could not be stored.
type deadState struct {
	mu    sync.Mutex
	cause error
	since time.Time
}

// failed notes a failure.
func (s *deadState) failed(err error, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cause, s.since = err, now
}

// stored notes a success that began then. It says nothing of failures since.
func (s *deadState) stored(began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.Before(began) {
		s.cause = nil
	}
}

// err returns the last failure, until another dispatcher must have taken over
// what failed here.
func (s *deadState) err(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil || now.Sub(s.since) > 2*deadDelay {
		return nil
	}
	return fmt.Errorf("a dead letter could not be stored: %w", s.cause)
}

// bury moves a message that can never be called to DEAD.
func (d *Dispatcher) bury(ctx context.Context, c *call, reason error) {
	d.log.WarnContext(ctx, "message can never be called", slog.Any("reason", reason),
		slog.String("stream", c.place.stream), slog.Uint64("sequence", c.place.sequence))
	bounded, cancel := context.WithTimeout(ctx, deadTimeout)
	defer cancel()
	began := time.Now()
	if err := d.bus.PublishDead(bounded, letter(c, reason, began)); err != nil {
		d.dead.failed(err, time.Now())
		d.log.ErrorContext(ctx, "dead letter not stored", slog.Any("error", err))
		d.nak(ctx, c, deadDelay)
		return
	}
	d.dead.stored(began)
	d.metrics.dead.Inc()
	d.ack(ctx, c)
}

func letter(c *call, reason error, now time.Time) *sluicev1.DeadLetter {
	headers := make(map[string]string, len(c.msg.Headers()))
	for name := range c.msg.Headers() {
		headers[name] = c.msg.Headers().Get(name)
	}
	return &sluicev1.DeadLetter{
		What:       "invocation",
		Reason:     reason.Error(),
		Subject:    c.msg.Subject(),
		Headers:    headers,
		Data:       c.msg.Data(),
		Stream:     c.place.stream,
		Sequence:   c.place.sequence,
		StoredNs:   c.place.storedNS,
		DeadNs:     now.UnixNano(),
		Deliveries: c.deliveries,
	}
}
