package bus_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// edit changes a stream as somebody with the nats command would.
func edit(t *testing.T, b *bus.Bus, stream string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	existing, err := b.JS.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := existing.CachedInfo().Config
	change(&cfg)
	if _, err := b.JS.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

func editConsumer(t *testing.T, b *bus.Bus, stream, name string, change func(*jetstream.ConsumerConfig)) {
	t.Helper()
	existing, err := b.JS.Consumer(t.Context(), stream, name)
	if err != nil {
		t.Fatal(err)
	}
	cfg := existing.CachedInfo().Config
	change(&cfg)
	if _, err := b.JS.UpdateConsumer(t.Context(), stream, cfg); err != nil {
		t.Fatal(err)
	}
}

// Whatever differs between the configuration and what exists is refused, with
// what to do, and nothing is made or changed.
func TestOtherSettingsAreRefused(t *testing.T) {
	t.Parallel()
	const apply = "`sluice streams apply`"
	for name, tt := range map[string]struct {
		configured func(*bus.Config)
		existing   func(*testing.T, *bus.Bus)
		want       []string
	}{
		"PARTITIONS": {
			configured: func(c *bus.Config) { c.Partitions = 8 },
			want:       []string{"stream COMMANDS_0", "PARTITIONS is 16 and should be 8", "Set PARTITIONS=16 for every role", "another NAMESPACE"},
		},
		"SHARDS": {
			configured: func(c *bus.Config) { c.Shards = 2 },
			want:       []string{"SHARDS is 1 and should be 2", "Set SHARDS=1 for every role"},
		},
		"STREAM_REPLICAS": {
			configured: func(c *bus.Config) { c.StreamReplicas = 3 },
			want: []string{
				"stream FLOWS_0", "bucket sluice_keys", "bucket sluice_steps", "replicas is 1 and should be 3",
				"Set STREAM_REPLICAS=1 for every role", apply,
			},
		},
		"sizes": {
			configured: func(c *bus.Config) { c.FlowsMaxBytes, c.CommandsMaxBytes = 3<<20, 2<<20 },
			want: []string{
				"stream FLOWS_0 exists with other settings: max_bytes is 8589934592 and should be 3145728",
				"Set COMMANDS_MAX_BYTES=1073741824 FLOWS_MAX_BYTES=8589934592 for every role", apply,
			},
		},
		"the sizes of the rest": {
			configured: func(c *bus.Config) { c.InvocationsMaxBytes, c.DeadMaxBytes = 3<<20, 2<<20 },
			want:       []string{"stream DEAD", "DEAD_MAX_BYTES=268435456 INVOCATIONS_MAX_BYTES=1073741824", apply},
		},
		"an age on the histories": {
			existing: func(t *testing.T, b *bus.Bus) {
				t.Helper()
				edit(t, b, "FLOWS_0", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour })
			},
			want: []string{"stream FLOWS_0", "max_age is 1h0m0s and should be 0s", "another NAMESPACE", "with the nats command"},
		},
		"old messages discarded": {
			existing: func(t *testing.T, b *bus.Bus) {
				t.Helper()
				edit(t, b, "COMMANDS_0", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld })
			},
			want: []string{"stream COMMANDS_0", "discard is"},
		},
		"a bucket that forgets": {
			existing: func(t *testing.T, b *bus.Bus) {
				t.Helper()
				edit(t, b, "KV_sluice_steps", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 })
			},
			want: []string{"bucket sluice_steps", "max_msgs_per_subject is 1 and should be 64"},
		},
		"a consumer that gives up": {
			existing: func(t *testing.T, b *bus.Bus) {
				t.Helper()
				editConsumer(t, b, "COMMANDS_0", "engine-3", func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 5 })
			},
			want: []string{"consumer engine-3 of stream COMMANDS_0", "max_deliver is 5 and should be -1", "Change what exists by " + apply},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := testkit.BusConfig(t, testkit.JetStream(t))
			b := testkit.BusOn(t, cfg)
			if tt.existing != nil {
				tt.existing(t, b)
			}
			if tt.configured != nil {
				tt.configured(&cfg)
			}
			before := streamsOf(t, b)
			err := connect(t, cfg).Ensure(t.Context())
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("got %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %s", want, err)
				}
			}
			if after := streamsOf(t, b); after != before {
				t.Errorf("there were %d streams, now %d", before, after)
			}
		})
	}
}

func streamsOf(t *testing.T, b *bus.Bus) int {
	t.Helper()
	info, err := b.JS.AccountInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.Streams
}

func TestWhatCannotBeMadeIsRefused(t *testing.T) {
	t.Parallel()
	url := testkit.JetStream(t)
	alone := testkit.BusConfig(t, url)
	alone.StreamReplicas = 3
	taken := testkit.BusConfig(t, url)
	taken.Namespace = "taken"
	b := connect(t, taken)
	if _, err := b.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHERS", Subjects: []string{"taken.>"}}); err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]bus.Config{"set STREAM_REPLICAS=1": alone, "set another NAMESPACE": taken} {
		if err := connect(t, cfg).Ensure(t.Context()); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	apart := testkit.BusConfig(t, url)
	apart.Namespace, apart.Partitions, apart.Shards = "team", 8, 2
	if err := connect(t, apart).Ensure(t.Context()); err != nil {
		t.Errorf("another namespace: %v", err)
	}
}

func TestApplyChangesWhatExists(t *testing.T) {
	t.Parallel()
	cfg := testkit.BusConfig(t, testkit.JetStream(t))
	b := testkit.BusOn(t, cfg)
	editConsumer(t, b, "COMMANDS_0", "engine-3", func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 5 })
	if err := b.Publish(t.Context(), &nats.Msg{Subject: "sluice.flow.advanced.1.f", Data: make([]byte, 2<<20)}); err != nil {
		t.Fatal(err)
	}
	cfg.FlowsMaxBytes *= 2
	other := connect(t, cfg)
	var changes []string
	for range 2 { // the second time there is nothing to do
		if err := other.Apply(t.Context(), func(change string) { changes = append(changes, change) }); err != nil {
			t.Fatal(err)
		}
	}
	said := strings.Join(changes, "\n")
	if len(changes) != 2 || !strings.Contains(said, "stream FLOWS_0: max_bytes is now 17179869184, was 8589934592") ||
		!strings.Contains(said, "consumer engine-3 of stream COMMANDS_0: max_deliver is now -1, was 5") {
		t.Errorf("changes:\n%s", said)
	}
	if err := other.Ensure(t.Context()); err != nil {
		t.Errorf("after it: %v", err)
	}
	if err := b.Ensure(t.Context()); fault.KindOf(err) != fault.Invalid {
		t.Errorf("with the old settings: %v", err)
	}
	for name, tt := range map[string]struct {
		change func(*bus.Config)
		want   string
	}{
		"too small":     {func(c *bus.Config) { c.FlowsMaxBytes = 1 << 20 }, "more than FLOWS_MAX_BYTES=1048576"},
		"what is fixed": {func(c *bus.Config) { c.Partitions, c.FlowsMaxBytes = 8, 1<<30 }, "PARTITIONS is 16"},
	} {
		refused := cfg
		tt.change(&refused)
		err := connect(t, refused).Apply(t.Context(), func(change string) { t.Errorf("%s: changed %s", name, change) })
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
