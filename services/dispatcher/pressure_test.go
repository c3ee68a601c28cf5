package dispatcher_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

// A Redis that takes connections and never answers: a thousand invocations, most
// of which have to be parked, are called all the same, and nothing piles up.
func TestAHangingRedisPilesUpNothing(t *testing.T) { //nolint:paralleltest // it counts the process's goroutines
	r := newRig(t)
	redis := testkit.NewProxy(t, testkit.Redis(t))
	index, err := tokenindex.Open(tokenindex.Config{URL: "redis://" + redis.Addr() + "/0", RecordTTL: time.Hour}, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = index.Close() })
	r.index = index
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(2 * time.Millisecond) // the work itself
		succeed(w)
	})
	redis.Swallow()
	for i := range 1000 {
		r.invoke(invocation(fmt.Sprintf("f-%d", i), url))
	}
	watch := testkit.WatchGoroutines(t)
	r.start()
	r.deliveredTwice() // some were parked
	r.settled()
	if n := redis.Conns(); n > 128 {
		t.Errorf("%d connections to Redis", n)
	}
	// 64 invocations are held at once, each with a call or a question to Redis.
	watch.Bounded(300, 80, patience)
}
