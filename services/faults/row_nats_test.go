package faults_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/faults/internal/invariant"
	"github.com/sluiceflow/sluice/services/faults/internal/load"
	"github.com/sluiceflow/sluice/services/faults/internal/world"
)

// jetstream connects to the world's NATS; the connection ends with the test.
func (r *run) jetstream() jetstream.JetStream {
	r.t.Helper()
	nc, err := nats.Connect(r.w.NATSURL(), nats.Timeout(patience))
	r.must(err)
	r.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	r.must(err)
	return js
}

// What can never be read goes to DEAD with its reason, and holds up nobody.
func TestRowPoison(t *testing.T) {
	t.Parallel()
	space := subject.NewSpace("")
	sent := 0
	play(t, row{
		fault: "garbage bytes as commands and invocations, and dead letters redriven", short: 1, long: 5, pause: 8 * second,
		once: func(r *run) {
			js := r.jetstream()
			for i := range 20 {
				flow := "poison-" + strconv.Itoa(i)
				for _, to := range []string{
					space.Command(subject.SourceHook, subject.Partition(flow, 16), flow),
					space.InvokeHTTP("reserve", subject.Partition(flow, 16), flow),
				} {
					_, err := js.Publish(r.t.Context(), to, []byte{0xff, 0x00, byte(i), 0xfe})
					r.must(err)
					sent++
				}
			}
			r.wait(2 * second)
		},
		after: func(r *run, _ map[string]invariant.History) {
			r.buried(sent)
			r.redriven(sent)
		},
	})
}

// redriven has some of the letters tried again: they leave DEAD, and come back as
// new ones, for they are garbage still.
func (r *run) redriven(sent int) {
	r.t.Helper()
	api, err := client.New(r.w.Consoles[0], client.Options{})
	r.must(err)
	before := r.letters(api)
	redriven := slices.Sorted(maps.Keys(before))[:redrives]
	for _, id := range redriven {
		r.must(api.RedriveDeadLetter(r.t.Context(), id))
	}
	r.eventually(func() error {
		after := r.letters(api)
		for _, id := range redriven {
			if after[id] {
				return fmt.Errorf("letter %d is still there", id)
			}
		}
		if len(after) != sent {
			return fmt.Errorf("%d letters, want %d", len(after), sent)
		}
		return nil
	})
}

// redrives is how many letters are redriven.
const redrives = 5

// letters are the ids of all dead letters.
func (r *run) letters(api *client.Client) map[uint64]bool {
	r.t.Helper()
	all := map[uint64]bool{}
	for letter, err := range api.DeadLetters(r.t.Context(), client.DeadFilter{}) {
		r.must(err)
		all[letter.ID] = true
	}
	return all
}

// buried checks that DEAD holds so many letters, each with a reason.
func (r *run) buried(want int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	consumer, err := r.jetstream().OrderedConsumer(ctx, "DEAD", jetstream.OrderedConsumerConfig{})
	r.must(err)
	for range want {
		msg, err := consumer.Next(jetstream.FetchContext(ctx))
		r.must(err)
		var letter sluicev1.DeadLetter
		r.must(proto.Unmarshal(msg.Data(), &letter))
		if letter.GetReason() == "" || len(letter.GetData()) != 4 {
			r.t.Errorf("a dead letter has the reason %q and %d bytes of the original", letter.GetReason(), len(letter.GetData()))
		}
	}
	if info, err := consumer.Info(ctx); err != nil || info.NumPending > 0 {
		r.t.Errorf("DEAD holds more than %d letters: %v", want, err)
	}
}

// A subscriber that stops reading, and one that stops without a word, are
// noticed by nobody else.
func TestRowSubscriberDead(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "slow and dead subscribers of flow events", short: 1, long: 5, pause: 8 * second,
		once: func(r *run) {
			js := r.jetstream()
			for i := range 5 {
				ctx, cancel := context.WithCancel(r.t.Context())
				next := make(chan error, 1)
				go func() {
					for _, err := range client.Events(ctx, js, client.EventsOptions{All: true, Durable: "slow-" + strconv.Itoa(i)}) {
						next <- err
						<-ctx.Done() // reads one event, and no more
						return
					}
				}()
				r.must(<-next)
				r.t.Cleanup(cancel)
			}
			r.wait(5 * second)
		},
	})
}

