package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

// refuseFrom is how full COMMANDS or FLOWS may be, in thousandths, before nothing
// new is let in: the rest is for what runs.
const refuseFrom = 900

// reserveFrom is how full FLOWS may be, in thousandths, before engines start no
// attempts: the rest is for outcomes and endings, and for what makes room.
const reserveFrom = 950

// Run looks once a second how full the streams are, and how many servers hold
// them, until ctx ends.
func (b *Bus) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := b.look(ctx); err != nil && ctx.Err() == nil {
			b.log.DebugContext(ctx, "the streams' sizes could not be read", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (b *Bus) look(ctx context.Context) error {
	var reason string
	reserve := make([]bool, b.Config.Shards)
	replicas := b.Config.StreamReplicas
	for k := range b.Config.Shards {
		for _, name := range []string{b.Commands(k), b.Flows(k)} {
			stream, err := b.JS.Stream(ctx, name)
			if err != nil {
				return fmt.Errorf("look at %s: %w", name, err)
			}
			info := stream.CachedInfo()
			replicas = min(replicas, info.Config.Replicas)
			if info.Config.MaxBytes <= 0 {
				continue
			}
			fill := int64(float64(info.State.Bytes) / float64(info.Config.MaxBytes) * 1000)
			if fill >= refuseFrom && reason == "" {
				reason = fmt.Sprintf("stream %s is %d%% full", name, fill/10)
			}
			if fill >= reserveFrom && name == b.Flows(k) {
				reserve[k] = true
			}
		}
	}
	b.replicas.Store(int64(replicas))
	was := b.full.Load()
	b.full.Store(&reason)
	b.reserve.Store(&reserve)
	if reason != "" && (was == nil || *was == "") {
		b.log.WarnContext(ctx, "nothing new is let in", slog.String("reason", reason))
	}
	return nil
}

// Full returns nil while there is room for new work, else an error of kind
// [fault.Unavailable] that names the stream.
func (b *Bus) Full() error {
	if reason := b.full.Load(); reason != nil && *reason != "" {
		return fault.New(fault.Unavailable, "bus.Full", errors.New(*reason))
	}
	return nil
}

// OnReserve reports whether the FLOWS stream of a shard is so full that the rest
// is for outcomes and endings.
func (b *Bus) OnReserve(shard int) bool {
	reserve := b.reserve.Load()
	return reserve != nil && (*reserve)[shard]
}

// Group says whether the server syncs every write: then what waits is stored as
// one atomic batch.
func (b *Bus) Group(synced bool) { b.group.Store(synced) }

// Replicas returns how many servers hold each stream, as it was a second ago.
func (b *Bus) Replicas() int {
	if seen := b.replicas.Load(); seen > 0 {
		return int(seen)
	}
	return b.Config.StreamReplicas
}
