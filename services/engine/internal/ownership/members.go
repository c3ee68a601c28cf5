package ownership

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/services/internal/bus"
)

var (
	errLease = errors.New("NATS did not take in time that this engine lives")
	errClash = errors.New("another engine has the same id")
)

// Members shares the partitions with the other engines that live.
type Members struct {
	bus     *bus.Bus
	log     *slog.Logger
	id      string
	process string
	version string
	started time.Time
}

// New returns a member that is not one yet: it joins while Run does.
func New(b *bus.Bus, version string, log *slog.Logger) *Members {
	return &Members{bus: b, log: log, id: newID(), process: rand.Text(), version: version, started: time.Now()}
}

// Run calls work for each partition that this engine owns, for as long as it
// does, until ctx ends. It then says at once that it leaves, and returns when
// all work has ended. A member that NATS takes nothing from is out, and comes
// back by itself.
func (m *Members) Run(ctx context.Context, work Work) error {
	for level := slog.LevelWarn; ctx.Err() == nil; level = slog.LevelDebug { // it is said once
		joined, err := m.once(ctx, work)
		if joined {
			level = slog.LevelWarn
		}
		if errors.Is(err, errClash) {
			m.id = newID()
		}
		if err != nil && ctx.Err() == nil {
			m.log.Log(ctx, level, "this engine owns no partitions until it has joined again", slog.Any("error", err))
			wait(ctx, rejoinEvery)
		}
	}
	return nil
}

// once is a member from joining until ctx ends, or until it is out.
func (m *Members) once(ctx context.Context, work Work) (joined bool, err error) {
	kv, err := m.keyValue(ctx)
	if err != nil {
		return false, err
	}
	s := newSession(m, kv, work)
	defer s.loops.Wait()
	if err := s.join(ctx); err != nil {
		return false, err
	}
	// What is told is told to a member that lives: it ends with it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tell := make(chan news)
	s.loops.Go(func() { follow(ctx, kv, m.log, tell) })
	return true, s.run(ctx, tell)
}

func (m *Members) keyValue(ctx context.Context) (jetstream.KeyValue, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	kv, err := m.bus.JS.KeyValue(ctx, m.bus.Space.Name(bus.BucketMembers))
	if err != nil {
		return nil, fmt.Errorf("open the bucket of members: %w", err)
	}
	return kv, nil
}
