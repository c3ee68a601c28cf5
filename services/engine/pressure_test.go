package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

// A Redis that takes connections and never answers is told of each of these
// failures, and no flow waits for it.
func TestAHangingRedisPilesUpNothing(t *testing.T) { //nolint:paralleltest // it counts the process's goroutines
	const flows = 500
	w := newWorld(t)
	redis := testkit.NewProxy(t, testkit.Redis(t))
	index, err := tokenindex.Open(tokenindex.Config{URL: "redis://" + redis.Addr() + "/0", RecordTTL: time.Hour}, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = index.Close() })
	w.index = index
	redis.Swallow()
	e := w.startOn(w.bus, nil)
	plan := planned(t, []string{"a"}, asyncStep("a", out("x")))
	w.begin("first", plan)
	w.invocation("first", "a")
	watch := testkit.WatchGoroutines(t)
	for i := range flows {
		w.send(subject.SourceAPI, startCommand(fmt.Sprintf("f%d", i), plan, "request"))
	}
	for failed := 0; failed < flows; {
		inv, ok := w.nextInvocation(t.Context())
		if !ok {
			continue
		}
		w.send(subject.SourceHook, completion(inv, &sluicev1.Outcome{Error: "no", Digest: []byte("no")}))
		failed++
	}
	for i := range flows {
		w.ended(fmt.Sprintf("f%d", i))
	}
	w.idle()
	w.until("marks are dropped", func() bool { return e.figure(t, "sluice_engine_token_marks_dropped_total") > 0 })
	if n := redis.Conns(); n > 128 {
		t.Errorf("%d connections to Redis", n)
	}
	watch.Bounded(300, 50, patience)
}

// A NATS that is there and does not answer: nothing piles up, and everything goes
// on when it answers again.
func TestAHangingNATSPilesUpNothing(t *testing.T) { //nolint:paralleltest // it counts the process's goroutines
	const flows = 300
	w, far, proxy := newProxiedWorld(t)
	w.startOn(far, nil)
	plan := planned(t, []string{"a"}, asyncStep("a", out("x")))
	w.begin("first", plan)
	w.invocation("first", "a")
	w.idle()
	watch := testkit.WatchGoroutines(t)
	proxy.Cut()
	for i := range flows {
		w.send(subject.SourceAPI, startCommand(fmt.Sprintf("f%d", i), plan, "request"))
	}
	until := time.Now().Add(5 * time.Second) // longer than any answer is waited for
	w.until("some seconds are over", func() bool { return time.Now().After(until) })
	proxy.Heal()
	for started := 0; started < flows; {
		if _, ok := w.nextInvocation(t.Context()); ok {
			started++
		}
	}
	w.idle()
	watch.Bounded(300, 50, patience)
}
