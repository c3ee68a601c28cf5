package client

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// forgetAfter is how long the server keeps the position of a reader that went
// away without a word.
const forgetAfter = time.Minute

// ordered reads without a position of its own: the library makes the consumer
// again behind the last message whenever one is missing.
type ordered struct {
	messages jetstream.MessagesContext
}

func openOrdered(ctx context.Context, js jetstream.JetStream, stream, filter string, begin start, opts EventsOptions) (*ordered, error) {
	consumer, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects:    []string{filter},
		DeliverPolicy:     begin.policy,
		OptStartSeq:       begin.sequence,
		OptStartTime:      begin.time,
		InactiveThreshold: forgetAfter,
	})
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(opts.Buffer))
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return &ordered{messages: messages}, nil
}

func (o *ordered) next(ctx context.Context) (jetstream.Msg, error) {
	return o.messages.Next(jetstream.NextContext(ctx))
}

func (*ordered) handled(jetstream.Msg) error { return nil }

func (o *ordered) close() { o.messages.Stop() }
