package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// grouping is a bus that takes its server for one that syncs every write.
func grouping(t *testing.T, n *testkit.NATS) *bus.Bus {
	t.Helper()
	b := testkit.BusOn(t, testkit.BusConfig(t, n.URL()))
	b.Group(true)
	return b
}

// commit is the first of a flow.
func commit(b *bus.Bus, flowID string) *nats.Msg {
	p := b.Partition(flowID)
	return &nats.Msg{
		Subject: b.Space.Flow(subject.KindAdvanced, p, flowID), Data: []byte(flowID),
		Header: nats.Header{
			jetstream.ExpectedLastSubjSeqHeader:     {"0"},
			jetstream.ExpectedLastSubjSeqSubjHeader: {b.Space.Fence(p, flowID)},
		},
	}
}

// publishAll stores messages as the engine does: all on their way at once.
func publishAll(t *testing.T, b *bus.Bus, msgs []*nats.Msg) []jetstream.PubAckFuture {
	t.Helper()
	futures := make([]jetstream.PubAckFuture, len(msgs))
	for i, msg := range msgs {
		var err error
		if futures[i], err = b.PublishAsync(t.Context(), b.Flows(0), msg); err != nil {
			t.Fatal(err)
		}
	}
	return futures
}

func settle(ctx context.Context, f jetstream.PubAckFuture) (*jetstream.PubAck, error) {
	select {
	case ack := <-f.Ok():
		return ack, nil
	case err := <-f.Err():
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestWhatWaitsIsStoredTogether(t *testing.T) {
	t.Parallel()
	b := grouping(t, testkit.NewNATS(t))
	var msgs []*nats.Msg
	for i := range 1000 {
		msgs = append(msgs, commit(b, fmt.Sprintf("f-%d", i)))
	}
	stream, err := b.JS.Stream(t.Context(), b.Flows(0))
	if err != nil {
		t.Fatal(err)
	}
	together := 0
	seen := map[uint64]bool{}
	for i, f := range publishAll(t, b, msgs) {
		ack, err := settle(t.Context(), f)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		stored, err := stream.GetMsg(t.Context(), ack.Sequence)
		if err != nil || string(stored.Data) != fmt.Sprintf("f-%d", i) || ack.Stream != b.Flows(0) || seen[ack.Sequence] {
			t.Fatalf("the ack of message %d names %s %d, where %q is (%v)", i, ack.Stream, ack.Sequence, stored.Data, err)
		}
		seen[ack.Sequence] = true
		if stored.Header.Get("Nats-Batch-Id") != "" {
			together++
		}
	}
	if together < 100 { // how many depends on who runs when
		t.Errorf("%d of 1000 were stored together", together)
	}
}

// Rule 3: a batch holds one commit of a flow at most, and a conflict is the
// affair of its own flow.
func TestAConflictInABatchIsItsOwn(t *testing.T) {
	t.Parallel()
	b := grouping(t, testkit.NewNATS(t))
	if err := b.Publish(t.Context(), commit(b, "taken")); err != nil {
		t.Fatal(err)
	}
	var msgs []*nats.Msg
	for i := range 200 {
		msgs = append(msgs, commit(b, fmt.Sprintf("f-%d", i)))
	}
	msgs[100] = commit(b, "taken") // somebody was first
	msgs[120] = commit(b, "f-119") // a second one of a flow that waits
	var refused []int
	for i, f := range publishAll(t, b, msgs) {
		_, err := settle(t.Context(), f)
		var refusal *jetstream.APIError
		switch {
		case errors.As(err, &refusal) && (refusal.ErrorCode == 10071 || refusal.ErrorCode == 10164):
			refused = append(refused, i)
		case err != nil:
			t.Errorf("message %d: %v", i, err)
		}
	}
	if len(refused) != 2 || refused[0] != 100 || refused[1] != 119 && refused[1] != 120 {
		t.Errorf("refused are %v, want 100 and one of 119 and 120", refused)
	}
	stream, err := b.JS.Stream(t.Context(), b.Flows(0))
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 1+198 {
		t.Errorf("%d commits, want 199", n)
	}
}

// Each that waited learns that its message may not be stored; what comes later
// is stored again once the server is back.
func TestABatchWithoutAServerFails(t *testing.T) {
	t.Parallel()
	n := testkit.NewNATS(t)
	b := grouping(t, n)
	var msgs []*nats.Msg
	for i := range 100 {
		msgs = append(msgs, commit(b, fmt.Sprintf("f-%d", i)))
	}
	n.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for i, msg := range msgs {
		f, err := b.PublishAsync(t.Context(), b.Flows(0), msg)
		if err == nil {
			_, err = settle(ctx, f)
		}
		if err == nil || ctx.Err() != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if b.Connected() != nil {
			break // the rest fails at once
		}
	}
	n.Start()
	testkit.Eventually(t, 10*time.Second, func() bool { return b.Connected() == nil })
	if _, err := b.PublishAsync(t.Context(), b.Flows(0), commit(b, "later")); err != nil {
		t.Error(err)
	}
}
