package journal_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// others stores messages of other flows.
func (b *book) others(n int) {
	b.t.Helper()
	for i := range n {
		id := fmt.Sprintf("other-%d", i)
		msg := &nats.Msg{Subject: b.bus.Space.Flow("advanced", b.bus.Partition(id), id)}
		if _, err := b.bus.JS.PublishMsgAsync(msg); err != nil {
			b.t.Fatal(err)
		}
	}
	select {
	case <-b.bus.JS.PublishAsyncComplete():
	case <-b.t.Context().Done():
	}
	b.sequence += uint64(n)
}

// writeApart writes commits with their fences, and so many messages of others before
// each. It returns where they are in the stream.
func (b *book) writeApart(list []*sluicev1.Commit, apart int, change func(i int, m *nats.Msg)) (places []uint64) {
	b.t.Helper()
	before := uint64(0)
	for i, c := range list {
		b.others(apart)
		b.write(c, func(m *nats.Msg) {
			m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(before, 10))
			m.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, b.bus.Space.Fence(b.bus.Partition("f"), "f"))
			change(i, m)
		})
		before = b.sequence
		places = append(places, before)
	}
	return places
}

// lose deletes a message, as a damaged file would.
func (b *book) lose(place uint64) {
	b.t.Helper()
	stream, err := b.bus.JS.Stream(b.t.Context(), b.bus.Flows(0))
	if err == nil {
		err = stream.DeleteMsg(b.t.Context(), place)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// Where many messages of others are between the commits of a flow, each is read by
// its sequence; what is damaged or was written without a fence is read as ever.
func TestCommitsThatAreFarApart(t *testing.T) {
	t.Parallel()
	const commitsOf, apart, damaged = 5, 700, 3
	none := func(m *nats.Msg) {
		m.Header.Del(jetstream.ExpectedLastSubjSeqHeader)
		m.Header.Del(jetstream.ExpectedLastSubjSeqSubjHeader)
	}
	for name, test := range map[string]struct {
		apart  int
		change func(*nats.Msg)
		lost   bool
		walked bool
		broken bool
	}{
		"far apart":           {apart, nil, false, true, false},
		"close together":      {apart / 10, nil, false, false, false},
		"one without a fence": {apart, none, false, false, false},
		"a flipped bit":       {apart, func(m *nats.Msg) { m.Data[len(m.Data)/2] ^= 1 }, false, false, true},
		"of another lineage": {
			apart, func(m *nats.Msg) { reseal(t, m, func(c *sluicev1.Commit) { c.PreviousChecksum = []byte("other") }) }, false, true, true,
		},
		"one that is lost": {apart, nil, true, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &book{t: t, bus: testkit.Bus(t)}
			places := w.writeApart(commits(t, commitsOf)[:commitsOf], test.apart, func(i int, m *nats.Msg) {
				if i == damaged && test.change != nil {
					test.change(m)
				}
			})
			if test.lost {
				w.lose(places[damaged])
			}
			j := journal.New(w.bus, plan.Decode)
			asked := w.bus.NC.Stats().OutMsgs
			loaded, err := j.Load(t.Context(), "f")
			asked = w.bus.NC.Stats().OutMsgs - asked
			if test.broken != errors.Is(err, journal.ErrBroken) || !test.broken && (err != nil || loaded.State.Revision != commitsOf) {
				t.Fatalf("loaded %+v, %v", loaded, err)
			}
			if test.walked != (asked == commitsOf) {
				t.Errorf("%d requests for %d commits", asked, commitsOf)
			}
			if test.broken {
				return
			}
			history, err := j.History(t.Context(), "f")
			if err != nil || len(history) != commitsOf {
				t.Fatalf("%d commits, %v", len(history), err)
			}
			for i, c := range history {
				if c.Commit.GetRevision() != uint64(i+1) || c.Sequence == 0 || c.Time.IsZero() || c.Subject == "" || c.Size == 0 {
					t.Errorf("commit %d is %+v", i, c)
				}
			}
		})
	}
}

// BenchmarkLoad loads flows whose commits are among those of many others, as an
// engine does that takes them over.
func BenchmarkLoad(b *testing.B) {
	for _, apart := range []int{10, 100, 1000, 5000} {
		b.Run(fmt.Sprintf("apart=%d", apart), func(b *testing.B) {
			w := &book{t: b, bus: testkit.Bus(b)}
			w.writeApart(commits(b, 20)[:20], apart, func(int, *nats.Msg) {})
			j := journal.New(w.bus, plan.Decode)
			for b.Loop() {
				if loaded, err := j.Load(b.Context(), "f"); err != nil || loaded.State.Revision != 20 {
					b.Fatal(err)
				}
			}
		})
	}
}
