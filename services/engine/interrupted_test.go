package engine_test

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// newProxiedWorld is a world of one partition, and a connection to it that can be
// cut.
func newProxiedWorld(t *testing.T) (w *world, far *bus.Bus, proxy *testkit.Proxy) {
	t.Helper()
	server := testkit.JetStream(t)
	cfg := testkit.BusConfig(t, server)
	cfg.Partitions = 1
	w = worldOn(t, testkit.BusOn(t, cfg))
	proxy = testkit.NewProxy(t, server)
	cfg.NATSURL = proxy.NATSURL()
	return w, testkit.BusOn(t, cfg), proxy
}

// commands is how the partition's consumer stands.
func (w *world) commands() *jetstream.ConsumerInfo {
	w.t.Helper()
	consumer, err := w.bus.JS.Consumer(w.t.Context(), w.bus.Commands(0), bus.ConsumerEngine(0))
	if err != nil {
		w.t.Fatal(err)
	}
	return consumer.CachedInfo()
}

func (w *world) commits(flowID string) int {
	w.t.Helper()
	history, err := w.journal.History(w.t.Context(), flowID)
	if err != nil {
		return -1
	}
	return len(history)
}

func succeeded(e *sluicev1.Event) bool { return e.GetWorkSucceeded() != nil }

// Rule 3: a commit was stored and its ack never came. Nothing is decided again;
// what follows from it is emitted by whoever gets its command next.
func TestACommitWhoseAckNeverComes(t *testing.T) {
	t.Parallel()
	w, far, proxy := newProxiedWorld(t)
	e := w.startOn(far, nil)
	w.begin("f", chain(t))
	inv := w.invocation("f", "a")
	w.idle()
	proxy.CutWhen(w.bus.Space.Flow(subject.KindAdvanced, 0, "f"), testkit.ToClient)
	w.send(subject.SourceHook, success(inv, "x", "1"))
	w.until("the commit is stored", func() bool { return w.commits("f") == 2 })
	w.until("the engine gives it up", func() bool { return e.figure(t, "sluice_engine_put_back_total") > 0 })
	proxy.Heal()
	w.send(subject.SourceHook, success(w.invocation("f", "b"), "y", "2"))
	w.send(subject.SourceHook, success(w.invocation("f", "c"), "z", "3"))
	history := w.ended("f")
	if len(history) != 4 || count(history, succeeded) != 3 {
		t.Errorf("%d commits with %d outcomes", len(history), count(history, succeeded))
	}
	w.idle()
}

// Rules 2 and 3: a commit that was on its way for long arrives after another
// engine decided the same command. It is refused.
func TestACommitThatComesTooLate(t *testing.T) {
	t.Parallel()
	w, far, proxy := newProxiedWorld(t)
	w.startOn(far, nil)
	w.begin("f", chain(t))
	inv := w.invocation("f", "a")
	w.idle()
	proxy.CutWhen(w.bus.Space.Flow(subject.KindAdvanced, 0, "f"), testkit.ToServer)
	w.send(subject.SourceHook, success(inv, "x", "1"))
	w.until("the commit is on its way", func() bool { return proxy.IsCut(testkit.ToServer) })
	if n := w.commits("f"); n != 1 {
		t.Fatalf("%d commits", n)
	}
	w.start()
	second := w.invocation("f", "b") // the other engine took over
	proxy.Heal()
	w.send(subject.SourceHook, success(second, "y", "2"))
	w.send(subject.SourceHook, success(w.invocation("f", "c"), "z", "3"))
	history := w.ended("f")
	if len(history) != 4 || count(history, succeeded) != 3 {
		t.Errorf("%d commits with %d outcomes", len(history), count(history, succeeded))
	}
	w.idle()
}

// Rule 8: what an engine holds for longer than the ack wait is not delivered
// again, for it says that it works on it.
func TestWhatIsHeldIsNotDeliveredAgain(t *testing.T) {
	t.Parallel()
	w, far, proxy := newProxiedWorld(t)
	stop := w.start()
	w.begin("f", chain(t))
	w.send(subject.SourceHook, success(w.invocation("f", "a"), "x", "1"))
	inv := w.invocation("f", "b")
	w.idle()
	stop()
	// On a machine that is busy a touch may come late: more room than an engine has.
	const ackWait = bus.CommandAckWait * 5 / 3
	info := w.commands()
	info.Config.AckWait = ackWait
	if _, err := w.bus.JS.UpdateConsumer(t.Context(), w.bus.Commands(0), info.Config); err != nil {
		t.Fatal(err)
	}
	// An engine that does not know the flow hangs in its load.
	proxy.CutWhen("$JS.API.DIRECT.GET."+w.bus.Flows(0), testkit.ToClient)
	w.startOn(far, nil)
	w.send(subject.SourceHook, success(inv, "y", "2"))
	w.until("the engine loads the flow", func() bool { return proxy.IsCut(testkit.ToClient) })
	// Another engine would get it here, if it were delivered again.
	consumer, err := w.bus.JS.Consumer(t.Context(), w.bus.Commands(0), bus.ConsumerEngine(0))
	if err != nil {
		t.Fatal(err)
	}
	batch, err := consumer.Fetch(1, jetstream.FetchMaxWait(ackWait*3/2))
	if err != nil {
		t.Fatal(err)
	}
	for range batch.Messages() {
		t.Error("the command was delivered to another engine")
	}
	if held := w.commands().NumAckPending; held != 1 {
		t.Errorf("%d commands are held", held)
	}
	proxy.Heal()
	w.invocation("f", "c")
	w.idle()
}

// Rule 1: an engine whose state is old decides that a command is nothing to it.
// It looks whether its state is the flow's last before it acks.
func TestNothingIsAckedByAnOldState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.begin("f", chain(t))
	w.invocation("f", "a")
	w.idle()
	// Behind its back the flow goes and another one gets its id.
	stream, err := w.bus.JS.Stream(t.Context(), w.bus.Flows(0))
	if err != nil {
		t.Fatal(err)
	}
	fence := w.bus.Space.Fence(w.bus.Partition("f"), "f")
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject(fence)); err != nil {
		t.Fatal(err)
	}
	const run = 42
	turn := flow.New("f", plan.Decode).Begin(flow.Env{Now: time.Now().UnixNano(), Run: run, Token: w.keys.Ring().Mint})
	turn.Apply(startCommand("f", chain(t), "another"), flow.Position{Sequence: 1, Time: 1})
	data, err := proto.Marshal(turn.Commit())
	if err != nil {
		t.Fatal(err)
	}
	err = w.bus.Publish(t.Context(), &nats.Msg{
		Subject: w.bus.Space.Flow(subject.KindAdvanced, w.bus.Partition("f"), "f"), Data: data,
		Header: nats.Header{
			bus.HeaderChecksum: {hex.EncodeToString(journal.Checksum(data))}, bus.HeaderSnapshot: {"0"}, bus.HeaderRevision: {"1"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.send(subject.SourceHook, success(&sluicev1.Invocation{
		FlowId: "f", Work: &sluicev1.WorkRef{Run: run, StepId: "a", Attempt: 1},
	}, "x", "1"))
	if inv := w.invocation("f", "b"); inv.GetWork().GetRun() != run {
		t.Errorf("an invocation of run %d", inv.GetWork().GetRun())
	}
	w.idle()
}
