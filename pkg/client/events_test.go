package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// log is a NATS with the streams of two shards; odd partitions are in the
// second.
type log struct {
	t     *testing.T
	srv   *server.Server
	store string
	js    jetstream.JetStream
	space subject.Space
}

const partitions = 4

func newLog(t *testing.T) *log {
	t.Helper()
	l := &log{t: t, store: t.TempDir()}
	l.start(server.RANDOM_PORT)
	t.Cleanup(func() { l.srv.Shutdown() })
	nc, err := nats.Connect(l.srv.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if l.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	for shard := range 2 {
		_, err := l.js.CreateStream(t.Context(), jetstream.StreamConfig{
			Name:     fmt.Sprintf("FLOWS_%d", shard),
			Subjects: []string{l.space.Flows("", shard), l.space.Flows("", shard+2)},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l *log) start(port int) {
	l.t.Helper()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, JetStream: true, StoreDir: l.store})
	if err != nil {
		l.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		l.t.Fatal("NATS is not ready")
	}
	l.srv = srv
}

// restart breaks every connection and comes back on the same address.
func (l *log) restart() {
	l.t.Helper()
	port := 0
	if _, err := fmt.Sscanf(l.srv.Addr().String()[strings.LastIndex(l.srv.Addr().String(), ":")+1:], "%d", &port); err != nil {
		l.t.Fatal(err)
	}
	l.srv.Shutdown()
	l.srv.WaitForShutdown()
	// Its port may be that of somebody's connection for a moment.
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var listen net.ListenConfig
		listener, err := listen.Listen(l.t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			err = listener.Close()
		}
		if err == nil {
			break
		}
		if time.Now().After(end) {
			l.t.Fatal(err)
		}
	}
	l.start(port)
}

// commit stores a transition with one event, an attribute named key, or the
// flow's end.
func (l *log) commit(kind subject.Kind, flowID, key string) {
	l.t.Helper()
	c := &sluicev1.Commit{FlowId: flowID, Revision: 1, TimeNs: 1, Values: [][]byte{[]byte("1")}}
	c.Events = append(c.Events, &sluicev1.Event{Kind: &sluicev1.Event_AttributeSet{AttributeSet: &sluicev1.AttributeSet{Key: key, Value: 1}}})
	if kind == subject.KindCompleted {
		c.Events = append(c.Events, &sluicev1.Event{Kind: &sluicev1.Event_FlowCompleted{FlowCompleted: &sluicev1.FlowCompleted{}}})
	}
	data, err := proto.Marshal(c)
	if err != nil {
		l.t.Fatal(err)
	}
	l.publish(kind, flowID, data)
}

// publish stores a message once, however often an ack is lost to a restart.
func (l *log) publish(kind subject.Kind, flowID string, data []byte) {
	l.t.Helper()
	to, id := l.space.Flow(kind, subject.Partition(flowID, partitions), flowID), nats.NewInbox()
	deadline := time.Now().Add(20 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(l.t.Context(), time.Second)
		_, err := l.js.Publish(ctx, to, data, jetstream.WithMsgID(id))
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			l.t.Fatal(err)
		}
	}
}

// take reads n events, and says of each flow and key, or type.
func (l *log) take(n int, opts client.EventsOptions) []string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 20*time.Second)
	defer cancel()
	var got []string
	for e, err := range client.Events(ctx, l.js, opts) {
		if err != nil {
			l.t.Fatalf("after %d of %d: %v", len(got), n, err)
		}
		if got = append(got, name(e)); len(got) == n {
			break
		}
	}
	return got
}

