package engine

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// emission is what a job published and waits for.
type emission struct {
	trace    trace.SpanContext
	pending  []jetstream.PubAckFuture
	commands []told                 // to other flows
	timer    jetstream.PubAckFuture // of the schedule at timerAt
	timerAt  int64
	retired  bool
	retireTo uint64
	trimTo   uint64 // up to where the history is not needed any more; 0 for nothing
}

// startEffects publishes what follows from the job's commit, and once more what
// followed from those of repeated commands, and waits for none of it.
func (p *partition) startEffects(ctx context.Context, j *job) error {
	if j.emit.trace.IsValid() {
		ctx = trace.ContextWithSpanContext(ctx, j.emit.trace)
	}
	if err := p.startCommands(ctx, j); err != nil {
		return err
	}
	if j.proposal != nil {
		if err := p.emitCommit(ctx, j, j.proposal.commit, j.entry.sequence); err != nil {
			return err
		}
	}
	if err := p.emitRepeats(ctx, j); err != nil {
		return err
	}
	for _, c := range j.folding {
		if err := p.emitCommands(ctx, j, c.verdict.Answer); err != nil {
			return err
		}
	}
	return p.startTimer(ctx, j)
}

// emitRepeats emits again what the commits of repeated commands asked for: the
// process that stored them may have died before it did.
func (p *partition) emitRepeats(ctx context.Context, j *job) error {
	done := map[uint64]bool{}
	for _, c := range j.folding {
		revision := c.verdict.Revision
		if c.verdict.Kind != flow.Repeat || revision == 0 || done[revision] || j.entry.broken != "" {
			continue
		}
		done[revision] = true
		if j.proposal != nil && j.proposal.commit.GetRevision() == revision {
			continue
		}
		stored, err := p.e.journal.Commit(ctx, j.flowID, revision, j.entry.snapshot, j.entry.sequence)
		if err != nil {
			return fmt.Errorf("read revision %d of flow %s: %w", revision, j.flowID, err)
		}
		if stored == nil {
			continue
		}
		if err := p.emitCommit(ctx, j, stored.Commit, stored.Sequence); err != nil {
			return err
		}
	}
	return nil
}

func (p *partition) emitCommit(ctx context.Context, j *job, c *sluicev1.Commit, sequence uint64) error {
	fx := j.entry.state.Effects(c)
	p.e.memo.learn(fx.Memos)
	for _, inv := range fx.Invocations {
		future, err := p.e.recallOrInvoke(ctx, fx, inv, c.GetRevision())
		if err != nil {
			return err
		}
		j.emit.pending = append(j.emit.pending, future)
	}
	if fx.Callback != nil {
		future, err := p.e.callBack(ctx, fx.Callback, j.entry.state.CallbackSecret)
		if err != nil {
			return err
		}
		j.emit.pending = append(j.emit.pending, future)
	}
	if err := p.emitCommands(ctx, j, fx.Commands); err != nil {
		return err
	}
	if fx.Trim {
		j.emit.trimTo = sequence - 1
	}
	p.e.mark(fx.Marks, sequence)
	if fx.Retired {
		j.emit.retired, j.emit.retireTo = true, sequence
	}
	if fx.Ended {
		p.dropTimer(j)
	}
	if fx.EndedLate {
		return p.e.retireOverdue(ctx, j.entry.state)
	}
	return nil
}

// invoke publishes an invocation, which the commit of that revision asks for,
// with its token.
func (e *Engine) invoke(ctx context.Context, inv *sluicev1.Invocation, revision uint64) (jetstream.PubAckFuture, error) {
	if inv.GetScript() != nil {
		return e.invokeScript(ctx, inv)
	}
	w := inv.GetWork()
	inv.Token = e.keys.Ring().Mint(token.Claims{
		FlowID: inv.GetFlowId(), StepID: w.GetStepId(), Run: w.GetRun(), Item: w.GetItem(), Generation: w.GetGeneration(),
	})
	if inv.GetType() == sluicev1.StepType_STEP_TYPE_ASYNC {
		inv.WebhookUrl = e.webhookURL(inv)
	}
	subj := e.bus.Space.InvokeHTTP(w.GetStepId(), e.bus.Partition(inv.GetFlowId()), inv.GetFlowId())
	return e.publishInvocation(ctx, subj, effectID(inv, revision), inv)
}

func (e *Engine) publishInvocation(ctx context.Context, subj, id string, inv *sluicev1.Invocation) (jetstream.PubAckFuture, error) {
	data, err := proto.Marshal(inv)
	if err != nil {
		return nil, fault.New(fault.Internal, "engine.invoke", err)
	}
	msg := &nats.Msg{Subject: subj, Header: nats.Header{jetstream.MsgIDHeader: {id}}, Data: data}
	bus.Inject(ctx, msg.Header)
	future, err := e.bus.JS.PublishMsgAsync(msg)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "engine.invoke", err)
	}
	return future, nil
}

