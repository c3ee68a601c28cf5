package faults_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/faults/internal/invariant"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
	"github.com/sluiceflow/sluice/services/faults/internal/load"
	"github.com/sluiceflow/sluice/services/faults/internal/world"
)

// membership is longer than an engine that is not heard of counts as alive.
const membership = 6 * second

func TestRowEngineCutOff(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "network between one of two engines and NATS cut for 10 s", short: 1, long: 5, pause: 10 * second,
		world: world.Options{Roles: map[string]int{"engine": 2}, Far: []string{"engine-1"}},
		once: func(r *run) {
			r.moment(second)
			r.w.Proxy("engine-1").Halt()
			r.wait(10 * second)
			r.w.Proxy("engine-1").Heal()
		},
	})
}

func TestRowEnginePaused(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "one of two engines paused (SIGSTOP) beyond its membership, and resumed", short: 1, long: 5, pause: 10 * second,
		world: world.Options{Roles: map[string]int{"engine": 2}},
		once: func(r *run) {
			r.moment(second)
			r.must(r.w.Pause("engine-1"))
			r.wait(membership)
			r.must(r.w.Continue("engine-1"))
		},
	})
}

// skewed is how far an engine's clock is off. Attempts may take less than that, so
// one that was judged by it would time out early.
const skewed = 5 * time.Minute

// Engines judge by the log's clock, whatever their own shows: flows go to and fro
// between one whose clock is right and two whose clocks are not, and no time in
// their histories is off.
func TestRowClocksApart(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "clocks of two of three engines 5 minutes fast and slow, while flows change hands", short: 3, long: 20, pause: 10 * second,
		world: world.Options{
			Roles: map[string]int{"engine": 3},
			EnvOf: map[string]map[string]string{
				"engine-1": {"FAULTS_CLOCK_SKEW": skewed.String()},
				"engine-2": {"FAULTS_CLOCK_SKEW": (-skewed).String()},
			},
		},
		load: load.Config{AttemptLimit: skewed / 2},
		once: func(r *run) {
			engines := r.w.Names("engine")
			r.crash(engines[r.dice.IntN(len(engines))])
		},
		after: timely,
	})
}

// timely checks that all times in histories are of the time in which the load ran.
func timely(r *run, flows map[string]invariant.History) {
	from, to := r.began.Add(-skewed/10), time.Now().Add(skewed/10)
	for id, h := range flows {
		for _, e := range h.Events {
			if e.Time.Before(from) || e.Time.After(to) {
				r.t.Errorf("flow %s: %s at %s, by a clock that is off", id, e.Type, e.Time)
			}
		}
	}
}

// drainLimit is how long a role may take to end when it is asked to.
const drainLimit = 10 * second

func TestRowRollingRestart(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "rolling restart of all roles by SIGTERM", short: 1, long: 5, pause: 10 * second,
		world: world.Options{Roles: map[string]int{"gateway": 2, "engine": 2, "dispatcher": 2, "console": 2}},
		once: func(r *run) {
			for _, role := range []string{"gateway", "engine", "dispatcher", "console"} {
				for _, name := range r.w.Names(role) {
					r.roll(name)
				}
			}
		},
		after: noDrainErrors,
	})
}

// roll replaces a process as an operator does.
func (r *run) roll(name string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	begin := time.Now()
	took, err := r.w.Stop(ctx, name)
	if slices.Contains(r.w.Names("gateway"), name) {
		r.drains = append(r.drains, [2]time.Time{begin, time.Now()})
	}
	if err != nil || took > drainLimit {
		r.t.Errorf("%s took %s to end, allowed are %s: %v", name, took.Round(time.Millisecond), drainLimit, err)
	}
	r.must(r.w.Restart(r.t.Context(), name))
	r.await(name)
}

// noDrainErrors checks that no webhook got a 5xx that is not about its token.
// Where nothing looks at /ready, as here, a process that starts gets some too.
func noDrainErrors(r *run, _ map[string]invariant.History) {
	draining := func(p ledger.Post) bool {
		return slices.ContainsFunc(r.drains, func(d [2]time.Time) bool { return p.Answered.After(d[0]) && p.Sent.Before(d[1]) })
	}
	for _, p := range r.book.Book().Posts {
		slow := p.Code == "unavailable" && !draining(p) // NATS was, for more than the 3 s that are waited for it
		if p.Status >= 500 && p.Code != "busy" && p.Code != "contested" && p.Code != "starting" && !slow {
			r.t.Errorf("flow %s, step %s: a webhook got %d (%s) from a process that drains: %s", p.Flow, p.Step, p.Status, p.Code, p.Told)
		}
	}
}
