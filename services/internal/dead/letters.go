package dead

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
)

const (
	// readTimeout bounds the reading of one page.
	readTimeout = 10 * time.Second
	// batch is how many letters one read asks for.
	batch = 256
	// maxWindow bounds how many places of DEAD are looked at together.
	maxWindow = 4096
)

// Letters are the dead letters that DEAD holds. It is safe for concurrent use.
type Letters struct{ bus *bus.Bus }

// Open returns the letters of an installation.
func Open(b *bus.Bus) Letters { return Letters{bus: b} }

// A Stored letter is one in its place.
type Stored struct {
	*sluicev1.DeadLetter

	// ID is its sequence in DEAD.
	ID uint64
	// Size is the number of bytes of the original.
	Size uint64
	// Unreadable is true for what is in DEAD and no letter: its data are then
	// the bytes that are there.
	Unreadable bool
}

// read makes a stored letter of whatever a message of DEAD is.
func (l Letters) read(msg *bus.Stored) Stored {
	letter := &sluicev1.DeadLetter{}
	s := Stored{DeadLetter: letter, ID: msg.Sequence}
	if err := proto.Unmarshal(msg.Data, letter); err != nil {
		what, _, _ := strings.Cut(strings.TrimPrefix(msg.Subject, l.bus.Space.Dead("")), ".")
		s.Unreadable = true
		s.DeadLetter = &sluicev1.DeadLetter{
			What: text(what), Class: string(Garbage), Reason: fmt.Sprintf("this is no dead letter: %v", err),
			Subject: text(msg.Subject), Data: msg.Data, Stream: l.bus.Dead(), Sequence: msg.Sequence,
			StoredNs: msg.Time.UnixNano(), DeadNs: msg.Time.UnixNano(),
		}
	}
	s.Size = max(s.GetCutFrom(), uint64(len(s.GetData())))
	return s
}

// Get returns one letter. It returns an error of kind [fault.NotFound] where
// there is none with that id.
func (l Letters) Get(ctx context.Context, id uint64) (Stored, error) {
	msg, err := l.bus.At(ctx, l.bus.Dead(), id)
	switch {
	case err != nil:
		return Stored{}, err //nolint:wrapcheck // it says all
	case msg == nil:
		return Stored{}, unknown(id)
	}
	return l.read(msg), nil
}

func unknown(id uint64) error {
	return fault.Newf(fault.NotFound, "dead.Letters", "there is no dead letter %d", id)
}

// Drop deletes a letter. It returns an error of kind [fault.NotFound] where there
// is none with that id.
func (l Letters) Drop(ctx context.Context, id uint64) error {
	stream, err := l.bus.JS.Stream(ctx, l.bus.Dead())
	if err != nil {
		return fault.New(fault.Unavailable, "dead.Drop", err)
	}
	if err = stream.DeleteMsg(ctx, id); err == nil {
		return nil
	}
	// The server has several words for a message that is not there.
	if _, gone := l.Get(ctx, id); fault.KindOf(gone) == fault.NotFound {
		return gone
	}
	return fault.New(fault.Unavailable, "dead.Drop", err)
}

// Count returns how many letters there are.
func (l Letters) Count(ctx context.Context) (uint64, error) {
	stream, err := l.bus.JS.Stream(ctx, l.bus.Dead())
	if err != nil {
		return 0, fault.New(fault.Unavailable, "dead.Count", err)
	}
	return stream.CachedInfo().State.Msgs, nil
}

// List returns letters of one kind, or of all where what is empty, newest first
// and without their data: those with an id below before, or all where that is 0,
// up to limit. It reports whether there are more.
func (l Letters) List(ctx context.Context, what string, before uint64, limit int) (page []Stored, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	stream, err := l.bus.JS.Stream(ctx, l.bus.Dead())
	if err != nil {
		return nil, false, fault.New(fault.Unavailable, "dead.List", err)
	}
	state := stream.CachedInfo().State
	first, last := max(state.FirstSeq, 1), state.LastSeq
	if before > 0 {
		last = min(last, before-1)
	}
	// The server reads forward only: look at ever larger parts, from the end.
	window := uint64(limit) + 1 //nolint:gosec // a limit is positive
	for last >= first && len(page) <= limit {
		from := first
		if last-first >= window {
			from = last - window + 1
		}
		part, err := l.between(ctx, what, from, last)
		if err != nil {
			return nil, false, err
		}
		slices.Reverse(part)
		page = append(page, part...)
		last, window = from-1, min(2*window, maxWindow)
	}
	if len(page) > limit {
		return page[:limit], true, nil
	}
	return page, false, nil
}

// between returns the letters between two ids, both included.
func (l Letters) between(ctx context.Context, what string, from, last uint64) ([]Stored, error) {
	var list []Stored
	for from <= last {
		messages, err := l.bus.Page(ctx, bus.Page{
			Stream: l.bus.Dead(), Filter: l.bus.Space.DeadLetters(what), From: from, Messages: int(min(batch, last-from+1)),
		})
		if err != nil || len(messages) == 0 {
			return list, err //nolint:wrapcheck // it says all
		}
		for _, msg := range messages {
			if msg.Sequence > last {
				return list, nil
			}
			s := l.read(msg)
			s.Data = nil
			list = append(list, s)
			from = msg.Sequence + 1
		}
	}
	return list, nil
}
