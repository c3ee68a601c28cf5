package dev_test

import (
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/sluiceflow/sluice/services/dev"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func begin(t *testing.T, dir string) *dev.Servers {
	t.Helper()
	servers, err := dev.Start(t.Context(), dev.Config{DataDir: dir, NATSListen: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return servers
}

func connect(t *testing.T, servers *dev.Servers, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(servers.NATSURL(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestNATSKeepsItsStateInTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	servers := begin(t, dir)
	js := connect(t, servers, servers.InProcess())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEPT"}); err != nil {
		t.Fatal(err)
	}
	if err := servers.Close(); err != nil {
		t.Fatal(err)
	}
	servers = begin(t, dir)
	if _, err := connect(t, servers).Stream(t.Context(), "KEPT"); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if err := servers.Close(); err != nil {
		t.Error(err)
	}
}

func TestRedisExpires(t *testing.T) {
	t.Parallel()
	servers := begin(t, t.TempDir())
	opts, err := redis.ParseURL(servers.RedisURL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	if err := client.Set(t.Context(), "key", "value", time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, func() bool { return client.Exists(t.Context(), "key").Val() == 0 })
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if err := servers.Close(); err != nil {
		t.Error(err)
	}
}

func TestStartSaysWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := t.TempDir()
	servers := begin(t, taken)
	for _, tt := range []struct{ name, dir, listen, want string }{
		{name: "another process in the folder", dir: taken, listen: "127.0.0.1:0", want: "another sluice uses this folder"},
		{name: "another program on the address", dir: t.TempDir(), listen: listener.Addr().String(), want: "address already in use"},
		{name: "no address", dir: t.TempDir(), listen: "nowhere", want: "DEV_NATS_LISTEN"},
		{name: "no port", dir: t.TempDir(), listen: "127.0.0.1:x", want: "DEV_NATS_LISTEN"},
	} {
		_, err := dev.Start(t.Context(), dev.Config{DataDir: tt.dir, NATSListen: tt.listen}, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	if err := servers.Close(); err != nil {
		t.Error(err)
	}
	if err := begin(t, taken).Close(); err != nil {
		t.Errorf("the folder was not given back: %v", err)
	}
}