// effectID names an effect, so that the server drops a second one that comes
// soon: kind, flow, run, step, item, generation, attempt and cause, which is the
// revision of the commit that asks for it, and 0 for an invocation.
func effectID(inv *sluicev1.Invocation, cause uint64) string {
	kind, w := "compensate", inv.GetWork()
	switch {
	case inv.GetCompensate():
	case inv.GetCallback() != nil:
		kind, cause = "callback", inv.GetCallback().GetRevision()
	case inv.GetScript().GetPredicate():
		kind, cause = "predicate", 0
	default:
		kind, cause = "invoke", 0
	}
	b := make([]byte, 0, 128)
	b = append(b, kind...)
	b = append(append(b, '/'), inv.GetFlowId()...)
	b = strconv.AppendUint(append(b, '/'), w.GetRun(), 36)
	b = append(append(b, '/'), w.GetStepId()...)
	for _, n := range []uint64{uint64(w.GetItem()), uint64(w.GetGeneration()), uint64(w.GetAttempt()), cause} {
		b = strconv.AppendUint(append(b, '/'), n, 10)
	}
	return string(b)
}

func (e *Engine) webhookURL(inv *sluicev1.Invocation) string {
	u := e.cfg.WebhookBaseURL + "/webhook/" + url.PathEscape(inv.GetFlowId()) + "/" +
		url.PathEscape(inv.GetWork().GetStepId()) + "/" + inv.GetToken()
	if attempt := inv.GetWork().GetAttempt(); attempt > 1 {
		u += "?attempt=" + strconv.FormatUint(uint64(attempt), 10)
	}
	return u
}

// startTimer sees to it that the flow is woken at its next deadline. A schedule
// that fired is gone from its stream.
func (p *partition) startTimer(ctx context.Context, j *job) error {
	t, now := &j.entry.timer, p.e.clock.now()
	// The sweep is for flows that run.
	lazy := j.due > now+farAhead && !j.entry.state.Final()
	for _, c := range j.folding {
		if !c.GetWake().GetScheduled() {
			continue
		}
		lazy = false
		if t.known && t.at <= c.GetWake().GetDueNs() {
			t.at, t.sequence = 0, 0
		}
	}
	p.wakes.arm(j.flowID, t, j.due, now)
	if lazy || !t.needsTimer(j.due) {
		return nil
	}
	if !t.known {
		return p.e.ensureTimer(ctx, j.flowID, j.entry.state.Revision, t, j.due)
	}
	future, err := p.e.scheduleTimer(j.flowID, j.entry.state.Revision, j.due, t.sequence)
	j.emit.timer, j.emit.timerAt = future, j.due
	return err
}

// dropTimer takes the schedule of an ended flow out, as far as it is known.
func (p *partition) dropTimer(j *job) {
	t := &j.entry.timer
	if !t.known || t.at == 0 {
		return
	}
	select {
	case p.e.purges <- timerPurge{flowID: j.flowID, sequence: t.sequence}:
	default: // it fires once and is ignored
	}
	t.at, t.sequence = 0, 0
}

// awaitEffects waits until all that was published is stored, and purges what was
// retired.
func (p *partition) awaitEffects(ctx context.Context, j *job) {
	if j.err != nil {
		return
	}
	for _, future := range j.emit.pending {
		if _, err := await(ctx, future); err != nil {
			j.err = fmt.Errorf("store an invocation: %w", err)
			return
		}
	}
	if j.emit.timer != nil {
		if err := p.awaitTimer(ctx, j); err != nil {
			j.err = fmt.Errorf("store a schedule: %w", err)
			return
		}
	}
	if j.err = p.awaitCommands(ctx, j); j.err != nil {
		return
	}
	switch {
	case j.emit.retired:
		j.err = p.e.purge(ctx, j.flowID, j.emit.retireTo)
	case j.emit.trimTo != 0:
		p.trim(ctx, j)
	}
}

func (p *partition) awaitTimer(ctx context.Context, j *job) error {
	t := &j.entry.timer
	ack, err := await(ctx, j.emit.timer)
	switch {
	case err == nil:
		p.e.metrics.timers.WithLabelValues("stored").Inc()
		t.at, t.sequence = j.emit.timerAt, ack.Sequence
		return nil
	case errors.Is(err, errConflict):
		t.known = false
		return p.e.ensureTimer(ctx, j.flowID, j.entry.state.Revision, t, j.due)
	}
	return err
}