func name(e event.Event) string {
	if e.Type == event.AttributeSet {
		return e.FlowID + "/" + e.Key
	}
	return e.FlowID + "/" + string(e.Type)
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestEventsOfOneFlow(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	for i := range 3 {
		l.commit(subject.KindAdvanced, "a.b", strconv.Itoa(i))
		l.commit(subject.KindAdvanced, "other", strconv.Itoa(i))
	}
	l.commit(subject.KindCompleted, "a.b", "last")
	equal(t, l.take(5, client.EventsOptions{FlowID: "a.b", All: true}), "a.b/0", "a.b/1", "a.b/2", "a.b/last", "a.b/flow_completed")
	equal(t, l.take(2, client.EventsOptions{FlowID: "a.b", Kind: subject.KindCompleted, All: true}), "a.b/last", "a.b/flow_completed")
}

func TestEventsOfOneKindInAllShards(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	const flows = 20
	for i := range flows {
		id := fmt.Sprintf("f%d", i)
		l.commit(subject.KindAdvanced, id, "x")
		l.commit(subject.KindCompleted, id, "y")
	}
	seen := map[string]bool{}
	for _, e := range l.take(2*flows, client.EventsOptions{Kind: subject.KindCompleted, All: true}) {
		seen[e] = true
	}
	if len(seen) != 2*flows || seen["f0/x"] {
		t.Errorf("got %v", seen)
	}
}

func TestEventsFromNowOn(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.commit(subject.KindAdvanced, "f", "old")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan string, 1)
	go func() {
		for e, err := range client.Events(ctx, l.js, client.EventsOptions{}) {
			if err == nil {
				got <- name(e)
			}
			return
		}
	}()
	for i := 0; ; i++ {
		l.commit(subject.KindAdvanced, "f", fmt.Sprint("new", i))
		select {
		case first := <-got:
			if !strings.HasPrefix(first, "f/new") {
				t.Errorf("began with %s", first)
			}
			return
		case <-time.After(5 * time.Millisecond):
		}
		if i > 2000 {
			t.Fatal("nothing came")
		}
	}
}

func TestDurablePosition(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	for i := range 5 {
		l.commit(subject.KindAdvanced, "f", strconv.Itoa(i))
	}
	opts := client.EventsOptions{FlowID: "f", Durable: "reader", All: true}
	// A loop that is left in the middle of a commit has not handled it.
	equal(t, l.take(2, opts), "f/0", "f/1")
	// The rest was fetched ahead by the reader that left, and comes at once.
	began := time.Now()
	equal(t, l.take(4, opts), "f/1", "f/2", "f/3", "f/4")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the next reader waited %s", took)
	}
	l.commit(subject.KindAdvanced, "f", "5")
	equal(t, l.take(2, opts), "f/4", "f/5")
	opts.FlowID = "other"
	for _, err := range client.Events(t.Context(), l.js, opts) {
		if !errors.Is(err, client.ErrOtherPosition) {
			t.Errorf("got %v", err)
		}
	}
}

// A server that goes away in the middle leaves neither a gap nor disorder.
func TestEventsGoOnAfterReconnects(t *testing.T) {
	t.Parallel()
	for _, durable := range []string{"", "reader"} {
		t.Run("durable="+durable, func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			const n = 60
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			ready := make(chan struct{}, n)
			var got []string
			done := make(chan error, 1)
			go func() {
				for e, err := range client.Events(ctx, l.js, client.EventsOptions{FlowID: "f", Durable: durable, All: true, Buffer: 4}) {
					if err != nil {
						done <- err
						return
					}
					got = append(got, e.Key)
					ready <- struct{}{}
					if len(got) == n {
						break
					}
				}
				done <- nil
			}()
			for i := range n {
				l.commit(subject.KindAdvanced, "f", strconv.Itoa(i))
				if i == n/3 || i == 2*n/3 {
					<-ready
					l.restart()
				}
			}
			if err := <-done; err != nil {
				t.Fatalf("after %v: %v", got, err)
			}
			for i, key := range got {
				if key != strconv.Itoa(i) {
					t.Fatalf("got %v", got)
				}
			}
		})
	}
}

func TestBrokenCommitCanBePassedOver(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.commit(subject.KindAdvanced, "f", "1")
	l.publish(subject.KindAdvanced, "f", []byte{0xff})
	l.commit(subject.KindAdvanced, "f", "2")
	var got []string
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for e, err := range client.Events(ctx, l.js, client.EventsOptions{FlowID: "f", Durable: "d", All: true}) {
		if broken, ok := errors.AsType[*client.CommitError](err); ok {
			got = append(got, fmt.Sprint("broken ", broken.Sequence > 0 && broken.Stream != ""))
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e.Key); e.Key == "2" {
			break
		}
	}
	equal(t, got, "1", "broken true", "2")
}

func TestEventsEndWithTheContext(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.commit(subject.KindAdvanced, "f", "1")
	for _, durable := range []string{"", "d"} {
		ctx, cancel := context.WithCancel(t.Context())
		var last error
		for _, err := range client.Events(ctx, l.js, client.EventsOptions{All: true, Durable: durable}) {
			last = err
			cancel()
		}
		if !errors.Is(last, context.Canceled) {
			t.Errorf("ended with %v", last)
		}
		cancel()
	}
	for _, err := range client.Events(t.Context(), l.js, client.EventsOptions{Namespace: "nobody"}) {
		if !errors.Is(err, client.ErrNoFlows) {
			t.Errorf("got %v", err)
		}
	}
}
