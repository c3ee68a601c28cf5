package tokenindex_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

const tokenHash = "0123456789abcdef"

// lapsed is a claim whose lease ended long ago, as a gateway leaves it that was
// killed between its claim and the ack.
func lapsed(digest []byte, kind string) string {
	return fmt.Sprintf("%x %s 1 1", digest, kind)
}

type fixture struct {
	*tokenindex.Index

	rdb *redis.Client
	key string // of the record of tokenHash
}

// forEachRedis runs a test on what testkit starts, which is a real server where
// there is one, and on miniredis.
func forEachRedis(t *testing.T, test func(t *testing.T, open func(t *testing.T) fixture)) {
	t.Helper()
	for name, start := range map[string]func(t *testing.T) string{
		"server": func(t *testing.T) string { t.Helper(); return testkit.Redis(t) },
		"mini":   func(t *testing.T) string { t.Helper(); return "redis://" + miniredis.RunT(t).Addr() + "/0" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := start(t)
			n := 0
			test(t, func(t *testing.T) fixture {
				t.Helper()
				n++
				return open(t, url, fmt.Sprintf("ns%d", n))
			})
		})
	}
}

func open(t *testing.T, url, namespace string) fixture {
	t.Helper()
	x, err := tokenindex.Open(tokenindex.Config{URL: url, RecordTTL: time.Hour, CallTimeout: 20 * time.Second}, namespace)
	if err != nil {
		t.Fatal(err)
	}
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	t.Cleanup(func() {
		if err := errors.Join(x.Close(), rdb.Close()); err != nil {
			t.Error(err)
		}
	})
	return fixture{Index: x, rdb: rdb, key: namespace + ":sluice:token:" + tokenHash}
}

func digest(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:16]
}

func success(text string, attempt uint32) tokenindex.Outcome {
	return tokenindex.Outcome{TokenHash: tokenHash, Digest: digest(text), Success: true, Attempt: attempt}
}

func failure(text string, attempt uint32) tokenindex.Outcome {
	return tokenindex.Outcome{TokenHash: tokenHash, Digest: digest(text), Attempt: attempt}
}

func notCompleted(text string, attempt uint32) tokenindex.Outcome {
	return tokenindex.Outcome{TokenHash: tokenHash, Digest: digest(text), NotCompleted: true, Attempt: attempt}
}

func on(server string, o tokenindex.Outcome) tokenindex.Outcome {
	o.Server = server
	return o
}

// A step of a story: what comes, and the answer. What is claimed is accepted at
// once unless it is left.
type step struct {
	comes  tokenindex.Outcome
	want   tokenindex.Answer
	left   bool
	sooner *tokenindex.Mark  // comes between its claim and its acceptance
	stored string            // the server that stores it
	mark   *tokenindex.Mark  // instead of an outcome
	record map[string]string // instead of an outcome: what the record held
	accept error
}

func mark(kind tokenindex.Kind, text string, attempt uint32, revision uint64) step {
	m := tokenindex.Mark{TokenHash: tokenHash, Kind: kind, Attempt: attempt, Revision: revision, Success: true}
	if text != "" {
		m.Digest = digest(text)
	}
	return step{mark: &m}
}

