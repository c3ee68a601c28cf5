package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

const (
	// laneCount is how many flows run at once.
	laneCount = 6
	// killsVar says how often TestKillOfOneOfTwoEngines kills; 20 is the long
	// form.
	killsVar = "SLUICE_ENGINE_KILLS"
	// killPause is what no flow may take longer than usual when one of two
	// engines is killed and nothing else runs, as in the long form; besidePause is the
	// same beside other tests, and still less than what a lost ack of a wake or of an
	// invocation costs.
	killPause   = 5 * time.Second
	besidePause = 9 * time.Second
	// restartPause is what no flow may take in all when the only engine is killed
	// and started again.
	restartPause = 10 * time.Second
	// gracePause is what no flow may take longer than usual when an engine is
	// asked to end, or when one comes. What goes wrong there does so each time: the
	// better of two times counts.
	gracePause = 2 * time.Second
)

// lanes run flows, each on the heels of the one before, until they are stopped.
type lanes struct {
	l    *load
	end  context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	ended   []int // flows, by lane
	longest time.Duration
}

func newLanes(l *load) *lanes {
	ctx, cancel := context.WithCancel(context.Background())
	ls := &lanes{l: l, end: cancel, ended: make([]int, laneCount)}
	running := context.WithoutCancel(ctx) // a flow that was begun is waited for
	for lane := range laneCount {
		ls.done.Go(func() {
			for flow := 0; ctx.Err() == nil; flow++ {
				took, err := l.through(running, fmt.Sprintf("lane-%d-%d", lane, flow))
				if err != nil {
					l.t.Error(err)
					return
				}
				ls.mu.Lock()
				ls.ended[lane]++
				ls.longest = max(ls.longest, took)
				ls.mu.Unlock()
			}
		})
	}
	l.t.Cleanup(ls.stop)
	return ls
}

