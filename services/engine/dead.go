package engine

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// bury makes a dead letter of a command and acks it.
func (p *partition) bury(ctx context.Context, msg jetstream.Msg, why error) {
	p.e.bury(ctx, msg, dead.Command, p.n, why)
}

// bury makes a dead letter of a message and acks it; while DEAD takes none, the
// message is put back, so that it blocks nobody.
func (e *Engine) bury(ctx context.Context, msg jetstream.Msg, what string, partition int, why error) {
	if err := e.dead.Put(ctx, dead.Letter(msg, what, why, e.clock.now()), partition); err != nil {
		e.putBack(ctx, msg, e.deadDelay, "dead_full")
		return
	}
	e.ack(ctx, msg)
}

// poisoned handles the next command, which panicked: the state that it left is
// dropped. What was decided before it in this turn is decided again without it.
// Once it is alone, it is decided once more as what it is, so that a completion
// gets into its flow's history; where that panics too, it is buried as it is.
func (p *partition) poisoned(ctx context.Context, j *job, why error) {
	p.drop(j)
	if len(j.folding) == 0 {
		switch c := j.pending[0]; c.poison {
		case nil:
			c.poison = why
		default:
			p.bury(ctx, c.msg, c.poison)
			j.pending = j.pending[1:]
		}
	}
	j.pending = append(j.folding, j.pending...)
	j.folding, j.singly = nil, true
}

// decideOne decides a command, or one that is known to panic as what it is.
func (c *command) decideOne(e *Engine, turn *flow.Turn) flow.Verdict {
	if c.poison != nil {
		return turn.Poison(c.Command, c.poison.Error())
	}
	return e.decideWith(turn, c.Command, c.at)
}

// fate is the error that an impossible command is buried with.
func (c *command) fate() error {
	if c.poison != nil {
		return c.poison
	}
	return dead.Poisoned(dead.Impossible, "%s", c.verdict.Reason)
}

// runRedrives publishes dead letters again for who asks, until ctx ends.
func (e *Engine) runRedrives(ctx context.Context) error {
	return dead.Open(e.bus).Serve(ctx, e.log)
}
