package journal_test

import (
	"encoding/hex"
	"errors"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// book writes a history of one flow, as an engine does.
type book struct {
	t        testing.TB
	bus      *bus.Bus
	checksum []byte
	snapshot uint64
	sequence uint64
}

// write stores a commit; change may damage its message before.
func (b *book) write(c *sluicev1.Commit, change func(*nats.Msg)) {
	b.t.Helper()
	c.PreviousChecksum = b.checksum
	data, err := proto.Marshal(c)
	if err != nil {
		b.t.Fatal(err)
	}
	b.checksum = journal.Checksum(data)
	from := b.snapshot
	if b.sequence++; c.GetRevision() == 1 || c.GetSnapshot() != nil {
		from, b.snapshot = 0, b.sequence
	}
	msg := &nats.Msg{
		Subject: b.bus.Space.Flow(flow.Kind(c), b.bus.Partition("f"), "f"), Data: data,
		Header: nats.Header{
			bus.HeaderChecksum: {hex.EncodeToString(b.checksum)},
			bus.HeaderSnapshot: {strconv.FormatUint(from, 10)}, bus.HeaderRevision: {strconv.FormatUint(c.GetRevision(), 10)},
		},
	}
	if change != nil {
		change(msg)
	}
	if err := b.bus.Publish(b.t.Context(), msg); err != nil {
		b.t.Fatal(err)
	}
}

// commits is a history of a flow that is retried again and again.
func commits(tb testing.TB, n int) []*sluicev1.Commit {
	tb.Helper()
	planBytes, err := proto.Marshal(&sluicev1.Plan{Goals: []string{"a"}, Steps: []*sluicev1.PlannedStep{{
		Id: "a", Type: sluicev1.StepType_STEP_TYPE_ASYNC, Work: &sluicev1.WorkConfig{MaxRetries: -1, BackoffMs: 1, MaxBackoffMs: 1},
	}}})
	if err != nil {
		tb.Fatal(err)
	}
	s := flow.New("f", plan.Decode)
	var list []*sluicev1.Commit
	now := int64(1)
	do := func(cmd *sluicev1.Command) {
		cmd.FlowId = "f"
		now += 1e9
		seq := uint64(len(list) + 1)
		turn := s.Begin(flow.Env{Now: now, Run: 7, Floor: seq - 1, Token: mint})
		turn.Apply(cmd, flow.Position{Sequence: seq, Time: now})
		if c := turn.Commit(); c != nil {
			list = append(list, c)
		}
	}
	do(&sluicev1.Command{Kind: &sluicev1.Command_StartFlow{StartFlow: &sluicev1.StartFlow{Plan: planBytes}}})
	for attempt := uint32(1); len(list) < n; attempt++ {
		do(&sluicev1.Command{Kind: &sluicev1.Command_ReportCall{ReportCall: &sluicev1.ReportCall{
			Work:    &sluicev1.WorkRef{Run: 7, StepId: "a", Attempt: attempt},
			Outcome: &sluicev1.Outcome{NotCompleted: true, Error: "busy"},
		}}})
		do(&sluicev1.Command{Kind: &sluicev1.Command_Wake{Wake: &sluicev1.Wake{}}})
	}
	return list
}

func TestLoadBeginsWithTheLastSnapshot(t *testing.T) {
	t.Parallel()
	w := &book{t: t, bus: testkit.Bus(t)}
	j := journal.New(w.bus, plan.Decode)
	if loaded, err := j.Load(t.Context(), "f"); err != nil || loaded.State.Exists() || loaded.Sequence != 0 {
		t.Fatalf("of no flow: %+v, %v", loaded, err)
	}
	list := commits(t, 200)
	for _, c := range list {
		w.write(c, nil)
	}
	loaded, err := j.Load(t.Context(), "f")
	last := list[len(list)-1]
	if err != nil || loaded.State.Revision != last.GetRevision() || loaded.Sequence != uint64(len(list)) ||
		loaded.Snapshot != w.snapshot || loaded.Snapshot < 100 {
		t.Fatalf("loaded revision %d from %d (%v)", loaded.State.Revision, loaded.Snapshot, err)
	}
	history, err := j.History(t.Context(), "f")
	if err != nil || len(history) != len(list) {
		t.Fatalf("%d commits of %d (%v)", len(history), len(list), err)
	}
	replayed := flow.New("f", plan.Decode)
	for _, c := range history {
		if err := replayed.Replay(c.Commit); err != nil {
			t.Fatal(err)
		}
	}
	if !proto.Equal(replayed.Snapshot(), loaded.State.Snapshot()) {
		t.Error("replaying the history gives another state than the load")
	}
	for _, revision := range []uint64{1, 100, last.GetRevision()} {
		found, err := j.Commit(t.Context(), "f", revision, loaded.Snapshot, loaded.Sequence)
		if err != nil || found == nil || found.Commit.GetRevision() != revision {
			t.Errorf("revision %d: %v, %v", revision, found, err)
		}
	}
}

func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*nats.Msg){
		"a flipped bit":       func(m *nats.Msg) { m.Data[len(m.Data)/2] ^= 1 },
		"a missing checksum":  func(m *nats.Msg) { m.Header.Del(bus.HeaderChecksum) },
		"cut":                 func(m *nats.Msg) { m.Data = m.Data[:len(m.Data)-1] },
		"of another lineage":  func(m *nats.Msg) { reseal(t, m, func(c *sluicev1.Commit) { c.PreviousChecksum = []byte("other") }) },
		"a revision too high": func(m *nats.Msg) { reseal(t, m, func(c *sluicev1.Commit) { c.Revision++ }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &book{t: t, bus: testkit.Bus(t)}
			for i, c := range commits(t, 5)[:5] {
				if i == 3 {
					w.write(c, damage)
				} else {
					w.write(c, nil)
				}
			}
			if _, err := journal.New(w.bus, plan.Decode).Load(t.Context(), "f"); !errors.Is(err, journal.ErrBroken) {
				t.Errorf("error %v, want %v", err, journal.ErrBroken)
			}
		})
	}
}

// reseal changes a commit and gives it a checksum that fits.
func reseal(t *testing.T, m *nats.Msg, change func(*sluicev1.Commit)) {
	t.Helper()
	c := &sluicev1.Commit{}
	if err := proto.Unmarshal(m.Data, c); err != nil {
		t.Fatal(err)
	}
	change(c)
	data, err := proto.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	m.Data = data
	m.Header.Set(bus.HeaderChecksum, hex.EncodeToString(journal.Checksum(data)))
}

func mint(token.Claims) string { return "12345678" }
