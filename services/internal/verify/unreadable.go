package verify

import (
	"context"
	"errors"
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
func (s *shard) lookForUnreadable(ctx context.Context) error {
	stream, deleted, err := s.deleted(ctx)
	if err != nil {
		return err
	}
	state := stream.CachedInfo().State
	r := &reader{bus: s.Bus, stream: s.stream, filter: s.Bus.Space.FlowEvents(""), from: state.FirstSeq, last: state.LastSeq}
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
	return s.unreadable(ctx, missing)
}

// unreadable reports those of the messages that are still there and still cannot
// be read.
func (s *shard) unreadable(ctx context.Context, missing []uint64) error {
	if len(missing) == 0 {
		return nil
	}
	stream, deleted, err := s.deleted(ctx)
	if err != nil {
		return err
	}
	for _, sequence := range missing {
		_, gone := slices.BinarySearch(deleted, sequence)
		if gone || sequence < stream.CachedInfo().State.FirstSeq {
			continue
		}
		switch _, err := stream.GetMsg(ctx, sequence); {
		case err == nil:
			continue
		case !errors.Is(err, jetstream.ErrMsgNotFound):
			return fault.New(fault.Unavailable, "verify.unreadable", fmt.Errorf("read sequence %d of %s: %w", sequence, s.stream, err))
		}
		err = s.report(check.Finding{
			Kind: check.Unreadable, Stream: s.stream, Sequence: sequence, Detail: "the server cannot read this message of its own",
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// deleted returns the stream as it is now, with the sequences of what was purged,
// sorted.
func (s *shard) deleted(ctx context.Context) (jetstream.Stream, []uint64, error) {
	stream, err := s.Bus.JS.Stream(ctx, s.stream)
	if err == nil {
		_, err = stream.Info(ctx, jetstream.WithDeletedDetails(true))
	}
	if err != nil {
		return nil, nil, fault.New(fault.Unavailable, "verify.deleted", fmt.Errorf("look at %s: %w", s.stream, err))
	}
	deleted := slices.Clone(stream.CachedInfo().State.Deleted)
	slices.Sort(deleted)
	return stream, deleted, nil
}
