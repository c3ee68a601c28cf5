package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/engine"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// starting is a step that starts a flow of that plan, whose x is its own.
func starting(id string, child []byte) *sluicev1.PlannedStep {
	s := asyncStep(id, out("x"), retries(0, 1))
	s.Type, s.Endpoint, s.CallTimeoutMs = sluicev1.StepType_STEP_TYPE_FLOW, "", 0
	s.Child = &sluicev1.ChildPlan{Plan: child, Outputs: map[string]string{"x": "x"}}
	return s
}

// family is a plan whose step kyc starts a flow with the one step a.
func family(t *testing.T) []byte {
	t.Helper()
	return planned(t, []string{"kyc"}, starting("kyc", planned(t, []string{"a"}, asyncStep("a", out("x")))))
}

// child waits for the child of the flow order and returns its id.
func (w *world) child() string {
	w.t.Helper()
	id := ""
	w.until("a child is named", func() bool {
		loaded, err := w.journal.Load(w.t.Context(), "order")
		if err == nil && loaded.State.Exists() && len(loaded.State.Steps[0].Items) > 0 {
			id = loaded.State.ChildFlow(0, 0)
		}
		return id != ""
	})
	return id
}

func (w *world) statusOf(id string) string {
	w.t.Helper()
	loaded, err := w.journal.Load(w.t.Context(), id)
	if err != nil {
		return err.Error()
	}
	return flow.StatusName(loaded.State.Status)
}

// deactivated waits until nothing of a flow can act any more.
func (w *world) deactivated(id string) *flow.State {
	w.t.Helper()
	var state *flow.State
	w.until("flow "+id+" is done with", func() bool {
		loaded, err := w.journal.Load(w.t.Context(), id)
		if err != nil {
			return false
		}
		state = loaded.State
		return state.Deactivated
	})
	return state
}

// sweepSoon looks for what was lost every second.
func sweepSoon(cfg *engine.Config) { cfg.SweepInterval = time.Second }

func started(e *sluicev1.Event) bool { return e.GetFlowStarted() != nil }

// beginFamilies starts that many flows and returns their ids.
func (w *world) beginFamilies(n int, planBytes []byte) (parents []string) {
	w.t.Helper()
	for i := range n {
		id := "order-" + string(rune('a'+i))
		w.begin(id, planBytes)
		parents = append(parents, id)
	}
	return parents
}

// Two engines share the partitions; parents and children are of many of them.
func TestChildrenOnOtherPartitionsAndEngines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := w.startOn(w.bus, nil), w.startOn(testkit.ConnectBus(t, w.bus.NC.ConnectedUrl()), nil)
	w.spread(first, second)
	parents := w.beginFamilies(6, family(t))
	apart := 0
	for range parents {
		inv, ok := w.nextInvocation(t.Context())
		for !ok {
			inv, ok = w.nextInvocation(t.Context())
		}
		if inv.GetParentStepId() != "kyc" || !strings.HasPrefix(inv.GetFlowId(), inv.GetParentFlowId()+".kyc.") {
			t.Fatalf("called for %v", inv)
		}
		if w.bus.Partition(inv.GetFlowId()) != w.bus.Partition(inv.GetParentFlowId()) {
			apart++
		}
		w.send(subject.SourceHook, success(inv, "x", `"`+inv.GetParentFlowId()+`"`))
	}
	if apart == 0 {
		t.Error("each child is of its parent's partition")
	}
	for _, id := range parents {
		state := w.deactivated(id)
		if got := string(state.Attributes["x"].Value); got != `"`+id+`"` || flow.StatusName(state.Status) != "completed" {
			t.Errorf("flow %s is %s with %s", id, flow.StatusName(state.Status), got)
		}
		child := state.ChildFlow(0, 0)
		if told := w.deactivated(child); !told.Told {
			t.Errorf("the parent of %s has not heard of its end", child)
		}
		history, err := w.journal.History(t.Context(), child)
		if err != nil || count(history, started) != 1 || count(history, succeeded) != 1 {
			t.Errorf("the history of %s: %d commits (%v)", child, len(history), err)
		}
	}
	w.idle()
}

