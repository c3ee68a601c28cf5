package engine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// payloadShare is the part of the server's largest message that commands may
// fill in one commit; the rest is for what stands around them.
const payloadShare = 4

// decide folds a job's commands into one commit and publishes it. Commands past
// the commit's budget stay pending.
func (p *partition) decide(ctx context.Context, j *job) {
	if j.err != nil {
		return
	}
	if j.entry.broken != "" {
		j.folding, j.pending = j.pending, nil
		for _, c := range j.folding {
			p.decideBroken(j, c)
		}
		return
	}
	turn := j.entry.state.Begin(flow.Env{
		Now: p.e.clock.now(), Run: randomRun(), Floor: p.floor, Token: p.e.keys.Ring().Mint,
		ArgumentBytes: p.e.argumentBytes(), CommitBytes: p.e.commitBytes(), MaxItems: p.e.cfg.MaxWorkItems,
		Full: p.e.bus.OnReserve(p.e.bus.Shard(p.n)),
	})
	budget := int(p.e.bus.NC.MaxPayload() / payloadShare)
	for len(j.pending) > 0 {
		c := j.pending[0]
		if err := p.apply(ctx, turn, c); err != nil {
			p.poisoned(ctx, j, err)
			return
		}
		j.folding, j.pending = append(j.folding, c), j.pending[1:]
		if j.singly || turn.Size() > budget {
			break
		}
	}
	commit := turn.Commit()
	j.due = turn.Due()
	j.silent = turn.Silent()
	if commit == nil || p.oversized(ctx, j, turn, commit) {
		return
	}
	ctx, span := otel.Tracer("sluice/engine").Start(bus.Extract(ctx, j.caused()), "commit",
		trace.WithAttributes(attribute.String("sluice.flow_id", j.flowID), attribute.Int("sluice.commands", len(j.folding))))
	defer span.End()
	j.emit.trace = trace.SpanContextFromContext(ctx)
	j.proposal, j.err = p.e.propose(ctx, j.entry, commit)
}

// decideBroken decides a command of a flow whose history was given up: it goes
// no further, but it can be forgotten.
func (p *partition) decideBroken(j *job, c *command) {
	reply := &sluicev1.Reply{Code: sluicev1.ReplyCode_REPLY_CODE_CONFLICT, Detail: j.entry.broken}
	if c.GetRetireFlow() != nil {
		// Nothing could follow a commit that says so: the purge alone does.
		reply = &sluicev1.Reply{Code: sluicev1.ReplyCode_REPLY_CODE_OK}
		j.emit.retired, j.emit.retireTo = true, j.entry.sequence
	}
	c.verdict = flow.Verdict{Kind: flow.Nothing, Reply: reply}
}

// apply decides one command. It returns a [*dead.Poison] when that panicked.
func (p *partition) apply(ctx context.Context, turn *flow.Turn, c *command) (poison error) {
	defer func() {
		if r := recover(); r != nil {
			poison = dead.Poisoned(dead.Panic, "deciding it panics: %v", r)
			p.e.log.ErrorContext(ctx, "a command panics", slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
		}
	}()
	c.verdict = c.decideOne(p.e, turn)
	return nil
}

// caused returns the headers of the first command that came with a trace.
func (j *job) caused() nats.Header {
	for _, c := range j.folding {
		if h := c.msg.Headers(); h.Get("traceparent") != "" {
			return h
		}
	}
	return nil
}

// conclude ends a command that was decided.
func (p *partition) conclude(ctx context.Context, j *job, c *command) {
	p.e.metrics.commands.WithLabelValues(verdictName(c.verdict.Kind)).Inc()
	switch c.verdict.Kind {
	case flow.Impossible:
		p.bury(ctx, c.msg, c.fate())
		return
	case flow.Postponed:
		p.e.putBack(ctx, c.msg, postponeDelay, "postponed")
		return
	case flow.Folded:
		p.e.metrics.latency.Observe(time.Duration(p.e.clock.now() - c.at.Time).Seconds())
	case flow.Nothing:
		p.contested(j, c)
	case flow.Repeat, flow.Absent:
	}
	if j.emit.retired {
		p.cache.remove(j.flowID)
	}
	p.e.reply(ctx, c)
	p.e.ack(ctx, c.msg)
}

// contested says once more what stands of a token that the gateway could not
// tell about: its worker waits for that, and the first mark may be lost.
func (p *partition) contested(j *job, c *command) {
	if !c.GetCompleteWork().GetContested() || j.entry.broken != "" {
		return
	}
	if mark, ok := j.entry.state.Standing(c.GetCompleteWork().GetWork()); ok {
		p.e.mark([]flow.Mark{mark}, j.entry.sequence)
	}
}

func verdictName(kind flow.VerdictKind) string {
	switch kind {
	case flow.Folded:
		return "folded"
	case flow.Repeat:
		return "repeat"
	case flow.Nothing:
		return "nothing"
	case flow.Absent:
		return "absent"
	case flow.Postponed:
		return "postponed"
	case flow.Impossible:
		return "impossible"
	}
	return "unknown"
}

// randomRun tells a flow from others that had its id.
func randomRun() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process first
	return binary.BigEndian.Uint64(b[:])
}
