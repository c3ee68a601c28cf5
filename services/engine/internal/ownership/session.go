package ownership

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// session is a member from its joining until it is out. All but the loops
// belongs to one goroutine.
type session struct {
	*Members

	kv    jetstream.KeyValue
	work  Work
	lease *lease
	peers *peers

	held  map[int]context.CancelFunc // partitions that are worked on; each ends its work
	since map[int]time.Time          // of partitions that are ours and still another's: how long
	loops sync.WaitGroup
	ended chan int // partitions whose work has ended

	state  state
	said   time.Time // when it was last said that this member lives
	dirty  bool      // what was said is not true any more
	logged string    // what was last logged
	spread spread
}

// spread is an assignment, kept because it is asked for all the time.
type spread struct {
	members []string
	owners  []string
}

func newSession(m *Members, kv jetstream.KeyValue, work Work) *session {
	return &session{
		Members: m, kv: kv, work: work, peers: newPeers(m.id), state: joining,
		held: map[int]context.CancelFunc{}, since: map[int]time.Time{},
		ended: make(chan int, m.bus.Config.Partitions),
	}
}

// join says for the first time that this member lives.
func (s *session) join(ctx context.Context) error {
	s.lease = newLease(time.Now())
	return s.say(ctx)
}

// run owns what is this member's until ctx ends or its lease does.
func (s *session) run(ctx context.Context, tell <-chan news) error {
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			s.leave(ctx)
			return nil
		case n := <-tell:
			if err := s.take(n); err != nil {
				return err
			}
		case p := <-s.ended:
			s.release(p)
		case <-look.C:
		}
		if !s.lease.valid() {
			return errLease
		}
		s.settle(work, time.Now())
		s.beat(ctx)
	}
}

// take learns of other members.
func (s *session) take(n news) error {
	for _, e := range n.entries {
		var r record
		if e.Key() == s.id && e.Operation() == jetstream.KeyValuePut && json.Unmarshal(e.Value(), &r) == nil && r.Process != s.process {
			return errClash
		}
	}
	now := time.Now()
	if n.all {
		s.peers.takeAll(n.entries, now)
		if s.state == joining {
			s.state, s.dirty = active, true
		}
		return nil
	}
	for _, e := range n.entries {
		s.peers.take(e, now)
	}
	return nil
}

// settle gives up what is not this member's any more, and takes what is and is
// not another's any more.
func (s *session) settle(ctx context.Context, now time.Time) {
	if s.state != active {
		return
	}
	owners := s.owners(now)
	settled := true
	for p, owner := range owners {
		end, held := s.held[p]
		switch {
		case owner != s.id:
			delete(s.since, p)
			if held {
				end()
				settled = false
			}
		case !held && s.free(p, now):
			s.start(ctx, p)
		case !held:
			settled = false
		}
	}
	if settled {
		s.tell(ctx)
	}
}

// owners are those of the partitions among the members that live.
func (s *session) owners(now time.Time) []string {
	members := s.peers.active(now)
	if !slices.Equal(members, s.spread.members) {
		s.spread = spread{members: members, owners: Assign(members, s.bus.Config.Partitions)}
	}
	return s.spread.owners
}

// free reports whether a partition may be taken: nobody else works on it, or
// somebody did for too long.
func (s *session) free(p int, now time.Time) bool {
	if s.peers.holds(p, now) {
		since, ok := s.since[p]
		if !ok {
			s.since[p] = now
			return false
		}
		if now.Sub(since) < patience {
			return false
		}
	}
	delete(s.since, p)
	return true
}

func (s *session) start(ctx context.Context, p int) {
	ctx, cancel := context.WithCancel(ctx)
	s.held[p], s.dirty = cancel, true
	s.loops.Go(func() {
		defer cancel()
		s.work(ctx, Hold{Partition: p, lease: s.lease})
		s.ended <- p // there is room for every partition, and each is held once
	})
}

// release forgets a partition whose work has ended, and others whose work has.
func (s *session) release(p int) {
	delete(s.held, p)
	for len(s.ended) > 0 {
		delete(s.held, <-s.ended)
	}
	s.dirty = true
}

// tell logs what is owned, once a change.
func (s *session) tell(ctx context.Context) {
	held := s.holds()
	text := fmt.Sprint(held, s.spread.members)
	if text == s.logged {
		return
	}
	s.logged = text
	s.log.InfoContext(ctx, "partitions are spread", slog.String("engine", s.id), slog.Any("owned", held),
		slog.Int("engines", len(s.spread.members)))
}

// holds lists the partitions that are worked on.
func (s *session) holds() []int { return slices.Sorted(maps.Keys(s.held)) }

// beat says that this member lives, when it is time or when something is new.
func (s *session) beat(ctx context.Context) {
	if !s.dirty && time.Since(s.said) < beatEvery {
		return
	}
	if err := s.say(ctx); err != nil && ctx.Err() == nil {
		s.log.DebugContext(ctx, "it could not be said that this engine lives", slog.Any("error", err))
	}
}

// say writes what this member is. From when it began to, its lease counts.
func (s *session) say(ctx context.Context) error {
	r := record{Process: s.process, State: s.state, Started: s.started, Version: s.version, Holds: s.holds()}
	value, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write down member %s: %w", s.id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	begin := time.Now()
	s.said = begin
	if _, err := s.kv.Put(ctx, s.id, value); err != nil {
		return fmt.Errorf("write down member %s: %w", s.id, err)
	}
	s.dirty = false
	s.lease.renew(begin)
	return nil
}

// leave lets others have what is this member's: they know at once, and take each
// partition when it is let go of.
func (s *session) leave(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	s.state = leaving
	err := s.say(ctx)
	for len(s.held) > 0 {
		s.release(<-s.ended) // the context of each work has ended
		if err == nil {      // else NATS is away, and the end must not wait for it
			err = s.say(ctx)
		}
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		err = s.kv.Delete(ctx, s.id)
	}
	if err != nil {
		s.log.WarnContext(ctx, "others learn late that this engine has ended", slog.Any("error", err))
	}
}
