package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/engine"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// smallFlows is the least size of a FLOWS stream.
const smallFlows = 1 << 20

// newSmallWorld is a world with a small FLOWS stream, whose size is looked at.
func newSmallWorld(t *testing.T) *world {
	t.Helper()
	cfg := testkit.BusConfig(t, testkit.JetStream(t))
	cfg.FlowsMaxBytes = smallFlows
	w := worldOn(t, testkit.BusOn(t, cfg))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.bus.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

// fillFlows puts into FLOWS what belongs to no flow that is looked at, until it
// is as full as that, in thousandths.
func (w *world) fillFlows(thousandths uint64) {
	w.t.Helper()
	for size := 64 << 10; size >= 16; size /= 2 {
		for w.flowsBytes()+uint64(size)+100 <= smallFlows*thousandths/1000 {
			msg := &nats.Msg{Subject: w.bus.Space.Flow(subject.KindAdvanced, 0, "filler"), Data: make([]byte, size)}
			if err := w.bus.Publish(w.t.Context(), msg); err != nil {
				break
			}
		}
	}
}

func (w *world) flowsBytes() uint64 {
	w.t.Helper()
	stream, err := w.bus.JS.Stream(w.t.Context(), w.bus.Flows(0))
	if err != nil {
		w.t.Fatal(err)
	}
	return stream.CachedInfo().State.Bytes
}

// makeRoom takes out what fillFlows put in.
func (w *world) makeRoom() {
	w.t.Helper()
	stream, err := w.bus.JS.Stream(w.t.Context(), w.bus.Flows(0))
	if err == nil {
		err = stream.Purge(w.t.Context(), jetstream.WithPurgeSubject(w.bus.Space.Flow(subject.KindAdvanced, 0, "filler")))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) onReserve(want bool) {
	w.t.Helper()
	w.until(fmt.Sprintf("FLOWS is on its reserve: %v", want), func() bool { return w.bus.OnReserve(0) == want })
}

// From nineteen twentieths on, outcomes and endings are committed and nothing
// starts; once there is room everything goes on by itself.
func TestNothingStartsOnTheReserve(t *testing.T) {
	t.Parallel()
	w := newSmallWorld(t)
	w.start()
	w.begin("chain", chain(t))
	w.begin("last", planned(t, []string{"a"}, asyncStep("a", out("x"))))
	w.begin("retries", planned(t, []string{"a"}, asyncStep("a", out("x"), retries(3, 10))))
	invoked := map[string]*sluicev1.Invocation{}
	for len(invoked) < 3 {
		if inv, ok := w.nextInvocation(t.Context()); ok {
			invoked[inv.GetFlowId()] = inv
		}
	}
	w.fillFlows(970)
	w.onReserve(true)
	w.send(subject.SourceHook, success(invoked["chain"], "x", "1"))
	w.send(subject.SourceHook, success(invoked["last"], "x", "1"))
	w.send(subject.SourceHook, completion(invoked["retries"], &sluicev1.Outcome{
		NotCompleted: true, Error: "busy", Digest: []byte("busy"),
	}))
	w.begin("late", chain(t))
	w.ended("last")
	w.idle()
	// The retry was due after 10 ms, and is looked at until there is room.
	for id, commits := range map[string]int{"chain": 2, "retries": 2, "late": 1} {
		if history, err := w.journal.History(t.Context(), id); err != nil || len(history) != commits {
			t.Errorf("%s has %d commits, want %d (%v)", id, len(history), commits, err)
		}
	}
	if n := w.messages(w.bus.Invocations(0)); n != 0 {
		t.Errorf("%d attempts started", n)
	}
	w.makeRoom()
	started := map[string]uint32{}
	for len(started) < 3 {
		if inv, ok := w.nextInvocation(t.Context()); ok {
			started[inv.GetFlowId()+"/"+inv.GetWork().GetStepId()] = inv.GetWork().GetAttempt()
		}
	}
	if started["chain/b"] != 1 || started["retries/a"] != 2 || started["late/a"] != 1 {
		t.Errorf("started %v", started)
	}
}

// An engine that has flows waiting for room may die: what wakes them is stored.
func TestWhatWaitsForRoomSurvivesTheEngine(t *testing.T) {
	t.Parallel()
	w := newSmallWorld(t)
	stop := w.start()
	w.fillFlows(970)
	w.onReserve(true)
	w.begin("f", chain(t))
	w.idle()
	stop()
	w.makeRoom()
	w.onReserve(false)
	w.start()
	w.invocation("f", "a")
}

// A FLOWS stream that is full to the end loses nothing, and retiring what has
// ended makes room, also where there is none for the retirement itself.
func TestRetirementRelievesFullFlows(t *testing.T) {
	t.Parallel()
	w := newSmallWorld(t)
	stop := w.start()
	var waiting []*sluicev1.Invocation
	big := fmt.Sprintf("%q", strings.Repeat("x", 16<<10))
	plan := planned(t, []string{"a"}, asyncStep("a", out("x")))
	for i := 0; w.flowsBytes() < smallFlows*9/10; i++ {
		w.begin(fmt.Sprintf("f%d", i), plan)
		inv := w.invocation(fmt.Sprintf("f%d", i), "a")
		if i%4 == 0 {
			waiting = append(waiting, inv)
			continue
		}
		w.send(subject.SourceHook, success(inv, "x", big))
		w.ended(inv.GetFlowId())
	}
	w.until("gateways and consoles answer 503", func() bool { return w.bus.Full() != nil })
	w.fillFlows(1000)
	w.onReserve(true)
	for _, inv := range waiting {
		w.send(subject.SourceHook, success(inv, "x", big))
	}
	w.until("they find no room", func() bool {
		stream, err := w.bus.JS.Stream(t.Context(), w.bus.Commands(0))
		return err == nil && stream.CachedInfo().State.Msgs == uint64(len(waiting))
	})
	stop()
	// An engine with a shorter retention looks at all endings anew.
	for _, kind := range bus.Endings() {
		if err := w.bus.JS.DeleteConsumer(t.Context(), w.bus.Flows(0), bus.ConsumerRetention(kind)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.bus.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.start(func(c *engine.Config) { c.HistoryRetention = time.Second })
	for _, inv := range waiting {
		w.until("the outcome of "+inv.GetFlowId()+" is applied, or retired already", func() bool {
			loaded, err := w.journal.Load(t.Context(), inv.GetFlowId())
			return err == nil && (!loaded.State.Exists() || loaded.State.Final())
		})
	}
	w.idle()
	w.until("new work is let in", func() bool { return w.bus.Full() == nil })
	w.begin("new", plan)
	w.invocation("new", "a")
}

// Decision 2: a full INVOCATIONS puts back the commands whose invocations do not
// fit, and is in the way of nobody else.
func TestFullInvocationsBlockNobodyElse(t *testing.T) {
	t.Parallel()
	cfg := testkit.BusConfig(t, testkit.JetStream(t))
	cfg.InvocationsMaxBytes, cfg.Partitions = 1<<20, 1
	w := worldOn(t, testkit.BusOn(t, cfg))
	w.start()
	w.begin("ends", planned(t, []string{"a"}, asyncStep("a", out("x"))))
	inv := w.invocation("ends", "a")
	w.fillInvocations()
	w.send(subject.SourceAPI, startCommand("waits", chain(t), "request"))
	w.until("the start is committed", func() bool {
		history, err := w.journal.History(t.Context(), "waits")
		return err == nil && len(history) == 1
	})
	w.send(subject.SourceHook, success(inv, "x", "1"))
	w.ended("ends")
	w.purgeInvocations()
	if got := w.invocation("waits", "a"); got.GetWork().GetAttempt() != 1 {
		t.Errorf("attempt %d is invoked", got.GetWork().GetAttempt())
	}
	w.idle()
	if history, err := w.journal.History(t.Context(), "waits"); err != nil || len(history) != 1 {
		t.Errorf("%d commits, want one (%v)", len(history), err)
	}
}
