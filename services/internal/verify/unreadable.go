package verify

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/verify/check"
)

// unreadableKept bounds how many messages that cannot be read are named.
const unreadableKept = 1000

// lookForUnreadable looks through a stream of which fewer messages came than
// there are. Either some were purged meanwhile, or the server cannot read them:
// it then leaves them out without a word.
func (w *walk) lookForUnreadable(ctx context.Context, r *reader) error {
	stream, deleted, err := w.deleted(ctx, r.stream)
	if err != nil {
		return err
	}
	state := stream.CachedInfo().State
	r.from, r.last = max(state.FirstSeq, 1), state.LastSeq
	var missing []uint64
	next := state.FirstSeq
	without := func(to uint64) {
		for ; next < to && len(missing) < unreadableKept; next++ {
			if _, gone := slices.BinarySearch(deleted, next); !gone {
				missing = append(missing, next)
			}
		}
		next = to + 1
	}
	for {
		page, err := r.next(ctx)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, m := range page {
			without(m.Sequence)
		}
	}
	without(state.LastSeq + 1)
	return w.unreadable(ctx, r.stream, missing)
}

// unreadable reports those of the messages that are still there and still cannot
// be read.
func (w *walk) unreadable(ctx context.Context, name string, missing []uint64) error {
	if len(missing) == 0 {
		return nil
	}
	stream, deleted, err := w.deleted(ctx, name)
	if err != nil {
		return err
	}
	for _, sequence := range missing {
		_, gone := slices.BinarySearch(deleted, sequence)
		if gone || sequence < stream.CachedInfo().State.FirstSeq {
			continue
		}
		switch m, err := w.Bus.At(ctx, name, sequence); {
		case err != nil:
			return err //nolint:wrapcheck // it says all
		case m != nil:
			continue
		}
		err := w.report(check.Finding{
			Kind: check.Unreadable, Stream: name, Sequence: sequence, Detail: "the server cannot read this message of its own",
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// deleted returns the stream as it is now, with the sequences of what was purged,
// sorted.
func (w *walk) deleted(ctx context.Context, name string) (jetstream.Stream, []uint64, error) {
	stream, err := w.Bus.JS.Stream(ctx, name)
	if err == nil {
		_, err = stream.Info(ctx, jetstream.WithDeletedDetails(true))
	}
	if err != nil {
		return nil, nil, fault.New(fault.Unavailable, "verify.deleted", fmt.Errorf("look at %s: %w", name, err))
	}
	deleted := slices.Clone(stream.CachedInfo().State.Deleted)
	slices.Sort(deleted)
	return stream, deleted, nil
}
