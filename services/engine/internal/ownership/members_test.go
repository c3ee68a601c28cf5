package ownership_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/services/engine/internal/ownership"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

const (
	patience   = 20 * time.Second
	partitions = 16
	// soon is what a graceful change may take, on a machine that is busy.
	soon = 2 * time.Second
)

// member is an engine's membership, and what it works on.
type member struct {
	t       *testing.T
	bus     *bus.Bus
	members *ownership.Members
	cancel  context.CancelFunc
	done    chan error

	mu    sync.Mutex
	holds map[int]ownership.Hold
	slow  time.Duration // how long work goes on after it was to end
}

// join starts a member with a connection of its own. It ends with the test.
func join(t *testing.T, url string, change ...func(*member)) *member {
	t.Helper()
	b := testkit.ConnectBus(t, url)
	m := &member{t: t, bus: b, members: ownership.New(b, "test", slog.New(slog.DiscardHandler)), holds: map[int]ownership.Hold{}}
	for _, c := range change {
		c(m)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.done = cancel, make(chan error, 1)
	go func() { m.done <- m.members.Run(ctx, m.work) }()
	t.Cleanup(m.leave)
	return m
}

func (m *member) work(ctx context.Context, hold ownership.Hold) {
	m.mu.Lock()
	if _, twice := m.holds[hold.Partition]; twice {
		m.t.Errorf("partition %d is worked on twice by one engine", hold.Partition)
	}
	m.holds[hold.Partition] = hold
	m.mu.Unlock()
	<-ctx.Done()
	time.Sleep(m.slow)
	m.mu.Lock()
	delete(m.holds, hold.Partition)
	m.mu.Unlock()
}

// leave asks the member to end, and waits until it has.
func (m *member) leave() {
	m.cancel()
	select {
	case err, ok := <-m.done:
		if ok {
			close(m.done)
		}
		if err != nil {
			m.t.Errorf("the member ended with %v", err)
		}
	case <-time.After(patience):
		m.t.Error("the member did not end")
	}
	if n := m.count(); n > 0 {
		m.t.Errorf("%d partitions are worked on after the end", n)
	}
}

func (m *member) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.holds)
}

func (m *member) has(p int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.holds[p]
	return ok
}

// shared is nil when each partition has one owner and shares are equal.
func shared(members ...*member) error {
	for p := range partitions {
		owners := 0
		for _, m := range members {
			if m.has(p) {
				owners++
			}
		}
		if owners != 1 {
			return fmt.Errorf("partition %d has %d owners", p, owners)
		}
	}
	for i, m := range members {
		if n := m.count(); n < partitions/len(members) {
			return fmt.Errorf("member %d has %d partitions", i, n)
		}
	}
	return nil
}

// unowned watches the members until stop, and returns the longest time for which
// a partition had no owner.
func unowned(members ...*member) (stop func() time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	longest := make(chan time.Duration)
	go func() {
		var worst time.Duration
		last := [partitions]time.Time{}
		for p := range last {
			last[p] = time.Now()
		}
		for ctx.Err() == nil {
			for p := range partitions {
				if slices.ContainsFunc(members, func(m *member) bool { return m.has(p) }) {
					last[p] = time.Now()
				}
				worst = max(worst, time.Since(last[p]))
			}
			time.Sleep(time.Millisecond)
		}
		longest <- worst
	}()
	return func() time.Duration {
		cancel()
		return <-longest
	}
}

// said reads what the members say of themselves.
func said(t *testing.T, b *bus.Bus) map[string]map[string]any {
	t.Helper()
	kv, err := b.JS.KeyValue(t.Context(), b.Space.Name(bus.BucketMembers))
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := kv.WatchAll(t.Context(), jetstream.IgnoreDeletes())
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop() //nolint:errcheck // the test ends
	all := map[string]map[string]any{}
	for e := range watcher.Updates() {
		if e == nil {
			break
		}
		var record map[string]any
		if err := json.Unmarshal(e.Value(), &record); err != nil {
			t.Fatal(err)
		}
		all[e.Key()] = record
	}
	return all
}

func TestALoneMemberOwnsAllAtOnce(t *testing.T) {
	t.Parallel()
	testkit.InTime(t, soon, func() time.Duration {
		url := testkit.JetStream(t)
		b := testkit.ConnectBus(t, url)
		begin := time.Now()
		m := join(t, url)
		testkit.Eventually(t, patience, func() error { return shared(m) })
		took := time.Since(begin)
		testkit.Eventually(t, patience, func() bool {
			records := said(t, b)
			for _, r := range records {
				holds, _ := r["holds"].([]any)
				return len(records) == 1 && r["state"] == "active" && r["version"] == "test" && len(holds) == partitions
			}
			return false
		})
		m.leave()
		testkit.Eventually(t, patience, func() error { // at once, or when it is forgotten
			if records := said(t, b); len(records) != 0 {
				return fmt.Errorf("one that has left is still there: %v", records)
			}
			return nil
		})
		return took
	})
}

