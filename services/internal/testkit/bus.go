package testkit

import (
	"log/slog"
	"testing"

	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/conf"
)

// BusConfig is the configuration of an installation on a NATS server that is
// there, with every setting at its default.
func BusConfig(tb testing.TB, url string) bus.Config {
	tb.Helper()
	var cfg bus.Config
	if err := conf.Load(&cfg, func(string) (string, bool) { return "", false }); err != nil {
		tb.Fatalf("read the settings: %v", err)
	}
	cfg.NATSURL = url
	return cfg
}

// Bus starts a NATS server and returns a connection to it, with the streams,
// buckets and consumers of an installation. Both end with the test.
func Bus(tb testing.TB) *bus.Bus {
	tb.Helper()
	return ConnectBus(tb, JetStream(tb))
}

// ConnectBus is Bus for a NATS server that is there.
func ConnectBus(tb testing.TB, url string) *bus.Bus {
	tb.Helper()
	return BusOn(tb, BusConfig(tb, url))
}

// BusOn is Bus for a configuration.
func BusOn(tb testing.TB, cfg bus.Config) *bus.Bus {
	tb.Helper()
	b, err := bus.Connect(tb.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatalf("connect to %s: %v", cfg.NATSURL, err)
	}
	tb.Cleanup(b.Close)
	if err := b.Ensure(tb.Context()); err != nil {
		tb.Fatalf("make the streams: %v", err)
	}
	return b
}