// The engine that stored the parent's commit is gone before it could start the
// child, cancel it, or tell of its end: whoever gets the command next does.
func TestAnEngineThatIsCutOffBetweenParentAndChild(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{"start-child": "order=2Ekyc=2E", "tell-parent": "order ", "parent-heard": "order=2Ekyc=2E"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, far, proxy := newProxiedWorld(t)
			w.startOn(far, nil)
			text := w.bus.Space.Command(subject.SourceEngine, 0, "")
			cut := func() { proxy.CutWhen(text+at, testkit.ToServer) }
			if name == "start-child" {
				cut()
			}
			w.send(subject.SourceAPI, startCommand("order", family(t), "request"))
			child := w.child()
			if name != "start-child" {
				inv := w.invocation(child, "a")
				w.idle()
				cut()
				w.send(subject.SourceHook, success(inv, "x", "1"))
			}
			w.until("it is cut off", func() bool { return proxy.IsCut(testkit.ToServer) })
			w.start() // another engine takes over
			if name == "start-child" {
				w.send(subject.SourceHook, success(w.invocation(child, "a"), "x", "1"))
			}
			parent, ended := w.deactivated("order"), w.deactivated(child)
			proxy.Heal()
			if flow.StatusName(parent.Status) != "completed" || !ended.Told {
				t.Errorf("the parent is %s, told %v", flow.StatusName(parent.Status), ended.Told)
			}
			for _, id := range []string{"order", child} {
				history, err := w.journal.History(t.Context(), id)
				if err != nil || count(history, started) != 1 || count(history, succeeded) != 1 {
					t.Errorf("the history of %s has %d outcomes (%v)", id, count(history, succeeded), err)
				}
			}
			w.idle()
		})
	}
}

func TestACancelReachesTheChild(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start()
	w.begin("order", family(t))
	child := w.child()
	inv := w.invocation(child, "a")
	w.idle()
	stop()
	w.send(subject.SourceAPI, &sluicev1.Command{FlowId: "order", Kind: &sluicev1.Command_CancelFlow{CancelFlow: &sluicev1.CancelFlow{Reason: "enough"}}})
	w.start()
	if s := w.deactivated(child); flow.StatusName(s.Status) != "canceled" || !strings.Contains(s.Error, `"order"`) {
		t.Errorf("the child is %s: %s", flow.StatusName(s.Status), s.Error)
	}
	w.send(subject.SourceHook, success(inv, "x", "1"))
	w.idle()
	if got := w.statusOf("order"); got != "canceled" {
		t.Errorf("the parent is %s", got)
	}
}

