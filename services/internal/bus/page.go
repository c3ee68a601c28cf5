package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// headerLastSequence is what a server says of a message of a page: the sequence
// of the one before it there, 0 for the first.
const headerLastSequence = "Nats-Last-Sequence"

// A Page names messages of a stream that are read together.
type Page struct {
	Stream string
	Filter string // of their subjects
	From   uint64 // the least sequence
	// Messages is how many there are at most.
	Messages int
	// Bytes is about how many bytes they have at most; 0 means as many as the
	// server likes.
	Bytes int
}

// Page returns the next messages of a stream in order; none at its end. The
// server passes over those of its own that it cannot read. One whose headers are
// garbled, which its checksums do not find, comes without headers and is the last
// of its page. It may ask a replica, which lags. An error is of kind
// [fault.Unavailable].
func (b *Bus) Page(ctx context.Context, p Page) ([]*Stored, error) {
	options := []jetstreamext.GetBatchOpt{jetstreamext.GetBatchSeq(max(p.From, 1)), jetstreamext.GetBatchSubject(p.Filter)}
	if p.Bytes > 0 {
		options = append(options, jetstreamext.GetBatchMaxBytes(p.Bytes))
	}
	messages, err := jetstreamext.GetBatch(ctx, b.JS, p.Stream, p.Messages, options...)
	if err != nil {
		return nil, p.failed(err)
	}
	var page []*Stored
	for msg, err := range messages {
		switch {
		case errors.Is(err, jetstreamext.ErrNoMessages):
			return page, nil
		case isGarbled(err):
			return b.pastGarbled(ctx, p, page)
		case err != nil:
			return nil, p.failed(err)
		case !follows(page, msg):
			return nil, p.failed(fmt.Errorf("messages before sequence %d were lost on their way", msg.Sequence))
		}
		page = append(page, &Stored{Subject: msg.Subject, Sequence: msg.Sequence, Time: msg.Time, Header: msg.Header, Data: msg.Data})
	}
	if err := ctx.Err(); err != nil {
		return nil, p.failed(err) // what came is not all
	}
	return page, nil
}

// isGarbled reports whether a message was refused for what its headers are. The
// server writes its own behind those that are stored, wherever they break off.
func isGarbled(err error) bool {
	return errors.Is(err, jetstreamext.ErrInvalidResponse) || errors.Is(err, jetstreamext.ErrBatchUnsupported)
}

// follows reports whether no message is missing between a page and the next one
// of it: a connection that broke may have cost some.
func follows(page []*Stored, msg *jetstream.RawStreamMsg) bool {
	var last uint64
	if len(page) > 0 {
		last = page[len(page)-1].Sequence
	}
	said := msg.Header.Values(headerLastSequence) // the server's is behind what was stored
	return len(said) > 0 && said[len(said)-1] == strconv.FormatUint(last, 10)
}

// pastGarbled ends a page with its next message, which is read by itself.
func (b *Bus) pastGarbled(ctx context.Context, p Page, page []*Stored) ([]*Stored, error) {
	from := max(p.From, 1)
	if len(page) > 0 {
		from = page[len(page)-1].Sequence + 1
	}
	m, err := b.Next(ctx, p.Stream, p.Filter, from)
	if err != nil {
		return nil, err
	}
	if m != nil {
		page = append(page, m)
	}
	return page, nil
}

func (p Page) failed(err error) error {
	return unavailable("bus.Page", fmt.Errorf("read %s from sequence %d: %w", p.Stream, p.From, err))
}
