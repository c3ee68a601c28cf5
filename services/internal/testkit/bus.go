package testkit

import (
	"log/slog"
	"testing"

	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/conf"
)

// BusConfig is the configuration of an installation on a NATS server that is
// there, with every setting at its default.
func BusConfig(t testing.TB, url string) bus.Config {
	t.Helper()
	var cfg bus.Config
	if err := conf.Load(&cfg, func(string) (string, bool) { return "", false }); err != nil {
		t.Fatalf("read the settings: %v", err)
	}
	cfg.NATSURL = url
	return cfg
}

// Bus starts a NATS server and returns a connection to it, with the streams,
// buckets and consumers of an installation. Both end with the test.
func Bus(t testing.TB) *bus.Bus {
	t.Helper()
	return ConnectBus(t, JetStream(t))
}

// ConnectBus is Bus for a NATS server that is there.
func ConnectBus(t testing.TB, url string) *bus.Bus {
	t.Helper()
	return BusOn(t, BusConfig(t, url))
}

// BusOn is Bus for a configuration.
func BusOn(t testing.TB, cfg bus.Config) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("connect to %s: %v", cfg.NATSURL, err)
	}
	t.Cleanup(b.Close)
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatalf("make the streams: %v", err)
	}
	return b
}
