package ownership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// news is what the bucket says of members.
type news struct {
	entries []jetstream.KeyValueEntry
	all     bool // the entries are all that there is
}

// follow tells of every change in the bucket, and of all that is in it at first
// and every few seconds, until ctx ends.
func follow(ctx context.Context, kv jetstream.KeyValue, log *slog.Logger, tell chan<- news) {
	for ctx.Err() == nil {
		if err := followOnce(ctx, kv, tell); err != nil && ctx.Err() == nil {
			log.DebugContext(ctx, "the members cannot be watched", slog.Any("error", err))
			wait(ctx, rejoinEvery)
		}
	}
}

// followOnce watches for a while: each watch begins with all that there is.
func followOnce(ctx context.Context, kv jetstream.KeyValue, tell chan<- news) error {
	ctx, cancel := context.WithTimeout(ctx, 2*listEvery)
	defer cancel()
	watcher, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch the members: %w", err)
	}
	defer watcher.Stop() //nolint:errcheck // the connection may be gone, and so is the watcher then
	again := time.After(listEvery)
	all := news{all: true}
	for {
		var say news
		select {
		case <-ctx.Done():
			return fmt.Errorf("watch the members: %w", ctx.Err())
		case <-again:
			return nil
		case entry, ok := <-watcher.Updates():
			switch {
			case !ok:
				return errors.New("the watch was closed")
			case entry == nil: // all that there was has come
				say, all.all = all, false
			case all.all:
				all.entries = append(all.entries, entry)
				continue
			default:
				say.entries = []jetstream.KeyValueEntry{entry}
			}
		}
		select {
		case <-ctx.Done():
		case tell <- say:
		}
	}
}

// wait is a pause that ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
