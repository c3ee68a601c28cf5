package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

// refuseFrom is how full COMMANDS or FLOWS may be, in thousandths, before nothing
// new is let in: the rest is for what runs.
const refuseFrom = 900

// reserveFrom is how full FLOWS may be, in thousandths, before engines start no
// attempts: the rest is for outcomes and endings, and for what makes room.
const reserveFrom = 950

// promiseEvery is after how many looks at the streams the server's promise is
// read again.
const promiseEvery = 30

// Run looks once a second how full the streams are, until ctx ends.
func (b *Bus) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		if n%promiseEvery == 0 {
			b.Durability(ctx)
		}
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
	for k := range b.Config.Shards {
		for _, name := range []string{b.Commands(k), b.Flows(k)} {
			stream, err := b.JS.Stream(ctx, name)
			if err != nil {
				return fmt.Errorf("look at %s: %w", name, err)
			}
			info := stream.CachedInfo()
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

// Durability is what an acknowledgement survives.
type Durability struct {
	// Promise is synced (a power cut), replicated (the loss of a node) or fast
	// (the end of a process).
	Promise string
	// Detail says it in words.
	Detail string
}

// Durability reads what the server promises from its monitoring endpoint; where
// that cannot be read it counts as fast.
func (b *Bus) Durability(ctx context.Context) Durability {
	synced, err := b.synced(ctx)
	b.group.Store(synced)
	switch {
	case synced && b.Config.StreamReplicas >= 3:
		return Durability{"synced", fmt.Sprintf("%d replicas, each write on disk before it is acknowledged", b.Config.StreamReplicas)}
	case synced:
		return Durability{"synced", "each write is on disk before it is acknowledged"}
	case b.Config.StreamReplicas >= 3:
		return Durability{"replicated", fmt.Sprintf("%d replicas; a power cut of all at once may lose the last moments", b.Config.StreamReplicas)}
	case err != nil:
		return Durability{"fast", "unknown, so counted as fast: " + err.Error()}
	}
	return Durability{"fast", "a power cut may lose the last moments (sync_interval is not always)"}
}

func (b *Bus) synced(ctx context.Context) (bool, error) {
	if b.Config.NATSMonitorURL == "" {
		return false, errors.New("NATS_MONITOR_URL is not set")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	url := strings.TrimSuffix(b.Config.NATSMonitorURL, "/") + "/jsz?config=true"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false, fmt.Errorf("ask the monitoring endpoint: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, fmt.Errorf("ask the monitoring endpoint: %w", err)
	}
	defer resp.Body.Close()
	var jsz struct {
		Config struct {
			SyncAlways bool `json:"sync_always"`
		} `json:"config"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 1<<20)).Decode(&jsz); err != nil {
		return false, fmt.Errorf("read the monitoring endpoint's answer: %w", err)
	}
	return jsz.Config.SyncAlways, nil
}
