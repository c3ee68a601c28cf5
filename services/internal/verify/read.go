package verify

import (
	"context"
	"time"

	"github.com/sluiceflow/sluice/services/internal/bus"
)

const (
	pageMessages = 512
	pageBytes    = 8 << 20
	pageTimeout  = 30 * time.Second
)

// anything is the filter that all subjects match.
const anything = ">"

// reader reads the messages of a stream in order, a page at a time. The server
// passes over those of its own that it cannot read.
type reader struct {
	bus    *bus.Bus
	stream string
	filter string
	from   uint64 // the next sequence
	last   uint64 // the last one that is read
	singly bool   // a message a page: the stream's leader alone answers
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
	if r.singly {
		m, err := r.bus.Next(ctx, r.stream, r.filter, r.from)
		if err != nil || m == nil || m.Sequence > r.last {
			return nil, err //nolint:wrapcheck // it says all
		}
		return []*bus.Stored{m}, nil
	}
	messages, err := r.bus.Page(ctx, bus.Page{Stream: r.stream, Filter: r.filter, From: r.from, Messages: pageMessages, Bytes: pageBytes})
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	for i, m := range messages {
		if m.Sequence > r.last {
			return messages[:i], nil
		}
	}
	return messages, nil
}
