package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// A Shape is a kind of flow.
type Shape string

// The shapes.
const (
	Chain    Shape = "chain"    // async, async, sync
	Fan      Shape = "fan"      // one, three at once, one that needs all
	Optional Shape = "optional" // an optional input whose provider fails
	Retry    Shape = "retry"    // attempts that come to nothing before one that does not
	Timeout  Shape = "timeout"  // an attempt that is silent, and its failure later
	Cancel   Shape = "cancel"   // canceled while its step runs
	Deadline Shape = "deadline" // over its time while its step runs
	Failing  Shape = "failing"  // a step that fails for good
	Storm    Shape = "storm"    // many posts of one token at once
	Each     Shape = "each"     // a work item for each element, then one that needs them all
	Script   Shape = "script"   // scripts, and a predicate that is false now and then
	Undo     Shape = "undo"     // successes that are undone, for a later step fails
	Revoke   Shape = "revoke"   // the same where somebody cancels; one succeeds after the end
	Beat     Shape = "beat"     // heartbeats, of workers that go on and of some that do not
	Mend     Shape = "mend"     // failed, and begun again by hand
	Wait     Shape = "wait"     // waits for a time, for messages, and now and then for a person
	Child    Shape = "child"    // a child flow, then a step that needs what it gave
	Orphan   Shape = "orphan"   // canceled while its child flow runs
)

// Shapes are the ones of an ordinary load.
func Shapes() []Shape {
	return []Shape{Chain, Fan, Optional, Retry, Timeout, Cancel, Deadline, Failing, Each, Script, Undo, Revoke, Beat, Mend, Wait, Child, Orphan}
}

// A kind is what the flows of a shape are made of. Another kind of flow is another
// entry of kinds.
type kind struct {
	// goal is the step that the flow is for.
	goal  string
	parts []part
	// prepare adds to what a flow is started with; nil where that is all.
	prepare func(r *client.StartRequest, dice *rand.Rand)
	// meanwhile is what a caller does to a flow that is started; nil where that is
	// nothing. It works until it has its answers.
	meanwhile func(ctx context.Context, id string, dice *rand.Rand)
	// needs says that no flow ends without that, whichever request started it.
	needs bool
	// held says that some of the flows are paused for a while.
	held bool
}

// A part is a step of a kind. Kinds may share parts.
type part struct {
	step.Definition

	// knows is what can be asked of the step beside what holds for all.
	knows ledger.Step
	// work is what its worker does in place of bringing a good outcome in its
	// manner; nil where it does that. Such a worker is polite.
	work func(ctx context.Context, j *job)
}

func (l *Load) makeKinds() map[Shape]kind {
	kinds := l.plainKinds()
	kinds[Each] = l.eachKind()
	kinds[Script] = l.scriptKind()
	kinds[Undo] = l.undoKind()
	kinds[Revoke] = l.revokeKind()
	kinds[Beat] = l.beatKind()
	kinds[Mend] = l.mendKind()
	kinds[Wait] = l.waitKind()
	kinds[Child] = l.childKind()
	kinds[Orphan] = l.orphanKind()
	return kinds
}

// attemptLimit is how long an attempt of an ordinary step may take, where the
// load does not say: a worker that had a 2xx says nothing more, so a lost outcome
// ends its flow as failed.
const attemptLimit = 15 * time.Minute

// silentLimit is how long a silent attempt of the Timeout shape may take.
const silentLimit = 600 * time.Millisecond

// step is a step of ours, with one output and more retries than a fault can use up.
func (l *Load) step(id string, kind step.Kind, required ...string) step.Definition {
	d := step.Definition{
		ID: id, Type: kind, HTTP: &step.HTTP{Endpoint: l.endpoint + "/work", Timeout: 5000},
		WorkConfig: &step.WorkConfig{
			MaxRetries: 1000, BackoffMS: new(int64(50)), MaxBackoffMS: new(int64(500)), TimeoutMS: l.cfg.AttemptLimit.Milliseconds(),
		},
		Attributes: map[string]step.Attribute{output(id): {Role: step.RoleOutput, Type: step.TypeString}},
	}
	for _, name := range required {
		d.Attributes[name] = step.Attribute{Role: step.RoleRequired, Type: step.TypeString}
	}
	return d
}

func (l *Load) part(id string, kind step.Kind, required ...string) part {
	return part{Definition: l.step(id, kind, required...)}
}

func output(stepID string) string { return stepID + "-out" }

// parts are the steps of all kinds, by id.
func (l *Load) parts() map[string]part {
	all := map[string]part{}
	for _, k := range l.kinds {
		for _, p := range k.parts {
			all[p.ID] = p
		}
	}
	return all
}

// register makes the steps known, however often that must be tried.
func (l *Load) register(ctx context.Context) error {
	for id, p := range l.steps {
		p.knows.Gives = output(id)
		l.cfg.Ledger.Knows(id, p.knows)
		for n := 0; ; n++ {
			_, err := l.console().RegisterStep(ctx, p.Definition)
			if err == nil {
				break
			}
			if !pause(ctx, patience(n)) {
				return fmt.Errorf("register step %s: %w", id, err)
			}
		}
	}
	return nil
}

// request is what a flow of a kind is started with. Some want their end to be
// told.
func (l *Load) request(k kind, id string) client.StartRequest {
	r := client.StartRequest{ID: id, Goals: []string{k.goal}, Init: map[string]any{"order": id}}
	if k.prepare != nil {
		k.prepare(&r, l.dice("prepare", id))
	}
	if l.dice("told", id).IntN(3) == 0 {
		r.CallbackURL, r.CallbackSecret = l.endpoint+endedPath, callbackSecret
	}
	return r
}

// turn is the shape of the nth flow: each has its turn in every round, in an order
// that the seed chooses.
func (l *Load) turn(n int) Shape {
	of := len(l.cfg.Shapes)
	return l.cfg.Shapes[l.dice("round", strconv.Itoa(n/of)).Perm(of)[n%of]]
}
