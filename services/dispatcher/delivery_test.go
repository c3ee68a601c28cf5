package dispatcher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func (r *rig) consumer() (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return r.bus.JS.Consumer(ctx, r.bus.Invocations(0), bus.ConsumerDispatcher)
}

// ackWait makes redelivery quick enough for a test.
func (r *rig) ackWait(d time.Duration) {
	r.t.Helper()
	consumer, err := r.consumer()
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := consumer.CachedInfo().Config
	cfg.AckWait = d
	if _, err := r.bus.JS.UpdateConsumer(r.t.Context(), r.bus.Invocations(0), cfg); err != nil {
		r.t.Fatal(err)
	}
}

// heldPastItsAckWait waits until NATS was told seven times that one delivery is
// worked on: that is done every third of the ack wait, so two of these passed.
func (r *rig) heldPastItsAckWait() {
	r.t.Helper()
	acks, err := r.bus.NC.SubscribeSync("$JS.ACK.>")
	if err != nil {
		r.t.Fatal(err)
	}
	defer acks.Unsubscribe() //nolint:errcheck // it ends with the connection
	told := map[string]int{} // by what names the delivery
	deadline := time.Now().Add(patience)
	for {
		ack, err := acks.NextMsg(time.Until(deadline))
		if err != nil {
			r.t.Fatalf("told %v: %v", told, err)
		}
		if string(ack.Data) != "+WPI" {
			continue
		}
		if told[ack.Subject]++; told[ack.Subject] == 7 {
			return
		}
	}
}

// deliveredTwice waits until an invocation was delivered again.
func (r *rig) deliveredTwice() {
	r.t.Helper()
	testkit.Eventually(r.t, patience, func() error {
		consumer, err := r.consumer()
		// How many are delivered again at the moment may be none once more.
		if err == nil && consumer.CachedInfo().Delivered.Consumer == consumer.CachedInfo().Delivered.Stream {
			err = errors.New("nothing was delivered again")
		}
		return err
	})
}

func TestAnEndpointThatHangsDelaysNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stuck, called, open := hang(t, succeed)
	const hanging, quick = 100, 200
	for i := range hanging { // more than there are slots in all
		inv := invocation(fmt.Sprintf("stuck-%d", i), stuck)
		inv.CallTimeoutMs = 10 * patience.Milliseconds()
		r.invoke(inv)
	}
	r.start()
	wait(t, called)
	fast := serve(t, func(w http.ResponseWriter, _ *http.Request) { succeed(w) })
	for i := range quick {
		r.invoke(invocation(fmt.Sprintf("quick-%d", i), fast))
	}
	for i := range quick {
		r.report(fmt.Sprintf("quick-%d", i))
	}
	for i := range hanging {
		if got, err := r.stored(fmt.Sprintf("stuck-%d", i)); !errors.Is(err, errNoReport) {
			t.Fatalf("the endpoint still hangs, but there is %v (%v)", got, err)
		}
	}
	open()
	r.settled()
}

func TestParkedIsNotRepeated(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.EndpointConcurrency = 1
	slow := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(20 * time.Millisecond) // the work itself
		w.WriteHeader(http.StatusNotFound)
	})
	const n = 30
	for i := range n {
		r.invoke(invocation(fmt.Sprintf("f-%d", i), slow))
	}
	r.start()
	r.deliveredTwice()
	failed := 0
	for i := range n {
		if outcome(r.report(fmt.Sprintf("f-%d", i)).GetOutcome()) == "failed" {
			failed++
		}
	}
	// Where Redis is slow to count a parking, a call passes for a repeated one.
	if failed < n/2 {
		t.Errorf("%d of %d failed for good: they were parked but called once", failed, n)
	}
}

func TestACallThatIsCutShortIsDeliveredAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.DrainTimeout = time.Millisecond
	url, called, open := hang(t, func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) })
	stop := r.start()
	r.invoke(invocation("again", url))
	wait(t, called)
	stop()
	if got, err := r.stored("again"); !errors.Is(err, errNoReport) {
		t.Fatalf("a call that was cut short was reported: %v (%v)", got, err)
	}
	open()
	r.start()
	wait(t, called)
	// The first call may have been accepted, so a 404 to the second proves nothing.
	if got := r.report("again").GetOutcome(); outcome(got) != "not_completed" {
		t.Errorf("a 404 to a repeated call: %v, want not completed", got)
	}
	r.settled()
}

func TestADispatcherThatDiesLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ackWait(time.Second)
	url, called, open := hang(t, succeed)
	survivor := r.bus
	r.bus = connect(t, r.bus)
	r.cfg.DrainTimeout = time.Millisecond
	stop := r.start()
	r.invoke(invocation("orphan", url))
	wait(t, called)
	r.bus.NC.Close() // all that it says from here on is lost
	r.bus = survivor
	r.start()
	wait(t, called)
	open()
	if got := r.report("orphan").GetOutcome(); outcome(got) != "succeeded" {
		t.Errorf("outcome = %v", got)
	}
	r.settled()
	stop()
}

func TestALongCallIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ackWait(3 * time.Second)
	url, called, open := hang(t, succeed)
	r.start()
	r.invoke(invocation("long", url))
	wait(t, called)
	r.heldPastItsAckWait()
	consumer, err := r.consumer()
	if err != nil || consumer.CachedInfo().NumRedelivered != 0 {
		t.Errorf("a call that goes on was delivered again (%v)", err)
	}
	open()
	r.report("long")
	r.settled()
	if n := len(called); n != 0 {
		t.Errorf("called %d times more", n)
	}
}

