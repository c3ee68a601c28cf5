package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
)

const (
	pageMessages = 512
	pageBytes    = 8 << 20
	pageTimeout  = 30 * time.Second
)

// reader reads the messages of a FLOWS stream in order, a page at a time.
type reader struct {
	bus    *bus.Bus
	stream string
	filter string
	from   uint64 // the next sequence
	last   uint64 // the last one that is read
	// unreadable is told of messages that the server has and cannot read: it just
	// ends the page there.
	unreadable func(sequence uint64) error
}

// next returns the next page; nil at the end.
func (r *reader) next(ctx context.Context) ([]*bus.Stored, error) {
	for r.from <= r.last {
		page, err := r.page(ctx, r.from, pageMessages)
		if err != nil {
			return nil, err
		}
		if len(page) > 0 {
			r.from = page[len(page)-1].Sequence + 1
			return page, nil
		}
		n, err := r.count(ctx)
		if err != nil || n == 0 {
			return nil, err
		}
		if err := r.skip(ctx); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// page reads up to n messages from a sequence on. None is either the end, or a
// message that the server cannot read.
func (r *reader) page(ctx context.Context, from uint64, n int) ([]*bus.Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	failed := func(err error) error {
		return fault.New(fault.Unavailable, "verify.read", fmt.Errorf("read %s from sequence %d: %w", r.stream, from, err))
	}
	messages, err := jetstreamext.GetBatch(ctx, r.bus.JS, r.stream, n, jetstreamext.GetBatchSeq(from),
		jetstreamext.GetBatchSubject(r.filter), jetstreamext.GetBatchMaxBytes(pageBytes))
	if err != nil {
		return nil, failed(err)
	}
	var page []*bus.Stored
	for msg, err := range messages {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			break
		}
		if err != nil {
			return nil, failed(err)
		}
		if msg.Sequence > r.last {
			break
		}
		page = append(page, stored(msg))
	}
	return page, nil
}

// count is how many messages follow, without reading them: that is what a
// consumer would have before it.
func (r *reader) count(ctx context.Context) (uint64, error) {
	consumer, err := r.bus.JS.CreateConsumer(ctx, r.stream, jetstream.ConsumerConfig{
		FilterSubject: r.filter, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.from,
		AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: pageTimeout, MemoryStorage: true,
	})
	if err != nil {
		return 0, fault.New(fault.Unavailable, "verify.count", fmt.Errorf("count in %s: %w", r.stream, err))
	}
	info := consumer.CachedInfo()
	_ = r.bus.JS.DeleteConsumer(ctx, r.stream, info.Name) // it goes by itself
	return info.NumPending, nil
}

func stored(m *jetstream.RawStreamMsg) *bus.Stored {
	return &bus.Stored{Subject: m.Subject, Sequence: m.Sequence, Time: m.Time, Header: m.Header, Data: m.Data}
}

// skip goes past what the server cannot read: to the first sequence from which
// on it reads again.
func (r *reader) skip(ctx context.Context) error {
	bad, good := r.from, r.last+1
	for step := uint64(1); bad+step <= r.last; step *= 2 {
		page, err := r.page(ctx, bad+step, 1)
		if err != nil {
			return err
		}
		if len(page) > 0 {
			good = bad + step
			break
		}
		bad += step
	}
	for bad+1 < good {
		middle := bad + (good-bad)/2
		page, err := r.page(ctx, middle, 1)
		if err != nil {
			return err
		}
		if len(page) > 0 {
			good = middle
		} else {
			bad = middle
		}
	}
	from := r.from
	r.from = good
	return r.sift(ctx, from, good)
}

// sift tells what was purged from what cannot be read.
func (r *reader) sift(ctx context.Context, from, to uint64) error {
	failed := func(err error) error {
		return fault.New(fault.Unavailable, "verify.sift", fmt.Errorf("look at %s: %w", r.stream, err))
	}
	stream, err := r.bus.JS.Stream(ctx, r.stream)
	if err != nil {
		return failed(err)
	}
	var missing []uint64
	for sequence := from; sequence < to; sequence++ {
		_, err := stream.GetMsg(ctx, sequence)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			missing = append(missing, sequence)
		case err != nil:
			return failed(err)
		}
	}
	info, err := stream.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return failed(err)
	}
	for _, sequence := range missing {
		if sequence < info.State.FirstSeq || slices.Contains(info.State.Deleted, sequence) {
			continue
		}
		if err := r.unreadable(sequence); err != nil {
			return err
		}
	}
	return nil
}
