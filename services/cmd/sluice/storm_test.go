package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// crowd is an endpoint that counts who is there at once.
type crowd struct {
	*httptest.Server

	up          atomic.Bool
	calls       atomic.Int64
	now, utmost atomic.Int64
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := c.now.Add(1)
		defer c.now.Add(-1)
		c.see(n)
		c.calls.Add(1)
		if !c.up.Load() {
			time.Sleep(5 * time.Millisecond) // what a server takes that is not well
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{"success": true}`)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *crowd) see(n int64) {
	for {
		most := c.utmost.Load()
		if n <= most || c.utmost.CompareAndSwap(most, n) {
			return
		}
	}
}

// An endpoint that is down with a thousand flows that try it again and again gets
// no more calls at once than it may; the steps of others go on, and once it is
// back all flows end.
func TestARetryStormIsBounded(t *testing.T) {
	t.Parallel()
	const flows, slots = 400, 8
	p := start(t, env("LISTEN_ADDR", "127.0.0.1:0", "DEV_NATS_LISTEN", "127.0.0.1:0", "DATA_DIR", t.TempDir(),
		"ENDPOINT_CONCURRENCY", strconv.Itoa(slots)), "dev")
	p.ready()
	api, err := client.New(p.url(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	down, well := newCrowd(t), newCrowd(t)
	well.up.Store(true)
	for id, url := range map[string]string{"down": down.URL, "well": well.URL} {
		_, err := api.RegisterStep(t.Context(), step.Definition{
			ID: id, Name: id, Type: step.KindSync, HTTP: &step.HTTP{Endpoint: url},
			WorkConfig: &step.WorkConfig{MaxRetries: -1, BackoffMS: new(int64(2000)), BackoffType: step.BackoffFixed},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// On a busy machine the engine may be late with its answer: then the same is
	// asked again, as the problem says.
	begin := func(id, goal string) error {
		for began := time.Now(); ; {
			_, err := api.StartFlow(t.Context(), client.StartRequest{ID: id, Goals: []string{goal}})
			if client.StatusOf(err) != http.StatusServiceUnavailable || time.Since(began) > 2*soon {
				return err
			}
		}
	}
	var starts errgroup.Group
	starts.SetLimit(32)
	for i := range flows {
		starts.Go(func() error { return begin(fmt.Sprintf("storm-%d", i), "down") })
	}
	if err := starts.Wait(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, soon, func() bool { return down.calls.Load() >= flows }) // the storm is on
	for i := range 20 {
		id := fmt.Sprintf("well-%d", i)
		if err := begin(id, "well"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		digest, err := api.WaitFlow(t.Context(), id)
		if err != nil || digest.Status != client.Completed {
			t.Fatalf("%s: %v (%v)", id, digest.Status, err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s took %s", id, took)
		}
	}
	down.up.Store(true)
	for i := range flows {
		testkit.Eventually(t, 2*soon, func() error {
			digest, err := api.FlowStatus(t.Context(), fmt.Sprintf("storm-%d", i))
			if err == nil && digest.Status != client.Completed {
				err = fmt.Errorf("storm-%d is %s", i, digest.Status)
			}
			return err
		})
	}
	if most := down.utmost.Load(); most > slots {
		t.Errorf("%d calls at once to an endpoint that may get %d", most, slots)
	}
	t.Logf("%d calls, %d at once at most", down.calls.Load(), down.utmost.Load())
}
