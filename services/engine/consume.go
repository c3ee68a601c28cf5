package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// sideJobs is how many messages of a shared consumer are handled at once.
const sideJobs = 32

// consume hands the messages of a shared durable consumer to handle until ctx
// ends, then waits for those that are being handled. It outlives NATS's absence.
func (e *Engine) consume(ctx context.Context, stream, durable string, handle func(context.Context, jetstream.Msg)) error {
	var handlers errgroup.Group
	handlers.SetLimit(sideJobs)
	for ctx.Err() == nil {
		messages, err := e.messages(ctx, stream, durable, sideJobs)
		if err != nil {
			e.pause(ctx, "a consumer cannot be read", stream+"/"+durable, err)
			continue
		}
		stop := context.AfterFunc(ctx, messages.Stop)
		for {
			msg, err := messages.Next()
			if err != nil {
				if ctx.Err() == nil && !errors.Is(err, jetstream.ErrMsgIteratorClosed) {
					e.pause(ctx, "a consumer was interrupted", stream+"/"+durable, err)
				}
				break
			}
			handlers.Go(func() error { handle(ctx, msg); return nil })
		}
		stop()
		messages.Stop()
	}
	return handlers.Wait() //nolint:wrapcheck // handlers return none
}

// messages begins to pull from a durable consumer.
func (e *Engine) messages(ctx context.Context, stream, durable string, window int) (jetstream.MessagesContext, error) {
	consumer, err := e.bus.JS.Consumer(ctx, stream, durable)
	if err != nil {
		return nil, err //nolint:wrapcheck // logged with its names
	}
	// A pull that expires soon costs little and notices soon when a server was
	// replaced; nothing waits for it.
	return consumer.Messages(jetstream.PullMaxMessages(window), jetstream.PullExpiry(5*time.Second), //nolint:wrapcheck // logged
		jetstream.PullHeartbeat(2*time.Second))
}

// pause waits a moment after a failure that goes away by itself.
func (e *Engine) pause(ctx context.Context, text, name string, err error) {
	if ctx.Err() != nil {
		return
	}
	e.log.WarnContext(ctx, "consumer interrupted", slog.String("what", text), slog.String("consumer", name), slog.Any("error", err))
	select {
	case <-ctx.Done():
	case <-time.After(500 * time.Millisecond):
	}
}
