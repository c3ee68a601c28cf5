package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

// Ensure creates the streams, buckets and consumers that are not there yet. What
// exists with other settings is never changed: the error (kind [fault.Invalid])
// says what differs and what to do.
func (b *Bus) Ensure(ctx context.Context) error {
	for _, want := range b.streams() {
		if err := b.ensureStream(ctx, want); err != nil {
			return err
		}
	}
	for _, want := range b.buckets() {
		if _, err := b.JS.CreateKeyValue(ctx, want); err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
			return unavailable("bus.Ensure", fmt.Errorf("create bucket %s: %w", want.Bucket, err))
		}
	}
	consumers := b.consumers()
	for _, stream := range slices.Sorted(maps.Keys(consumers)) {
		for _, want := range consumers[stream] {
			if err := b.ensureConsumer(ctx, stream, want); err != nil {
				return err
			}
		}
	}
	return nil
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

func (b *Bus) ensureStream(ctx context.Context, want jetstream.StreamConfig) error {
	_, err := b.JS.CreateStream(ctx, want)
	if err == nil {
		return nil
	}
	existing, lookup := b.JS.Stream(ctx, want.Name)
	if lookup != nil {
		return unavailable("bus.Ensure", fmt.Errorf("create stream %s: %w", want.Name, err))
	}
	if differ := differences(want, existing.CachedInfo().Config); len(differ) > 0 {
		return invalid("stream %s exists with other settings: %s; give the settings that it was made with, or another NAMESPACE",
			want.Name, strings.Join(differ, ", "))
	}
	return nil
}

// differences names the settings of a stream that Sluice relies on.
func differences(want, got jetstream.StreamConfig) []string {
	var out []string
	compare := func(name string, w, g any) {
		if fmt.Sprint(w) != fmt.Sprint(g) {
			out = append(out, fmt.Sprintf("%s is %v and should be %v", name, g, w))
		}
	}
	compare("PARTITIONS", want.Metadata["sluice.partitions"], got.Metadata["sluice.partitions"])
	compare("SHARDS", want.Metadata["sluice.shards"], got.Metadata["sluice.shards"])
	compare("subjects", want.Subjects, got.Subjects)
	compare("retention", want.Retention, got.Retention)
	compare("storage", want.Storage, got.Storage)
	compare("replicas", want.Replicas, got.Replicas)
	compare("discard", want.Discard, got.Discard)
	compare("max_age", want.MaxAge, got.MaxAge)
	compare("max_bytes", limit(want.MaxBytes), limit(got.MaxBytes))
	compare("max_msgs", limit(want.MaxMsgs), limit(got.MaxMsgs))
	compare("max_msgs_per_subject", limit(want.MaxMsgsPerSubject), limit(got.MaxMsgsPerSubject))
	compare("allow_msg_schedules", want.AllowMsgSchedules, got.AllowMsgSchedules)
	compare("allow_direct", want.AllowDirect, got.AllowDirect)
	compare("allow_atomic", want.AllowAtomicPublish, got.AllowAtomicPublish)
	return out
}

// limit gives the two spellings of no limit one.
func limit(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

func (b *Bus) ensureConsumer(ctx context.Context, stream string, want jetstream.ConsumerConfig) error {
	_, err := b.JS.CreateConsumer(ctx, stream, want)
	if err == nil {
		return nil
	}
	if !errors.Is(err, jetstream.ErrConsumerExists) {
		return unavailable("bus.Ensure", fmt.Errorf("create consumer %s of %s: %w", want.Durable, stream, err))
	}
	return invalid("consumer %s of stream %s exists with other settings; delete it while no engine or dispatcher runs, it is made again",
		want.Durable, stream)
}
