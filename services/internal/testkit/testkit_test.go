package testkit_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func TestJetStreamKeepsItsStoreAcrossARestart(t *testing.T) {
	t.Parallel()
	server := testkit.NewNATS(t)
	url := server.URL()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s.a", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	var listen net.ListenConfig
	other, err := listen.Listen(t.Context(), "tcp", strings.TrimPrefix(url, "nats://")) // has its port for a moment
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { _ = other.Close() })
	server.Start()
	if server.URL() != url {
		t.Fatalf("came back as %s, was %s", server.URL(), url)
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		stream, err := js.Stream(t.Context(), "S")
		if err != nil {
			return err
		}
		_, err = stream.GetLastMsgForSubject(t.Context(), "s.a")
		return err
	})
}

func TestRedisExpiresAndComesBackEmpty(t *testing.T) {
	t.Parallel()
	server := testkit.NewRedis(t)
	opts, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	defer client.Close()
	if err := client.Set(t.Context(), "short", "x", 50*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Set(t.Context(), "long", "x", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 5*time.Second, func() bool {
		return errors.Is(client.Get(t.Context(), "short").Err(), redis.Nil)
	})
	if err := client.Get(t.Context(), "long").Err(); err != nil {
		t.Fatalf("the long one: %v", err)
	}
	server.Stop()
	server.Start()
	testkit.Eventually(t, 5*time.Second, func() bool {
		return errors.Is(client.Get(t.Context(), "long").Err(), redis.Nil)
	})
}
