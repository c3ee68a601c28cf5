package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
)

// patience is how long the flow may take, which takes about a second.
const patience = time.Minute

// Config says which Sluice the demo uses.
type Config struct {
	// BaseURL of the console.
	BaseURL string
	// NATSURL is where the flow's events are.
	NATSURL string
	// Namespace that it runs under; mostly empty.
	Namespace string
	// Key for the console; empty where it wants none.
	Key string
	// KeepGoing keeps the worker running after the flow, until ctx ends, so that
	// more flows can be started by hand.
	KeepGoing bool
	// Log of the worker; nil drops it.
	Log *slog.Logger
}

// ErrNotCompleted says that the demo's flow ended otherwise.
var ErrNotCompleted = errors.New("the flow did not complete")

// Run registers the steps of an order flow, serves them, starts a flow and
// writes its life to out as it happens. It returns an error unless the flow
// completed.
func Run(ctx context.Context, cfg Config, out io.Writer) (err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	console, err := client.New(cfg.BaseURL, client.Options{Key: cfg.Key})
	if err != nil {
		return err
	}
	nc, err := nats.Connect(cfg.NATSURL, nats.Name("sluice-demo"))
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	w, err := newWorker(cfg.Log)
	if err != nil {
		return err
	}
	endpoint, stopWorker, err := w.Start(ctx, "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	defer func() { err = errors.Join(err, stopWorker()) }()
	d := demo{cfg: cfg, console: console, js: js, endpoint: endpoint, out: out}
	if err := d.run(ctx); err != nil {
		return err
	}
	if cfg.KeepGoing {
		d.say("The worker keeps running. Ctrl-C ends it.\n")
		<-ctx.Done()
	}
	return nil
}

type demo struct {
	cfg      Config
	console  *client.Client
	js       jetstream.JetStream
	endpoint string
	out      io.Writer
}

// say writes to people; what they cannot see changes nothing.
func (d *demo) say(format string, args ...any) {
	_, _ = fmt.Fprintf(d.out, format, args...)
}

func (d *demo) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%w in %s", ErrNotCompleted, patience))
	defer cancel()
	if err := register(ctx, d.console, steps(d.endpoint)); err != nil {
		return err
	}
	d.say("Steps %s (async), %s (async) and %s (sync) are registered; their worker is %s\n", reserveStock, chargeCard, sendReceipt, d.endpoint)
	id := "order-" + strconv.FormatInt(time.Now().UnixMilli(), 36)
	// The engine may just be taking its partitions: then the same is asked again, as
	// the problem says.
	start := func() error {
		_, err := d.console.StartFlow(ctx, order(id))
		if err != nil && client.StatusOf(err) != http.StatusServiceUnavailable {
			return backoff.Permanent(err)
		}
		return err
	}
	if err := backoff.Retry(start, backoff.WithContext(backoff.NewExponentialBackOff(), ctx)); err != nil {
		return fmt.Errorf("start the flow: %w", err)
	}
	d.say("Flow %s is started with the goal %s\n\n", id, sendReceipt)
	if err := d.watch(ctx, id); err != nil {
		return err
	}
	return d.conclude(ctx, id)
}

func order(id string) client.StartRequest {
	return client.StartRequest{
		ID:     id,
		Goals:  []string{sendReceipt},
		Init:   map[string]any{"item": "teapot", "quantity": 2, "amount": 39.9, "email": "ada@example.org"},
		Labels: map[string]string{"demo": "order"},
	}
}

// watch prints the flow's life until its end.
func (d *demo) watch(ctx context.Context, id string) error {
	var began time.Time
	opts := client.EventsOptions{Namespace: d.cfg.Namespace, FlowID: id, All: true}
	for e, err := range client.Events(ctx, d.js, opts) {
		if err != nil {
			return fmt.Errorf("watch the flow: %w", err)
		}
		if began.IsZero() {
			began = e.Time
			d.say("%-14s %-9s %-14s %s\n", "time", "after", "step", "event")
		}
		d.say("%-14s %8.3fs %-14s %s%s\n", e.Time.Format("15:04:05.000"), e.Time.Sub(began).Seconds(), e.StepID, e.Type, about(e))
		if e.Type.Ends() {
			break
		}
	}
	return nil
}

// about is what else is worth telling of an event.
func about(e event.Event) string {
	text := ""
	if e.Attempt > 0 {
		text += fmt.Sprintf(" attempt %d", e.Attempt)
	}
	switch {
	case e.Key != "":
		text += fmt.Sprintf(" %s = %s", e.Key, e.Value)
	case e.Error != "":
		text += ": " + e.Error
	case e.Reason != "":
		text += ": " + e.Reason
	case !e.NextRetryAt.IsZero():
		text += fmt.Sprintf(": retry %d at %s", e.RetryCount, e.NextRetryAt.Format("15:04:05.000"))
	case e.Duration != nil:
		text += fmt.Sprintf(" after %d ms", *e.Duration)
	}
	return text
}

// conclude prints what came of the flow and how to do the same by hand.
func (d *demo) conclude(ctx context.Context, id string) error {
	state, err := d.console.Flow(ctx, id)
	if err != nil {
		return fmt.Errorf("read the flow: %w", err)
	}
	if state.Status != client.Completed {
		return fmt.Errorf("%w: it is %s: %s", ErrNotCompleted, state.Status, state.Error)
	}
	d.say("\nFlow %s is %s. What its steps gave:\n", id, state.Status)
	for _, name := range []string{"reservation", "payment", "receipt"} {
		d.say("  %-12s %s\n", name, state.Attributes[name].Value)
	}
	return d.byHand(id)
}
