package durability

import (
	"context"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

const (
	// askEvery is how long a change of a server's settings may go unseen.
	askEvery = 30 * time.Second
	// lookEvery is how soon it is seen that the connection is with another
	// server, which is asked about at once.
	lookEvery = time.Second
)

// Options say whom a Watcher watches.
type Options struct {
	// Monitors are the monitoring endpoints of all servers.
	Monitors []*url.URL
	// Replicas is how many servers hold each stream.
	Replicas func() int
	// Connected is the id of the server that is connected to; empty while there
	// is none.
	Connected func() string
	// Fixed, where not nil, is what is known without asking.
	Fixed *State
	// Tell is told what was found after each look; it may be nil.
	Tell    func(State)
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Watcher knows what is promised now. It is safe for concurrent use.
type Watcher struct {
	opts  Options
	state atomic.Pointer[State]
	gauge *prometheus.GaugeVec
	known []server // what each said last; of whoever looks
	seen  string   // the server that was connected to when the others were asked last
}

// Watch looks once, for 2 seconds at most, and logs what it found.
// [Watcher.Run] then keeps it current.
func Watch(ctx context.Context, opts Options) (*Watcher, error) {
	w := &Watcher{opts: opts, gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sluice_durability", Help: "1 for what is promised of an acknowledged write: synced, replicated or fast.",
	}, []string{"promise"})}
	if err := opts.Metrics.Register(w.gauge); err != nil {
		return nil, fault.New(fault.Internal, "durability.Watch", err)
	}
	w.look(ctx)
	return w, nil
}

// Now is what is promised, as it was found less than a minute ago.
func (w *Watcher) Now() State { return *w.state.Load() }

// Run looks again and again until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	if w.opts.Fixed != nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	asked := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if w.opts.Connected() == w.seen && time.Since(asked) < askEvery {
			continue
		}
		w.look(ctx)
		asked = time.Now()
	}
}

func (w *Watcher) look(ctx context.Context) {
	state := w.find(ctx)
	if ctx.Err() != nil && w.state.Load() != nil {
		return // it was only not waited for
	}
	was := w.state.Swap(&state)
	if w.opts.Tell != nil {
		w.opts.Tell(state)
	}
	for _, promise := range Promises() {
		w.gauge.WithLabelValues(string(promise)).Set(0)
	}
	w.gauge.WithLabelValues(string(state.Promise)).Set(1)
	attrs := []any{slog.String("promise", string(state.Promise)), slog.String("detail", state.Detail)}
	switch {
	case was == nil:
		w.opts.Log.InfoContext(ctx, "durability", attrs...)
	case was.Promise != state.Promise || was.Synced != state.Synced:
		w.opts.Log.WarnContext(ctx, "durability changed", attrs...)
	}
}

func (w *Watcher) find(ctx context.Context) State {
	if w.opts.Fixed != nil {
		return *w.opts.Fixed
	}
	w.seen = w.opts.Connected()
	servers := ask(ctx, w.opts.Monitors)
	w.recall(servers)
	return judge(servers, w.opts.Replicas(), w.seen)
}

// recall puts what a server said last in the place of no answer, as while it is
// replaced: were the promise the fast one for that moment, gateways would take
// what they accepted for lost, and a second outcome of a token could be
// acknowledged.
func (w *Watcher) recall(servers []server) {
	if w.known == nil {
		w.known = make([]server, len(servers))
	}
	for i := range servers {
		switch {
		case servers[i].err == nil:
			w.known[i] = servers[i]
		case w.known[i].id != "":
			servers[i] = w.known[i]
			servers[i].away = true
		}
	}
}
