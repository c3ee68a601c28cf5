package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/subject"
)

// DefaultBuffer is how many commits are fetched ahead from each shard.
const DefaultBuffer = 64

// ErrNoFlows says that no stream on this NATS holds flows, or none that this
// user may see.
var ErrNoFlows = errors.New("no stream holds flows: has Sluice been started on this NATS, and under this namespace?")

// EventsOptions says which events [Events] gives. The zero value is all events
// of all flows, from now on.
type EventsOptions struct {
	// Namespace is the NAMESPACE that Sluice runs under; mostly empty.
	Namespace string
	// FlowID limits the events to one flow.
	FlowID string
	// Kind limits the events to one kind of transition, such as
	// [subject.KindCompleted]; all events of such a transition are given.
	Kind subject.Kind
	// Durable names a position that NATS keeps: who subscribes again under the
	// name goes on behind what was handled before. One reader at a time. Empty
	// keeps none.
	Durable string
	// All starts with the oldest event that there is; Since with the events of a
	// time. A durable position that exists already goes on where it was.
	All   bool
	Since time.Time
	// Buffer is how many commits are fetched ahead from each shard; 0 means
	// [DefaultBuffer].
	Buffer int
}

// A CommitError is about one stored commit that cannot be read.
type CommitError struct {
	Stream   string
	Sequence uint64
	Err      error
}

func (e *CommitError) Error() string {
	return fmt.Sprintf("commit %d of %s: %v", e.Sequence, e.Stream, e.Err)
}

// Unwrap gives the cause.
func (e *CommitError) Unwrap() error { return e.Err }

// Events gives the events of flows as they happen, until ctx ends or the loop
// is left. Those of one flow come in order and without gaps, also over
// reconnects; between flows of different shards there is no order.
//
// With a durable position a transition counts as handled when the loop came
// back for more after its last event; the others are given again to the next
// reader, so each is given at least once.
//
// The loop may go on after a [*CommitError], which passes that commit over; any
// other error is the last thing given, the one of ctx included.
func Events(ctx context.Context, js jetstream.JetStream, opts EventsOptions) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		if err := follow(ctx, js, opts, yield); err != nil {
			yield(event.Event{}, err)
		}
	}
}

// follow returns nil when the loop was left.
func follow(ctx context.Context, js jetstream.JetStream, opts EventsOptions, yield func(event.Event, error) bool) error {
	sources, err := open(ctx, js, opts)
	if err != nil {
		return err
	}
	reading, cancel := context.WithCancel(ctx)
	var pumps sync.WaitGroup
	defer pumps.Wait()
	defer cancel()
	deliveries := make(chan delivery) // unbuffered: what is fetched ahead is bounded by the sources
	for _, s := range sources {
		pumps.Go(func() { pump(reading, s, deliveries) })
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case d := <-deliveries:
			if d.err != nil {
				return d.err
			}
			if !d.hand(yield) {
				return nil
			}
		}
	}
}

// A source is one shard's commits in order.
type source interface {
	next(ctx context.Context) (jetstream.Msg, error)
	// handled says that all up to msg need not be given again.
	handled(msg jetstream.Msg) error
	close()
}

func pump(ctx context.Context, s source, out chan<- delivery) {
	defer s.close()
	for {
		msg, err := s.next(ctx)
		select {
		case out <- delivery{source: s, msg: msg, err: err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

type delivery struct {
	source source
	msg    jetstream.Msg
	err    error
}

// hand gives the events of one commit and reports whether the loop wants more.
func (d delivery) hand(yield func(event.Event, error) bool) bool {
	events, err := decode(d.msg)
	if err != nil && !yield(event.Event{}, err) {
		return false
	}
	for _, e := range events {
		if !yield(e, nil) {
			return false
		}
	}
	if err := d.source.handled(d.msg); err != nil {
		yield(event.Event{}, fmt.Errorf("keep the position: %w", err))
		return false
	}
	return true
}

// open opens one source for each shard.
func open(ctx context.Context, js jetstream.JetStream, opts EventsOptions) ([]source, error) {
	filter := filterOf(opts)
	names := js.StreamNames(ctx, jetstream.WithStreamListSubject(filter))
	var sources []source
	var err error
	for name := range names.Name() {
		if err != nil {
			continue // StreamNames wants to be read to its end
		}
		var s source
		if s, err = openShard(ctx, js, name, filter, opts); err == nil {
			sources = append(sources, s)
		}
	}
	if err == nil {
		err = names.Err()
	}
	if err == nil && len(sources) == 0 {
		err = ErrNoFlows
	}
	if err != nil {
		for _, s := range sources {
			s.close()
		}
		return nil, fmt.Errorf("subscribe to %s: %w", filter, err)
	}
	return sources, nil
}

func openShard(ctx context.Context, js jetstream.JetStream, stream, filter string, opts EventsOptions) (source, error) {
	begin, err := beginning(ctx, js, stream, opts)
	if err != nil {
		return nil, err
	}
	if opts.Buffer <= 0 {
		opts.Buffer = DefaultBuffer
	}
	if opts.Durable != "" {
		return openDurable(ctx, js, stream, filter, begin, opts)
	}
	return openOrdered(ctx, js, stream, filter, begin, opts)
}

func filterOf(opts EventsOptions) string {
	space := subject.NewSpace(opts.Namespace)
	if opts.FlowID == "" {
		return space.FlowEvents(opts.Kind)
	}
	return strings.TrimSuffix(space.Flows(opts.Kind, -1), "*") + subject.Escape(opts.FlowID)
}

// start is where a new position begins.
type start struct {
	policy   jetstream.DeliverPolicy
	sequence uint64
	time     *time.Time
}

// beginning fixes "now" as a sequence, so that nothing is missed when the first
// reconnect comes before the first event.
func beginning(ctx context.Context, js jetstream.JetStream, stream string, opts EventsOptions) (start, error) {
	switch {
	case opts.All:
		return start{policy: jetstream.DeliverAllPolicy}, nil
	case !opts.Since.IsZero():
		return start{policy: jetstream.DeliverByStartTimePolicy, time: &opts.Since}, nil
	}
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return start{}, fmt.Errorf("look at stream %s: %w", stream, err)
	}
	return start{policy: jetstream.DeliverByStartSequencePolicy, sequence: s.CachedInfo().State.LastSeq + 1}, nil
}
