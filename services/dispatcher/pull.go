package dispatcher

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"
)

// pullExpiry bounds how long an idle pull stays open, and with it how long a
// stopping dispatcher may still be given invocations.
const pullExpiry = time.Second

// pull fetches from one stream whatever the desk grants.
func (d *Dispatcher) pull(ctx context.Context, consumer jetstream.Consumer) {
	known := newTargets(d.rules)
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(5*time.Second),
		backoff.WithMaxElapsedTime(0))
	for {
		var n int
		select {
		case <-ctx.Done():
			return
		case n = <-d.desk.grants:
		}
		got, err := d.fetch(ctx, consumer, n, known)
		d.desk.unused <- n - got
		if err == nil {
			pause.Reset()
			continue
		}
		d.log.WarnContext(ctx, "pull of invocations interrupted", slog.Any("error", err))
		select {
		case <-ctx.Done():
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// fetch hands up to n invocations to the desk as they come, and returns how
// many there were.
func (d *Dispatcher) fetch(ctx context.Context, consumer jetstream.Consumer, n int, known *targets) (got int, err error) {
	// Not by ctx: what is on its way when it ends would be lost until its ack
	// wait is over.
	batch, err := consumer.Fetch(n, jetstream.FetchMaxWait(pullExpiry))
	if err != nil {
		return 0, fmt.Errorf("ask for invocations: %w", err)
	}
	for msg := range batch.Messages() {
		c, err := newCall(d.bus, msg, known, time.Now())
		if err != nil {
			d.log.ErrorContext(ctx, "message without a place", slog.Any("error", err))
			continue
		}
		got++
		d.desk.arrivals <- c
	}
	if err := batch.Error(); err != nil {
		return got, fmt.Errorf("receive invocations: %w", err)
	}
	return got, nil
}