// purgeFlow forgets the history of a flow, as a store does that lost its tail.
func (w *world) purgeFlow(id string) {
	w.t.Helper()
	stream, err := w.bus.JS.Stream(w.t.Context(), w.bus.Flows(0))
	if err == nil {
		err = stream.Purge(w.t.Context(), jetstream.WithPurgeSubject(w.bus.Space.Fence(w.bus.Partition(id), id)))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// forgetFrom forgets a flow's commits from one of its revisions on.
func (w *world) forgetFrom(id string, revision int) {
	w.t.Helper()
	history, err := w.journal.History(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	stream, err := w.bus.JS.Stream(w.t.Context(), w.bus.Flows(0))
	for _, c := range history[revision-1:] {
		if err == nil {
			err = stream.DeleteMsg(w.t.Context(), c.Sequence)
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// What a store forgot of one flow is seen in the other, by the sweep.
func TestTheSweepMendsFamilies(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		complete bool // the child did, and its parent heard of it
		lose     func(w *world, child string)
		again    bool // the child has to work again
		parent   string
		child    string
	}{
		"the child is not there":             {false, func(w *world, child string) { w.purgeFlow(child) }, true, "completed", "completed"},
		"the parent forgot what it was told": {true, func(w *world, _ string) { w.forgetFrom("order", 2) }, false, "completed", "completed"},
		"the child forgot that it was heard": {true, func(w *world, child string) { w.forgetFrom(child, 3) }, false, "completed", "completed"},
		"the parent is gone":                 {false, func(w *world, _ string) { w.purgeFlow("order") }, false, "unspecified", "canceled"},
		"the child is damaged": {false, func(w *world, child string) {
			data := []byte("damaged")
			if err := w.bus.Publish(w.t.Context(), &nats.Msg{
				Subject: w.bus.Space.Flow(subject.KindAdvanced, w.bus.Partition(child), child), Data: data,
			}); err != nil {
				w.t.Fatal(err)
			}
		}, false, "failed", "unspecified"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			stop := w.start()
			w.begin("order", family(t))
			child := w.child()
			inv := w.invocation(child, "a")
			if tt.complete {
				w.send(subject.SourceHook, success(inv, "x", "1"))
				w.deactivated("order")
				w.deactivated(child)
			}
			w.idle()
			stop()
			tt.lose(w, child)
			w.start(sweepSoon)
			if tt.again {
				w.send(subject.SourceHook, success(w.invocation(child, "a"), "x", "1"))
			}
			w.until("the parent is "+tt.parent+" and the child "+tt.child, func() bool {
				return w.statusOf("order") == tt.parent && w.statusOf(child) == tt.child
			})
			if tt.child != "unspecified" {
				w.deactivated(child)
			}
		})
	}
}

// While COMMANDS is full a child cannot be started: its parent's command goes all
// the same, for that makes room, and the child starts then.
func TestAChildWaitsForRoomInCommands(t *testing.T) {
	t.Parallel()
	cfg := testkit.BusConfig(t, testkit.JetStream(t))
	cfg.CommandsMaxBytes, cfg.Partitions = 1<<20, 1
	w := worldOn(t, testkit.BusOn(t, cfg))
	w.send(subject.SourceAPI, startCommand("order", family(t), "request"))
	filler := func(size int) *nats.Msg {
		return &nats.Msg{Subject: w.bus.Space.Command(subject.SourceAPI, 7, "filler"), Data: make([]byte, size)} // nobody reads it
	}
	for size := 256 << 10; size >= 16; size /= 2 {
		for err := error(nil); err == nil; {
			err = w.bus.Publish(t.Context(), filler(size))
		}
	}
	began := time.Now()
	w.start()
	child := w.child()
	stream, err := w.bus.JS.Stream(t.Context(), w.bus.Commands(0))
	if err != nil {
		t.Fatal(err)
	}
	w.until("the parent's command is acked", func() bool {
		info := w.commands()
		return info.NumPending == 0 && info.NumAckPending == 0
	})
	if got := w.statusOf(child); got != "unspecified" && time.Since(began) < time.Second { // then it is tried again
		t.Fatalf("the child is %s", got)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject(w.bus.Space.Command(subject.SourceAPI, 7, "filler"))); err != nil {
		t.Fatal(err)
	}
	w.send(subject.SourceHook, success(w.invocation(child, "a"), "x", "1"))
	w.deactivated(child)
	if got := w.statusOf("order"); got != "completed" {
		t.Errorf("the parent is %s", got)
	}
}

// A child's id that another flow has: the parent is told, and does not wait.
func TestAChildWhoseIDIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.begin("order", family(t))
	child := w.child()
	w.invocation(child, "a")
	w.begin("taken", chain(t))
	w.invocation("taken", "a")
	loaded, err := w.journal.Load(t.Context(), "order")
	if err != nil {
		t.Fatal(err)
	}
	begun, ok := proto.Clone(loaded.State.Open()[0]).(*sluicev1.Command)
	if !ok {
		t.Fatal("nothing is open")
	}
	begun.FlowId = "taken"
	w.send(subject.SourceEngine, begun)
	if s := w.deactivated("order"); !strings.Contains(s.Error, `child flow "taken" cannot go on: flow "taken" was started by another request`) {
		t.Errorf("the parent says %q", s.Error)
	}
	w.deactivated(child)
	if got := w.statusOf("taken"); got != "active" {
		t.Errorf("the other flow is %s", got)
	}
	// And nobody but an engine starts children.
	begun.FlowId = "forged"
	w.send(subject.SourceAPI, begun)
	w.idle()
	if got := w.statusOf("forged"); got != "unspecified" {
		t.Errorf("a console started a child: %s", got)
	}
}

// A child's history is kept until its parent has heard of its end, however old.
func TestAChildOutlivesItsRetentionUntoldOnly(t *testing.T) {
	t.Parallel()
	w, far, proxy := newProxiedWorld(t)
	short := func(cfg *engine.Config) { cfg.HistoryRetention = time.Second }
	w.startOn(far, nil, short)
	w.send(subject.SourceAPI, startCommand("order", family(t), "request"))
	child := w.child()
	inv := w.invocation(child, "a")
	w.idle()
	proxy.CutWhen(w.bus.Space.Command(subject.SourceEngine, 0, "")+"order ", testkit.ToServer)
	w.send(subject.SourceHook, success(inv, "x", "1"))
	w.until("it is cut off", func() bool { return proxy.IsCut(testkit.ToServer) })
	ended := time.Now()
	w.until("its retention is over", func() bool { return time.Since(ended) > 2*time.Second })
	if got := w.statusOf(child); got != "completed" {
		t.Errorf("the child is %s", got)
	}
	w.start(short)
	w.until("both are retired", func() bool { return w.statusOf(child) == "unspecified" && w.statusOf("order") == "unspecified" })
	proxy.Heal()
	w.idle()
}
