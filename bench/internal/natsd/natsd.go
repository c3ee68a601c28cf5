// Package natsd is a nats-server with JetStream for a process of its own.
package natsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// maxPayload is what the roles ask for: eight times the largest body that they take.
const maxPayload = 8 << 20

// Config says where it listens and how it stores.
type Config struct {
	Addr    string // for clients
	Monitor string // its HTTP monitoring; none if empty
	Store   string // folder of the JetStream store
	Sync    bool   // sync every write before it is acknowledged
}

// Serve runs the server until ctx ends.
func Serve(ctx context.Context, cfg Config) error {
	opts := &server.Options{
		JetStream: true, StoreDir: cfg.Store, SyncAlways: cfg.Sync, MaxPayload: maxPayload, NoSigs: true, NoLog: true,
	}
	var err error
	if opts.Host, opts.Port, err = split(cfg.Addr); err != nil {
		return err
	}
	if cfg.Monitor != "" {
		if opts.HTTPHost, opts.HTTPPort, err = split(cfg.Monitor); err != nil {
			return err
		}
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("make the NATS server: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return errors.New("the NATS server does not listen")
	}
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

func split(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("address of the NATS server: %w", err)
	}
	if port, err = strconv.Atoi(text); err != nil {
		return "", 0, fmt.Errorf("port of the NATS server: %w", err)
	}
	return host, port, nil
}
