package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/engine"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/keys"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/registry"
	"github.com/sluiceflow/sluice/services/internal/schedule"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// world is a NATS with everything that an engine talks to, seen from outside.
type world struct {
	t       *testing.T
	bus     *bus.Bus
	journal *journal.Journal
	keys    *keys.Keys
	log     *slog.Logger      // of the engines
	index   *tokenindex.Index // of its engines; nil for none

	registry  *registry.Registry // of its engines; nil for none, and no schedules
	schedules *schedule.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return worldOn(t, testkit.Bus(t))
}

func worldOn(t *testing.T, b *bus.Bus) *world {
	t.Helper()
	k, err := keys.Open(t.Context(), b, "", true, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, bus: b, journal: journal.New(b, plan.Decode), keys: k, log: slog.New(slog.DiscardHandler)}
}

func config() engine.Config {
	return engine.Config{
		WebhookBaseURL: "http://gateway.test", HistoryRetention: time.Hour, FlowCacheSize: 1000, FlowCacheBytes: 64 << 20, MemoCacheSize: 1000, MaxWorkItems: 100_000,
		SweepInterval: time.Hour, DrainTimeout: 5 * time.Second,
		Planning: plan.Settings{
			RetryMaxRetries: 10, RetryBackoffMS: 1000, RetryMaxBackoffMS: 60_000, RetryBackoffType: "exponential",
			StepTimeoutMS: 30_000, AttemptTimeoutMS: 86_400_000,
		},
	}
}

// start runs an engine until the returned function is called or the test ends.
func (w *world) start(change ...func(*engine.Config)) (stop func()) {
	w.t.Helper()
	return w.startOn(w.bus, nil, change...).stop
}

// running is an engine that runs.
type running struct {
	stop    func()
	bus     *bus.Bus
	metrics *prometheus.Registry
}

// startOn is start on a connection. The engine is prepared before it runs, where
// prepare is not nil.
func (w *world) startOn(b *bus.Bus, prepare func(*engine.Engine), change ...func(*engine.Config)) *running {
	w.t.Helper()
	cfg := config()
	for _, c := range change {
		c(&cfg)
	}
	r := &running{bus: b, metrics: prometheus.NewRegistry()}
	e, err := engine.New(w.t.Context(), cfg, engine.Deps{Bus: b, Index: w.index, Keys: w.keys, Registry: w.registry, Log: w.log, Metrics: r.metrics})
	if err != nil {
		w.t.Fatal(err)
	}
	if prepare != nil {
		prepare(e)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var once sync.Once
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	r.stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					w.t.Errorf("the engine ended with %v", err)
				}
			case <-time.After(patience):
				w.t.Error("the engine did not end")
			}
		})
	}
	w.t.Cleanup(r.stop)
	return r
}

// figure is the sum of a metric of the engine.
func (r *running) figure(t *testing.T, name string) float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// option changes a step of a test's plan.
type option func(*sluicev1.PlannedStep)

func timeout(ms int64) option { return func(s *sluicev1.PlannedStep) { s.GetWork().TimeoutMs = ms } }

func retries(n int32, backoffMS int64) option {
	return func(s *sluicev1.PlannedStep) { s.GetWork().MaxRetries, s.GetWork().BackoffMs = n, backoffMS }
}

func attr(name string, role sluicev1.AttributeRole) option {
	return func(s *sluicev1.PlannedStep) {
		s.Attributes = append(s.Attributes, &sluicev1.StepAttribute{Name: name, Role: role, Type: "any"})
	}
}

func in(name string) option  { return attr(name, sluicev1.AttributeRole_ATTRIBUTE_ROLE_REQUIRED) }
func out(name string) option { return attr(name, sluicev1.AttributeRole_ATTRIBUTE_ROLE_OUTPUT) }

func asyncStep(id string, options ...option) *sluicev1.PlannedStep {
	s := &sluicev1.PlannedStep{
		Id: id, Type: sluicev1.StepType_STEP_TYPE_ASYNC, Endpoint: "http://worker.test/" + id, CallTimeoutMs: 30_000,
		Work: &sluicev1.WorkConfig{
			MaxRetries: 3, BackoffMs: 50, MaxBackoffMs: 1000,
			BackoffType: sluicev1.BackoffType_BACKOFF_TYPE_FIXED, Parallelism: 1, TimeoutMs: 3_600_000,
		},
	}
	for _, o := range options {
		o(s)
	}
	return s
}

// chain is a plan of steps a, b, c, each needing what the one before gives.
func chain(t *testing.T) []byte {
	t.Helper()
	return planned(t, []string{"c"},
		asyncStep("a", out("x")), asyncStep("b", in("x"), out("y")), asyncStep("c", in("y"), out("z")))
}

func planned(t *testing.T, goals []string, steps ...*sluicev1.PlannedStep) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&sluicev1.Plan{Goals: goals, Steps: steps})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func startCommand(id string, planBytes []byte, digest string) *sluicev1.Command {
	return &sluicev1.Command{FlowId: id, Kind: &sluicev1.Command_StartFlow{StartFlow: &sluicev1.StartFlow{
		Plan: planBytes, RequestDigest: []byte(digest),
	}}}
}

// ask sends a console's command and returns the engine's answer.
func (w *world) ask(cmd *sluicev1.Command) *sluicev1.Reply {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for { // who gets no answer in time asks again
		reply, err := w.bus.Ask(ctx, cmd)
		if err == nil {
			return reply
		}
		if ctx.Err() != nil {
			w.t.Fatalf("no reply: %v", err)
		}
	}
}

