package dev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// defaultNATSListen is where NATS clients look for a server.
	defaultNATSListen = "127.0.0.1:4222"
	natsStart         = 15 * time.Second
	maxPayload        = 8 << 20
	// syncInterval is how much of the latest a power cut may take: short, for
	// this server does not sync every write.
	syncInterval = time.Second
	// maxStore is more than any disk: how full a stream may get is limited by
	// the stream itself.
	maxStore = 1 << 50
)

// startNATS starts a NATS server with JetStream under dir.
func startNATS(ctx context.Context, listen, dir string, log *slog.Logger) (*server.Server, error) {
	host, port, err := natsAddr(ctx, listen)
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "sluice-dev", Host: host, Port: port,
		NoSigs: true, MaxPayload: maxPayload,
		JetStream: true, StoreDir: filepath.Join(dir, "nats"), SyncInterval: syncInterval,
		JetStreamMaxStore: maxStore,
	})
	if err != nil {
		return nil, fmt.Errorf("make the embedded NATS server: %w", err)
	}
	srv.SetLoggerV2(natsLog{ctx: ctx, log: log}, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(natsStart) {
		stopNATS(srv)
		return nil, fmt.Errorf("the embedded NATS server was not ready within %s; its state is in %s", natsStart, dir)
	}
	return srv, nil
}

func stopNATS(srv *server.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

// natsAddr is the address that was asked for, or the usual one, or any port
// where another program has that.
func natsAddr(ctx context.Context, listen string) (host string, port int, err error) {
	asked := listen != ""
	if !asked {
		listen = defaultNATSListen
	}
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("DEV_NATS_LISTEN: %w", err)
	}
	port, err = strconv.Atoi(text)
	if err != nil {
		return "", 0, fmt.Errorf("DEV_NATS_LISTEN: port %q: %w", text, err)
	}
	err = tryListen(ctx, listen)
	switch {
	case err == nil && port != 0:
		return host, port, nil
	case err == nil, !asked && errors.Is(err, syscall.EADDRINUSE):
		return host, server.RANDOM_PORT, nil
	default:
		return "", 0, fmt.Errorf("listen on %s for NATS clients: %w", listen, err)
	}
}

func tryListen(ctx context.Context, addr string) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return listener.Close()
}

// natsLog writes what the NATS server has to say. Its notices are of interest
// to those who look for details.
type natsLog struct {
	ctx context.Context //nolint:containedctx // the server's interface has none to give
	log *slog.Logger
}

const natsSays = "nats server"

func (l natsLog) say(level slog.Level, format string, v []any) {
	if l.log.Enabled(l.ctx, level) {
		l.log.Log(l.ctx, level, natsSays, slog.String("said", fmt.Sprintf(format, v...)))
	}
}

func (l natsLog) Noticef(format string, v ...any) { l.say(slog.LevelDebug, format, v) }
func (l natsLog) Warnf(format string, v ...any)   { l.say(slog.LevelWarn, format, v) }
func (l natsLog) Errorf(format string, v ...any)  { l.say(slog.LevelError, format, v) }
func (l natsLog) Fatalf(format string, v ...any)  { l.say(slog.LevelError, format, v) }
func (l natsLog) Debugf(format string, v ...any)  { l.say(slog.LevelDebug, format, v) }
func (l natsLog) Tracef(format string, v ...any)  { l.say(slog.LevelDebug, format, v) }
