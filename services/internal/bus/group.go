package bus

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	// groupFrom is how many messages have to wait before they are stored as one
	// atomic batch: a batch costs as much as 20 single syncs, and more processor
	// time.
	groupFrom = 32
	// groupMost bounds a batch; the server takes up to 1,000 messages.
	groupMost = 256
	// groupBytes bounds the data of a batch.
	groupBytes = 4 << 20
	// singlesAtOnce is how many messages are on their way one by one: enough
	// that the server never waits for the next, few enough that more come
	// together behind them.
	singlesAtOnce = 32
)

// group stores messages of one stream. A server that syncs every write syncs an
// atomic batch once, so what waits while the disk is busy is stored together;
// where little waits, single messages are faster (group commit).
type group struct {
	js     jetstream.JetStream
	synced func() bool
	busy   *sync.WaitGroup

	mu       sync.Mutex
	waiting  []*grouped
	singles  int  // on their way
	batching bool // one batch is
}

// grouped is a message that waits or is on its way. It is its own future.
type grouped struct {
	msg *nats.Msg
	ok  chan *jetstream.PubAck
	err chan error
}

var _ jetstream.PubAckFuture = (*grouped)(nil)

func (g *grouped) Ok() <-chan *jetstream.PubAck { return g.ok }
func (g *grouped) Err() <-chan error            { return g.err }
func (g *grouped) Msg() *nats.Msg               { return g.msg }

// fence is what the message's expected sequence is compared with; the server
// does not compare two messages of one batch with each other.
func (g *grouped) fence() string { return g.msg.Header.Get(jetstream.ExpectedLastSubjSeqSubjHeader) }

// PublishAsync stores a message in the stream of that name and does not wait.
// The future gives the ack, or the error of the server or of the connection;
// the end of ctx does not end it.
func (b *Bus) PublishAsync(ctx context.Context, stream string, msg *nats.Msg) (jetstream.PubAckFuture, error) {
	g := b.groups[stream]
	if g == nil || !g.synced() {
		return b.JS.PublishMsgAsync(msg) //nolint:wrapcheck // the caller says what it was
	}
	return g.publish(ctx, msg)
}

func (g *group) publish(ctx context.Context, msg *nats.Msg) (jetstream.PubAckFuture, error) {
	if !g.js.Conn().IsConnected() {
		return nil, nats.ErrDisconnected
	}
	if msg.Header == nil {
		msg.Header = nats.Header{}
	}
	f := &grouped{msg: msg, ok: make(chan *jetstream.PubAck, 1), err: make(chan error, 1)}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) >= maxPending {
		return nil, errors.New("too many messages wait to be stored")
	}
	g.waiting = append(g.waiting, f)
	g.advance(ctx)
	return f, nil
}

// advance sends what may be sent now. The caller holds the lock.
func (g *group) advance(ctx context.Context) {
	for len(g.waiting) > 0 && !g.batching {
		switch {
		case len(g.waiting) >= groupFrom:
			batch := g.take()
			g.batching = true
			g.busy.Go(func() { g.together(ctx, batch) })
		case g.singles < singlesAtOnce:
			f := g.waiting[0]
			g.waiting = slices.Delete(g.waiting, 0, 1)
			g.singles++
			g.busy.Go(func() {
				g.single(f)
				g.mu.Lock()
				defer g.mu.Unlock()
				g.singles--
				g.advance(ctx)
			})
		default:
			return
		}
	}
}

// take removes what may go together from what waits: at most one message a
// fence, in the order they came.
func (g *group) take() []*grouped {
	fences := make(map[string]bool, groupMost)
	var batch, rest []*grouped
	bytes := 0
	for _, f := range g.waiting {
		fence, size := f.fence(), f.msg.Size()
		full := len(batch) >= groupMost || len(batch) > 0 && bytes+size > groupBytes
		if full || fence != "" && fences[fence] {
			rest = append(rest, f)
			continue
		}
		fences[fence] = true
		bytes += size
		batch = append(batch, f)
	}
	g.waiting = rest
	return batch
}

// single stores one message.
func (g *group) single(f *grouped) {
	future, err := g.js.PublishMsgAsync(f.msg)
	if err != nil {
		f.err <- err
		return
	}
	select { // the client ends it after publishTimeout
	case ack := <-future.Ok():
		f.ok <- ack
	case err := <-future.Err():
		f.err <- err
	}
}

// together stores a batch. One that the server refuses is stored message by
// message, so that each gets its own answer: nothing of it was stored.
func (g *group) together(ctx context.Context, batch []*grouped) {
	ack, err := g.store(ctx, batch)
	g.mu.Lock()
	g.batching = false
	g.advance(ctx)
	g.mu.Unlock()
	var refusal *jetstream.APIError
	switch {
	case err == nil:
		first := ack.Sequence - uint64(len(batch)) + 1
		for i, f := range batch {
			f.ok <- &jetstream.PubAck{Stream: ack.Stream, Sequence: first + uint64(i), Domain: ack.Domain}
		}
	case errors.As(err, &refusal):
		g.apart(batch)
	default:
		for _, f := range batch {
			f.err <- err
		}
	}
}

// apart stores a refused batch's messages one by one.
func (g *group) apart(batch []*grouped) {
	var sent sync.WaitGroup
	for _, f := range batch {
		for _, name := range []string{jetstreamext.BatchIDHeader, jetstreamext.BatchSeqHeader, jetstreamext.BatchCommitHeader} {
			f.msg.Header.Del(name)
		}
		sent.Go(func() { g.single(f) })
	}
	sent.Wait()
}

// store outlives the call that began it: others' messages are in the batch.
func (g *group) store(ctx context.Context, batch []*grouped) (*jetstreamext.BatchAck, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	msgs := make([]*nats.Msg, len(batch))
	for i, f := range batch {
		msgs[i] = f.msg
	}
	// No ack of the first: the streams are known to take batches, and the
	// commit's answer says what went wrong.
	return jetstreamext.PublishMsgBatch(ctx, g.js, msgs, jetstreamext.BatchFlowControl{}) //nolint:wrapcheck // handed on
}
