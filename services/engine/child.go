package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/journal"
)

// refusedPause is how long a flow waits before it asks others again, where COMMANDS
// had no room for that.
const refusedPause = time.Second

// told is a command to another flow that is on its way.
type told struct {
	cmd *sluicev1.Command
	ack jetstream.PubAckFuture
}

// startCommands publishes the commands to other flows that follow from the job's
// commands themselves, whatever came of them, and those that an earlier job found
// no room for, as far as they are still wanted.
func (p *partition) startCommands(ctx context.Context, j *job) error {
	commands := j.answers()
	if j.woken() {
		for _, cmd := range j.entry.refused {
			if start := cmd.GetStartFlow(); start == nil || j.entry.state.Wants(start.GetParent().GetWork()) {
				commands = append(commands, cmd)
			}
		}
		j.entry.refused = nil
	}
	return p.emitCommands(ctx, j, commands)
}

func (p *partition) emitCommands(ctx context.Context, j *job, commands []*sluicev1.Command) error {
	for _, cmd := range commands {
		future, err := p.e.tell(ctx, cmd)
		if err != nil {
			return err
		}
		if ofMailbox(cmd) {
			j.emit.pending = append(j.emit.pending, future)
			continue
		}
		j.emit.commands = append(j.emit.commands, told{cmd, future})
	}
	return nil
}

// answers tells a child flow that its parent has heard of its end, and a parent
// that the id of its child is another flow's or that the child's history is
// damaged.
func (j *job) answers() []*sluicev1.Command {
	var answers []*sluicev1.Command
	for _, c := range j.folding {
		if c.verdict.Kind == flow.Postponed {
			continue
		}
		ended, start := c.GetChildEnded(), c.GetStartFlow()
		switch {
		case ended != nil:
			answers = append(answers, &sluicev1.Command{FlowId: ended.GetChildFlowId(), Kind: &sluicev1.Command_ParentHeard{
				ParentHeard: &sluicev1.ParentHeard{Work: ended.GetWork()},
			}})
		case start.GetParent() != nil && c.verdict.Reply.GetCode() == sluicev1.ReplyCode_REPLY_CODE_CONFLICT:
			answers = append(answers, &sluicev1.Command{FlowId: start.GetParentFlowId(), Kind: &sluicev1.Command_ChildEnded{
				ChildEnded: &sluicev1.ChildEnded{
					Work: start.GetParent().GetWork(), ChildFlowId: j.flowID,
					Outcome: &sluicev1.Outcome{Error: fmt.Sprintf("child flow %q cannot go on: %s", j.flowID, c.verdict.Reply.GetDetail())},
				},
			}})
		}
	}
	return answers
}

// woken reports whether one of the job's commands is a wake.
func (j *job) woken() bool {
	for _, c := range j.folding {
		if c.GetWake() != nil {
			return true
		}
	}
	return false
}

// tell publishes a command to another flow. It has no message id: the receiver
// knows repeats by its state.
func (e *Engine) tell(ctx context.Context, cmd *sluicev1.Command) (jetstream.PubAckFuture, error) {
	e.boundOutputs(cmd.GetChildEnded())
	msg, err := e.bus.CommandMsg(subject.SourceEngine, cmd)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	bus.Inject(ctx, msg.Header)
	return e.bus.PublishAsync(ctx, e.bus.Commands(e.bus.Shard(e.bus.Partition(cmd.GetFlowId()))), msg) //nolint:wrapcheck // it says all
}

// boundOutputs makes a failure of a child's success that is more than one message
// should carry.
func (e *Engine) boundOutputs(ended *sluicev1.ChildEnded) {
	size := 0
	for name, value := range ended.GetOutcome().GetOutputs() {
		size += len(name) + len(value)
	}
	if limit := e.argumentBytes(); size > limit {
		ended.Outcome = &sluicev1.Outcome{Error: fmt.Sprintf("child flow %q gave outputs of %d bytes, which are more than can be kept (%d)",
			ended.GetChildFlowId(), size, limit)}
	}
}

