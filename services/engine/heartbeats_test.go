package engine_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

const (
	recordOf  = "sluice:token:"
	listening = "sluice:listening"
)

// heartbeat lets a step's worker be silent for a second.
func heartbeat(s *sluicev1.PlannedStep) {
	s.Work.HeartbeatTimeoutMs, s.Work.MaxRetries, s.Work.BackoffMs = 1000, -1, 1
}

// withRedis gives the world's engines a token index at a URL, and returns a
// client of the Redis behind it.
func (w *world) withRedis(url, behind string) *redis.Client {
	w.t.Helper()
	index, err := tokenindex.Open(tokenindex.Config{URL: url, RecordTTL: time.Hour}, "")
	if err != nil {
		w.t.Fatal(err)
	}
	opts, err := redis.ParseURL(behind)
	if err != nil {
		w.t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	w.t.Cleanup(func() { _, _ = index.Close(), rdb.Close() })
	w.index = index
	return rdb
}

// rarely is for tests that do something before an attempt may be given up.
func rarely(s *sluicev1.PlannedStep) { s.GetWork().HeartbeatTimeoutMs = 3000 }

func (w *world) attempts(id string) (attempt uint32, history string) {
	w.t.Helper()
	loaded, err := w.journal.Load(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	commits, err := w.journal.History(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	var text strings.Builder
	for _, c := range commits {
		text.WriteString(c.Commit.String())
	}
	return loaded.State.Steps[0].Items[0].Attempt, text.String()
}

func TestASilentWorkerIsGivenUpAndOneThatIsHeardIsNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := testkit.Redis(t)
	rdb := w.withRedis(url, url)
	r := w.startOn(w.bus, nil)
	w.begin("f", planned(t, []string{"a"}, asyncStep("a", out("x"), heartbeat, rarely)))
	first := w.invocation("f", "a")

	// A heartbeat that always was a moment ago.
	record := recordOf + token.Hash(first.GetToken())
	ahead := strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10)
	if err := rdb.HSet(t.Context(), record, "b", ahead+" 1", "p", `{"progress":0.5}`).Err(); err != nil {
		t.Fatal(err)
	}
	before := r.figure(t, "sluice_engine_commands_total")
	w.until("the worker was looked after some times", func() bool {
		return r.figure(t, "sluice_engine_commands_total") > before+6
	})
	if attempt, history := w.attempts("f"); attempt != 1 || strings.Contains(history, "work_timed_out") {
		t.Fatalf("attempt %d runs though its worker was heard:\n%s", attempt, history)
	}
	if commits, err := w.journal.History(t.Context(), "f"); err != nil || len(commits) != 1 {
		t.Errorf("%d commits, %v: heartbeats are in the log", len(commits), err)
	}

	if err := rdb.HDel(t.Context(), record, "b").Err(); err != nil {
		t.Fatal(err)
	}
	second := w.invocation("f", "a")
	if second.GetWork().GetAttempt() != 2 || second.GetToken() != first.GetToken() {
		t.Errorf("attempt %d is called", second.GetWork().GetAttempt())
	}
	if _, history := w.attempts("f"); !strings.Contains(history, `limit:"heartbeat"`) {
		t.Errorf("no attempt ran into its heartbeat:\n%s", history)
	}
}

func TestNoAttemptEndsWhileRedisHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := testkit.Redis(t)
	proxy := testkit.NewProxy(t, url)
	rdb := w.withRedis(strings.Replace(proxy.NATSURL(), "nats:", "redis:", 1), url)
	now := time.Now()
	if err := rdb.HSet(t.Context(), listening, "since", now.Add(-time.Hour).UnixMilli(), "last", now.UnixMilli()).Err(); err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	r := w.startOn(w.bus, nil)
	w.begin("f", planned(t, []string{"a"}, asyncStep("a", out("x"), heartbeat)))
	w.invocation("f", "a")
	w.until("Redis was asked in vain some times", func() bool {
		return r.figure(t, "sluice_engine_heartbeats_unanswered_total") >= 3
	})
	if attempt, history := w.attempts("f"); attempt != 1 || strings.Contains(history, "work_timed_out") {
		t.Fatalf("attempt %d runs though nobody could tell:\n%s", attempt, history)
	}
	proxy.Heal()
	if second := w.invocation("f", "a"); second.GetWork().GetAttempt() != 2 {
		t.Errorf("attempt %d is called", second.GetWork().GetAttempt())
	}
}

// A Redis that has just come back lacks the heartbeats that came while it was
// away: for as long as a worker may be silent it proves nothing.
func TestAnEmptyRedisProvesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := testkit.Redis(t)
	rdb := w.withRedis(url, url)
	w.startOn(w.bus, nil)
	w.until("the engine listens", func() bool { return rdb.Exists(t.Context(), listening).Val() == 1 })
	w.begin("f", planned(t, []string{"a"}, asyncStep("a", out("x"), heartbeat, rarely)))
	w.invocation("f", "a")
	flushed := time.Now()
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	w.invocation("f", "a")
	if waited := time.Since(flushed); waited < 3*time.Second {
		t.Errorf("the attempt was given up %s after Redis lost everything", waited)
	}
}
