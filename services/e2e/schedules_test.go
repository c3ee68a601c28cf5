package e2e_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// The engine is killed again and again while it starts flows by time, and NATS
// once: no time starts two flows, each time has its flow or was missed, and a flow
// that was to start later does.
func TestKilledEnginesStartNothingTwice(t *testing.T) {
	t.Parallel()
	s := newStackOn(t, server{store: t.TempDir(), sync: "always"})
	l := newLoad(t, "http://"+s.addrs["console"])
	l.timed("s", client.OverlapAllow)
	l.timed("q", client.OverlapQueue)
	later := time.Now().Add(5 * time.Second).UTC().Truncate(time.Millisecond)
	startFlow(t, l.api, client.StartRequest{
		ID: "later", Goals: []string{"receipt"}, Init: map[string]any{"order": "later"}, StartAt: later,
	})
	for kill := range uint64(6) {
		l.untilSchedule("s", func(s client.Schedule) error { return atLeast(s.Started, 1+2*kill) })
		s.roles["engine"].Kill()
		if kill == 3 {
			s.nats.Kill()
			s.startNATS()
		}
		s.start("engine")
	}
	l.untilSchedule("s", func(s client.Schedule) error { return atLeast(s.Started, 13) })
	for _, id := range []string{"s", "q"} {
		l.settled(id)
	}
	var state client.FlowState
	testkit.Eventually(t, patience, func() (err error) { // an engine that was killed held its wake
		if state, err = l.api.Flow(t.Context(), "later"); err == nil && state.BegunAt.IsZero() {
			err = errors.New("the flow that was to start later has not begun")
		}
		return err
	})
	if !state.StartAt.Equal(later) || state.BegunAt.Before(later) {
		t.Errorf("the flow for %s began at %s", later, state.BegunAt)
	}
	l.flows = append(l.flows, "later")
	l.finish()
}

// timed starts a flow of the load each second.
func (l *load) timed(id string, overlap client.Overlap) {
	l.t.Helper()
	created, err := l.api.PutSchedule(l.t.Context(), id, client.ScheduleDefinition{
		EveryMS: 1000, Overlap: overlap, Flow: client.StartRequest{Goals: []string{"receipt"}, Init: map[string]any{"order": id}},
	})
	if err != nil || !created {
		l.t.Fatalf("schedule %s: created %v: %v", id, created, err)
	}
}

func atLeast(n, want uint64) error {
	if n < want {
		return fmt.Errorf("%d, want %d", n, want)
	}
	return nil
}

// untilSchedule waits until a schedule is so.
func (l *load) untilSchedule(id string, is func(client.Schedule) error) client.Schedule {
	l.t.Helper()
	var s client.Schedule
	testkit.Eventually(l.t, patience, func() (err error) {
		if s, err = l.api.Schedule(l.t.Context(), id); err == nil {
			err = is(s)
		}
		return err
	})
	return s
}

// settled pauses a schedule and compares what it says with the flows that there
// are.
func (l *load) settled(id string) {
	l.t.Helper()
	testkit.Eventually(l.t, patience, func() error { return l.api.PauseSchedule(l.t.Context(), id) })
	s := l.untilSchedule(id, func(s client.Schedule) error {
		if !s.Starting.IsZero() {
			return errors.New("a flow is being started")
		}
		return nil
	})
	var planned []time.Time
	testkit.Eventually(l.t, patience, func() error { // the list of flows is a little behind
		planned = nil
		for entry, err := range l.api.Flows(l.t.Context(), client.FlowFilter{Labels: []string{"sluice.schedule=" + id}}) {
			if err != nil {
				return err
			}
			state, err := l.api.Flow(l.t.Context(), entry.ID)
			if err != nil {
				return err
			}
			planned = append(planned, state.StartAt)
		}
		if uint64(len(planned)) != s.Started {
			return fmt.Errorf("schedule %s started %d flows, and there are %d", id, s.Started, len(planned))
		}
		return nil
	})
	slices.SortFunc(planned, time.Time.Compare)
	for i := range planned[1:] {
		if apart := planned[i+1].Sub(planned[i]); apart < time.Second || apart%time.Second != 0 {
			l.t.Errorf("schedule %s started flows for %s and %s", id, planned[i], planned[i+1])
		}
	}
	last := planned[len(planned)-1]
	if len(s.Queued) > 0 {
		last = s.Queued[len(s.Queued)-1]
	}
	// Its first time is a second after it was made; it may have been missed.
	if passed := uint64(last.Sub(s.CreatedAt).Round(time.Second) / time.Second); s.Started+s.Missed+uint64(len(s.Queued)) != passed || s.Skipped+s.Failed > 0 {
		l.t.Errorf("schedule %s: %d times passed: %+v", id, passed, s)
	}
	for _, at := range planned {
		l.flows = append(l.flows, flowOf(id, at))
	}
}

// flowOf is the id of the flow that a schedule with every_ms starts for a time.
func flowOf(id string, at time.Time) string {
	layout := "20060102T150405Z"
	if at.Nanosecond() > 0 {
		layout = "20060102T150405.000Z"
	}
	return id + "@" + at.UTC().Format(layout)
}
