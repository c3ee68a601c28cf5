package load

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// plainKinds have steps with a worker and one work item, and no more.
func (l *Load) plainKinds() map[Shape]kind {
	sleepy := l.part("sleepy", step.KindAsync, "order")
	sleepy.WorkConfig.TimeoutMS = silentLimit.Milliseconds()
	sleepy.work = func(ctx context.Context, j *job) { j.sleepy(ctx) }
	endless := l.worked("endless", func(ctx context.Context, j *job) { j.endless(ctx) })
	return map[Shape]kind{
		Chain: {goal: "receipt", held: true, parts: []part{
			l.part("reserve", step.KindAsync, "order"),
			l.part("charge", step.KindAsync, "reserve-out"),
			l.part("receipt", step.KindSync, "charge-out"),
		}},
		Fan: {goal: "join", held: true, parts: []part{
			l.part("split", step.KindAsync, "order"),
			l.part("left", step.KindAsync, "split-out"),
			l.part("middle", step.KindSync, "split-out"),
			l.part("right", step.KindAsync, "split-out"),
			l.part("join", step.KindAsync, "left-out", "middle-out", "right-out"),
		}},
		Optional: l.optionalKind(),
		Retry: {goal: "flaky", parts: []part{
			l.worked("flaky", func(ctx context.Context, j *job) { j.flaky(ctx) }),
		}},
		Timeout: {goal: "sleepy", parts: []part{sleepy}},
		Cancel:  {goal: "endless", parts: []part{endless}, meanwhile: l.changeMind},
		Deadline: {goal: "endless", parts: []part{endless}, prepare: func(r *client.StartRequest, _ *rand.Rand) {
			r.TimeoutMS = silentLimit.Milliseconds()
		}},
		Failing: {goal: "doomed", parts: []part{l.failing("doomed", "doomed", "order")}},
		Storm: {goal: "storm", parts: []part{
			l.worked("storm", func(ctx context.Context, j *job) { j.storm(ctx) }),
		}},
	}
}

func (l *Load) optionalKind() kind {
	offer := l.part("offer", step.KindSync, "profile-out")
	offer.Attributes["score-out"] = step.Attribute{Role: step.RoleOptional, Type: step.TypeString}
	return kind{goal: "offer", held: true, parts: []part{
		l.part("profile", step.KindAsync, "order"),
		l.failing("score", "no score", "order"),
		offer,
	}}
}

// worked is an async step whose worker does something of its own.
func (l *Load) worked(id string, work func(ctx context.Context, j *job)) part {
	p := l.part(id, step.KindAsync, "order")
	p.work = work
	return p
}

// failing is an async step that fails for good.
func (l *Load) failing(id, mark string, required ...string) part {
	p := l.part(id, step.KindAsync, required...)
	p.work = func(ctx context.Context, j *job) { j.bring(ctx, ledger.Failure, j.doomed(mark)) }
	return p
}

// changeMind cancels a flow that was started.
func (l *Load) changeMind(ctx context.Context, id string, dice *rand.Rand) {
	if pause(ctx, time.Duration(50+dice.IntN(450))*time.Millisecond) {
		l.cancel(ctx, id)
	}
}

// flaky attempts come to nothing before one that does not.
func (j *job) flaky(ctx context.Context) {
	if j.Attempt <= flakyAttempts(j.l, *j.Metadata) {
		j.bring(ctx, ledger.NotCompleted, notCompleted(j.task, "busy"))
		return
	}
	j.behave(ctx)
}

// sleepy is silent at first, and says too late that it failed.
func (j *job) sleepy(ctx context.Context) {
	if j.Attempt == 1 {
		return
	}
	j.superseded(ctx)
	j.behave(ctx)
}
