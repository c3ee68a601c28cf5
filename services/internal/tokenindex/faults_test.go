package tokenindex_test

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

func TestFlushedInMidAir(t *testing.T) {
	t.Parallel()
	forEachRedis(t, func(t *testing.T, open func(t *testing.T) fixture) {
		t.Helper()
		x := open(t)
		_, first, err := x.Begin(t.Context(), success("a", 1))
		if err != nil {
			t.Fatal(err)
		}
		if err := x.rdb.Del(t.Context(), x.key).Err(); err != nil {
			t.Fatal(err)
		}
		got, second, err := x.Begin(t.Context(), success("b", 1))
		if err != nil || got != tokenindex.Claimed {
			t.Fatalf("after the flush: %s, %v", got, err)
		}
		if err := x.Accept(t.Context(), first, ""); !errors.Is(err, tokenindex.ErrContested) {
			t.Errorf("accept under another's claim: %v, want it refused", err)
		}
		if err := x.Accept(t.Context(), second, ""); err != nil {
			t.Errorf("accept under its own claim: %v", err)
		}
		if err := x.Accept(t.Context(), first, ""); !errors.Is(err, tokenindex.ErrContested) {
			t.Errorf("accept after another was accepted: %v, want it refused", err)
		}
	})
}

func TestClosedWhileItWasStored(t *testing.T) {
	t.Parallel()
	forEachRedis(t, func(t *testing.T, open func(t *testing.T) fixture) {
		t.Helper()
		for name, tt := range map[string]struct {
			mark step
			want error
		}{
			"closed":               {mark: mark(tokenindex.Closed, "", 0, 1)},
			"decided for it":       {mark: mark(tokenindex.Decided, "a", 0, 1)},
			"decided for another":  {mark: mark(tokenindex.Decided, "b", 0, 1), want: tokenindex.ErrContested},
			"a retry that is none": {mark: mark(tokenindex.Superseded, "", 1, 1)},
		} {
			x := open(t)
			_, claim, err := x.Begin(t.Context(), success("a", 1))
			if err != nil {
				t.Fatal(err)
			}
			if err := play(t.Context(), x, tt.mark); err != nil {
				t.Fatal(err)
			}
			if err := x.Accept(t.Context(), claim, ""); !errors.Is(err, tt.want) {
				t.Errorf("%s: accept: %v, want %v", name, err, tt.want)
			}
		}
	})
}

func TestManyAtOnceAcceptOneDigest(t *testing.T) {
	t.Parallel()
	forEachRedis(t, func(t *testing.T, open func(t *testing.T) fixture) {
		t.Helper()
		x := open(t)
		var (
			mu       sync.Mutex
			accepted = map[string]int{}
			posts    sync.WaitGroup
		)
		for i := range 300 {
			posts.Go(func() {
				text := strconv.Itoa(i % 7)
				got, claim, err := x.Begin(t.Context(), success(text, 1))
				if err != nil {
					t.Error(err)
					return
				}
				if got != tokenindex.Claimed && got != tokenindex.Replayed {
					return
				}
				if got == tokenindex.Claimed {
					if err := x.Accept(t.Context(), claim, "S"); err != nil {
						t.Errorf("accept %s: %v", text, err)
					}
				}
				mu.Lock()
				defer mu.Unlock()
				accepted[text]++
			})
		}
		posts.Wait()
		if len(accepted) != 1 {
			t.Errorf("accepted %v, want one payload", accepted)
		}
	})
}

func TestRecordsExpireAndHoldNoToken(t *testing.T) {
	t.Parallel()
	forEachRedis(t, func(t *testing.T, open func(t *testing.T) fixture) {
		t.Helper()
		for name, s := range map[string]step{
			"claim":  {comes: success("a", 1), want: tokenindex.Claimed, left: true},
			"accept": {comes: success("a", 1), want: tokenindex.Claimed},
			"mark":   mark(tokenindex.Decided, "a", 0, 1),
			"retry":  mark(tokenindex.Superseded, "", 1, 1),
		} {
			x := open(t)
			if err := play(t.Context(), x, s); err != nil {
				t.Fatal(err)
			}
			ttl, err := x.rdb.PTTL(t.Context(), x.key).Result()
			if err != nil || ttl <= 59*time.Minute || ttl > time.Hour {
				t.Errorf("%s: the record lives for %s, %v, want an hour", name, ttl, err)
			}
		}
	})
}

