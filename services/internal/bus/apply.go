package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Apply changes what exists to the configuration, as far as that is safe while
// Sluice runs: the sizes and replicas of streams and buckets, and the consumers.
// It tells each change, creates nothing, and changes nothing (error of kind
// [fault.Invalid]) where anything else differs, or a stream holds more than its
// new size.
func (b *Bus) Apply(ctx context.Context, tell func(change string)) error {
	changes, err := b.streamChanges(ctx)
	if err != nil {
		return err
	}
	for _, change := range changes {
		if _, err := b.JS.UpdateStream(ctx, change.config); err != nil {
			return unavailable("bus.Apply", fmt.Errorf("change %s: %w", change.want, err))
		}
		for _, d := range change.differ {
			tell(fmt.Sprintf("%s: %s is now %s, was %s", change.want, d.name, d.want, d.is))
		}
	}
	return b.applyConsumers(ctx, tell)
}

// streamChange is a stream with what is to be changed.
type streamChange struct {
	want   wantedStream
	config jetstream.StreamConfig // as it is, but for the changes
	differ []difference
}

func (b *Bus) streamChanges(ctx context.Context) ([]streamChange, error) {
	var changes []streamChange
	var never mismatch
	for _, want := range append(b.streams(), b.bucketStreams()...) {
		stream, err := b.JS.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return nil, unavailable("bus.Apply", fmt.Errorf("look at %s: %w", want, err))
		}
		info := stream.CachedInfo()
		change := streamChange{want: want, config: info.Config, differ: want.differences(info.Config)}
		if len(change.differ) == 0 {
			continue
		}
		if fixed := unchangeable(change.differ); len(fixed) > 0 {
			never.add(want.String(), fixed)
			continue
		}
		change.config.Replicas = want.Replicas
		if want.bucket == "" {
			change.config.MaxBytes = want.MaxBytes
		}
		if held := info.State.Bytes; want.MaxBytes > 0 && held > uint64(want.MaxBytes) {
			return nil, invalid("%s holds %d bytes, more than %s=%d", want, held, want.sizeSetting, want.MaxBytes)
		}
		changes = append(changes, change)
	}
	return changes, never.err()
}

func unchangeable(differ []difference) []difference {
	var fixed []difference
	for _, d := range differ {
		if !d.changeable {
			fixed = append(fixed, d)
		}
	}
	return fixed
}

func (b *Bus) applyConsumers(ctx context.Context, tell func(change string)) error {
	for stream, consumers := range b.consumers() {
		for _, want := range consumers {
			what := fmt.Sprintf("consumer %s of stream %s", want.Durable, stream)
			differ, err := b.consumerDiffers(ctx, stream, want)
			switch {
			case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
				continue
			case err != nil:
				return unavailable("bus.Apply", fmt.Errorf("look at %s: %w", what, err))
			case len(differ) == 0:
				continue
			}
			if fixed := unchangeable(differ); len(fixed) > 0 {
				var never mismatch
				never.add(what, fixed)
				return never.err()
			}
			if _, err := b.JS.UpdateConsumer(ctx, stream, want); err != nil {
				return unavailable("bus.Apply", fmt.Errorf("change %s: %w", what, err))
			}
			for _, d := range differ {
				tell(fmt.Sprintf("%s: %s is now %s, was %s", what, d.name, d.want, d.is))
			}
		}
	}
	return nil
}
