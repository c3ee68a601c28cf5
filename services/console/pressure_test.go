package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// A NATS that is there and does not answer: a crowd of requests gets 503 in time,
// and nothing piles up.
func TestAHangingNATSPilesUpNothing(t *testing.T) { //nolint:paralleltest // it counts the process's goroutines
	const crowd = 300
	proxy := testkit.NewProxy(t, testkit.JetStream(t))
	s := newSiteOn(t, config(t), testkit.ConnectBus(t, proxy.NATSURL()))
	s.order()
	client := &http.Client{Timeout: 20 * time.Second}
	ask := func(wave string) map[int]int {
		var mu sync.Mutex
		answers := map[int]int{}
		var asking sync.WaitGroup
		for i := range crowd {
			asking.Go(func() {
				resp, err := client.Post(s.url+"/engine/flow", "application/json",
					strings.NewReader(fmt.Sprintf(`{"id":"%s-%d","goals":["charge"],"init":{"order":"x"}}`, wave, i)))
				if err != nil {
					t.Errorf("%s: %v", wave, err)
					return
				}
				_ = resp.Body.Close()
				mu.Lock()
				defer mu.Unlock()
				answers[resp.StatusCode]++
			})
		}
		asking.Wait()
		client.CloseIdleConnections()
		return answers
	}
	ask("before")
	watch := testkit.WatchGoroutines(t)
	proxy.Cut()
	for range 2 {
		if answers := ask("hangs"); answers[http.StatusServiceUnavailable] != crowd {
			t.Errorf("answers %v", answers)
		}
	}
	proxy.Heal()
	// Each request has two at the client, two at the server and one here.
	watch.Bounded(8*crowd, 80, 20*time.Second)
	testkit.Eventually(t, 20*time.Second, func() bool { return ask("hangs")[http.StatusServiceUnavailable] == 0 })
}
