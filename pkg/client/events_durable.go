package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// durableAckWait is how long a commit may be with the reader before the
	// server sends it once more, which the reader then passes over.
	durableAckWait = 30 * time.Second
	resetTimeout   = 5 * time.Second
)

// ErrOtherPosition says that the name of a durable position is taken by one
// with another filter.
var ErrOtherPosition = errors.New("the durable position exists with another filter")

// durable reads from a position that NATS keeps. What was sent to a reader that
// is gone, or over a connection that broke, would come back only after
// durableAckWait and behind newer commits. So the consumer is set back to its
// ack floor when reading begins, and whenever its count of deliveries has a gap.
type durable struct {
	js       jetstream.JetStream
	consumer jetstream.Consumer
	stream   string
	name     string
	buffer   int

	messages  jetstream.MessagesContext // nil while there is nothing to read from
	delivered uint64                    // the consumer's count at the last message
	last      uint64                    // the stream's sequence of the last message given
}

func openDurable(ctx context.Context, js jetstream.JetStream, stream, filter string, begin start, opts EventsOptions) (*durable, error) {
	consumer, err := js.Consumer(ctx, stream, opts.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		consumer, err = js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
			Durable:       opts.Durable,
			FilterSubject: filter,
			DeliverPolicy: begin.policy,
			OptStartSeq:   begin.sequence,
			OptStartTime:  begin.time,
			AckPolicy:     jetstream.AckAllPolicy,
			AckWait:       durableAckWait,
			MaxDeliver:    -1,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("open position %s of stream %s: %w", opts.Durable, stream, err)
	}
	config := consumer.CachedInfo().Config
	if config.FilterSubject != filter || config.AckPolicy != jetstream.AckAllPolicy {
		return nil, fmt.Errorf("%w: %s of stream %s has %q", ErrOtherPosition, opts.Durable, stream, config.FilterSubject)
	}
	return &durable{js: js, consumer: consumer, stream: stream, name: opts.Durable, buffer: opts.Buffer}, nil
}

func (d *durable) next(ctx context.Context) (jetstream.Msg, error) {
	for {
		if d.messages == nil {
			if err := d.restartUntil(ctx); err != nil {
				return nil, err
			}
		}
		msg, err := d.messages.Next(jetstream.NextContext(ctx))
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case d.final(err):
			return nil, err
		default:
			d.close()
			continue
		}
		meta, err := msg.Metadata()
		if err != nil {
			return nil, fmt.Errorf("read what came from stream %s: %w", d.stream, err)
		}
		if meta.Sequence.Consumer != d.delivered+1 {
			d.close()
			continue
		}
		d.delivered = meta.Sequence.Consumer
		if meta.Sequence.Stream <= d.last {
			continue
		}
		d.last = meta.Sequence.Stream
		return msg, nil
	}
}

// final says of which errors trying again is no cure.
func (d *durable) final(err error) bool {
	return d.js.Conn().IsClosed() || errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) ||
		errors.Is(err, jetstream.ErrStreamNotFound)
}

func (d *durable) restartUntil(ctx context.Context) error {
	wait := backoff.NewExponentialBackOff(backoff.WithMaxElapsedTime(0), backoff.WithMaxInterval(5*time.Second))
	return backoff.Retry(func() error {
		err := d.restart(ctx)
		if err != nil && d.final(err) {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(wait, ctx))
}

// restart begins to read behind the last commit that counts as handled.
func (d *durable) restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, resetTimeout)
	defer cancel()
	answer, err := d.js.Conn().RequestWithContext(ctx, apiPrefix(d.js.Options())+"CONSUMER.RESET."+d.stream+"."+d.name, nil)
	if err != nil {
		return fmt.Errorf("set position %s of stream %s back: %w", d.name, d.stream, err)
	}
	var reset struct {
		Error     *jetstream.APIError    `json:"error"`
		Delivered jetstream.SequenceInfo `json:"delivered"`
	}
	if err := json.Unmarshal(answer.Data, &reset); err != nil {
		return fmt.Errorf("set position %s of stream %s back: %w", d.name, d.stream, err)
	}
	if reset.Error != nil {
		return fmt.Errorf("set position %s of stream %s back: %w", d.name, d.stream, reset.Error)
	}
	messages, err := d.consumer.Messages(jetstream.PullMaxMessages(d.buffer), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return fmt.Errorf("read stream %s: %w", d.stream, err)
	}
	d.messages, d.delivered = messages, reset.Delivered.Consumer
	return nil
}

// apiPrefix is what the library puts before its own requests.
func apiPrefix(opts jetstream.JetStreamOptions) string {
	switch {
	case opts.APIPrefix != "":
		return strings.TrimSuffix(opts.APIPrefix, ".") + "."
	case opts.Domain != "":
		return "$JS." + opts.Domain + ".API."
	}
	return jetstream.DefaultAPIPrefix
}

func (*durable) handled(msg jetstream.Msg) error { return msg.Ack() }

func (d *durable) close() {
	if d.messages != nil {
		d.messages.Stop()
		d.messages = nil
	}
}
