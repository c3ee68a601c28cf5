package faults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"golang.org/x/sync/errgroup"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/invariant"
	"github.com/sluiceflow/sluice/services/faults/internal/world"
)

const (
	// dozing is how long the waits of this row take: long enough for what is done
	// to them meanwhile.
	dozing = 2500 * time.Millisecond
	// dozers is how many flows wait at once.
	dozers = 12
	// astray is how far the clocks of this row's engines are off, one fast and one
	// slow, so that wakes come early.
	astray = time.Second
	// takenOver is how long it may take until flows go on where all engines were
	// killed and are back, and handedOver the same where each released what it had.
	takenOver  = 10 * second
	handedOver = 5 * second
)

// A stage is where in their lives waits are disturbed.
type stage struct {
	when string
	// late is how long after its moment a wait may end; where nobody was there to end
	// it (away), how long after an engine was back.
	late time.Duration
	away bool
	// early says that it is done while they begin, and not once they have begun.
	early bool
	// disturb does it to waits that begin now.
	disturb func(r *run, begun time.Time)
}

// dozed are flows whose waits were disturbed.
type dozed struct {
	stage

	flows []string
	// back is when the last engine was there again.
	back time.Time
}

// A wait ends when it should, or as soon as an engine is back, and once, wherever in
// its life engines are lost.
func TestRowEnginesKilledInWaits(t *testing.T) {
	t.Parallel()
	stages := []stage{
		{when: "as it begins, before and after its schedule is stored", late: takenOver, away: true, early: true, disturb: func(r *run, _ time.Time) {
			r.moment(400 * time.Millisecond)
			r.allEngines(func() {})
		}},
		{when: "before and after it is due, and before and after a wake that came early", late: takenOver, away: true, disturb: func(r *run, begun time.Time) {
			r.wait(time.Until(begun.Add(dozing - astray)))
			r.moment(astray + 400*time.Millisecond)
			r.allEngines(func() {})
		}},
		{when: "all are away when it is due", late: takenOver, away: true, disturb: func(r *run, begun time.Time) {
			r.wait(time.Until(begun.Add(dozing - 700*time.Millisecond)))
			r.allEngines(func() { r.wait(time.Until(begun.Add(dozing + second))) })
		}},
		{when: "its owner changes again and again", late: handedOver, disturb: func(r *run, begun time.Time) {
			for n := 0; time.Since(begun) < dozing+500*time.Millisecond; n++ {
				engines := r.w.Names("engine")
				r.roll(engines[n%len(engines)])
			}
		}},
	}
	var all []dozed
	play(t, row{
		fault: "kill -9 of all engines, or their rolling restart, at each stage of a wait", short: len(stages), long: 12 * len(stages),
		pause: 12 * second,
		world: world.Options{
			Roles: map[string]int{"engine": 2},
			EnvOf: map[string]map[string]string{
				"engine-1": {"FAULTS_CLOCK_SKEW": astray.String()},
				"engine-2": {"FAULTS_CLOCK_SKEW": (-astray).String()},
			},
		},
		once: func(r *run) { all = append(all, r.doze(len(all), stages[len(all)%len(stages)])) },
		after: func(r *run, _ map[string]invariant.History) {
			for _, d := range all {
				r.t.Run(fmt.Sprintf("%s/%s", d.when, d.flows[0]), func(t *testing.T) { r.woke(t, d) })
			}
		},
	})
}

// allEngines kills all engines at once, does something, and starts them again.
func (r *run) allEngines(meanwhile func()) {
	r.t.Helper()
	engines := r.w.Names("engine")
	for _, name := range engines {
		r.w.Kill(name)
	}
	meanwhile()
	for _, name := range engines {
		r.must(r.w.Restart(r.t.Context(), name))
	}
	for _, name := range engines {
		r.await(name)
	}
}

