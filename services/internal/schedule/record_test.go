package schedule_test

import (
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/schedule"
)

// hourly is a schedule whose last flow is the one of one o'clock.
func hourly(t *testing.T, overlap schedule.Overlap) (*schedule.Record, time.Time) {
	t.Helper()
	r := record(t, schedule.Definition{Cron: "0 * * * *", Overlap: overlap}, at(t, "2026-01-01T00:30:00Z"))
	one := at(t, "2026-01-01T01:00:00Z")
	if r.Decide(one.Add(-time.Nanosecond), true) {
		t.Fatal("it is due early")
	}
	if !r.Decide(one.Add(time.Second), true) || r.Starting == nil || !r.Starting.PlannedAt.Equal(one) || r.Starting.Late {
		t.Fatalf("at one: %+v", r.Starting)
	}
	if r.Decide(one.Add(3*time.Hour), true) {
		t.Fatal("it decides while a flow is being started")
	}
	r.Begun(one.Add(2 * time.Second))
	if r.Last.FlowID != "s@20260101T010000Z" || r.Started != 1 {
		t.Fatalf("last: %+v", r.Last)
	}
	return r, one
}

func TestOverlap(t *testing.T) {
	t.Parallel()
	for overlap, want := range map[schedule.Overlap]struct {
		starting        bool
		skipped, queued int
	}{
		schedule.Skip: {false, 1, 0}, schedule.Queue: {false, 0, 1}, schedule.Allow: {true, 0, 0},
	} {
		r, one := hourly(t, overlap)
		free := !r.NeedsLast() // it has not ended
		if !r.Decide(one.Add(time.Hour), free) {
			t.Errorf("%s: nothing is decided", overlap)
		}
		if (r.Starting != nil) != want.starting || r.Skipped != uint64(want.skipped) || len(r.Queue) != want.queued {
			t.Errorf("%s: starting %v, skipped %d, queued %v", overlap, r.Starting, r.Skipped, r.Queue)
		}
	}
}

func TestTheQueueIsInOrderAndHasAnEnd(t *testing.T) {
	t.Parallel()
	r, one := hourly(t, schedule.Queue)
	for i := range 105 {
		r.Decide(one.Add(time.Duration(i+1)*time.Hour), false)
	}
	if len(r.Queue) != 100 || r.Skipped != 5 || r.Missed != 0 {
		t.Fatalf("%d wait, %d are skipped, %d missed", len(r.Queue), r.Skipped, r.Missed)
	}
	now := one.Add(105*time.Hour + time.Minute)
	for i := range 100 {
		if !r.Decide(now, true) || !r.Starting.PlannedAt.Equal(one.Add(time.Duration(i+1)*time.Hour)) || r.Starting.Late {
			t.Fatalf("number %d is %+v", i, r.Starting)
		}
		r.Begun(now)
	}
	if r.Decide(now, true) {
		t.Error("something is left")
	}
}

// Of what passed in an outage the latest is started, late.
func TestMissedTimes(t *testing.T) {
	t.Parallel()
	r, one := hourly(t, schedule.Skip)
	if !r.Decide(one.Add(5*time.Hour+20*time.Minute), true) {
		t.Fatal("nothing is decided")
	}
	if !r.Starting.Late || !r.Starting.PlannedAt.Equal(one.Add(5*time.Hour)) || r.Missed != 4 {
		t.Errorf("starting %+v, missed %d", r.Starting, r.Missed)
	}
}

func TestPauseAndRedefine(t *testing.T) {
	t.Parallel()
	r, one := hourly(t, schedule.Queue)
	r.Decide(one.Add(time.Hour), false)
	r.Pause(true)
	if r.Decide(one.Add(10*time.Hour), true) || r.Next(one, 1) != nil {
		t.Error("it goes on in a pause")
	}
	r.Pause(false)
	r.Settle(one.Add(10*time.Hour + time.Minute))
	if !r.Decide(one.Add(10*time.Hour+2*time.Minute), true) || !r.Starting.PlannedAt.Equal(one.Add(time.Hour)) || r.Missed != 0 {
		t.Errorf("after a pause: %+v, missed %d", r.Starting, r.Missed)
	}
	r.GiveUp("no", one)
	if r.Error == nil || r.Failed != 1 || r.Starting != nil {
		t.Errorf("given up: %+v", r)
	}
	r.Queue = []schedule.Start{{PlannedAt: one}}
	r.Redefine(schedule.Definition{EveryMS: 60_000, Overlap: schedule.Skip})
	now := one.Add(20 * time.Hour)
	r.Settle(now)
	if r.Error != nil || r.Skipped != 1 || r.Decide(now.Add(59*time.Second), true) || !r.Decide(now.Add(time.Minute), true) {
		t.Errorf("redefined: %+v", r)
	}
}

// The request is the schedule's time, and nothing else.
func TestRequestDigest(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	one := at(t, "2026-01-01T01:00:00Z")
	for _, of := range []struct {
		id string
		at time.Time
	}{{"a", one}, {"b", one}, {"a", one.Add(time.Millisecond)}, {"a", one.In(time.FixedZone("", 3600))}} {
		digest, err := schedule.RequestDigest(of.id, of.at)
		if err != nil {
			t.Fatal(err)
		}
		seen[string(digest)] = true
	}
	if len(seen) != 3 {
		t.Errorf("%d digests", len(seen))
	}
	if id := schedule.FlowID("a", one.Add(time.Millisecond)); id != "a@20260101T010000.001Z" {
		t.Error(id)
	}
}