func TestDrainingFinishesWhatRunsAndBeginsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.DrainTimeout = patience
	stuck, called, open := hang(t, succeed)
	var later atomic.Int32
	quick := serve(t, func(w http.ResponseWriter, _ *http.Request) { later.Add(1); succeed(w) })
	r.invoke(invocation("runs", stuck))
	_, cancel, ended := r.run()
	wait(t, called)
	cancel()
	r.invoke(invocation("comes-later", quick))
	testkit.Eventually(t, patience, func() error {
		consumer, err := r.consumer()
		if err == nil && consumer.CachedInfo().NumWaiting != 0 {
			err = errors.New("it still pulls")
		}
		return err
	})
	if n := later.Load(); n != 0 {
		t.Errorf("a dispatcher that stops began %d calls", n)
	}
	open()
	if got := r.report("runs").GetOutcome(); outcome(got) != "succeeded" {
		t.Errorf("outcome = %v", got)
	}
	ended()
	r.start()
	if got := r.report("comes-later").GetOutcome(); outcome(got) != "succeeded" {
		t.Errorf("outcome = %v", got)
	}
	r.settled()
}

func TestAConnectionThatBreaksIsNotUsedForASecondCall(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var calls atomic.Int32
	url := serve(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		if calls.Add(1) == 1 {
			succeed(w) // and keeps the connection
			return
		}
		hijack("")(w, req)
	})
	r.start()
	r.invoke(invocation("warm", url))
	r.report("warm")
	r.invoke(invocation("breaks", url))
	if got := r.report("breaks").GetOutcome(); outcome(got) != "not_completed" {
		t.Errorf("outcome = %v", got)
	}
	if n := calls.Load(); n != 2 {
		t.Errorf("called %d times, want one call for each invocation", n)
	}
}

func TestAnExpiredInvocationIsDropped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.EndpointConcurrency = 1
	url, called, open := hang(t, succeed)
	r.start()
	running := invocation("runs", url)
	running.CallTimeoutMs = 10 * patience.Milliseconds()
	r.invoke(running)
	wait(t, called)
	inv := invocation("expired", url)
	inv.DeadlineNs = time.Now().Add(-time.Minute).UnixNano()
	r.invoke(inv)
	// It waits for no slot.
	testkit.Eventually(t, patience, func() error {
		n, err := r.count(r.bus.Invocations(0))
		if err == nil && n != 1 {
			err = fmt.Errorf("%d invocations are left", n)
		}
		return err
	})
	open()
	r.settled()
	if got, err := r.stored("expired"); !errors.Is(err, errNoReport) || len(called) != 0 {
		t.Errorf("%d calls more, report %v (%v), want none", len(called), got, err)
	}
}

func TestTheAttemptsDeadlineEndsTheCall(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	url, _, _ := hang(t, succeed)
	inv := invocation("deadline", url)
	inv.CallTimeoutMs = 60_000
	r.start()
	inv.DeadlineNs = time.Now().Add(3 * time.Second).UnixNano()
	r.invoke(inv)
	r.settled()
	if got := r.report("deadline").GetOutcome(); outcome(got) != "not_completed" {
		t.Errorf("outcome = %v", got)
	}
}

func TestPoisonGoesToDead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	url := serve(t, reply(200, `{"success": true}`))
	other, err := proto.Marshal(invocation("another", url))
	if err != nil {
		t.Fatal(err)
	}
	script := invocation("scripted", url)
	script.Type = sluicev1.StepType_STEP_TYPE_SCRIPT
	garbage := []byte("\xff\xffgarbage")
	r.publish("poison", "charge", garbage)
	r.publish("not-another", "charge", other)
	r.invoke(script)
	r.invoke(invocation("healthy", url))
	r.start()
	if got := r.report("healthy").GetOutcome(); outcome(got) != "succeeded" {
		t.Errorf("outcome = %v", got)
	}
	r.settled()
	letters := r.deadLetters()
	if len(letters) != 3 {
		t.Fatalf("%d dead letters: %v", len(letters), letters)
	}
	for _, l := range letters {
		if l.GetWhat() != "invocation" || l.GetClass() == "" || l.GetReason() == "" || l.GetSequence() == 0 || l.GetStoredNs() == 0 || l.GetDeliveries() != 1 {
			t.Errorf("dead letter %v", l)
		}
		if l.GetSubject() == r.bus.Space.InvokeHTTP("charge", r.bus.Partition("poison"), "poison") && !bytes.Equal(l.GetData(), garbage) {
			t.Errorf("the original was not kept: %q", l.GetData())
		}
	}
}

func (r *rig) deadLetters() (letters []*sluicev1.DeadLetter) {
	r.t.Helper()
	stream, err := r.bus.JS.Stream(r.t.Context(), r.bus.Dead())
	if err != nil {
		r.t.Fatal(err)
	}
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		msg, err := stream.GetMsg(r.t.Context(), seq)
		if err != nil {
			r.t.Fatal(err)
		}
		letter := &sluicev1.DeadLetter{}
		if err := proto.Unmarshal(msg.Data, letter); err != nil {
			r.t.Fatal(err)
		}
		letters = append(letters, letter)
	}
	return letters
}
