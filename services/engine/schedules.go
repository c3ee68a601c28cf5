package engine

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/registry"
	"github.com/sluiceflow/sluice/services/internal/run"
	"github.com/sluiceflow/sluice/services/internal/schedule"
)

const (
	// scheduleLook is how often it is looked whose schedules these are, and
	// whether the flow that one waits for has ended.
	scheduleLook = time.Second
	// startingLook is how soon it is looked again whether a flow that was asked
	// for is there.
	startingLook = 50 * time.Millisecond
	// scheduleWatch is how long a watch is trusted: then all schedules are read
	// anew.
	scheduleWatch = time.Minute
	// schedulesAtOnce is how many schedules are seen to at the same time.
	schedulesAtOnce = 16
	// clockEvery is how often the log's clock is read: more often than the clock
	// forgets.
	clockEvery = 10 * time.Second
	// scheduleTimeout bounds what is done about one of them in one look.
	scheduleTimeout = 5 * time.Second
)

// schedules starts the flows of schedules. All that is decided about one is
// stored before it is done, over the record that it was decided on, and a flow's
// id is the schedule's and the time: so whoever does it, and however often, each
// time has one flow at most. That one engine does it, the one that has the
// schedule's partition, only saves work.
type schedules struct {
	e        *Engine
	store    *schedule.Store
	steps    *registry.Registry
	defaults plan.Defaults

	changed chan struct{} // holds one once a schedule was changed

	mu    sync.Mutex
	known map[string]*scheduled
}

// scheduled is a schedule as this engine knows it.
type scheduled struct {
	schedule.Entry

	next     time.Time // when it is to be seen to; zero means never
	asked    time.Time // when a flow of it was asked for last, by this engine's own clock
	askedFor time.Time // the time that it is planned for
	doubtful bool      // the store may have gone back behind it
}

func newSchedules(ctx context.Context, e *Engine, steps *registry.Registry) (*schedules, error) {
	if steps == nil {
		return nil, nil //nolint:nilnil // an engine without steps has no schedules
	}
	defaults, err := e.cfg.Planning.Defaults()
	if err != nil {
		return nil, fault.New(fault.Invalid, "engine.newSchedules", err)
	}
	store, err := schedule.OpenStore(ctx, e.bus)
	if err != nil {
		return nil, err
	}
	return &schedules{
		e: e, store: store, steps: steps, defaults: defaults,
		changed: make(chan struct{}, 1), known: map[string]*scheduled{},
	}, nil
}

// Run starts flows until ctx ends.
func (s *schedules) Run(ctx context.Context) error {
	return run.All(ctx, map[string]run.Part{"watch": run.Func(s.follow), "starts": run.Func(s.keep)})
}

// follow keeps what is known current.
func (s *schedules) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		watching, cancel := context.WithTimeout(ctx, scheduleWatch)
		s.doubt()
		err := s.store.Watch(watching, s.take, s.drop, func(err error) {
			s.e.log.ErrorContext(ctx, "a schedule cannot be read", slog.Any("error", err))
		})
		cancel()
		if err != nil && ctx.Err() == nil {
			s.e.pause(ctx, "the schedules cannot be followed", "schedules", err)
		}
	}
	return nil
}

// doubt lets the next that is read of each schedule count, whatever its revision:
// a store that lost its tail counts anew.
func (s *schedules) doubt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sc := range s.known {
		sc.doubtful = true
	}
}

// take knows a schedule as it is stored now, unless it is known newer.
func (s *schedules) take(e schedule.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := &scheduled{Entry: e}
	if old, ok := s.known[e.ID]; ok {
		if old.Revision == e.Revision {
			old.doubtful = false
			return
		}
		if old.Revision > e.Revision && !old.doubtful {
			return
		}
		fresh.asked, fresh.askedFor = old.asked, old.askedFor
	}
	fresh.next = time.Unix(0, 1)
	if e.Starting == nil {
		fresh.next = fresh.due()
	}
	s.known[e.ID] = fresh
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *schedules) drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, id)
}

