package index

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The list of flows is up to date at once where little happens; under load what
// comes within a tenth of a second shares a transaction.
func TestGatherWaitsLongerUnderLoad(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		every time.Duration // between two commits
		want  int
		took  time.Duration
	}{
		{"a single commit", time.Hour, 1, window},
		{"a few", 5 * time.Millisecond, 4, window},
		{"many", 200 * time.Microsecond, 500, longest},
		{"more than one transaction takes", 20 * time.Microsecond, maxBatch, 40 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				arrived := make(chan jetstream.Msg)
				stop := make(chan struct{})
				go func() {
					tick := time.NewTicker(c.every)
					defer tick.Stop()
					for {
						select {
						case <-tick.C:
						case <-stop:
							return
						}
						select {
						case arrived <- nil:
						case <-stop:
							return
						}
					}
				}()
				began := time.Now()
				batch := gather(nil, arrived)
				took := time.Since(began)
				close(stop)
				if n := len(batch); n < c.want-1 || n > c.want+1 {
					t.Errorf("%d commits, want %d", n, c.want)
				}
				if took < c.took-time.Millisecond || took > c.took+time.Millisecond {
					t.Errorf("it took %v, want %v", took, c.took)
				}
			})
		})
	}
}
