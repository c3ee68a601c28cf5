package faults_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/invariant"
	"github.com/sluiceflow/sluice/services/faults/internal/load"
	"github.com/sluiceflow/sluice/services/faults/internal/world"
)

func TestRowNothingBroken(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "none: duplicate, conflicting, late, early and reordered webhooks", short: 1, long: 5, pause: 8 * second,
		quiet: true,
		once:  func(r *run) { r.wait(3 * second) },
	})
}

func TestRowStorm(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "1,000 concurrent posts of one token, five different outcomes", short: 3, long: 5, pause: 10 * second,
		load: load.Config{Storm: 1000},
		once: func(r *run) {
			r.l.BeginShape(load.Storm)
			r.wait(2 * second)
		},
	})
}

// Endpoints that do not behave get what the contract says, and delay nobody
// else's calls.
func TestRowEndpointsMisbehave(t *testing.T) {
	t.Parallel()
	flows := map[string][]string{}
	play(t, row{
		fault: "endpoints that hang, answer 500, redirect, drip, send 1 GB, close mid-body, are not there", short: 1, long: 5,
		pause: 8 * second,
		once: func(r *run) {
			for _, bad := range load.BadEndpoints() {
				r.unreachable[bad.Step] = !bad.Reached
			}
			begun, err := r.l.Misbehave(r.t.Context(), 10)
			r.must(err)
			for step, ids := range begun {
				flows[step] = append(flows[step], ids...)
			}
			r.wait(5 * second)
		},
		after: func(r *run, histories map[string]invariant.History) {
			for _, bad := range load.BadEndpoints() {
				for _, id := range flows[bad.Step] {
					r.classified(bad, histories[id])
				}
			}
		},
	})
}

// callsAtOnce is how many calls an endpoint may get at once in the storm of
// retries.
const callsAtOnce = 8

// An endpoint that is down while many retries wait for it gets no more calls at
// once than it may; the flows of others go on, and once it is back all end.
func TestRowRetryStorm(t *testing.T) {
	t.Parallel()
	flows, down := 300, 5*second
	if form(t) == longForm {
		flows, down = 10_000, time.Minute
	}
	play(t, row{
		fault: fmt.Sprintf("an endpoint down for %s with %d waiting retries", down, flows), short: 1, long: 1, pause: 5 * second,
		world:  world.Options{Env: map[string]string{"ENDPOINT_CONCURRENCY": strconv.Itoa(callsAtOnce)}},
		settle: time.Duration(flows) * 10 * time.Millisecond,
		once: func(r *run) {
			outage, err := r.l.Outage(r.t.Context(), flows)
			r.must(err)
			r.wait(down)
			calls, atOnce := outage.Calls()
			r.t.Logf("%d calls while it was down, %d at once", calls, atOnce)
			if calls < flows || atOnce > callsAtOnce {
				r.t.Errorf("%d calls, %d at once, want all of %d flows, and %d at once at most", calls, atOnce, flows, callsAtOnce)
			}
			outage.Recover()
		},
	})
}

// classified checks that a flow failed after as many attempts as the endpoint's
// answer deserves.
func (r *run) classified(bad load.Bad, h invariant.History) {
	r.t.Helper()
	var attempts uint32
	for _, e := range h.Events {
		if e.Type == event.WorkStarted {
			attempts = max(attempts, e.Attempt)
		}
	}
	if h.State.Status != "failed" || attempts != bad.Attempts {
		r.t.Errorf("flow %s: it is %s after %d attempts, want it failed after %d: %s",
			h.State.ID, h.State.Status, attempts, bad.Attempts, h.State.Error)
	}
}
