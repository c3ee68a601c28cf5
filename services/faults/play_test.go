package faults_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/faults/internal/invariant"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
	"github.com/sluiceflow/sluice/services/faults/internal/load"
	"github.com/sluiceflow/sluice/services/faults/internal/observe"
	"github.com/sluiceflow/sluice/services/faults/internal/world"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

const (
	// rate is how many flows are started in a second, where a row says nothing.
	rate = 15
	// warmUp is how long the load goes on before the first fault, and coolDown
	// after the last.
	warmUp   = 2 * time.Second
	coolDown = 3 * time.Second
	// schedule is the longest that a flow of the load takes when nothing is
	// broken, with all its retries; graceful is what it may take beyond that once
	// the faults have stopped.
	schedule = 10 * time.Second
	graceful = 30 * time.Second
	// recording is how long what got a 2xx may take to be recorded as ignored.
	recording = 20 * time.Second
	// recordingLost is the same where much is lost, and does not come.
	recordingLost = 3 * time.Second
	patience      = time.Minute
)

// A row is a line of the fault matrix.
type row struct {
	fault string
	// short and long are how often the fault is done in each form; 0 leaves the
	// row out.
	short, long int
	// pause is the longest allowed time between two flows that complete.
	pause time.Duration
	world world.Options
	load  load.Config
	// indexLost says that the fault loses what Redis held.
	indexLost bool
	// quiet says that nothing is broken: no invocation may come twice.
	quiet bool
	// settle is what flows may take beyond their schedule because there are many.
	settle time.Duration
	// damaging says that the fault loses what was acknowledged. Then promises may be
	// broken of flows that were named, or are not there any more.
	damaging bool
	// once does the fault.
	once func(r *run)
	// after checks what else must be true once all flows have ended; nil where
	// that is nothing.
	after func(r *run, flows map[string]invariant.History)
}

// run is a row that is played.
type run struct {
	row

	t    *testing.T
	w    *world.World
	l    *load.Load
	book *ledger.Ledger
	look *observe.Observer
	// began is when the world did.
	began time.Time
	// dice choose moments and victims.
	dice *rand.Rand
	// unreachable are steps whose calls cannot arrive.
	unreachable map[string]bool
	// named are flows that `sluice verify` found something of.
	named map[string]bool
	// unasked says that Redis was too slow for a gateway at some time. It takes an
	// outcome without Redis then, and cannot say that there is another.
	unasked atomic.Bool
	// drains are when gateways were asked to end, from and to.
	drains [][2]time.Time
}

// play runs a row: a world under load, the fault as often as the form says, and
// the judgement at the end.
func play(t *testing.T, line row) {
	t.Helper()
	times := line.short
	if form(t) == longForm {
		times = line.long
	}
	if times == 0 {
		t.Skip("only in the long form (FAULTS=long)")
	}
	programs(t)
	begin := time.Now()
	res := result{fault: line.fault, times: times, bound: line.pause}
	defer func() {
		res.took, res.passed = time.Since(begin), !t.Failed()
		record(res)
	}()
	r := begun(t, line)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	running.Go(func() { r.l.Run(ctx) })
	watching, seen := context.WithCancel(t.Context())
	defer seen()
	running.Go(func() { r.watchIndex(watching) })
	r.wait(warmUp)
	from := time.Now()
	for range times {
		r.once(r)
	}
	r.wait(coolDown)
	to := time.Now()
	t.Logf("%d faults took %s", times, to.Sub(begin).Round(time.Millisecond))
	stop()
	flows, found := r.judge(to, func() { seen(); running.Wait() })
	res.violations, res.pause = len(found), observe.LongestPause(flows, from, to)
	for _, v := range found {
		t.Error(v)
		if v.Invariant == invariant.Ended {
			for _, e := range flows[v.Flow].Events {
				t.Logf("  %s %s %s attempt %d %s %s%s", e.Time.Format(time.RFC3339Nano), e.Type, e.StepID, e.Attempt, e.Token, e.Error, e.Reason)
			}
		}
	}
	if res.pause > line.pause {
		t.Errorf("the longest pause between two flows that completed is %s, allowed are %s", res.pause, line.pause)
	}
	if line.after != nil {
		line.after(r, flows)
	}
}

// begun starts world and load. Both end with the test, whose log says what the
// processes said if it failed.
func begun(t *testing.T, line row) *run {
	t.Helper()
	chosen := seed(t)
	t.Logf("FAULTS_SEED=%d", chosen)
	line.world.Programs, line.world.Dir = programs(t), t.TempDir()
	r := &run{
		row: line, t: t, book: &ledger.Ledger{}, began: time.Now(),
		dice:        rand.New(rand.NewPCG(chosen, 0)),
		unreachable: map[string]bool{},
		named:       map[string]bool{},
	}
	var err error
	if r.w, err = world.Start(t.Context(), line.world); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.w.Close()
		if t.Failed() {
			t.Log(r.w.Tails())
		}
	})
	cfg := line.load
	cfg.Seed, cfg.Consoles, cfg.Gateways, cfg.Ledger = chosen, r.w.Consoles, r.w.Gateways, r.book
	if cfg.Rate == 0 {
		cfg.Rate = rate
	}
	if cfg.Shapes == nil {
		cfg.Shapes = load.Shapes()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if r.l, err = load.New(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.l.Close)
	if r.look, err = observe.New(r.w.Consoles[0]); err != nil {
		t.Fatal(err)
	}
	return r
}