func (w *world) begin(id string, planBytes []byte) {
	w.t.Helper()
	w.wantBegun(startCommand(id, planBytes, "request"))
}

// wantBegun starts a flow. The answer that it is there already is that to a repeated
// request.
func (w *world) wantBegun(cmd *sluicev1.Command) {
	w.t.Helper()
	switch reply := w.ask(cmd); reply.GetCode() { //nolint:exhaustive // the rest is refused
	case sluicev1.ReplyCode_REPLY_CODE_OK, sluicev1.ReplyCode_REPLY_CODE_REPEATED:
	default:
		w.t.Fatalf("start %s: %v", cmd.GetFlowId(), reply)
	}
}

func (w *world) send(src subject.Source, cmd *sluicev1.Command) {
	w.t.Helper()
	testkit.Eventually(w.t, patience, func() error { return w.bus.PublishCommand(w.t.Context(), src, cmd, nil) })
}

// invocation waits for the next invocation of a step in a flow and acks it.
func (w *world) invocation(flowID, stepID string) *sluicev1.Invocation {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for ctx.Err() == nil {
		inv, ok := w.nextInvocation(ctx)
		if !ok {
			continue
		}
		if inv.GetFlowId() == flowID && inv.GetWork().GetStepId() == stepID {
			return inv
		}
		w.t.Fatalf("invocation of %s/%s, want %s/%s", inv.GetFlowId(), inv.GetWork().GetStepId(), flowID, stepID)
	}
	w.t.Fatalf("no invocation of %s/%s", flowID, stepID)
	return nil
}

func (w *world) nextInvocation(ctx context.Context) (*sluicev1.Invocation, bool) {
	w.t.Helper()
	consumer, err := w.bus.JS.Consumer(ctx, w.bus.Invocations(0), bus.ConsumerDispatcher)
	if err != nil {
		w.t.Fatal(err)
	}
	msg, err := consumer.Next(jetstream.FetchMaxWait(500 * time.Millisecond))
	if err != nil {
		return nil, false
	}
	inv := &sluicev1.Invocation{}
	if err := proto.Unmarshal(msg.Data(), inv); err != nil {
		w.t.Fatal(err)
	}
	if err := msg.DoubleAck(ctx); err != nil {
		w.t.Fatal(err)
	}
	return inv, true
}

func success(inv *sluicev1.Invocation, name, value string) *sluicev1.Command {
	return completion(inv, &sluicev1.Outcome{
		Success: true, Outputs: map[string][]byte{name: []byte(value)}, Digest: []byte("ok" + name + value),
	})
}

func completion(inv *sluicev1.Invocation, o *sluicev1.Outcome) *sluicev1.Command {
	return &sluicev1.Command{FlowId: inv.GetFlowId(), Kind: &sluicev1.Command_CompleteWork{
		CompleteWork: &sluicev1.CompleteWork{Work: inv.GetWork(), Outcome: o},
	}}
}

// ended waits for the end of a flow and returns its history.
func (w *world) ended(id string) []journal.Stored {
	w.t.Helper()
	var history []journal.Stored
	w.until("flow "+id+" ends", func() bool {
		loaded, err := w.journal.Load(w.t.Context(), id)
		if err != nil || !loaded.State.Final() {
			return false
		}
		history, err = w.journal.History(w.t.Context(), id)
		return err == nil
	})
	return history
}

// until waits until something holds.
func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	testkit.Eventually(w.t, patience, func() error {
		if holds() {
			return nil
		}
		return fmt.Errorf("it does not come to pass that %s", what)
	})
}

// idle waits until every command was acked.
func (w *world) idle() {
	w.t.Helper()
	w.until("all commands are acked", func() bool {
		stream, err := w.bus.JS.Stream(w.t.Context(), w.bus.Commands(0))
		return err == nil && stream.CachedInfo().State.Msgs == 0
	})
}

func (w *world) messages(stream string) uint64 {
	w.t.Helper()
	s, err := w.bus.JS.Stream(w.t.Context(), stream)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// count counts the events of a history for which is holds.
func count(history []journal.Stored, is func(*sluicev1.Event) bool) int {
	n := 0
	for _, c := range history {
		for _, e := range c.Commit.GetEvents() {
			if is(e) {
				n++
			}
		}
	}
	return n
}

func verifyToken(t *testing.T, k *keys.Keys, inv *sluicev1.Invocation) token.Claims {
	t.Helper()
	claims, err := k.Ring().Verify(inv.GetFlowId(), inv.GetWork().GetStepId(), inv.GetToken())
	if err != nil {
		t.Fatalf("the invocation's token: %v", err)
	}
	return claims
}

func (w *world) purgeInvocations() {
	w.t.Helper()
	stream, err := w.bus.JS.Stream(w.t.Context(), w.bus.Invocations(0))
	if err == nil {
		err = stream.Purge(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// fillInvocations puts into INVOCATIONS what nobody reads, until it takes no more.
func (w *world) fillInvocations() {
	w.t.Helper()
	for size := 256 << 10; size >= 16; size /= 2 {
		for {
			msg := &nats.Msg{Subject: w.bus.Space.InvokeHTTP("filler", 0, "filler"), Data: make([]byte, size)}
			if w.bus.Publish(w.t.Context(), msg) != nil {
				break
			}
		}
	}
}
