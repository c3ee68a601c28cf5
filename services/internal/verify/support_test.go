package verify_test

import (
	"encoding/hex"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/verify"
	"github.com/sluiceflow/sluice/services/internal/verify/check"
)

const run = 7

// store is a real store into which histories, and damage, are written.
type store struct {
	t        *testing.T
	bus      *bus.Bus
	server   *testkit.NATS
	sequence uint64 // of FLOWS
	commands uint64 // of COMMANDS, all done with
}

func newStore(t *testing.T) *store {
	t.Helper()
	server := testkit.NewNATS(t)
	return &store{t: t, bus: testkit.ConnectBus(t, server.URL()), server: server}
}

// start starts its server again, and waits until that answers.
func (s *store) start() {
	s.t.Helper()
	s.server.Start()
	testkit.Eventually(s.t, time.Minute, func() error {
		_, err := s.bus.JS.Stream(s.t.Context(), s.bus.Dead())
		return err
	})
}

func (s *store) publish(msg *nats.Msg) {
	s.t.Helper()
	if err := s.bus.Publish(s.t.Context(), msg); err != nil {
		s.t.Fatal(err)
	}
}

func (s *store) message(subj string, m proto.Message) {
	s.t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	s.publish(&nats.Msg{Subject: subj, Data: data})
}

// timer stores a schedule that a flow in that revision asked for.
func (s *store) timer(flowID string, cmd *sluicev1.Command, revision uint64) {
	s.t.Helper()
	data, err := proto.Marshal(cmd)
	if err != nil {
		s.t.Fatal(err)
	}
	p := s.partition(flowID)
	s.publish(&nats.Msg{Subject: s.bus.Space.Timer(p, flowID), Data: data, Header: nats.Header{
		"Nats-Schedule":        {"@at " + time.Now().Add(time.Hour).UTC().Format(time.RFC3339)},
		"Nats-Schedule-Target": {s.bus.Space.Wake(p, flowID)},
		bus.HeaderRevision:     {strconv.FormatUint(revision, 10)},
	}})
}

func (s *store) partition(flowID string) int { return s.bus.Partition(flowID) }

// findings walks the store and returns what it says.
func (s *store) findings(change func(*verify.Options)) ([]check.Finding, verify.Summary) {
	s.t.Helper()
	var found []check.Finding
	options := verify.Options{
		Bus: s.bus, Settle: time.Millisecond,
		Report: func(f check.Finding) error {
			found = append(found, f)
			return nil
		},
	}
	if change != nil {
		change(&options)
	}
	summary, err := verify.Run(s.t.Context(), options)
	if err != nil {
		s.t.Fatal(err)
	}
	if summary.Findings != len(found) {
		s.t.Errorf("%d findings counted, %d reported", summary.Findings, len(found))
	}
	return found, summary
}

