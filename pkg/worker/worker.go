package worker

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	defaultConcurrency = 16
	defaultQueue       = 256
	defaultMaxBody     = 8 << 20
	defaultDrain       = 8 * time.Second
	headerTimeout      = 10 * time.Second
)

// Options are what a worker may be told. The zero value works.
type Options struct {
	// Secret is the steps' signing secret, as it stands in their definitions: a
	// call without a good signature is then answered 401. Empty checks nothing.
	Secret string
	// Concurrency is how many async functions run at once; 0 means 16.
	Concurrency int
	// Queue is how many accepted async calls may wait for their turn, or for their
	// completion to be stored; what is more is answered 503, for the engine to try
	// later. 0 means 256.
	Queue int
	// MaxBody is how many bytes an invocation may have; 0 means 8 MiB.
	MaxBody int64
	// DrainTimeout is how long functions and completions may go on after Run was
	// told to end; 0 means 8 seconds.
	DrainTimeout time.Duration
	// Sender posts the completions of async steps.
	Sender Sender
	// Log gets what nobody else can be told; nil means slog.Default.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	if o.Queue <= 0 {
		o.Queue = defaultQueue
	}
	if o.MaxBody <= 0 {
		o.MaxBody = defaultMaxBody
	}
	o.DrainTimeout = orDefault(o.DrainTimeout, defaultDrain)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// Worker answers the invocations of its steps, on any path: the step stands in
// the body. Close it to wait for what it still does.
type Worker struct {
	opts   Options
	verify *standardwebhooks.Webhook // nil checks nothing
	steps  map[string]handler
	undo   map[string]Undo
	pool   *pool
}

type handler struct {
	async bool
	do    Func
}

// New makes a worker without steps. It fails when the secret is none.
func New(opts Options) (*Worker, error) {
	opts = opts.withDefaults()
	w := &Worker{opts: opts, steps: map[string]handler{}, undo: map[string]Undo{}, pool: newPool(opts.Concurrency, opts.Queue)}
	if opts.Secret == "" {
		return w, nil
	}
	verify, err := standardwebhooks.NewWebhook(opts.Secret)
	if err != nil {
		return nil, fmt.Errorf("signing secret: it must be base64, after whsec_: %w", err)
	}
	w.verify = verify
	return w, nil
}

// Sync sets the function of a sync step: its outcome is the answer. Steps are
// set before the first call.
func (w *Worker) Sync(stepID string, do Func) { w.steps[stepID] = handler{do: do} }

// Async sets the function of an async step: the call is answered at once, the
// function runs in the worker's pool, and its outcome goes to the webhook. What
// a worker that dies had not sent is lost to it: the engine calls again once the
// attempt's timeout_ms is over.
func (w *Worker) Async(stepID string, do Func) { w.steps[stepID] = handler{async: true, do: do} }

// Close takes no more calls and returns when all that was accepted is done and
// sent. When ctx ends first, functions are told to stop, and it returns ctx's
// error once they have.
func (w *Worker) Close(ctx context.Context) error { return w.pool.close(ctx) }

// Run serves the worker on an address until ctx ends, and then drains it.
func (w *Worker) Run(ctx context.Context, addr string) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	return w.Serve(ctx, listener)
}

// Start is Run beside its caller: it returns once it listens, with the URL that
// steps are called at. stop ends it and returns what Run would; call it. A port
// of 0 finds a free one.
func (w *Worker) Start(ctx context.Context, addr string) (endpoint string, stop func() error, err error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return "", nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	serving, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- w.Serve(serving, listener) }()
	return "http://" + listener.Addr().String() + "/", sync.OnceValue(func() error {
		cancel()
		return <-served
	}), nil
}

// Serve is Run on a listener, which it closes.
func (w *Worker) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: w, ReadHeaderTimeout: headerTimeout}
	var failed error
	var serving sync.WaitGroup
	stopped, stop := context.WithCancel(ctx)
	defer stop()
	serving.Go(func() {
		defer stop()
		failed = server.Serve(listener)
	})
	<-stopped.Done()
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.opts.DrainTimeout)
	defer cancel()
	down := server.Shutdown(patience)
	serving.Wait()
	drained := w.Close(patience)
	switch {
	case ctx.Err() == nil:
		return fmt.Errorf("serve %s: %w", listener.Addr(), failed)
	case drained != nil:
		return fmt.Errorf("drain: %w", drained)
	case down != nil:
		return fmt.Errorf("drain: %w", down)
	}
	return nil
}
