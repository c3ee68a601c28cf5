package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/fault"
)

// Headers of Sluice's own.
const (
	// HeaderReply names the inbox of who waits for what became of a command:
	// JetStream's own reply subject is the publish's ack.
	HeaderReply = "Sluice-Reply"
	// HeaderChecksum is the checksum of a commit, in hexadecimal.
	HeaderChecksum = "Sluice-Checksum"
	// HeaderSnapshot is the stream sequence of the commit that a load of the
	// flow begins with; 0 means the message itself.
	HeaderSnapshot = "Sluice-Snapshot"
	// HeaderRevision is a commit's revision.
	HeaderRevision = "Sluice-Revision"
	// HeaderStatus is the status that a commit gives its flow, where that was
	// paused or made to go on.
	HeaderStatus = "Sluice-Status"
	// HeaderOpen marks a commit of a flow that is a child or has children.
	HeaderOpen = "Sluice-Open"
	// HeaderBroken says why a history could not be carried on.
	HeaderBroken = "Sluice-Broken"
	// HeaderFirstStored is when the original of a redriven message was stored
	// first, in Unix nanoseconds.
	HeaderFirstStored = "Sluice-First-Stored"
	// HeaderRedrives counts how often a message was redriven.
	HeaderRedrives = "Sluice-Redrives"
)

// What each command says of itself. The server's checksum of a message covers the
// length of its subject only where it has headers: a flipped bit there would
// otherwise give it another subject, such as one with a line break in it, on
// which each consumer's connection would break again and again.
const (
	headerContent = "content-type"
	contentProto  = "application/protobuf"
)

// askTimeout is how long Ask waits where its context sets no earlier deadline.
const askTimeout = 5 * time.Second

// headerCarrier lets the W3C trace context travel in NATS headers as they are
// spelled on HTTP, in lower case.
type headerCarrier nats.Header

func (h headerCarrier) Get(key string) string { return nats.Header(h).Get(key) }
func (h headerCarrier) Set(key, value string) { nats.Header(h).Set(key, value) }
func (h headerCarrier) Keys() []string {
	keys := make([]string, 0, len(h))
	for k := range h {
		keys = append(keys, k)
	}
	return keys
}

var _ propagation.TextMapCarrier = headerCarrier{}

// Inject writes the trace context of ctx into headers.
func Inject(ctx context.Context, h nats.Header) {
	otel.GetTextMapPropagator().Inject(ctx, headerCarrier(h))
}

// Extract returns ctx with the trace context that headers hold.
func Extract(ctx context.Context, h nats.Header) context.Context {
	if len(h) == 0 {
		return ctx
	}
	return otel.GetTextMapPropagator().Extract(ctx, headerCarrier(h))
}

// CommandMsg makes the message of a command.
func (b *Bus) CommandMsg(src subject.Source, cmd *sluicev1.Command) (*nats.Msg, error) {
	data, err := proto.Marshal(cmd)
	if err != nil {
		return nil, fault.New(fault.Internal, "bus.CommandMsg", err)
	}
	partition := b.Partition(cmd.GetFlowId())
	return &nats.Msg{
		Subject: b.Space.Command(src, partition, cmd.GetFlowId()), Data: data,
		Header: nats.Header{headerContent: {contentProto}},
	}, nil
}

// commandsOf names the stream that takes a command.
func (b *Bus) commandsOf(cmd *sluicev1.Command) string {
	return b.Commands(b.Shard(b.Partition(cmd.GetFlowId())))
}

// PublishCommand stores a command and returns once the stream has it. It takes
// the trace context of ctx along. An error of kind [fault.Unavailable] means
// that it may not be stored: the same may be sent again. Header may be nil.
func (b *Bus) PublishCommand(ctx context.Context, src subject.Source, cmd *sluicev1.Command, header nats.Header) error {
	msg, err := b.CommandMsg(src, cmd)
	if err != nil {
		return err
	}
	maps.Copy(msg.Header, header)
	Inject(ctx, msg.Header)
	return b.publish(ctx, b.commandsOf(cmd), msg)
}

// Publish stores one message and returns once the stream has it, or with an
// error of kind [fault.Unavailable].
func (b *Bus) Publish(ctx context.Context, msg *nats.Msg) error {
	return b.publish(ctx, "", msg)
}

// publish is Publish for a stream that may take the message with others.
func (b *Bus) publish(ctx context.Context, stream string, msg *nats.Msg) error {
	ack, err := b.PublishAsync(ctx, stream, msg)
	if err != nil {
		return unavailable("bus.Publish", err)
	}
	select {
	case <-ack.Ok():
		return nil
	case err := <-ack.Err():
		return unavailable("bus.Publish", err)
	case <-ctx.Done():
		return unavailable("bus.Publish", fmt.Errorf("no ack of the stream: %w", ctx.Err()))
	}
}

// Ask stores a command of the console and waits for the engine's answer, for
// 5 seconds where ctx ends no earlier. An error of kind [fault.Unavailable]
// means that none came: the command may still be carried out, and may be asked
// again.
func (b *Bus) Ask(ctx context.Context, cmd *sluicev1.Command) (*sluicev1.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer := make(chan *sluicev1.Reply, 1)
	to := b.inbox + "." + strconv.FormatUint(b.asked.Add(1), 36)
	b.waiting.Store(to, answer)
	defer b.waiting.Delete(to)
	// The stream's ack is not waited for before the reply: the reply proves it.
	msg, err := b.CommandMsg(subject.SourceAPI, cmd)
	if err != nil {
		return nil, err
	}
	msg.Header.Set(HeaderReply, to)
	Inject(ctx, msg.Header)
	ack, err := b.JS.PublishMsgAsync(msg)
	if err != nil {
		return nil, unavailable("bus.Ask", err)
	}
	select {
	case reply := <-answer:
		return reply, nil
	case err := <-ack.Err():
		return nil, unavailable("bus.Ask", err)
	case <-ctx.Done():
		return nil, unavailable("bus.Ask", errors.New("no engine answered in time"))
	}
}

// reply hands an answer to who waits for it. A second one finds nobody.
func (b *Bus) reply(msg *nats.Msg) {
	waiting, ok := b.waiting.LoadAndDelete(msg.Subject)
	if !ok {
		return
	}
	reply := &sluicev1.Reply{}
	if err := proto.Unmarshal(msg.Data, reply); err != nil {
		b.log.Warn("a reply could not be read", "error", err)
		return
	}
	if answer, ok := waiting.(chan *sluicev1.Reply); ok {
		answer <- reply
	}
}
