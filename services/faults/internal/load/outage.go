package load

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
)

const (
	// starters is how many flows are started at once before an outage.
	starters = 32
	// unwellFor is how long an endpoint that is down takes to say so.
	unwellFor = 5 * time.Millisecond
	// comeBack is the longest that a retry waits for an endpoint that was down.
	comeBack = 4 * time.Second
)

// Outage is an endpoint with an address of its own that is down until it
// recovers.
type Outage struct {
	l *Load

	mu          sync.Mutex
	recovered   bool
	now, utmost int
	calls       int
}

// Outage registers a step whose endpoint is down, and starts n flows that need it.
func (l *Load) Outage(ctx context.Context, n int) (*Outage, error) {
	o := &Outage{l: l}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for an outage: %w", err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(o.serve), ReadHeaderTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return l.life },
	}
	l.jobs.Go(func() { _ = server.Serve(listener) }) // ends by Close
	l.jobs.Go(func() {
		<-l.life.Done()
		_ = server.Close() // nobody waits for its answers
	})
	d := l.step("down", step.KindSync, "order")
	d.HTTP.Endpoint = "http://" + listener.Addr().String() + "/down"
	d.WorkConfig.MaxBackoffMS = new(comeBack.Milliseconds())
	if _, err := l.console().RegisterStep(ctx, d); err != nil {
		return nil, fmt.Errorf("register step %s: %w", d.ID, err)
	}
	var starts errgroup.Group
	starts.SetLimit(starters)
	for range n {
		number := l.next()
		starts.Go(func() error {
			id := fmt.Sprintf("down-%d", number)
			if !l.start(ctx, client.StartRequest{ID: id, Goals: []string{"down"}, Init: map[string]any{"order": id}}) {
				return fmt.Errorf("flow %s was not started", id)
			}
			return nil
		})
	}
	return o, starts.Wait() //nolint:wrapcheck // it says all
}

func (o *Outage) serve(rw http.ResponseWriter, r *http.Request) {
	recovered := o.enter()
	defer o.leave()
	m, ok := o.l.called(rw, r)
	switch {
	case !ok:
	case recovered:
		o.l.answer(rw, m)
	default:
		pause(r.Context(), unwellFor)
		rw.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (o *Outage) enter() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now++
	o.calls++
	o.utmost = max(o.utmost, o.now)
	return o.recovered
}

func (o *Outage) leave() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now--
}

// Recover ends the outage.
func (o *Outage) Recover() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.recovered = true
}

// Calls is how many calls there were, and how many at once at most.
func (o *Outage) Calls() (all, atOnce int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.calls, o.utmost
}