// through runs one flow from its start to its end, and returns how long it took.
func (l *load) through(ctx context.Context, id string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	begin, started := time.Now(), false
	for {
		if !started {
			_, err := l.api.StartFlow(ctx, client.StartRequest{ID: id, Goals: []string{"receipt"}, Init: map[string]any{"order": id}})
			started = err == nil
		}
		if digest, err := l.api.FlowStatus(ctx, id); started && err == nil && digest.Status == client.Completed {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.flows = append(l.flows, id)
			return time.Since(begin), nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("flow %s does not end: %w", id, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// slowest waits until some flows have ended on every lane, then returns how long
// the slowest flow took of those that ended since it was asked last.
func (ls *lanes) slowest() time.Duration {
	ls.l.t.Helper()
	ls.mu.Lock()
	had := append([]int(nil), ls.ended...)
	ls.mu.Unlock()
	testkit.Eventually(ls.l.t, patience, func() error {
		ls.mu.Lock()
		defer ls.mu.Unlock()
		for lane, n := range ls.ended {
			if n < had[lane]+2 {
				return fmt.Errorf("lane %d gets no further than %d flows", lane, n)
			}
		}
		return nil
	})
	ls.mu.Lock()
	defer ls.mu.Unlock()
	longest := ls.longest
	ls.longest = 0
	return longest
}

func (ls *lanes) stop() {
	ls.end()
	ls.done.Wait()
}

// owns waits until an engine says that it works on so many of the partitions.
func owns(t *testing.T, addr, want string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/ready", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var said struct {
			Partitions string `json:"partitions"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&said); err != nil {
			return err
		}
		if said.Partitions != want {
			return fmt.Errorf("it owns %q, want %q", said.Partitions, want)
		}
		return nil
	})
}

// twoEngines is a stack whose two engines share the partitions.
func twoEngines(t *testing.T) (s *stack, engines []string) {
	t.Helper()
	s = newStack(t)
	engines = []string{"engine", "second engine"}
	s.startAs(engines[1], "engine")
	s.shared(engines)
	return s, engines
}

func (s *stack) shared(engines []string) {
	s.t.Helper()
	for _, name := range engines {
		owns(s.t, s.addrs[name], "8 of 16")
	}
}

func kills(t *testing.T) int {
	t.Helper()
	text := os.Getenv(killsVar)
	if text == "" {
		return 3
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, it must be a number from 1", killsVar, text)
	}
	return n
}

// kill -9 of one of two engines at a random moment under load: the other goes on
// with its flows.
func TestKillOfOneOfTwoEngines(t *testing.T) {
	t.Parallel()
	s, engines := twoEngines(t)
	l := newLoad(t, "http://"+s.addrs["console"])
	ls := newLanes(l)
	n, bound := kills(t), besidePause
	if os.Getenv(killsVar) != "" {
		bound = killPause
	}
	for i := range n {
		usual := ls.slowest()
		time.Sleep(rand.N(200 * time.Millisecond)) // at any moment
		victim := engines[i%2]
		s.roles[victim].Kill()
		pause := ls.slowest()
		verdict := "ok"
		if pause-usual > bound {
			verdict = "too long"
			t.Errorf("kill %d: a flow took %s", i+1, pause)
		}
		t.Logf("kill %d of %d: the slowest flow took %s (%s before the kill): %s", i+1, n,
			pause.Round(time.Millisecond), usual.Round(time.Millisecond), verdict)
		s.startAs(victim, "engine")
		s.shared(engines)
	}
	ls.stop()
	l.finish()
}

// The only engine is killed and comes back: what it said of itself before does
// not keep it from its partitions.
func TestKillOfTheOnlyEngine(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	owns(t, s.addrs["engine"], "16 of 16")
	l := newLoad(t, "http://"+s.addrs["console"])
	ls := newLanes(l)
	ls.slowest()
	s.roles["engine"].Kill()
	s.start("engine")
	pause := ls.slowest()
	t.Logf("the slowest flow took %s", pause)
	if pause > restartPause {
		t.Errorf("a flow took %s", pause)
	}
	owns(t, s.addrs["engine"], "16 of 16")
	ls.stop()
	l.finish()
}

// Engines are replaced one by one, and a third one comes and goes.
func TestEnginesAreReplacedUnderLoad(t *testing.T) {
	t.Parallel()
	s, engines := twoEngines(t)
	l := newLoad(t, "http://"+s.addrs["console"])
	ls := newLanes(l)
	usual := ls.slowest()
	var ends, comes []time.Duration
	for _, name := range engines {
		took := s.roles[name].stop()
		gone := ls.slowest()
		s.startAs(name, "engine")
		s.shared(engines)
		came := ls.slowest()
		t.Logf("%s ended in %s; the slowest flow took %s when it went, %s when it came (%s before)", name, took, gone, came, usual)
		ends, comes = append(ends, gone-usual), append(comes, came-usual)
		if took > drainLimit || max(gone, came)-usual > besidePause {
			t.Errorf("%s: the end took %s, flows %s and %s", name, took, gone, came)
		}
	}
	if slices.Min(ends) > gracePause || slices.Min(comes) > gracePause {
		t.Errorf("flows took %s longer than usual when engines went, and %s when they came", ends, comes)
	}
	ls.stop()
	l.finish()
}

// An engine is stopped for longer than its membership lasts, and goes on: what it
// believes is its own is another's by then.
func TestAnEngineSleepsTooLong(t *testing.T) {
	t.Parallel()
	s, engines := twoEngines(t)
	l := newLoad(t, "http://"+s.addrs["console"])
	ls := newLanes(l)
	ls.slowest()
	sleeper := s.roles[engines[1]]
	if err := sleeper.Pause(); err != nil {
		t.Fatal(err)
	}
	owns(t, s.addrs[engines[0]], "16 of 16")
	t.Logf("the slowest flow took %s", ls.slowest())
	if err := sleeper.Continue(); err != nil {
		t.Fatal(err)
	}
	s.shared(engines)
	ls.slowest()
	ls.stop()
	l.finish()
}
