package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

// Room is what a stream holds and may hold.
type Room struct {
	Stream   string
	Messages uint64
	Bytes    uint64
	MaxBytes int64 // 0 or less means no limit
}

// Rooms says how full each stream is. An error of kind [fault.NotFound] names one
// that is not there.
func (b *Bus) Rooms(ctx context.Context) ([]Room, error) {
	var rooms []Room
	for _, want := range b.streams() {
		stream, err := b.JS.Stream(ctx, want.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return nil, fault.Newf(fault.NotFound, "bus.Rooms", "there is no stream %s: is NAMESPACE %q the right one?", want.Name, b.Space.Namespace())
		case err != nil:
			return nil, unavailable("bus.Rooms", fmt.Errorf("look at %s: %w", want.Name, err))
		}
		info := stream.CachedInfo()
		rooms = append(rooms, Room{
			Stream: want.Name, Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: info.Config.MaxBytes,
		})
	}
	return rooms, nil
}
