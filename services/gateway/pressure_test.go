package gateway_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluiceflow/sluice/pkg/token"
	"github.com/sluiceflow/sluice/services/gateway"
	"github.com/sluiceflow/sluice/services/internal/keys"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

// crowd is how many webhooks come at once.
const crowd = 1000

// inTime is how long a webhook may wait for its answer, whatever hangs.
const inTime = 10 * time.Second

// cuttable is a gateway whose NATS and Redis can be cut off.
func cuttable(t *testing.T) (h http.Handler, deps gateway.Deps, nats, redis *testkit.Proxy) {
	t.Helper()
	nats = testkit.NewProxy(t, testkit.JetStream(t))
	redis = testkit.NewProxy(t, testkit.Redis(t))
	index, err := tokenindex.Open(tokenindex.Config{URL: "redis://" + redis.Addr() + "/0", RecordTTL: time.Hour}, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = index.Close() })
	b := testkit.ConnectBus(t, nats.NATSURL())
	text := "1:" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), token.MinSecretBytes))
	k, err := keys.Open(t.Context(), b, text, false, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	deps = gateway.Deps{Bus: b, Index: index, Keys: k, Lossy: func() bool { return true }, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()}
	return start(t, configOf(), deps), deps, nats, redis
}

// webhooks posts a crowd of webhooks, each with a token of its own, and counts
// the answers by status. Each has to come in time.
func webhooks(t *testing.T, h http.Handler, deps gateway.Deps, wave string) map[int]int {
	t.Helper()
	var mu sync.Mutex
	answers := map[int]int{}
	var posts sync.WaitGroup
	for i := range crowd {
		id := fmt.Sprintf("%s-%d", wave, i)
		tok := deps.Keys.Ring().Mint(token.Claims{FlowID: id, StepID: "charge", Run: 7})
		posts.Go(func() {
			req := httptest.NewRequest(http.MethodPost, "/webhook/"+id+"/charge/"+tok, strings.NewReader(succeeded))
			req.Header.Set("Content-Type", "application/json")
			began := time.Now()
			rec := do(h, req)
			mu.Lock()
			defer mu.Unlock()
			answers[rec.Code]++
			if took := time.Since(began); took > inTime {
				t.Errorf("%s was answered after %s", id, took)
			}
		})
	}
	posts.Wait()
	return answers
}

// A Redis that takes connections and never answers costs a webhook some seconds
// at most, and the process neither goroutines nor connections without end.
func TestAHangingRedisPilesUpNothing(t *testing.T) { //nolint:paralleltest // it counts the process's goroutines
	h, deps, _, redis := cuttable(t)
	webhooks(t, h, deps, "before") // connections and caches are there
	watch := testkit.WatchGoroutines(t)
	redis.Swallow()
	for wave := range 3 {
		answers := webhooks(t, h, deps, fmt.Sprintf("hangs%d", wave))
		if answers[http.StatusOK] != crowd {
			t.Errorf("answers %v", answers)
		}
	}
	if n := redis.Conns(); n > 128 {
		t.Errorf("%d connections to Redis", n)
	}
	redis.Heal()
	watch.Bounded(3*crowd, 50, 20*time.Second)
	if answers := webhooks(t, h, deps, "after"); answers[http.StatusOK] != crowd {
		t.Errorf("afterwards: %v", answers)
	}
}

// The same for a NATS that is there and does not answer: 503, and nothing piles
// up.
func TestAHangingNATSPilesUpNothing(t *testing.T) { //nolint:paralleltest // it counts the process's goroutines
	h, deps, nats, _ := cuttable(t)
	webhooks(t, h, deps, "before")
	watch := testkit.WatchGoroutines(t)
	nats.Cut()
	for wave := range 2 {
		answers := webhooks(t, h, deps, fmt.Sprintf("hangs%d", wave))
		if answers[http.StatusServiceUnavailable] != crowd {
			t.Errorf("answers %v", answers)
		}
	}
	nats.Heal()
	// Each timer that expires has a goroutine for a moment, and each webhook two of them.
	watch.Bounded(4*crowd, 50, 20*time.Second)
	testkit.Eventually(t, 20*time.Second, func() bool {
		return webhooks(t, h, deps, "after")[http.StatusOK] == crowd
	})
}