// kinds are the kinds of findings, sorted, each once.
func kinds(found []check.Finding) []check.Kind {
	var out []check.Kind
	for _, f := range found {
		out = append(out, f.Kind)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// history decides the commits of a flow that is retried again and again.
type history struct {
	s     *store
	id    string
	state *flow.State
	now   int64
	list  []*sluicev1.Commit

	checksum []byte
	snapshot uint64
}

func (s *store) history(id string) *history {
	return &history{s: s, id: id, state: flow.New(id, plan.Decode), now: time.Now().UnixNano()}
}

// do folds a command, which it stores and takes out of COMMANDS as an engine's
// ack would.
func (h *history) do(cmd *sluicev1.Command) {
	h.s.t.Helper()
	cmd.FlowId = h.id
	h.now += 1e9
	h.s.commands++
	h.s.message(h.s.bus.Space.Command(subject.SourceEngine, h.s.partition(h.id), h.id), cmd)
	stream, err := h.s.bus.JS.Stream(h.s.t.Context(), h.s.bus.Commands(0))
	if err == nil {
		err = stream.DeleteMsg(h.s.t.Context(), h.s.commands)
	}
	if err != nil {
		h.s.t.Fatal(err)
	}
	turn := h.state.Begin(flow.Env{Now: h.now, Run: run, Floor: h.s.commands - 1, Token: mint})
	turn.Apply(cmd, flow.Position{Sequence: h.s.commands, Time: h.now})
	if c := turn.Commit(); c != nil {
		h.list = append(h.list, proto.CloneOf(c))
	}
}

// decide makes n commits or more.
func (h *history) decide(n int) *history {
	h.s.t.Helper()
	planBytes, err := proto.Marshal(&sluicev1.Plan{Goals: []string{"a"}, Steps: []*sluicev1.PlannedStep{{
		Id: "a", Type: sluicev1.StepType_STEP_TYPE_ASYNC, Work: &sluicev1.WorkConfig{MaxRetries: -1, BackoffMs: 1, MaxBackoffMs: 1},
	}}})
	if err != nil {
		h.s.t.Fatal(err)
	}
	h.do(&sluicev1.Command{Kind: &sluicev1.Command_StartFlow{StartFlow: &sluicev1.StartFlow{Plan: planBytes}}})
	for attempt := uint32(1); len(h.list) < n; attempt++ {
		h.do(&sluicev1.Command{Kind: &sluicev1.Command_ReportCall{ReportCall: &sluicev1.ReportCall{
			Work:    &sluicev1.WorkRef{Run: run, StepId: "a", Attempt: attempt},
			Outcome: &sluicev1.Outcome{NotCompleted: true, Error: "busy"},
		}}})
		h.do(&sluicev1.Command{Kind: &sluicev1.Command_Wake{Wake: &sluicev1.Wake{}}})
	}
	return h
}

// complete lets the running attempt succeed, and the flow with it.
func (h *history) complete(digest string) *history {
	h.s.t.Helper()
	h.do(&sluicev1.Command{Kind: &sluicev1.Command_CompleteWork{CompleteWork: &sluicev1.CompleteWork{
		Work:    &sluicev1.WorkRef{Run: run, StepId: "a", Attempt: h.state.Steps[0].Items[0].Attempt},
		Outcome: &sluicev1.Outcome{Success: true, Digest: []byte(digest)},
	}}})
	return h
}

func (h *history) retire() *history {
	h.s.t.Helper()
	h.do(&sluicev1.Command{Kind: &sluicev1.Command_RetireFlow{RetireFlow: &sluicev1.RetireFlow{}}})
	return h
}

// next writes the history's next commit; damage, where not nil, changes the
// commit before it is sealed, and spoil the message after that.
func (h *history) next(damage func(*sluicev1.Commit), spoil func(*nats.Msg)) {
	h.s.t.Helper()
	c := h.list[0]
	h.list = h.list[1:]
	c.PreviousChecksum = h.checksum
	kind := flow.Kind(c)
	if damage != nil {
		damage(c)
	}
	data, err := proto.Marshal(c)
	if err != nil {
		h.s.t.Fatal(err)
	}
	h.checksum = journal.Checksum(data)
	h.s.sequence++
	from := h.snapshot
	if c.GetRevision() == 1 || c.GetSnapshot() != nil {
		from, h.snapshot = 0, h.s.sequence
	}
	msg := &nats.Msg{
		Subject: h.s.bus.Space.Flow(kind, h.s.partition(h.id), h.id), Data: data,
		Header: nats.Header{
			bus.HeaderChecksum: {hex.EncodeToString(h.checksum)}, bus.HeaderSnapshot: {strconv.FormatUint(from, 10)},
			bus.HeaderRevision: {strconv.FormatUint(c.GetRevision(), 10)},
		},
	}
	if spoil != nil {
		spoil(msg)
	}
	h.s.publish(msg)
}

// skip leaves the next commit out, as a store that lost it would.
func (h *history) skip() {
	h.s.t.Helper()
	c := h.list[0]
	h.list = h.list[1:]
	c.PreviousChecksum = h.checksum
	data, err := proto.Marshal(c)
	if err != nil {
		h.s.t.Fatal(err)
	}
	h.checksum = journal.Checksum(data)
	h.snapshot = max(h.snapshot, 1)
}

// write writes n commits, or all that are left.
func (h *history) write(n int) *history {
	h.s.t.Helper()
	for ; n > 0 && len(h.list) > 0; n-- {
		h.next(nil, nil)
	}
	return h
}

const all = 1 << 20

func mint(c token.Claims) string { return "token of " + c.FlowID + "/" + c.StepID }