func TestMembersShareAndHandOver(t *testing.T) {
	t.Parallel()
	testkit.InTime(t, soon, func() time.Duration {
		url := testkit.JetStream(t)
		a := join(t, url)
		testkit.Eventually(t, patience, func() error { return shared(a) })
		b := join(t, url)
		pause := unowned(a, b)
		testkit.Eventually(t, patience, func() error { return shared(a, b) })
		came := pause()
		c := join(t, url)
		pause = unowned(a, b, c)
		testkit.Eventually(t, patience, func() error { return shared(a, b, c) })
		a.leave()
		testkit.Eventually(t, patience, func() error { return shared(b, c) })
		b.leave()
		testkit.Eventually(t, patience, func() error { return shared(c) })
		return max(came, pause()) // for so long a partition was nobody's
	})
}

// Who does not say that it goes, and is only not heard any more.
func TestAMemberThatDiesIsReplaced(t *testing.T) {
	t.Parallel()
	testkit.InTime(t, 4*time.Second, func() time.Duration {
		url := testkit.JetStream(t)
		a, b := join(t, url), join(t, url)
		testkit.Eventually(t, patience, func() error { return shared(a, b) })
		begin := time.Now()
		b.bus.NC.Close()
		testkit.Eventually(t, patience, func() bool { return a.count() == partitions })
		took := time.Since(begin)
		testkit.Eventually(t, patience, func() bool { return b.count() == 0 })
		return took
	})
}

// What an engine said that was killed keeps the one that comes after it from its
// share, but not for long.
func TestWhatADeadMemberSaidIsForgotten(t *testing.T) {
	t.Parallel()
	testkit.InTime(t, 4*time.Second, func() time.Duration {
		url := testkit.JetStream(t)
		dead := join(t, url)
		testkit.Eventually(t, patience, func() error { return shared(dead) })
		dead.bus.NC.Close()
		begin := time.Now()
		m := join(t, url)
		testkit.Eventually(t, patience, func() error { return shared(m) })
		return time.Since(begin)
	})
}

// One that does not let go in time is not waited for: the log's fence is enough.
func TestASlowMemberIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	url := testkit.JetStream(t)
	a := join(t, url, func(m *member) { m.slow = 5 * time.Second })
	testkit.Eventually(t, patience, func() error { return shared(a) })
	begin := time.Now()
	b := join(t, url)
	testkit.Eventually(t, patience, func() bool { return b.count() == partitions/2 })
	if took := time.Since(begin); took < time.Second || took > 4*time.Second {
		t.Errorf("it was waited for %s", took)
	}
}

// A member that NATS takes nothing from knows by itself that others may own what
// it owned, and comes back by itself.
func TestAMemberThatIsCutOffGivesUp(t *testing.T) {
	t.Parallel()
	url := testkit.JetStream(t)
	proxy := testkit.NewProxy(t, url)
	a, b := join(t, url), join(t, proxy.NATSURL())
	testkit.Eventually(t, patience, func() error { return shared(a, b) })
	b.mu.Lock()
	var hold ownership.Hold
	for _, hold = range b.holds {
		break
	}
	b.mu.Unlock()
	proxy.Cut()
	testkit.Eventually(t, patience, func() bool { return !hold.Valid() })
	testkit.Eventually(t, patience, func() bool { return b.count() == 0 })
	testkit.Eventually(t, patience, func() bool { return a.count() == partitions })
	proxy.Heal()
	testkit.Eventually(t, patience, func() error { return shared(a, b) })
	if hold.Valid() {
		t.Error("what was lost is valid again")
	}
}

func TestAllComeBackWithNATS(t *testing.T) {
	t.Parallel()
	server := testkit.NewNATS(t)
	a, b := join(t, server.URL()), join(t, server.URL())
	testkit.Eventually(t, patience, func() error { return shared(a, b) })
	server.Stop()
	testkit.Eventually(t, patience, func() bool { return a.count() == 0 && b.count() == 0 })
	server.Start()
	testkit.Eventually(t, patience, func() error { return shared(a, b) })
}

func TestTwoOfOneIDChooseOthers(t *testing.T) {
	t.Parallel()
	url := testkit.JetStream(t)
	same := func(m *member) { ownership.Rename(m.members, "same") }
	a, b := join(t, url, same), join(t, url, same)
	testkit.Eventually(t, patience, func() error { return shared(a, b) })
	a.leave()
	b.leave()
	if x, y := ownership.ID(a.members), ownership.ID(b.members); x == y {
		t.Errorf("both are %s", x)
	}
}
