package faults_test

import (
	"testing"

	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/invariant"
	"github.com/sluiceflow/sluice/services/faults/internal/load"
)

func TestRowNothingBroken(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "none: duplicate, conflicting, late, early and reordered webhooks", short: 1, long: 5, pause: 3 * second,
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
		pause: 3 * second,
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