// doze starts flows that wait, for a time and for a message that never comes,
// disturbs them, and waits until they have ended, for the next round disturbs others.
func (r *run) doze(n int, s stage) dozed {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	console, err := client.New(r.w.Consoles[0], client.Options{})
	r.must(err)
	if n == 0 {
		for _, d := range dozingSteps() {
			_, err := console.RegisterStep(ctx, d)
			r.must(err)
		}
	}
	out := dozed{stage: s}
	var starts errgroup.Group
	begun := time.Now()
	for i := range dozers {
		id := fmt.Sprintf("doze-%d-%d", n, i)
		out.flows = append(out.flows, id)
		starts.Go(func() error { return startDozing(ctx, console, id) })
	}
	if !s.early {
		r.must(starts.Wait())
		begun = time.Now()
	}
	s.disturb(r, begun)
	out.back = time.Now()
	r.must(starts.Wait())
	for _, id := range out.flows {
		if _, err := console.WaitFlow(ctx, id); err != nil {
			r.t.Fatalf("flow %s, disturbed where %s: %v", id, s.when, err)
		}
	}
	return out
}

// dozingSteps are a wait for a time, and one for a message with a limit.
func dozingSteps() []step.Definition {
	needs := func(gives string) map[string]step.Attribute {
		return map[string]step.Attribute{
			"who": {Role: step.RoleRequired, Type: step.TypeString}, gives: {Role: step.RoleOutput, Type: step.TypeString},
		}
	}
	return []step.Definition{
		{ID: "dozes", Type: step.KindWait, Attributes: needs("woke"), Wait: &step.Wait{DurationMS: dozing.Milliseconds()}},
		{ID: "hears", Type: step.KindWait, Attributes: needs("heard"), Wait: &step.Wait{
			Message:   &step.WaitMessage{Name: "nothing", Key: &step.Script{Language: "cel", Script: "who"}},
			TimeoutMS: dozing.Milliseconds(),
			OnTimeout: &step.OnTimeout{Outputs: map[string]json.RawMessage{"heard": json.RawMessage(`"nothing"`)}},
		}},
	}
}

// startDozing starts a flow, again and again while nobody can take it.
func startDozing(ctx context.Context, console *client.Client, id string) error {
	start := func() error {
		_, err := console.StartFlow(ctx, client.StartRequest{ID: id, Goals: []string{"dozes", "hears"}, Init: map[string]any{"who": id}})
		return err
	}
	if err := backoff.Retry(start, backoff.WithContext(backoff.NewConstantBackOff(100*time.Millisecond), ctx)); err != nil {
		return fmt.Errorf("start flow %s: %w", id, err)
	}
	return nil
}

// woke checks that each wait ended once, not before its moment, and not long after it
// or after somebody could end it.
func (r *run) woke(t *testing.T, d dozed) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	console, err := client.New(r.w.Consoles[0], client.Options{})
	r.must(err)
	var worst time.Duration
	for _, id := range d.flows {
		end, err := console.FlowStatus(ctx, id)
		if err != nil || end.Status != client.Completed {
			t.Errorf("flow %s is %s: %v", id, end.Status, err)
			continue
		}
		history, err := console.FlowEvents(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		worst = max(worst, d.wokeOnce(t, history, "dozes", event.WorkStarted, event.WorkSucceeded),
			d.wokeOnce(t, history, "hears", event.WorkStarted, event.WorkTimedOut, event.WorkSucceeded))
	}
	t.Logf("the last wait was over %s after it could be", worst.Round(time.Millisecond))
}

// wokeOnce checks that what happened to a step's wait is what should, each once, and
// says how long after it could be it was over.
func (d dozed) wokeOnce(t *testing.T, history []event.Event, stepID string, want ...event.Type) time.Duration {
	t.Helper()
	var got []event.Type
	var due, end time.Time
	for _, e := range history {
		if e.StepID != stepID || !strings.HasPrefix(string(e.Type), "work_") {
			continue
		}
		got, end = append(got, e.Type), e.Time
		switch {
		case !e.WaitUntil.IsZero():
			due = e.WaitUntil
		case !e.Deadline.IsZero():
			due = e.Deadline
		}
	}
	id := history[0].FlowID
	if !slices.Equal(got, want) {
		t.Errorf("flow %s: to step %s happened %v, want %v", id, stepID, got, want)
	}
	if due.IsZero() || end.Before(due) {
		t.Errorf("flow %s: step %s was over at %s, and due at %s", id, stepID, end, due)
	}
	could := due
	if d.away && d.back.After(could) {
		could = d.back
	}
	late := end.Sub(could)
	if late > d.late {
		t.Errorf("flow %s: step %s was over %s after it could be, allowed are %s", id, stepID, late, d.late)
	}
	return late
}
