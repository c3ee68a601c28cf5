package dev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/sluiceflow/sluice/services/internal/durability"
)

// Config is where the embedded servers keep their state and listen.
type Config struct {
	DataDir    string `env:"DATA_DIR" help:"folder of all state"`
	NATSListen string `env:"DEV_NATS_LISTEN" help:"address of the embedded NATS server; 127.0.0.1:4222 by default, or any free port where that is in use"`
}

// Servers are the embedded servers, for as long as they run.
type Servers struct {
	lock      *os.File
	nats      *server.Server
	redis     *miniredis.Miniredis
	stopClock context.CancelFunc
	clock     sync.WaitGroup
}

// Start takes the folder for this process and starts the servers. An error says
// what is in the way: another process in the folder, or on the address.
func Start(ctx context.Context, cfg Config, log *slog.Logger) (*Servers, error) {
	file, err := lock(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	s := &Servers{lock: file, stopClock: func() {}}
	// The servers stop when they are told to, after those that use them.
	ctx = context.WithoutCancel(ctx)
	if s.nats, err = startNATS(ctx, cfg.NATSListen, cfg.DataDir, log); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if s.redis, err = startRedis(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	ctx, s.stopClock = context.WithCancel(ctx)
	s.clock.Go(func() { turnClock(ctx, s.redis) })
	return s, nil
}

// NATSURL is where NATS clients of other processes connect.
func (s *Servers) NATSURL() string { return s.nats.ClientURL() }

// RedisURL is where the token index is.
func (s *Servers) RedisURL() string { return "redis://" + s.redis.Addr() + "/0" }

// InProcess connects to the NATS server without a socket.
func (s *Servers) InProcess() nats.Option { return nats.InProcessServer(s.nats) }

// Durability is what the NATS server promises.
func (s *Servers) Durability() *durability.State {
	return &durability.State{
		Promise: durability.Fast,
		Detail:  fmt.Sprintf("embedded NATS, which writes to disk every %s: a power cut may take what came after", syncInterval),
	}
}

// Close stops the servers and gives the folder back.
func (s *Servers) Close() error {
	s.stopClock()
	s.clock.Wait()
	if s.redis != nil {
		s.redis.Close()
	}
	if s.nats != nil {
		stopNATS(s.nats)
	}
	if err := s.lock.Close(); err != nil {
		return fmt.Errorf("give back the data folder: %w", err)
	}
	return nil
}