func stories() map[string][]step {
	return map[string][]step{
		"a success and its repeats, whichever attempt says so": {
			{comes: success("a", 2), want: tokenindex.Claimed},
			{comes: success("a", 2), want: tokenindex.Replayed},
			{comes: success("a", 1), want: tokenindex.Replayed},
			{comes: success("a", 3), want: tokenindex.Again},
			{comes: success("a", 3), want: tokenindex.Again},
			{comes: success("b", 1), want: tokenindex.Refused},
			{comes: failure("c", 3), want: tokenindex.Refused},
			{comes: notCompleted("d", 1), want: tokenindex.Refused},
		},
		"a final failure stands against its own attempt": {
			{comes: failure("a", 2), want: tokenindex.Claimed},
			{comes: failure("a", 2), want: tokenindex.Replayed},
			{comes: success("b", 2), want: tokenindex.Refused},
			{comes: notCompleted("c", 2), want: tokenindex.Refused},
		},
		"a final failure stands against other attempts until the engine says otherwise": {
			{comes: failure("a", 2), want: tokenindex.Claimed},
			{comes: success("b", 1), want: tokenindex.Contested, accept: tokenindex.ErrContested},
			{comes: failure("a", 2), want: tokenindex.Replayed},
			{comes: success("b", 1), want: tokenindex.Contested, accept: tokenindex.ErrContested},
			mark(tokenindex.Decided, "a", 0, 9),
			{comes: success("b", 1), want: tokenindex.Refused},
		},
		"a final failure that came too late stands against nothing, once that is known": {
			{comes: failure("a", 2), want: tokenindex.Claimed},
			{comes: notCompleted("b", 3), want: tokenindex.Contested, accept: tokenindex.ErrContested},
			mark(tokenindex.Superseded, "", 2, 5),
			{comes: notCompleted("b", 3), want: tokenindex.Claimed},
			{comes: success("c", 1), want: tokenindex.Claimed},
			{comes: failure("a", 2), want: tokenindex.Refused},
		},
		"a failure in equal words of another attempt is the same outcome": {
			{comes: failure("a", 1), want: tokenindex.Claimed},
			{comes: failure("a", 2), want: tokenindex.Claimed},
			{comes: failure("a", 2), want: tokenindex.Replayed},
		},
		"a final failure of an attempt that is superseded blocks only its repeat": {
			{comes: failure("a", 1), want: tokenindex.Claimed},
			mark(tokenindex.Superseded, "", 1, 5),
			{comes: failure("a", 1), want: tokenindex.Replayed},
			{comes: failure("b", 1), want: tokenindex.Gone},
			{comes: success("c", 1), want: tokenindex.Claimed},
			{comes: success("c", 1), want: tokenindex.Replayed},
		},
		"a not-completed blocks only its repeat": {
			{comes: notCompleted("a", 1), want: tokenindex.Claimed},
			{comes: notCompleted("a", 1), want: tokenindex.Replayed},
			{comes: notCompleted("b", 1), want: tokenindex.Claimed},
			{comes: notCompleted("b", 2), want: tokenindex.Claimed},
			{comes: failure("c", 2), want: tokenindex.Claimed},
		},
		"superseded attempts": {
			mark(tokenindex.Superseded, "", 2, 7),
			mark(tokenindex.Superseded, "", 1, 8),
			{comes: failure("a", 1), want: tokenindex.Gone},
			{comes: notCompleted("a", 2), want: tokenindex.Gone},
			{comes: notCompleted("a", 3), want: tokenindex.Claimed},
			{comes: success("b", 1), want: tokenindex.Claimed},
		},
		"decided by the engine against what was accepted": {
			{comes: success("a", 1), want: tokenindex.Claimed},
			mark(tokenindex.Decided, "b", 0, 9),
			{comes: success("b", 1), want: tokenindex.Replayed},
			{comes: success("a", 1), want: tokenindex.Refused},
		},
		"what the engine decided is stored again when a later attempt repeats it": {
			{comes: failure("a", 1), want: tokenindex.Claimed},
			mark(tokenindex.Decided, "a", 0, 9),
			{comes: failure("a", 1), want: tokenindex.Replayed},
			{comes: failure("a", 2), want: tokenindex.Again},
			{comes: failure("b", 2), want: tokenindex.Refused},
		},
		"what the engine decided before it was recorded as accepted, too": {
			{comes: failure("a", 2), want: tokenindex.Claimed, sooner: mark(tokenindex.Decided, "a", 0, 9).mark},
			{comes: failure("a", 2), want: tokenindex.Replayed},
			{comes: failure("a", 3), want: tokenindex.Again},
		},
		"what the engine decided and nobody recorded as accepted, too": {
			{comes: failure("a", 2), want: tokenindex.Claimed, left: true},
			mark(tokenindex.Decided, "a", 0, 9),
			{comes: failure("a", 1), want: tokenindex.Replayed},
			{comes: failure("a", 3), want: tokenindex.Again},
		},
		"closed": {
			{comes: success("a", 1), want: tokenindex.Claimed},
			mark(tokenindex.Closed, "", 0, 9),
			{comes: success("a", 1), want: tokenindex.Gone},
			{comes: failure("b", 1), want: tokenindex.Gone},
		},
		"an older mark never replaces a newer": {
			mark(tokenindex.Decided, "a", 0, 10),
			mark(tokenindex.Closed, "", 0, 9),
			{comes: success("a", 1), want: tokenindex.Replayed},
			mark(tokenindex.Closed, "", 0, 11),
			mark(tokenindex.Decided, "a", 0, 10),
			{comes: success("a", 1), want: tokenindex.Gone},
		},
		"a claim that is held": {
			{comes: success("a", 1), want: tokenindex.Claimed, left: true},
			{comes: success("b", 1), want: tokenindex.Busy},
			{comes: failure("c", 3), want: tokenindex.Busy},
			{comes: success("a", 1), want: tokenindex.Claimed},
			{comes: success("b", 1), want: tokenindex.Refused},
		},
		"a lapsed claim is taken over by an equal payload": {
			{record: map[string]string{"c": lapsed(digest("a"), "s")}},
			{comes: success("a", 2), want: tokenindex.Claimed},
			{comes: success("a", 1), want: tokenindex.Replayed},
		},
		"a lapsed claim makes another payload contested until the engine decided": {
			{record: map[string]string{"c": lapsed(digest("a"), "s")}},
			{comes: success("b", 1), want: tokenindex.Contested, accept: tokenindex.ErrContested},
			{comes: success("b", 1), want: tokenindex.Contested, accept: tokenindex.ErrContested},
			{comes: success("a", 1), want: tokenindex.Busy},
			{record: map[string]string{"c": lapsed(digest("b"), "s")}},
			{comes: success("a", 1), want: tokenindex.Contested, accept: tokenindex.ErrContested},
			mark(tokenindex.Decided, "a", 0, 12),
			{comes: success("a", 1), want: tokenindex.Replayed},
			{comes: success("b", 1), want: tokenindex.Refused},
		},
		"a lapsed claim of a failure that the engine must refuse contests nothing": {
			{record: map[string]string{"c": lapsed(digest("a"), "f")}},
			mark(tokenindex.Superseded, "", 1, 3),
			{comes: success("b", 2), want: tokenindex.Claimed},
			{comes: success("b", 2), want: tokenindex.Replayed},
		},
		"a lapsed claim of a success contests, superseded or not": {
			{record: map[string]string{"c": lapsed(digest("a"), "s")}},
			mark(tokenindex.Superseded, "", 1, 3),
			{comes: success("b", 2), want: tokenindex.Contested, accept: tokenindex.ErrContested},
		},
		"what a server stored that may have lost it is open again for its repeat": {
			{comes: on("S1", success("a", 1)), want: tokenindex.Claimed, stored: "S1"},
			{comes: on("S1", success("a", 1)), want: tokenindex.Replayed},
			{comes: on("S2", success("a", 1)), want: tokenindex.Claimed, stored: "S2"},
			{comes: on("S2", success("b", 1)), want: tokenindex.Refused},
			{comes: on("S2", success("a", 1)), want: tokenindex.Replayed},
			{comes: success("a", 1), want: tokenindex.Replayed},
		},
		"whether another outcome stands that a server may have lost is the engine's to say": {
			{comes: on("S1", success("a", 1)), want: tokenindex.Claimed, stored: "S1"},
			{comes: on("S2", success("b", 1)), want: tokenindex.Contested, accept: tokenindex.ErrContested},
			{comes: on("S2", success("a", 1)), want: tokenindex.Busy},
			mark(tokenindex.Decided, "a", 0, 9),
			{comes: on("S2", success("a", 1)), want: tokenindex.Replayed},
			{comes: on("S2", success("b", 1)), want: tokenindex.Refused},
		},
		"a failure that a server may have lost": {
			{comes: on("S1", failure("a", 1)), want: tokenindex.Claimed, stored: "S1"},
			{comes: on("S2", failure("b", 1)), want: tokenindex.Contested, accept: tokenindex.ErrContested},
			mark(tokenindex.Superseded, "", 1, 5),
			{comes: on("S2", success("c", 1)), want: tokenindex.Claimed, stored: "S2"},
		},
	}
}

