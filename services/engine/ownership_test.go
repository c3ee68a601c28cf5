package engine_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

const (
	// gracePause is what no flow may wait longer when engines come and go.
	gracePause = 2 * time.Second
	// killPause is what no flow may wait longer when an engine dies.
	killPause = 5 * time.Second
)

// traffic starts and cancels flows, each on the heels of the one before.
type traffic struct {
	w    *world
	end  context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	flows   []string
	ended   []int // flows, by lane
	longest time.Duration
}

func (w *world) traffic(lanes int) *traffic {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	asking := context.WithoutCancel(ctx) // what was asked is waited for
	tr := &traffic{w: w, end: cancel, ended: make([]int, lanes)}
	plan := chain(w.t)
	for lane := range lanes {
		tr.done.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				id := fmt.Sprintf("lane%d-%d", lane, n)
				tr.ask(asking, startCommand(id, plan, "request"))
				tr.ask(asking, &sluicev1.Command{FlowId: id, Kind: &sluicev1.Command_CancelFlow{CancelFlow: &sluicev1.CancelFlow{Reason: "test"}}})
				tr.mu.Lock()
				tr.flows = append(tr.flows, id)
				tr.ended[lane]++
				tr.mu.Unlock()
			}
		})
	}
	w.t.Cleanup(tr.stop)
	return tr
}

// ask sends a command until it is answered, and keeps how long that took.
func (tr *traffic) ask(ctx context.Context, cmd *sluicev1.Command) {
	begin := time.Now()
	for {
		_, err := tr.w.bus.Ask(ctx, cmd)
		if err == nil {
			break
		}
		if time.Since(begin) > patience {
			tr.w.t.Errorf("flow %s gets no answer: %v", cmd.GetFlowId(), err)
			break
		}
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.longest = max(tr.longest, time.Since(begin))
}

// pause waits until some flows have ended on every lane, then returns the longest
// wait since it was asked last.
func (tr *traffic) pause() time.Duration {
	tr.w.t.Helper()
	tr.mu.Lock()
	had := slices.Clone(tr.ended)
	tr.mu.Unlock()
	tr.w.until("more flows end on every lane", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		for lane, n := range tr.ended {
			if n < had[lane]+5 {
				return false
			}
		}
		return true
	})
	tr.mu.Lock()
	defer tr.mu.Unlock()
	longest := tr.longest
	tr.longest = 0
	return longest
}

func (tr *traffic) stop() {
	tr.end()
	tr.done.Wait()
}

// verify stops and checks that each flow was started once and canceled once.
func (tr *traffic) verify() {
	tr.w.t.Helper()
	tr.stop()
	for _, id := range tr.flows {
		history, err := tr.w.journal.History(tr.w.t.Context(), id)
		if err != nil || len(history) != 2 {
			tr.w.t.Fatalf("flow %s has %d commits (%v), want 2", id, len(history), err)
		}
	}
	tr.w.idle()
}

// spread waits until the engines own the partitions in equal shares.
func (w *world) spread(engines ...*running) {
	w.t.Helper()
	all := float64(w.bus.Config.Partitions)
	w.until(fmt.Sprintf("%d engines share the partitions", len(engines)), func() bool {
		sum := 0.0
		for _, r := range engines {
			n := r.figure(w.t, "sluice_engine_partitions")
			if n < float64(int(all)/len(engines)) {
				return false
			}
			sum += n
		}
		return sum == all
	})
}

func TestEnginesComeAndGoUnderLoad(t *testing.T) {
	t.Parallel()
	testkit.InTime(t, gracePause, func() time.Duration {
		url := testkit.JetStream(t)
		w := worldOn(t, testkit.ConnectBus(t, url))
		join := func() *running { return w.startOn(testkit.ConnectBus(t, url), nil) }
		a, b := join(), join()
		w.spread(a, b)
		load := w.traffic(16)
		load.pause()
		c := join()
		begin := time.Now()
		w.spread(a, b, c)
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("it took %s until the third engine had its share", took)
		}
		came := load.pause()
		if c.figure(t, "sluice_engine_commits_total") == 0 {
			t.Error("the third engine commits nothing")
		}
		a.stop()
		w.spread(b, c)
		gone := load.pause()
		t.Logf("longest wait of a flow: %s when an engine came, %s when one went", came, gone)
		load.verify()
		conflicts := 0.0
		for _, r := range []*running{a, b, c} {
			conflicts += r.figure(t, "sluice_engine_conflicts_total")
		}
		if conflicts > 50 {
			t.Errorf("%v conflicts", conflicts)
		}
		return max(came, gone)
	})
}

// What an engine held that died comes back by the ack wait, and what it owned is
// others' when it is not heard any more.
func TestAnEngineDiesUnderLoad(t *testing.T) {
	t.Parallel()
	testkit.InTime(t, killPause, func() time.Duration {
		url := testkit.JetStream(t)
		w := worldOn(t, testkit.ConnectBus(t, url))
		a, b := w.startOn(testkit.ConnectBus(t, url), nil), w.startOn(testkit.ConnectBus(t, url), nil)
		w.spread(a, b)
		load := w.traffic(16)
		load.pause()
		b.bus.NC.Close()
		w.spread(a)
		pause := load.pause()
		t.Logf("longest wait of a flow: %s", pause)
		load.verify()
		return pause
	})
}

// An engine that NATS does not hear any more is replaced; what it had sent comes
// late, and the fence refuses it.
func TestAnEngineIsCutOffUnderLoad(t *testing.T) {
	t.Parallel()
	testkit.InTime(t, 2*killPause, func() time.Duration {
		url := testkit.JetStream(t)
		proxy := testkit.NewProxy(t, url)
		w := worldOn(t, testkit.ConnectBus(t, url))
		a, b := w.startOn(testkit.ConnectBus(t, url), nil), w.startOn(testkit.ConnectBus(t, proxy.NATSURL()), nil)
		w.spread(a, b)
		load := w.traffic(16)
		load.pause()
		proxy.Cut()
		w.spread(a)
		pause := load.pause()
		proxy.Heal()
		w.spread(a, b)
		load.pause()
		load.verify()
		return pause
	})
}