// due is when the schedule has to be seen to, where no flow of it is being
// started; the zero time means never.
func (sc *scheduled) due() time.Time {
	if len(sc.Queue) > 0 && !sc.Paused {
		return time.Unix(0, 1) // whenever it is looked
	}
	if next := sc.Next(sc.After, 1); len(next) > 0 {
		return next[0]
	}
	return time.Time{}
}

// keep sees to each schedule when it is due, until ctx ends.
func (s *schedules) keep(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var clockRead time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
		case <-timer.C:
		}
		if time.Since(clockRead) > clockEvery {
			if err := s.readClock(ctx); err != nil {
				s.e.pause(ctx, "the log's clock cannot be read", "schedules", err)
				timer.Reset(0)
				continue
			}
			clockRead = time.Now()
		}
		s.seeAll(ctx, s.look())
		timer.Reset(s.wait())
	}
}

// readClock asks the server what time it is: where no flow runs there is nothing
// else to learn it from.
func (s *schedules) readClock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, scheduleTimeout)
	defer cancel()
	now, err := s.store.Now(ctx)
	if err == nil {
		s.e.clock.observe(now)
	}
	return err //nolint:wrapcheck // it says all
}

func (s *schedules) seeAll(ctx context.Context, due []*scheduled) {
	var group errgroup.Group
	group.SetLimit(schedulesAtOnce)
	for _, sc := range due {
		group.Go(func() error { s.see(ctx, sc); return nil })
	}
	_ = group.Wait() // none of them fails
}

// look returns the schedules of this engine that are due.
func (s *schedules) look() []*scheduled {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []*scheduled
	now := s.now()
	for _, sc := range s.known {
		if s.mine(sc) && !sc.next.After(now) {
			due = append(due, sc)
		}
	}
	return due
}

// wait is how long it is until the next schedule is due.
func (s *schedules) wait() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait, now := scheduleLook, s.now()
	for _, sc := range s.known {
		if s.mine(sc) {
			wait = min(wait, sc.next.Sub(now))
		}
	}
	return max(wait, 0)
}

// mine reports whether the schedule is ever due, and is this engine's.
func (s *schedules) mine(sc *scheduled) bool {
	return !sc.next.IsZero() && s.e.held[s.e.bus.Partition(sc.ID)].Load()
}

// now is the log's time.
func (s *schedules) now() time.Time { return time.Unix(0, s.e.clock.now()).UTC() }

// see does what is due about a schedule, and logs what keeps it from that: then
// it is tried again. What it knows then counts unless the watch knew more
// meanwhile.
func (s *schedules) see(ctx context.Context, known *scheduled) {
	ctx, cancel := context.WithTimeout(ctx, scheduleTimeout)
	defer cancel()
	s.mu.Lock()
	sc := *known
	s.mu.Unlock()
	err := s.advance(ctx, &sc)
	if fault.KindOf(err) == fault.Conflict { // the watch may be behind
		var fresh schedule.Entry
		if fresh, err = s.store.Get(ctx, sc.ID); err == nil {
			sc.Entry = fresh
		}
	}
	switch gone := fault.KindOf(err) == fault.NotFound; {
	case err != nil:
		sc.next = s.now().Add(scheduleLook)
		if !gone && ctx.Err() == nil { // what is gone, the watch will say
			s.e.log.WarnContext(ctx, "a schedule is not seen to yet, it is tried again",
				slog.String("schedule_id", sc.ID), slog.Any("error", err))
		}
	case sc.Starting != nil:
		sc.next = s.now().Add(startingLook)
	case len(sc.Queue) > 0:
		sc.next = s.now().Add(scheduleLook)
	default:
		sc.next = sc.due()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[sc.ID] == known {
		s.known[sc.ID] = &sc
	}
}
