package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// waiting is what a service that starts waits for, as /ready tells it.
type waiting struct {
	mu     sync.Mutex
	what   string
	reason error
}

func (w *waiting) set(what string, reason error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.what, w.reason = what, reason
}

// checks is empty once there is nothing to wait for.
func (w *waiting) checks() map[string]error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.what == "" {
		return map[string]error{}
	}
	return map[string]error{w.what: w.reason}
}

// until repeats do with backoff until it succeeds, what it says can never
// work, or ctx ends.
func (h *host) until(ctx context.Context, what string, do func() error) error {
	h.waiting.set(what, errors.New("not there yet"))
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstRetry), backoff.WithMaxInterval(lastRetry), backoff.WithMaxElapsedTime(0))
	again := func() error {
		err := do()
		if fault.KindOf(err) == fault.Invalid {
			return backoff.Permanent(err)
		}
		return err
	}
	said := func(err error, next time.Duration) {
		h.waiting.set(what, err)
		h.log.WarnContext(ctx, "dependency not there, trying again",
			slog.String("dependency", what), slog.Any("error", err), slog.Duration("pause", next.Round(time.Millisecond)))
	}
	if err := backoff.RetryNotify(again, backoff.WithContext(pause, ctx), said); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
