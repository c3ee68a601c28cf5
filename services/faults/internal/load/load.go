// Package load works for an installation as workers and callers do that are not
// polite: they repeat, race, contradict themselves, come early and late, forge
// tokens and send garbage. What they did goes into a ledger.
package load

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// closeLimit is how long calls that run may take to notice the end; connections
// that were opened and not used would be waited for longer.
const (
	closeLimit = 500 * time.Millisecond
	askEvery   = 20 * time.Millisecond
)

// Config says whom to load, and how.
type Config struct {
	// Seed makes all choices: the same seed makes the same ones.
	Seed uint64
	// Consoles and Gateways are base URLs; each request goes to one of them.
	// Without gateways a webhook goes where its URL says.
	Consoles, Gateways []string
	// Shapes are the kinds of flows, by turns; the seed chooses their order.
	Shapes []Shape
	// Rate is how many flows are started in a second.
	Rate float64
	// Storm is how many posts of a token come at once in a flow of shape Storm.
	Storm int
	// AttemptLimit is how long an attempt of an ordinary step may take.
	AttemptLimit time.Duration
	// Again has workers bring their outcome whenever they are called, also after
	// they had a 2xx; they are polite then, and nobody pauses a flow, for nobody
	// would know that its going on is lost.
	Again bool
	// RequestTimeout is how long one request may take.
	RequestTimeout time.Duration
	Ledger         *ledger.Ledger
}

// Load is workers and callers.
type Load struct {
	cfg      Config
	consoles []*client.Client
	http     *http.Client
	server   *http.Server
	endpoint string
	kinds    map[Shape]kind
	steps    map[string]part // of all kinds
	// jobs are what goes on behind calls and starts.
	jobs sync.WaitGroup
	// life ends with Close, and everything with it.
	life context.Context //nolint:containedctx // of the workers, whose calls end before their work does
	end  context.CancelFunc

	mu      sync.Mutex
	done    map[string]bool // tokens, with attempts where it matters, that had a 2xx
	running map[string]bool // the same, that somebody is about to bring
	// firsts are the first tokens of some steps, by flow and step.
	firsts  map[string]string
	started int
	busy    int
}

// New starts the workers and registers their steps. Close ends them.
func New(ctx context.Context, cfg Config) (*Load, error) {
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = 8 * time.Second
	}
	if cfg.AttemptLimit == 0 {
		cfg.AttemptLimit = attemptLimit
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute}
	l := &Load{
		cfg: cfg, http: &http.Client{Transport: transport, Timeout: cfg.RequestTimeout},
		done: map[string]bool{}, running: map[string]bool{}, firsts: map[string]string{},
	}
	for _, base := range cfg.Consoles {
		c, err := client.New(base, client.Options{HTTP: l.http})
		if err != nil {
			return nil, fmt.Errorf("make a client of the console: %w", err)
		}
		l.consoles = append(l.consoles, c)
	}
	if err := l.serve(ctx); err != nil {
		return nil, err
	}
	l.kinds = l.makeKinds()
	l.steps = l.parts()
	if err := l.register(ctx); err != nil {
		l.Close() //nolint:contextcheck // ctx may be why it ends
		return nil, err
	}
	return l, nil
}

func (l *Load) serve(ctx context.Context) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for invocations: %w", err)
	}
	l.life, l.end = context.WithCancel(context.WithoutCancel(ctx))
	l.endpoint = "http://" + listener.Addr().String()
	l.server = &http.Server{
		Handler: l.routes(), ReadHeaderTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return l.life },
	}
	l.jobs.Go(func() { _ = l.server.Serve(listener) }) // ends by Close
	return nil
}

// Run starts flows at the configured rate until ctx ends.
func (l *Load) Run(ctx context.Context) {
	tick := time.NewTicker(time.Duration(float64(time.Second) / l.cfg.Rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.Begin()
		}
	}
}

// Begin starts one flow, of the shape whose turn it is.
func (l *Load) Begin() {
	n := l.next()
	l.begin(l.turn(n), n)
}

// BeginShape starts one flow of a shape.
func (l *Load) BeginShape(shape Shape) { l.begin(shape, l.next()) }

func (l *Load) next() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started++
	return l.started - 1
}

func (l *Load) begin(shape Shape, n int) {
	l.background(func() { l.flow(l.life, shape, n) })
}

// Settle waits until all that was begun is done: every outcome that a worker has
// got its answer. It returns an error where ctx ends before.
func (l *Load) Settle(ctx context.Context) error {
	for {
		l.mu.Lock()
		busy := l.busy
		l.mu.Unlock()
		if busy == 0 {
			return nil
		}
		if !pause(ctx, askEvery) {
			return fmt.Errorf("%d workers and callers have no answer yet: %w", busy, ctx.Err())
		}
	}
}

// background does a part of the load behind its caller.
func (l *Load) background(part func()) {
	l.mu.Lock()
	l.busy++
	l.mu.Unlock()
	l.jobs.Go(func() {
		defer func() {
			l.mu.Lock()
			l.busy--
			l.mu.Unlock()
		}()
		part()
	})
}

// Close ends what still goes on.
func (l *Load) Close() {
	l.end()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.life), closeLimit)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		_ = l.server.Close() // nobody waits for its answers
	}
	l.jobs.Wait()
	l.http.CloseIdleConnections()
}

// dice makes the choices for something that has a name: always the same ones,
// whatever else goes on.
func (l *Load) dice(name ...string) *rand.Rand {
	h := fnv.New64a()
	for _, part := range name {
		_, _ = h.Write([]byte(part + "\x00")) // never fails
	}
	return rand.New(rand.NewPCG(l.cfg.Seed, h.Sum64())) //nolint:gosec // choices, not secrets
}

func (l *Load) console() *client.Client { return l.consoles[rand.IntN(len(l.consoles))] } //nolint:gosec // any will do

// pause waits, and reports false when the load ends meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// patience is the pause before a request is repeated for the nth time.
func patience(n int) time.Duration {
	return min(20*time.Millisecond<<min(n, 6), 500*time.Millisecond)
}
