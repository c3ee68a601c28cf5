package main

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func TestStreamsList(t *testing.T) {
	t.Parallel()
	cfg := testkit.BusConfig(t, testkit.JetStream(t))
	cfg.FlowsMaxBytes = 4 << 20
	b := testkit.BusOn(t, cfg)
	if err := b.Publish(t.Context(), &nats.Msg{Subject: b.Space.Flow("advanced", 0, "f"), Data: make([]byte, 3<<20)}); err != nil {
		t.Fatal(err)
	}
	has(t, ok(t, env("NATS_URL", cfg.NATSURL), "streams", "list"), "FLOWS_0", "4194304", "75.0%", "TIMERS_0", "no limit")
	code, _, stderr := runs(t, env("NATS_URL", cfg.NATSURL, "NAMESPACE", "other"), "streams", "list")
	if code == 0 {
		t.Error("it lists streams that are not there")
	}
	has(t, stderr, "NAMESPACE")
}
