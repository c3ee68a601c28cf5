package bus_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func connect(t *testing.T, cfg bus.Config) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func TestEnsureIsRepeatable(t *testing.T) {
	t.Parallel()
	cfg := testkit.BusConfig(t, testkit.JetStream(t))
	for range 2 {
		if err := connect(t, cfg).Ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSmallMessagesAreRefused(t *testing.T) {
	t.Parallel()
	cfg := testkit.BusConfig(t, testkit.JetStream(t))
	cfg.MaxBodyBytes = 2 << 20
	_, err := bus.Connect(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "max_payload") {
		t.Errorf("error %v", err)
	}
}

func TestConnectWaitsForNATS(t *testing.T) {
	t.Parallel()
	cfg := testkit.BusConfig(t, "nats://127.0.0.1:1")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := bus.Connect(ctx, cfg, "test", slog.New(slog.DiscardHandler)); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("error %v", err)
	}
}

func command(id string) *sluicev1.Command {
	return &sluicev1.Command{FlowId: id, Kind: &sluicev1.Command_CancelFlow{CancelFlow: &sluicev1.CancelFlow{}}}
}

func TestAskAnswersWhoAsked(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	id := "order-1"
	consumer, err := b.JS.Consumer(t.Context(), b.Commands(0), bus.ConsumerEngine(b.Partition(id)))
	if err != nil {
		t.Fatal(err)
	}
	stop, err := consumer.Consume(func(msg jetstream.Msg) {
		data, _ := proto.Marshal(&sluicev1.Reply{Code: sluicev1.ReplyCode_REPLY_CODE_OK, Revision: 5})
		for range 2 { // a redelivery is answered again
			_ = b.NC.Publish(msg.Headers().Get(bus.HeaderReply), data)
		}
		_ = msg.Ack()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop.Stop()
	reply, err := b.Ask(t.Context(), command(id))
	if err != nil || reply.GetRevision() != 5 {
		t.Errorf("reply %v, %v", reply, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	other := "other"
	for b.Partition(other) == b.Partition(id) {
		other += "x"
	}
	if _, err := b.Ask(ctx, command(other)); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("without an engine: %v", err)
	}
}

func TestFullStreamsTakeNothing(t *testing.T) {
	t.Parallel()
	cfg := testkit.BusConfig(t, testkit.JetStream(t))
	cfg.CommandsMaxBytes = 1 << 20
	b := connect(t, cfg)
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	if err := b.Full(); err != nil {
		t.Errorf("empty streams are full: %v", err)
	}
	big := command("f")
	big.GetCancelFlow().Reason = strings.Repeat("x", 100_000)
	var err error
	for range 20 {
		if err = b.PublishCommand(ctx, subject.SourceAPI, big, nil); err != nil {
			break
		}
	}
	if fault.KindOf(err) != fault.Unavailable {
		t.Errorf("a full stream answers %v", err)
	}
	testkit.Eventually(t, 10*time.Second, func() bool { return b.Full() != nil })
	if b.OnReserve(0) {
		t.Error("FLOWS is empty and counts as full")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestLast(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	fence := b.Space.Fence(1, "f")
	if last, err := b.Last(t.Context(), b.Flows(0), fence); last != nil || err != nil {
		t.Errorf("of nothing: %v, %v", last, err)
	}
	for _, text := range []string{"one", "two"} {
		msg := &nats.Msg{Subject: b.Space.Flow(subject.KindAdvanced, 1, "f"), Data: []byte(text), Header: nats.Header{"A": {"b c"}}}
		if err := b.Publish(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	last, err := b.Last(t.Context(), b.Flows(0), fence)
	if err != nil || string(last.Data) != "two" || last.Sequence != 2 || last.Header.Get("A") != "b c" || last.Time.IsZero() {
		t.Errorf("last %+v, %v", last, err)
	}
}

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*bus.Config){
		"PARTITIONS":         func(c *bus.Config) { c.Partitions = 0 },
		"SHARDS":             func(c *bus.Config) { c.Shards = 17 },
		"STREAM_REPLICAS":    func(c *bus.Config) { c.StreamReplicas = 0 },
		"MAX_BODY_BYTES":     func(c *bus.Config) { c.MaxBodyBytes = 1 },
		"NAMESPACE":          func(c *bus.Config) { c.Namespace = "a.b" },
		"NATS_MONITOR_URL":   func(c *bus.Config) { c.NATSMonitorURL = "nats:8222" },
		"COMMANDS_MAX_BYTES": func(c *bus.Config) { c.CommandsMaxBytes = 5 },
	} {
		cfg := testkit.BusConfig(t, "")
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
