package model_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/faults/internal/invariant"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
	"github.com/sluiceflow/sluice/services/faults/internal/load"
	"github.com/sluiceflow/sluice/services/faults/internal/model"
	"github.com/sluiceflow/sluice/services/faults/internal/observe"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

const (
	seed  = 7
	flows = 90
	// focused is how many more there are of a shape that a bug needs.
	focused = 40
	// patience is how long flows may take, and bugs to show.
	patience = 2 * time.Minute
	// settling is how long what follows from the ends of flows may take.
	settling = 10 * time.Second
)

// unmodelled are the shapes that the model cannot do: tests of the checks by hand do
// what its bugs do for the others.
func unmodelled() []load.Shape { return []load.Shape{load.Wait, load.Child, load.Orphan} }

// modelled are the shapes that it can do.
func modelled() []load.Shape {
	return slices.DeleteFunc(append(load.Shapes(), load.Storm), func(s load.Shape) bool { return slices.Contains(unmodelled(), s) })
}

// run is a load of a model that has a bug.
type run struct {
	engine *model.Engine
	book   *ledger.Ledger
	load   *load.Load
	look   *observe.Observer
}

// focus names the only shape in which a bug may show: there are few of each.
func focus() map[model.Bug]load.Shape {
	return map[model.Bug]load.Shape{
		model.TokenKept: load.Mend, model.RetryForgotten: load.Mend,
		model.LateRefused: load.Revoke, model.LateKept: load.Revoke,
		model.NotUndone: load.Undo, model.UndoneUnordered: load.Undo, model.UndoneTwice: load.Undo, model.UndoneLate: load.Undo,
		model.UndoneCompleted: load.Each, model.ArrayUnordered: load.Each, model.TooManyAtOnce: load.Each,
		model.ScriptIgnored: load.Script, model.PredicateIgnored: load.Script,
		model.PauseIgnored: load.Fan, model.ResumeForgotten: load.Fan,
		model.BeatIgnored: load.Beat, model.ProgressLost: load.Beat,
	}
}

func start(t *testing.T, bug model.Bug) *run {
	t.Helper()
	engine, err := model.Start(t.Context(), bug, load.Programs())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Close)
	r := &run{engine: engine, book: &ledger.Ledger{}}
	r.load, err = load.New(t.Context(), load.Config{
		Seed: seed, Consoles: []string{engine.URL}, Shapes: modelled(), Storm: 30, Ledger: r.book,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.load.Close)
	if r.look, err = observe.New(engine.URL); err != nil {
		t.Fatal(err)
	}
	for range flows {
		r.load.Begin()
	}
	if shape, ok := focus()[bug]; ok {
		for range focused {
			r.load.BeginShape(shape)
		}
	}
	return r
}

// judge says what the checks find now.
func (r *run) judge(t *testing.T) []invariant.Violation {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // look once
	found, _, err := r.look.Judge(ctx, r.book, invariant.Evidence{Quiet: true})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTheModelKeepsTheContract(t *testing.T) {
	t.Parallel()
	r := start(t, model.None)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.load.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	if open := r.look.Await(ctx, observe.Started(r.book.Book())); len(open) > 0 {
		t.Fatalf("flows that have not ended: %v", open)
	}
	testkit.Eventually(t, settling, func() error {
		if found := r.judge(t); len(found) > 0 {
			return fmt.Errorf("found is %v", found)
		}
		return nil
	})
}

// Once all flows have ended that the bug does not concern, it shows in those that
// it does concern, and in no other.
func TestEachBugIsFound(t *testing.T) {
	t.Parallel()
	for bug, by := range map[model.Bug]int{
		model.AcceptedLost:    invariant.Recorded,
		model.AppliedTwice:    invariant.Recorded,
		model.PrecisionLost:   invariant.Recorded,
		model.TwoOutcomes:     invariant.OneResult,
		model.SecondAccepted:  invariant.OneResult,
		model.LostTimer:       invariant.Ended,
		model.StuckEnd:        invariant.Ended,
		model.ReplayConflict:  invariant.Answers,
		model.RefusedApplied:  invariant.Answers,
		model.GarbageAccepted: invariant.Answers,
		model.OpenGone:        invariant.Answers,
		model.StartForgotten:  invariant.Answers,
		model.StartTwice:      invariant.Answers,
		model.CancelForgotten: invariant.Answers,
		model.InvocationLost:  invariant.Delivered,
		model.InvocationTwice: invariant.Delivered,
		model.AttemptMiscount: invariant.Delivered,
		model.ArgumentsMixed:  invariant.Delivered,
		model.StateBehind:     invariant.Replayed,
		model.EventLost:       invariant.Replayed,
		model.TwoSpellings:    invariant.Secret,
		model.PrefixOnly:      invariant.Secret,
		model.Telltale:        invariant.Secret,
		model.ForeignAccepted: invariant.Secret,

		model.TokenKept:        invariant.Ended,
		model.LateRefused:      invariant.Undone,
		model.NotUndone:        invariant.Undone,
		model.UndoneUnordered:  invariant.Undone,
		model.UndoneTwice:      invariant.Undone,
		model.UndoneCompleted:  invariant.Undone,
		model.UndoneLate:       invariant.Undone,
		model.LateKept:         invariant.Undone,
		model.CallbackLost:     invariant.Told,
		model.CallbackEarly:    invariant.Told,
		model.CallbackStatus:   invariant.Told,
		model.CallbackUnsigned: invariant.Told,
		model.ArrayUnordered:   invariant.Computed,
		model.TooManyAtOnce:    invariant.Computed,
		model.ScriptIgnored:    invariant.Computed,
		model.PredicateIgnored: invariant.Computed,
		model.PauseIgnored:     invariant.Obeyed,
		model.ResumeForgotten:  invariant.Obeyed,
		model.RetryForgotten:   invariant.Obeyed,
		model.BeatIgnored:      invariant.Heard,
		model.ProgressLost:     invariant.Heard,
	} {
		t.Run(string(bug), func(t *testing.T) {
			t.Parallel()
			r := start(t, bug)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			r.awaitOthers(ctx, t)
			testkit.Eventually(t, patience, func() error {
				found := r.judge(t)
				for _, v := range found {
					if v.Invariant == by && r.engine.Concerns(v.Flow) {
						return nil
					}
				}
				return fmt.Errorf("invariant %d does not see it; found is %v", by, found)
			})
		})
	}
}

// awaitOthers waits until the load is done with all flows that the bug does not
// concern.
func (r *run) awaitOthers(ctx context.Context, t *testing.T) {
	t.Helper()
	testkit.Eventually(t, patience, func() bool { return len(observe.Started(r.book.Book())) >= flows })
	var others []string
	for _, id := range observe.Started(r.book.Book()) {
		if !r.engine.Concerns(id) {
			others = append(others, id)
		}
	}
	if open := r.look.Await(ctx, others); len(open) > 0 {
		t.Fatalf("flows that have not ended, and the bug does not concern them: %v", open)
	}
}
