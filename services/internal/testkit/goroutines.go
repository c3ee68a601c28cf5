package testkit

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// Goroutines watches how many goroutines the process has. Tests that use it must
// not run beside others.
type Goroutines struct {
	tb    testing.TB
	began int
	stop  func()
	ended chan struct{}
	done  sync.WaitGroup
	most  int
}

// WatchGoroutines begins to watch.
func WatchGoroutines(tb testing.TB) *Goroutines {
	tb.Helper()
	g := &Goroutines{tb: tb, began: runtime.NumGoroutine(), ended: make(chan struct{})}
	g.stop = sync.OnceFunc(func() {
		close(g.ended)
		g.done.Wait()
	})
	tb.Cleanup(g.stop)
	g.done.Go(func() {
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for {
			g.most = max(g.most, runtime.NumGoroutine())
			select {
			case <-g.ended:
				return
			case <-tick.C:
			}
		}
	})
	return g
}

// Bounded ends the watch. It fails the test where there were more than so many
// beside those at the beginning, or where they do not end again but for a few.
func (g *Goroutines) Bounded(most, few int, patience time.Duration) {
	g.tb.Helper()
	g.stop()
	g.tb.Logf("%d goroutines at the beginning, %d more at most", g.began, g.most-g.began)
	if more := g.most - g.began; more > most {
		g.tb.Errorf("%d goroutines more than at the beginning, want %d at most", more, most)
	}
	Eventually(g.tb, patience, func() bool { return runtime.NumGoroutine() <= g.began+few })
}
