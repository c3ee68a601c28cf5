package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

// What the server says of a stream that can never be made as it is wanted, or
// not before somebody makes room.
const (
	codeStorageExceeded      = 10047
	codeSubjectsOverlap      = 10065
	codeReplicasNotSupported = 10074
)

// Await returns nil when the streams and buckets are there and as they should
// be. An error of kind [fault.Unavailable] says that one is not there yet, and
// one of kind [fault.Invalid] what differs.
func (b *Bus) Await(ctx context.Context) error {
	missing, err := b.check(ctx)
	if err == nil && len(missing) > 0 {
		err = unavailable("bus.Await", fmt.Errorf("%s is not there yet: an engine makes it", missing[0]))
	}
	return err
}

// Ensure creates the streams, buckets and consumers that are not there yet. What
// exists with other settings is never changed, and then nothing is created: the
// error (kind [fault.Invalid]) says all that differs and what to do.
func (b *Bus) Ensure(ctx context.Context) error {
	missing, err := b.check(ctx)
	if err != nil {
		return err
	}
	for _, want := range missing {
		if want.bucket != "" {
			continue // below
		}
		if err := b.createStream(ctx, want); err != nil {
			return err
		}
	}
	for _, want := range b.buckets() {
		if _, err := b.JS.CreateKeyValue(ctx, want); err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
			return notMade("bucket "+want.Bucket, err)
		}
	}
	return b.ensureConsumers(ctx)
}

// Expect returns nil where the streams of the installation are there, laid out
// as the settings say. It makes none: an error of kind [fault.NotFound] or
// [fault.Invalid] says what is missing or differs.
func (b *Bus) Expect(ctx context.Context) error {
	for _, want := range b.streams() {
		stream, err := b.JS.Stream(ctx, want.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return fault.Newf(fault.NotFound, "bus.Expect", "there is no stream %s: is NAMESPACE %q the right one?", want.Name, b.Space.Namespace())
		case err != nil:
			return unavailable("bus.Expect", fmt.Errorf("look at %s: %w", want.Name, err))
		}
		if got := stream.CachedInfo().Config.Metadata; got["sluice.partitions"] != want.Metadata["sluice.partitions"] ||
			got["sluice.shards"] != want.Metadata["sluice.shards"] {
			return invalid("stream %s was made with PARTITIONS=%s and SHARDS=%s", want.Name, got["sluice.partitions"], got["sluice.shards"])
		}
	}
	return nil
}

func unavailable(op string, err error) error { return fault.New(fault.Unavailable, op, err) }

// check compares what exists with what is wanted. It returns the streams that
// are not there, also those of buckets.
func (b *Bus) check(ctx context.Context) ([]wantedStream, error) {
	var missing []wantedStream
	var all mismatch
	for _, want := range append(b.streams(), b.bucketStreams()...) {
		stream, err := b.JS.Stream(ctx, want.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			missing = append(missing, want)
		case err != nil:
			return nil, unavailable("bus.Ensure", fmt.Errorf("look at %s: %w", want, err))
		default:
			all.add(want.String(), want.differences(stream.CachedInfo().Config))
		}
	}
	return missing, all.err()
}

// createStream makes a stream that was not there a moment ago.
func (b *Bus) createStream(ctx context.Context, want wantedStream) error {
	_, err := b.JS.CreateStream(ctx, want.StreamConfig)
	if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return notMade(want.String(), err)
	}
	existing, err := b.JS.Stream(ctx, want.Name) // another process was faster
	if err != nil {
		return notMade(want.String(), err)
	}
	var all mismatch
	all.add(want.String(), want.differences(existing.CachedInfo().Config))
	return all.err()
}

// notMade says what to do where waiting does not help; nil stays nil.
func notMade(what string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("create %s: %w", what, err)
	code := 0
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		code = int(api.ErrorCode)
	}
	switch code {
	case codeSubjectsOverlap:
		return invalid("%w: set another NAMESPACE", err)
	case codeReplicasNotSupported:
		return invalid("%w: set STREAM_REPLICAS=1, or run NATS as a cluster", err)
	case codeStorageExceeded:
		return unavailable("bus.Ensure", fmt.Errorf("%w: the streams reserve their sizes; lower FLOWS_MAX_BYTES, COMMANDS_MAX_BYTES or "+
			"INVOCATIONS_MAX_BYTES, or let NATS have more (max_file_store)", err))
	default:
		return unavailable("bus.Ensure", err)
	}
}

func (b *Bus) ensureConsumers(ctx context.Context) error {
	consumers := b.consumers()
	var all mismatch
	for _, stream := range slices.Sorted(maps.Keys(consumers)) {
		for _, want := range consumers[stream] {
			_, err := b.JS.CreateConsumer(ctx, stream, want)
			what := fmt.Sprintf("consumer %s of stream %s", want.Durable, stream)
			switch {
			case errors.Is(err, jetstream.ErrConsumerExists):
				differ, err := b.consumerDiffers(ctx, stream, want)
				if err != nil {
					return unavailable("bus.Ensure", fmt.Errorf("look at %s: %w", what, err))
				}
				all.add(what, differ)
			case err != nil:
				return unavailable("bus.Ensure", fmt.Errorf("create %s: %w", what, err))
			}
		}
	}
	return all.err()
}

func (b *Bus) consumerDiffers(ctx context.Context, stream string, want jetstream.ConsumerConfig) ([]difference, error) {
	existing, err := b.JS.Consumer(ctx, stream, want.Durable)
	if err != nil {
		return nil, err
	}
	return consumerDifferences(want, existing.CachedInfo().Config), nil
}
