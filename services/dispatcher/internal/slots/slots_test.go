package slots_test

import (
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/dispatcher/internal/slots"
)

func epoch() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// offer pulls one invocation and gives its place back where it is parked, as
// the dispatcher does.
func offer(t *slots.Table[int], endpoint string, item int, now time.Time) (slots.Decision, time.Duration) {
	t.Hold(1)
	decision, delay := t.Offer(endpoint, item, now)
	if decision == slots.Park {
		t.Release(1)
	}
	return decision, delay
}

func TestAnEndpointThatHangsLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	table := slots.New[int](slots.Limits{PerEndpoint: 4, Total: 100})
	now := epoch()
	counts := map[slots.Decision]int{}
	for i := range 1000 {
		decision, _ := offer(table, "a:80", i, now)
		counts[decision]++
	}
	if counts[slots.Run] != 4 || counts[slots.Wait] > 4 || counts[slots.Park] < 992 {
		t.Fatalf("of 1000 invocations to one endpoint: %v", counts)
	}
	for i := range 4 {
		if decision, _ := offer(table, "b:80", i, now); decision != slots.Run {
			t.Errorf("call %d to another endpoint: %v, want it to run", i, decision)
		}
	}
}

func TestManyEndpointsThatHangLeaveRoom(t *testing.T) {
	t.Parallel()
	table := slots.New[int](slots.Limits{PerEndpoint: 64, Total: 256})
	now := epoch()
	for round := range 100 {
		for _, endpoint := range []string{"a:1", "b:1", "c:1", "d:1", "e:1", "f:1", "g:1"} {
			offer(table, endpoint, round, now)
		}
	}
	if decision, _ := offer(table, "healthy:1", 0, now); decision != slots.Run {
		t.Errorf("a call to an idle endpoint: %v, want it to run (free: %d)", decision, table.Free())
	}
	if table.Free() < 1 {
		t.Errorf("free = %d: nothing can be pulled any more", table.Free())
	}
}

func TestDelaysGrowWithTheBacklog(t *testing.T) {
	t.Parallel()
	table := slots.New[int](slots.Limits{PerEndpoint: 2, Total: 1000})
	now := epoch()
	for range 2 {
		offer(table, "a:80", 0, now)
	}
	now = now.Add(2 * time.Second) // both calls hang: the pace is one a second
	last := time.Duration(0)
	for i := range 25 {
		decision, delay := offer(table, "a:80", i, now)
		if decision != slots.Park {
			t.Fatalf("invocation %d: %v, want it parked", i, decision)
		}
		if delay <= last {
			t.Fatalf("delay %v after %v: it does not grow with the backlog", delay, last)
		}
		last = delay
	}
	if last < 20*time.Second || last > 30*time.Second {
		t.Errorf("25 invocations at one a second: the last is to come back in %v", last)
	}
	buckets := map[time.Duration]int{}
	for i := range 1000 {
		_, delay := offer(table, "a:80", i, now)
		if delay > 30*time.Second || delay < 5*time.Second {
			t.Fatalf("delay %v is out of bounds", delay)
		}
		buckets[delay.Truncate(time.Second)]++
	}
	for second, n := range buckets {
		if n > 150 {
			t.Errorf("%d of 1000 parked invocations come back in second %v", n, second)
		}
	}
}

func TestShortWaitsAreServedInOrder(t *testing.T) {
	t.Parallel()
	table := slots.New[int](slots.Limits{PerEndpoint: 1, Total: 10})
	now := epoch()
	offer(table, "a:80", 1, now)
	table.Done("a:80", time.Millisecond, now)
	if decision, _ := offer(table, "a:80", 1, now); decision != slots.Run {
		t.Fatal("an idle endpoint was not called")
	}
	if decision, _ := offer(table, "a:80", 2, now); decision != slots.Wait {
		t.Fatal("a fast endpoint's next call did not wait")
	}
	if decision, delay := offer(table, "a:80", 3, now); decision != slots.Park || delay > 100*time.Millisecond {
		t.Errorf("past the line: %v for %v, want it parked for a moment", decision, delay)
	}
	next, ok := table.Done("a:80", time.Millisecond, now)
	if !ok || next != 2 {
		t.Errorf("after a call ended %d (%v) runs, want 2", next, ok)
	}
	if _, ok := table.Done("a:80", time.Millisecond, now); ok {
		t.Error("something ran that was not there")
	}
	if decision, _ := offer(table, "a:80", 4, now); decision != slots.Run {
		t.Error("a slot was lost")
	}
}

func TestLongWaitsAreParked(t *testing.T) {
	t.Parallel()
	table := slots.New[int](slots.Limits{PerEndpoint: 1, Total: 10})
	now := epoch()
	offer(table, "a:80", 1, now)
	if decision, _ := offer(table, "a:80", 2, now); decision != slots.Wait {
		t.Fatal("with nothing known about the endpoint the second call should wait")
	}
	var parked []int
	park := func(item int, delay time.Duration) {
		parked = append(parked, item)
		if delay < 100*time.Millisecond {
			t.Errorf("delay %v is shorter than a call takes by now", delay)
		}
	}
	table.Expired(now.Add(100*time.Millisecond), park)
	if len(parked) != 0 {
		t.Errorf("parked %v too early", parked)
	}
	table.Expired(now.Add(time.Second), park)
	if len(parked) != 1 || parked[0] != 2 {
		t.Errorf("parked %v, want [2]", parked)
	}
	if _, ok := table.Done("a:80", time.Second, now.Add(time.Second)); ok {
		t.Error("a parked invocation ran")
	}
}

func TestIdleEndpointsAreForgotten(t *testing.T) {
	t.Parallel()
	table := slots.New[int](slots.Limits{PerEndpoint: 1, Total: 10})
	now := epoch()
	offer(table, "idle:80", 1, now)
	table.Done("idle:80", time.Millisecond, now)
	offer(table, "busy:80", 1, now)
	table.Expired(now.Add(2*time.Minute), func(int, time.Duration) {})
	if n := table.Endpoints(); n != 1 {
		t.Errorf("%d endpoints are known, want the busy one", n)
	}
}

func TestEvict(t *testing.T) {
	t.Parallel()
	table := slots.New[int](slots.Limits{PerEndpoint: 2, Total: 10})
	for i := range 4 {
		offer(table, "a:80", i, epoch())
	}
	var evicted []int
	table.Evict(func(item int) { evicted = append(evicted, item) })
	if len(evicted) != 2 || evicted[0] != 2 || evicted[1] != 3 {
		t.Errorf("evicted %v, want [2 3]", evicted)
	}
	if _, ok := table.Done("a:80", time.Millisecond, epoch()); ok {
		t.Error("an evicted invocation ran")
	}
}
