package dispatcher_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// bound sets how many messages a stream takes before it refuses more.
func (r *rig) bound(name string, messages int64) {
	r.t.Helper()
	stream, err := r.bus.JS.Stream(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.MaxMsgs, cfg.Discard = messages, jetstream.DiscardNew
	if _, err := r.bus.JS.UpdateStream(r.t.Context(), cfg); err != nil {
		r.t.Fatal(err)
	}
}

func TestAReportThatCannotBeStoredIsNotLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ackWait(time.Second)
	r.bound(r.bus.Commands(0), 1)
	url, called, open := hang(t, succeed)
	open()
	r.start()
	r.invoke(invocation("first", url))
	r.report("first")
	r.invoke(invocation("second", url))
	wait(t, called)
	wait(t, called)
	r.heldPastItsAckWait()
	if got, err := r.stored("second"); !errors.Is(err, errNoReport) {
		t.Fatalf("a full stream took a report: %v (%v)", got, err)
	}
	r.bound(r.bus.Commands(0), -1)
	if got := r.report("second").GetOutcome(); outcome(got) != "succeeded" {
		t.Errorf("outcome = %v", got)
	}
	r.settled()
	if n := len(called); n != 0 {
		t.Errorf("the endpoint was called %d times more", n)
	}
}

func TestWhileDeadIsFullNothingIsLostAndItShows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.bound(r.bus.Dead(), 1)
	d, cancel, ended := r.run()
	for _, flowID := range []string{"a", "b"} {
		r.publish(flowID, "charge", []byte("\xff\xff"))
	}
	testkit.Eventually(t, patience, func() bool { return d.Checks(t.Context())["dead"] != nil })
	if err := d.Checks(t.Context())["dead"]; !strings.HasPrefix(err.Error(), "degraded: ") {
		t.Errorf("dead: %v, which keeps it from being ready", err)
	}
	if err := d.Checks(t.Context())["nats"]; err != nil {
		t.Errorf("nats: %v", err)
	}
	r.invoke(invocation("healthy", serve(t, reply(200, `{"success": true}`))))
	r.report("healthy")
	cancel()
	ended()
	testkit.Eventually(t, patience, func() error { // NATS applies acks when it comes to it
		n, err := r.count(r.bus.Invocations(0))
		if err == nil && n != 1 {
			err = fmt.Errorf("%d messages are left, want the one that DEAD had no room for", n)
		}
		return err
	})
	if n := len(r.deadLetters()); n != 1 {
		t.Errorf("%d dead letters", n)
	}
}

// Of an invocation that was redriven nobody knows whether it was called before.
func TestARedrivenInvocationIsCalledOnceMore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	inv := invocation("redriven", serve(t, reply(404, "")))
	data, err := proto.Marshal(inv)
	if err != nil {
		t.Fatal(err)
	}
	box, err := dead.NewBox(r.bus, "test", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err == nil {
		err = box.Put(t.Context(), &sluicev1.DeadLetter{
			What: dead.Invocation, Stream: r.bus.Invocations(0), Subject: r.bus.Space.InvokeHTTP("charge", r.bus.Partition("redriven"), "redriven"), Data: data,
		}, 0)
	}
	if err == nil {
		err = dead.Open(r.bus).Redrive(t.Context(), 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := r.report("redriven").GetOutcome(); outcome(got) != "not_completed" {
		t.Errorf("a 404 to a call that may be a repeat: %v, want not completed", got)
	}
	r.settled()
}