func TestMarksOfManyTokensSurviveAScriptFlush(t *testing.T) {
	t.Parallel()
	forEachRedis(t, func(t *testing.T, open func(t *testing.T) fixture) {
		t.Helper()
		x := open(t)
		marks := make([]tokenindex.Mark, 1200)
		for i := range marks {
			marks[i] = tokenindex.Mark{TokenHash: fmt.Sprintf("%s%d", tokenHash, i), Kind: tokenindex.Closed, Revision: 1}
		}
		for range 2 {
			if err := x.rdb.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			if err := x.Mark(t.Context(), marks); err != nil {
				t.Fatal(err)
			}
		}
		for _, i := range []int{0, 499, 500, 1199} {
			o := success("a", 1)
			o.TokenHash = marks[i].TokenHash
			if got, _, err := x.Begin(t.Context(), o); err != nil || got != tokenindex.Gone {
				t.Errorf("token %d: %s, %v, want it gone", i, got, err)
			}
		}
	})
}

func TestParkings(t *testing.T) {
	t.Parallel()
	forEachRedis(t, func(t *testing.T, open func(t *testing.T) fixture) {
		t.Helper()
		x := open(t)
		if n, known, err := x.Parkings(t.Context(), "k"); n != 0 || known || err != nil {
			t.Errorf("before: %d, %t, %v", n, known, err)
		}
		for range 3 {
			if err := x.Parked(t.Context(), "k"); err != nil {
				t.Fatal(err)
			}
		}
		if n, known, err := x.Parkings(t.Context(), "k"); n != 3 || !known || err != nil {
			t.Errorf("after three: %d, %t, %v", n, known, err)
		}
	})
}

func TestRedisThatIsDownOrHangs(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	stopped := testkit.NewRedis(t)
	stopped.Stop()
	for name, url := range map[string]string{"down": stopped.URL(), "hanging": "redis://" + silent.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, err := tokenindex.Open(tokenindex.Config{URL: url, RecordTTL: time.Hour}, "")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = x.Close() })
			start := time.Now()
			_, _, begin := x.Begin(t.Context(), success("a", 1))
			_, _, parkings := x.Parkings(t.Context(), "k")
			for call, err := range map[string]error{
				"begin": begin, "accept": x.Accept(t.Context(), tokenindex.Claim{}, ""), "parkings": parkings,
				"mark": x.Mark(t.Context(), make([]tokenindex.Mark, 1)), "parked": x.Parked(t.Context(), "k"), "ping": x.Ping(t.Context()),
			} {
				if fault.KindOf(err) != fault.Unavailable {
					t.Errorf("%s: %v, want it unavailable", call, err)
				}
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("six calls took %s", took)
			}
		})
	}
}

func TestRedisComesBack(t *testing.T) {
	t.Parallel()
	server := testkit.NewRedis(t)
	x, err := tokenindex.Open(tokenindex.Config{URL: server.URL(), RecordTTL: time.Hour}, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	for range 2 {
		if got, _, err := x.Begin(t.Context(), success("a", 1)); err != nil || got != tokenindex.Claimed {
			t.Fatalf("%s, %v, want it claimed", got, err)
		}
		server.Stop()
		if _, _, err := x.Begin(t.Context(), success("a", 1)); fault.KindOf(err) != fault.Unavailable {
			t.Fatalf("while it is down: %v", err)
		}
		server.Start()
	}
}

func TestSettingsThatCannotWork(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]tokenindex.Config{
		"no URL":           {URL: "http://user:pass-word@host", RecordTTL: time.Hour},
		"a short memory":   {URL: "redis://localhost", RecordTTL: time.Second},
		"a CA without TLS": {URL: "redis://localhost", RecordTTL: time.Hour, CA: "/nowhere"},
		"a CA that is not": {URL: "rediss://localhost", RecordTTL: time.Hour, CA: "/nowhere"},
	} {
		_, err := tokenindex.Open(cfg, "")
		if fault.KindOf(err) != fault.Invalid || strings.Contains(err.Error(), "pass-word") {
			t.Errorf("%s: %v, want it invalid, without the password", name, err)
		}
	}
}