// A full stream is told as 503, and loses nothing; when there is space again all
// goes on.
func TestRowStreamFull(t *testing.T) {
	t.Parallel()
	const little = 1 << 20
	rounds := 0
	play(t, row{
		fault: "max_bytes of FLOWS reached for 5 s", short: 1, long: 3, pause: 20 * second,
		world: world.Options{Env: map[string]string{"FLOWS_MAX_BYTES": strconv.Itoa(little)}},
		load:  load.Config{Rate: 40},
		once: func(r *run) {
			js := r.jetstream()
			if rounds++; rounds > 1 { // the world's own limit is gone
				r.limit(js, little)
			}
			r.refused()
			r.wait(5 * second)
			r.limit(js, 1<<30)
			r.wait(3 * second)
		},
		after: func(r *run, _ map[string]invariant.History) {
			for _, p := range r.book.Book().Posts {
				if p.Status == http.StatusServiceUnavailable {
					return
				}
			}
			r.t.Error("no webhook was refused")
		},
	})
}

// limit lets FLOWS hold as many bytes more than it does.
func (r *run) limit(js jetstream.JetStream, more uint64) {
	r.t.Helper()
	stream, err := js.Stream(r.t.Context(), "FLOWS_0")
	r.must(err)
	cfg := stream.CachedInfo().Config
	cfg.MaxBytes = int64(stream.CachedInfo().State.Bytes + more)
	_, err = js.UpdateStream(r.t.Context(), cfg)
	r.must(err)
}

// refused waits until a start of a flow gets a 503.
func (r *run) refused() {
	r.t.Helper()
	before := len(r.book.Book().Starts)
	r.eventually(func() error {
		starts := r.book.Book().Starts
		for _, s := range starts[before:] {
			if s.Status == http.StatusServiceUnavailable {
				return nil
			}
		}
		return fmt.Errorf("%d starts, and none was refused", len(starts))
	})
}

// leaderOf is the server that leads a stream, or empty while none does.
func (*run) leaderOf(ctx context.Context, js jetstream.JetStream, stream string) string {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return ""
	}
	if cluster := s.CachedInfo().Cluster; cluster != nil {
		return cluster.Leader
	}
	return ""
}

// Of three servers one dies at a time: by turns the one that leads FLOWS, and
// whichever. The next dies when all have caught up and flows complete again: until
// then one fault goes on.
func TestRowNATSClusterMemberKilled(t *testing.T) {
	t.Parallel()
	kills := 0
	play(t, row{
		fault: "kill -9 of one of three nats-servers, the leader of FLOWS every other time", short: 2, long: 50,
		pause: 30 * second, // three elections at most, each of up to 9 s
		world: world.Options{Servers: 3, Env: map[string]string{"STREAM_REPLICAS": "3"}},
		once: func(r *run) {
			servers := r.w.Names(world.NATS)
			victim := servers[r.dice.IntN(len(servers))]
			js := r.jetstream()
			if kills++; kills%2 == 1 {
				r.eventually(func() error {
					if victim = r.leaderOf(r.t.Context(), js, "FLOWS_0"); victim == "" {
						return errors.New("FLOWS has no leader")
					}
					return nil
				})
			}
			r.moment(2 * second)
			r.w.Kill(victim)
			r.moment(2 * second)
			r.must(r.w.Restart(r.t.Context(), victim))
			r.await(victim)
			r.caughtUp(js)
			r.completes(js)
		},
	})
}

// completes waits until one more flow has completed.
func (r *run) completes(js jetstream.JetStream) {
	r.t.Helper()
	var from uint64
	r.eventually(func() error {
		stream, err := js.Stream(r.t.Context(), "FLOWS_0")
		if err != nil {
			return err
		}
		last, err := stream.GetLastMsgForSubject(r.t.Context(), subject.NewSpace("").FlowEvents(subject.KindCompleted))
		switch {
		case err != nil:
			return err
		case from == 0:
			from = last.Sequence
		}
		if last.Sequence <= from {
			return errors.New("no flow completes")
		}
		return nil
	})
}

// caughtUp waits until all servers have all of each stream.
func (r *run) caughtUp(js jetstream.JetStream) {
	r.t.Helper()
	r.eventually(func() error {
		streams := js.ListStreams(r.t.Context())
		n := 0
		for info := range streams.Info() {
			n++
			if info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) != 2 {
				return fmt.Errorf("stream %s is not on three servers: %+v", info.Config.Name, info.Cluster)
			}
			for _, peer := range info.Cluster.Replicas {
				if peer.Offline || !peer.Current {
					return fmt.Errorf("%s has not caught up on stream %s", peer.Name, info.Config.Name)
				}
			}
		}
		if n == 0 {
			return fmt.Errorf("no streams: %w", streams.Err())
		}
		return streams.Err()
	})
}