// awaitCommands waits until the commands to other flows are stored. Where COMMANDS
// has no room for them they are kept and published again in a moment: this job's
// commands have to go before there is any. Those that are lost with this engine are
// for the sweep.
func (p *partition) awaitCommands(ctx context.Context, j *job) error {
	refused := len(j.entry.refused)
	for _, t := range j.emit.commands {
		_, err := await(ctx, t.ack)
		var api *jetstream.APIError
		switch {
		case err == nil:
		case errors.As(err, &api) && api.ErrorCode == codeStoreFailed:
			j.entry.refused = append(j.entry.refused, t.cmd)
		default:
			return fmt.Errorf("store a command to another flow: %w", err)
		}
	}
	if len(j.entry.refused) == refused {
		return nil
	}
	t, now := &j.entry.timer, p.e.clock.now()
	at := now + int64(refusedPause)
	if t.armed == 0 || at < t.armed {
		p.wakes.arm(j.flowID, t, at, now)
	}
	return p.e.ensureTimer(ctx, j.flowID, j.entry.state.Revision, t, at)
}

// sweepOpen looks after a flow that is a child or has children: what a store that
// lost its tail forgot is asked again, and a child that nobody wants any more is
// canceled.
func (e *Engine) sweepOpen(ctx context.Context, flowID string, limit *rate.Limiter) error {
	loaded, err := e.journal.Load(ctx, flowID)
	switch {
	case errors.Is(err, journal.ErrBroken):
		return nil // whoever gets the next command of it ends it
	case err != nil:
		return fmt.Errorf("look after flow %s: %w", flowID, err)
	}
	commands, err := e.unanswered(ctx, loaded.State)
	if err != nil {
		return err
	}
	for _, cmd := range commands {
		if err := limit.Wait(ctx); err != nil {
			return nil //nolint:nilerr // ctx ended it
		}
		future, err := e.tell(ctx, cmd)
		if err == nil {
			_, err = await(ctx, future)
		}
		if err != nil {
			return fmt.Errorf("ask again for flow %s: %w", flowID, err)
		}
		e.log.InfoContext(ctx, "what a flow asks of another one is asked again",
			slog.String("flow_id", flowID), slog.String("of", cmd.GetFlowId()))
	}
	return nil
}

// unanswered are the open commands of a flow of which nothing is to be seen.
func (e *Engine) unanswered(ctx context.Context, s *flow.State) ([]*sluicev1.Command, error) {
	var commands []*sluicev1.Command
	for _, cmd := range s.Open() {
		if cmd.GetStartFlow() != nil {
			var err error
			if cmd, err = e.lookAtChild(ctx, cmd); err != nil {
				return nil, err
			}
		}
		if cmd != nil {
			commands = append(commands, cmd)
		}
	}
	cancel, err := e.unwanted(ctx, s)
	if err != nil || cancel == nil {
		return commands, err
	}
	return append(commands, cancel), nil
}

// lookAtChild returns what to do about a child that has to be there, or nil: it is
// started where it is not, and so is one that is damaged, for whoever gets that
// says so to the parent; of one that ended the parent is told once more.
func (e *Engine) lookAtChild(ctx context.Context, start *sluicev1.Command) (*sluicev1.Command, error) {
	loaded, err := e.journal.Load(ctx, start.GetFlowId())
	switch {
	case errors.Is(err, journal.ErrBroken):
		return start, nil
	case err != nil:
		return nil, fmt.Errorf("look after the child flow %s: %w", start.GetFlowId(), err)
	case loaded.Broken != "", !loaded.State.Exists():
		return start, nil
	case loaded.State.Final() && loaded.State.Parent != nil:
		return loaded.State.EndOfChild(), nil
	}
	return nil, nil //nolint:nilnil // it runs, and is looked after itself
}

// unwanted returns what cancels a child flow whose parent does not want it, or nil.
// That it is wanted is in its parent's history before there is a child.
func (e *Engine) unwanted(ctx context.Context, s *flow.State) (*sluicev1.Command, error) {
	if s.Parent == nil || s.Final() {
		return nil, nil //nolint:nilnil // there is nothing to do
	}
	parent, err := e.journal.Load(ctx, s.ParentFlow)
	switch {
	case errors.Is(err, journal.ErrBroken):
		return nil, nil //nolint:nilnil // it is ended soon, and then the child is looked at again
	case err != nil:
		return nil, fmt.Errorf("look at the parent of flow %s: %w", s.ID, err)
	case parent.State.Wants(s.Parent.GetWork()):
		return nil, nil //nolint:nilnil // there is nothing to do
	}
	return &sluicev1.Command{FlowId: s.ID, Kind: &sluicev1.Command_CancelChild{CancelChild: &sluicev1.CancelChild{
		ParentFlowId: s.ParentFlow, Parent: s.Parent, RequestDigest: s.RequestDigest,
		Reason: fmt.Sprintf("parent flow %q does not want it any more", s.ParentFlow),
	}}}, nil
}
