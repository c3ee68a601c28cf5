package tokenindex_test

import (
	"context"
	"testing"
	"time"

	stepv1 "github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

func beat(attempt uint32, progress float64) stepv1.Heartbeat {
	return stepv1.Heartbeat{Progress: stepv1.Progress{Progress: progress}, Attempt: attempt}
}

func TestHeartbeatsAreKept(t *testing.T) {
	t.Parallel()
	forEachRedis(t, func(t *testing.T, open func(t *testing.T) fixture) {
		t.Helper()
		x := open(t)
		if p, err := x.LastProgress(t.Context(), tokenHash, 2); p != nil || err != nil {
			t.Errorf("before any: %v, %v", p, err)
		}
		for _, tt := range []struct {
			comes        stepv1.Heartbeat
			attempt      uint32
			lastProgress float64
		}{
			{beat(1, 0.1), 1, 0.1},
			{beat(2, 0.2), 2, 0.2},
			{beat(1, 0.9), 2, 0.2}, // of an attempt that was given up
			{beat(0, 0.3), 0, 0.3}, // of one that does not say
		} {
			if ok, err := x.Heartbeat(t.Context(), tokenHash, tt.comes, ""); !ok || err != nil {
				t.Fatalf("heartbeat %v: %t, %v", tt.comes, ok, err)
			}
			heard, err := x.Heard(t.Context(), []string{"of another", tokenHash})
			if err != nil || len(heard.Last) != 2 || !heard.Last[0].Never || heard.Last[1].Never ||
				heard.Last[1].Attempt != tt.attempt || heard.Last[1].Ago > time.Minute {
				t.Errorf("after %v: %+v, %v", tt.comes, heard, err)
			}
			if p, err := x.LastProgress(t.Context(), tokenHash, 2); err != nil || p.Progress != tt.lastProgress {
				t.Errorf("after %v: %v, %v", tt.comes, p, err)
			}
			if p, err := x.LastProgress(t.Context(), tokenHash, 1); err != nil || (p == nil) != (tt.attempt == 2) {
				t.Errorf("after %v the attempt 1 is told %v, %v", tt.comes, p, err)
			}
		}
		if ttl, err := x.rdb.PTTL(t.Context(), x.key).Result(); err != nil || ttl <= 59*time.Minute || ttl > time.Hour {
			t.Errorf("the record lives for %s, %v, want an hour", ttl, err)
		}
	})
}

func TestHeartbeatsOfClosedWorkItems(t *testing.T) {
	t.Parallel()
	forEachRedis(t, func(t *testing.T, open func(t *testing.T) fixture) {
		t.Helper()
		for name, tt := range map[string]struct {
			story []step
			on    string
			open  bool
		}{
			"nothing":                     {open: true},
			"closed":                      {story: []step{mark(tokenindex.Closed, "", 0, 1)}},
			"decided":                     {story: []step{mark(tokenindex.Decided, "a", 0, 1)}},
			"a success":                   {story: []step{{comes: success("a", 1), want: tokenindex.Claimed}}},
			"a failure":                   {story: []step{{comes: failure("a", 1), want: tokenindex.Claimed}}},
			"not completed":               {story: []step{{comes: notCompleted("a", 1), want: tokenindex.Claimed}}, open: true},
			"a success that may be lost":  {story: []step{{comes: on("S1", success("a", 1)), stored: "S1", want: tokenindex.Claimed}}, on: "S2", open: true},
			"a success that is not":       {story: []step{{comes: on("S1", success("a", 1)), stored: "S1", want: tokenindex.Claimed}}, on: "S1"},
			"a retry":                     {story: []step{mark(tokenindex.Superseded, "", 1, 1)}, open: true},
			"one that is only being made": {story: []step{{comes: success("a", 1), want: tokenindex.Claimed, left: true}}, open: true},
		} {
			x := open(t)
			for _, s := range tt.story {
				if err := play(t.Context(), x, s); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if got, err := x.Heartbeat(t.Context(), tokenHash, beat(1, 0), tt.on); err != nil || got != tt.open {
				t.Errorf("%s: open is %t, %v, want %t", name, got, err, tt.open)
			}
		}
	})
}

// A heartbeat is missing for two reasons: the worker is silent, or Redis was not
// there to keep it. Only what the engines noted tells them apart.
func TestListeningCountsFromTheLastGap(t *testing.T) {
	t.Parallel()
	forEachRedis(t, func(t *testing.T, open func(t *testing.T) fixture) {
		t.Helper()
		x := open(t)
		kept := func() time.Duration {
			t.Helper()
			heard, err := x.Heard(t.Context(), []string{tokenHash})
			if err != nil {
				t.Fatal(err)
			}
			return heard.Kept
		}
		note := func(since, last time.Duration) {
			t.Helper()
			now, err := x.rdb.Time(t.Context()).Result()
			if err != nil {
				t.Fatal(err)
			}
			key := x.key[:len(x.key)-len("token:"+tokenHash)] + "listening"
			if err := x.rdb.HSet(t.Context(), key, "since", now.Add(-since).UnixMilli(), "last", now.Add(-last).UnixMilli()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		listen := func() {
			t.Helper()
			if err := x.Listening(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := kept(); got != 0 {
			t.Errorf("before any engine: %s", got)
		}
		listen()
		if got := kept(); got > time.Minute {
			t.Errorf("of one that just began: %s", got)
		}
		note(time.Hour, 0)
		listen()
		if got := kept(); got < time.Hour || got > time.Hour+time.Minute {
			t.Errorf("of one that goes on: %s, want an hour", got)
		}
		note(time.Hour, 10*time.Second)
		if got := kept(); got != 0 {
			t.Errorf("while nobody listens: %s", got)
		}
		listen()
		if got := kept(); got > time.Minute {
			t.Errorf("after a gap: %s, want it to count anew", got)
		}
	})
}

func TestManyAreAskedAboutAtOnce(t *testing.T) {
	t.Parallel()
	forEachRedis(t, func(t *testing.T, open func(t *testing.T) fixture) {
		t.Helper()
		x := open(t)
		if _, err := x.Heartbeat(t.Context(), tokenHash, beat(7, 0), ""); err != nil {
			t.Fatal(err)
		}
		hashes := make([]string, 501)
		for i := range hashes {
			hashes[i] = "nobody"
		}
		hashes[450] = tokenHash
		heard, err := x.Heard(t.Context(), hashes)
		if err != nil || len(heard.Last) != len(hashes) {
			t.Fatalf("%d answers, %v", len(heard.Last), err)
		}
		for i, last := range heard.Last {
			if last.Never == (i == 450) || i == 450 && last.Attempt != 7 {
				t.Errorf("token %d: %+v", i, last)
			}
		}
	})
}

func TestHeartbeatsWithoutRedis(t *testing.T) {
	t.Parallel()
	redis := testkit.NewRedis(t)
	x := open(t, redis.URL(), "ns")
	redis.Stop()
	for name, call := range map[string]func(ctx context.Context) error{
		"Heartbeat":    func(ctx context.Context) error { _, err := x.Heartbeat(ctx, tokenHash, beat(1, 0), ""); return err },
		"Heard":        func(ctx context.Context) error { _, err := x.Heard(ctx, []string{tokenHash}); return err },
		"LastProgress": func(ctx context.Context) error { _, err := x.LastProgress(ctx, tokenHash, 1); return err },
		"Listening":    x.Listening,
	} {
		if err := call(t.Context()); fault.KindOf(err) != fault.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}
