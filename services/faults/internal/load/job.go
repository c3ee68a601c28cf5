package load

import (
	"context"
	"sync"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// A manner is how a worker brings an outcome.
type manner string

const (
	quiet    manner = "quiet"    // once, and nothing more after a 2xx
	repeat   manner = "repeat"   // again and again, in other words
	race     manner = "race"     // the same many times at once
	conflict manner = "conflict" // contradicting itself
	early    manner = "early"    // before the call is answered
	late     manner = "late"
	garbage  manner = "garbage" // what is no StepResult, before what is
	forge    manner = "forge"   // tokens that are none, before and after the one that is
)

// manners has quiet for half of the workers.
func manners() []manner {
	return []manner{quiet, quiet, quiet, quiet, quiet, quiet, quiet, repeat, race, conflict, early, late, garbage, forge}
}

// job is what follows from one invocation.
type job struct {
	task

	l       *Load
	manner  manner
	refuses bool   // the call itself gets a 503
	key     string // under which a 2xx is remembered
}

func (l *Load) job(t task) *job {
	dice := l.dice("manner", t.FlowID, t.StepID, t.element)
	j := &job{task: t, l: l, key: t.ReceiptToken}
	all := manners()
	j.manner = all[dice.IntN(len(all))]
	if l.cfg.Again || (l.steps[t.StepID].work != nil && t.StepID != "flaky") {
		j.manner = quiet
	}
	if t.StepID == "flaky" && t.Attempt <= flakyAttempts(l, *t.Metadata) {
		attempt := attemptText(t.Attempt)
		j.key += "/" + attempt
		j.refuses = l.dice("refuses", t.FlowID, attempt).IntN(3) == 0
		j.manner = quiet
	}
	return j
}

// flakyAttempts is how many attempts of a flaky step come to nothing.
func flakyAttempts(l *Load, m step.Metadata) uint32 {
	return uint32(1 + l.dice("flaky", m.FlowID).IntN(3)) //nolint:gosec // from 1 to 3
}

// run brings the outcome, unless somebody does already. A quiet worker that had
// a 2xx says nothing more, even when it is called again: a lost outcome would be
// seen by a flow that does not end.
func (j *job) run(ctx context.Context) {
	busy, had := j.l.take(j.key)
	if busy || (had && j.manner == quiet && !j.l.cfg.Again) {
		return
	}
	defer j.l.release(j.key)
	if work := j.l.steps[j.StepID].work; work != nil {
		work(ctx, j)
		return
	}
	j.behave(ctx)
}

// behave brings the good outcome in the worker's manner.
func (j *job) behave(ctx context.Context) {
	mine := good(j.task)
	switch j.manner {
	case quiet, early:
		j.bring(ctx, ledger.Success, mine)
	case late:
		pause(ctx, time.Duration(100+j.l.dice("late", j.FlowID, j.StepID).IntN(700))*time.Millisecond)
		j.bring(ctx, ledger.Success, mine)
	case repeat:
		j.bring(ctx, ledger.Success, mine)
		for spelling := range 3 {
			p := j.post(ledger.Success, mine)
			p.spelling = spelling
			j.l.insist(ctx, p)
		}
	case race:
		j.atOnce(ctx, 8, func(int) post { return j.post(ledger.Success, mine) })
	case conflict:
		j.contradict(ctx)
	case garbage:
		for kind := range garbageKinds {
			j.l.send(ctx, j.garbage(kind))
		}
		j.bring(ctx, ledger.Success, mine)
	case forge:
		for kind := range forgeries {
			j.l.send(ctx, j.forgery(kind))
		}
		j.bring(ctx, ledger.Success, mine)
		j.l.send(ctx, j.forgery(0))
	}
}

// bring posts an outcome until it is stored or refused.
func (j *job) bring(ctx context.Context, kind ledger.Kind, o ledger.Outcome) {
	j.l.insist(ctx, j.post(kind, o))
}

// contradict posts outcomes that cannot all count, at once and once more. One of
// them names no attempt.
func (j *job) contradict(ctx context.Context) {
	outcomes := []ledger.Outcome{
		good(j.task), success(j.task, "other"), good(j.task), failure(j.task, j.Attempt, "third"),
		success(j.task, "forgetful"),
	}
	for range 2 {
		j.atOnce(ctx, len(outcomes), func(i int) post {
			p := j.post(outcomes[i].Kind, outcomes[i])
			if i == len(outcomes)-1 {
				p.attempt = 0
			}
			return p
		})
	}
}

// superseded posts what an attempt that was given up on has to say.
func (j *job) superseded(ctx context.Context) {
	p := j.post(ledger.Failure, failure(j.task, 1, "late"))
	p.attempt, p.note = 1, "late failure"
	j.l.insist(ctx, p)
}

// endless says nothing until its flow has ended some other way, and then too
// much.
func (j *job) endless(ctx context.Context) {
	if !pause(ctx, 1500*time.Millisecond) {
		return
	}
	p := j.post(ledger.Success, good(j.task))
	p.note = "late"
	j.l.insist(ctx, p)
	p = j.post(ledger.Failure, failure(j.task, j.Attempt, "later still"))
	p.note = "later still"
	j.l.insist(ctx, p)
}

// storm posts many outcomes of one token at once, few of them different.
func (j *job) storm(ctx context.Context) {
	outcomes := []ledger.Outcome{
		good(j.task), good(j.task), good(j.task), success(j.task, "other"), success(j.task, "third"),
		failure(j.task, j.Attempt, "fourth"), failure(j.task, j.Attempt, "fifth"),
	}
	j.atOnce(ctx, j.l.cfg.Storm, func(i int) post {
		o := outcomes[i%len(outcomes)]
		return j.post(o.Kind, o)
	})
}

func (j *job) atOnce(ctx context.Context, n int, of func(i int) post) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { j.l.insist(ctx, of(i)) })
	}
	all.Wait()
}

// take reports whether somebody works under the key already, and whether it had
// a 2xx; where nobody works, the caller does from now on.
func (l *Load) take(key string) (busy, had bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running[key] {
		return true, l.done[key]
	}
	l.running[key] = true
	return false, l.done[key]
}

func (l *Load) release(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.running, key)
}

func (l *Load) stored(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done[key] = true
}