func TestStories(t *testing.T) {
	t.Parallel()
	forEachRedis(t, func(t *testing.T, open func(t *testing.T) fixture) {
		t.Helper()
		for name, steps := range stories() {
			x := open(t)
			for i, s := range steps {
				if err := play(t.Context(), x, s); err != nil {
					t.Errorf("%s: step %d: %v", name, i+1, err)
				}
			}
		}
	})
}

func play(ctx context.Context, x fixture, s step) error {
	switch {
	case s.mark != nil:
		return x.Mark(ctx, []tokenindex.Mark{*s.mark})
	case s.record != nil:
		return x.rdb.HSet(ctx, x.key, s.record).Err()
	}
	got, claim, err := x.Begin(ctx, s.comes)
	if err != nil {
		return err
	}
	if got != s.want {
		return fmt.Errorf("answer %s, want %s", got, s.want)
	}
	if s.left || (got != tokenindex.Claimed && got != tokenindex.Contested) {
		return nil
	}
	if s.sooner != nil {
		if err := x.Mark(ctx, []tokenindex.Mark{*s.sooner}); err != nil {
			return err
		}
	}
	if err := x.Accept(ctx, claim, s.stored); !errors.Is(err, s.accept) {
		return fmt.Errorf("accept: %w, want %w", err, s.accept)
	}
	return nil
}
