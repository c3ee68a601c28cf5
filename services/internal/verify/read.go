package verify

import (
	"context"
	"errors"
	"fmt"
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

// reader reads the messages of a FLOWS stream in order, a page at a time. The
// server passes over those of its own that it cannot read.
type reader struct {
	bus    *bus.Bus
	stream string
	filter string
	from   uint64 // the next sequence
	last   uint64 // the last one that is read
}

// next returns the next page; nil at the end.
func (r *reader) next(ctx context.Context) ([]*bus.Stored, error) {
	if r.from > r.last {
		return nil, nil
	}
	page, err := r.page(ctx)
	if err == nil && len(page) > 0 {
		r.from = page[len(page)-1].Sequence + 1
	}
	return page, err
}

func (r *reader) page(ctx context.Context) ([]*bus.Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	failed := func(err error) error {
		return fault.New(fault.Unavailable, "verify.read", fmt.Errorf("read %s from sequence %d: %w", r.stream, r.from, err))
	}
	messages, err := jetstreamext.GetBatch(ctx, r.bus.JS, r.stream, pageMessages, jetstreamext.GetBatchSeq(r.from),
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

func stored(m *jetstream.RawStreamMsg) *bus.Stored {
	return &bus.Stored{Subject: m.Subject, Sequence: m.Sequence, Time: m.Time, Header: m.Header, Data: m.Data}
}