// watchIndex looks whether Redis is too slow for a gateway, until ctx ends.
func (r *run) watchIndex(ctx context.Context) {
	const missed = "sluice_webhook_redis_errors_total"
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for !r.indexLost && !r.unasked.Load() {
		for _, name := range r.w.Names("gateway") {
			asking, cancel := context.WithTimeout(ctx, second)
			figures, err := r.w.Figures(asking, name, missed)
			cancel()
			if err == nil && figures[missed] > 0 { // else it is being broken
				r.unasked.Store(true)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// judge waits for the end of all flows, ends what still runs then, and says what
// was broken. The faults stopped at a moment.
func (r *run) judge(stopped time.Time, finish func()) (map[string]invariant.History, []invariant.Violation) {
	r.t.Helper()
	end := stopped.Add(schedule + graceful + r.settle)
	ctx, cancel := context.WithDeadline(r.t.Context(), end)
	defer cancel()
	if err := r.l.Settle(ctx); err != nil {
		r.t.Error(err)
	}
	if open := r.look.Await(ctx, observe.Started(r.book.Book())); len(open) > 0 {
		r.t.Logf("%d flows have not ended", len(open))
	}
	finish()
	if r.unasked.Load() {
		r.t.Log("Redis was too slow for a gateway")
	}
	limit := recording
	if r.damaging {
		limit = recordingLost
	}
	recorded, cancelRecorded := context.WithTimeout(r.t.Context(), limit)
	defer cancelRecorded()
	found, flows, err := r.look.Judge(recorded, r.book, invariant.Evidence{
		Quiet: r.quiet, IndexLost: r.indexLost || r.unasked.Load(), Lossy: r.damaging, EndBy: end, Unreachable: r.unreachable,
	})
	r.l.Close()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Log(summary(r.book.Book(), flows))
	if r.damaging {
		found = r.silent(found, flows)
	}
	return flows, found
}

// summary says how much the load did.
func summary(b ledger.Book, flows map[string]invariant.History) string {
	answers, ends := map[int]int{}, map[string]int{}
	for _, p := range b.Posts {
		answers[p.Status]++
	}
	for _, h := range flows {
		ends[string(h.State.Status)]++
	}
	return fmt.Sprintf("%d starts, %d calls, %d posts with answers %v, %d calls that undo, %d callbacks, %d heartbeats, %d controls, %d messages, %d decisions, flows %v",
		len(b.Starts), len(b.Calls), len(b.Posts), answers, len(b.Undos), len(b.Callbacks), len(b.Beats), len(b.Controls),
		len(b.Messages), len(b.Decisions), ends)
}

// wait lets the load go on for a while.
func (r *run) wait(d time.Duration) {
	r.t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.t.Context().Done():
		r.t.Fatal("the test ended")
	}
}

// moment waits for a while that the dice choose, up to most.
func (r *run) moment(most time.Duration) {
	r.t.Helper()
	r.wait(time.Duration(r.dice.Int64N(int64(most))))
}

// must fails the row for what can only be the suite's own fault.
func (r *run) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// await waits until a process can do its work.
func (r *run) await(name string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	r.must(r.w.Await(ctx, name))
}

// crash kills a process at a random moment and starts it again at once.
func (r *run) crash(name string) {
	r.t.Helper()
	r.moment(2 * time.Second)
	r.w.Kill(name)
	r.must(r.w.Restart(r.t.Context(), name))
	r.await(name)
}

// eventually waits until something is so.
func (r *run) eventually(ask func() error) {
	r.t.Helper()
	testkit.Eventually(r.t, patience, ask)
}

const (
	// leanGoroutines and leanBytes are what a role may use while what it stands
	// on is broken: it must not pile up what waits.
	leanGoroutines = 2000
	leanBytes      = 256 << 20
)

// lean checks that a role does not pile up goroutines or memory.
func (r *run) lean(name string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	figures, err := r.w.Figures(ctx, name, "go_goroutines", "process_resident_memory_bytes")
	r.must(err)
	if n := figures["go_goroutines"]; n > leanGoroutines {
		r.t.Errorf("%s has %.0f goroutines", name, n)
	}
	if n := figures["process_resident_memory_bytes"]; n > leanBytes {
		r.t.Errorf("%s uses %.0f bytes of memory", name, n)
	}
}
