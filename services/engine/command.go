package engine

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// command is one delivered command.
type command struct {
	*sluicev1.Command

	msg     jetstream.Msg
	at      flow.Position
	stored  time.Time
	verdict flow.Verdict
	poison  error // why deciding it failed; nil for all but what panicked
}

// parse reads a delivered message. An error, a [*dead.Poison], means that it can
// never be carried out.
func (e *Engine) parse(msg jetstream.Msg) (*command, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, dead.Poisoned(dead.Misplaced, "read where it stands: %v", err)
	}
	e.clock.observe(meta.Timestamp)
	if meta.NumDelivered > 1 {
		e.metrics.redeliveries.Inc()
	}
	src, partition, flowID, err := e.bus.Space.ParseCommand(msg.Subject())
	if err != nil {
		return nil, dead.Poisoned(dead.Misplaced, "%v", err)
	}
	cmd := &sluicev1.Command{}
	if err := proto.Unmarshal(msg.Data(), cmd); err != nil {
		return nil, dead.Poisoned(dead.Garbage, "decode it: %v", err)
	}
	if cmd.GetFlowId() != flowID {
		return nil, dead.Poisoned(dead.Misplaced, "it is for flow %q and came on the subject of %q", cmd.GetFlowId(), flowID)
	}
	if partition != e.bus.Partition(flowID) {
		return nil, dead.Poisoned(dead.Misplaced, "flow %q is not of partition %d", flowID, partition)
	}
	if !mayCome(src, cmd) {
		return nil, dead.Poisoned(dead.Misplaced, "a command %T may not come from %s", cmd.GetKind(), src)
	}
	if err := e.sealSecret(cmd); err != nil {
		return nil, err
	}
	return &command{
		Command: cmd, msg: msg, stored: meta.Timestamp,
		at: flow.Position{Sequence: meta.Sequence.Stream, Time: meta.Timestamp.UnixNano()},
	}, nil
}

// mayCome reports whether a role may send that kind of command: each role's NATS
// user is held to its own source.
func mayCome(src subject.Source, cmd *sluicev1.Command) bool {
	switch k := cmd.GetKind().(type) {
	case *sluicev1.Command_StartFlow: // engines start children, and what is scheduled
		return src == subject.SourceEngine || src == subject.SourceAPI && k.StartFlow.GetParent() == nil
	case *sluicev1.Command_CancelFlow, *sluicev1.Command_PauseFlow, *sluicev1.Command_ResumeFlow,
		*sluicev1.Command_RetryFlow, *sluicev1.Command_OverrideStep, *sluicev1.Command_DecideApproval,
		*sluicev1.Command_PostMessage:
		return src == subject.SourceAPI
	case *sluicev1.Command_CompleteWork:
		return src == subject.SourceHook
	case *sluicev1.Command_ReportCall:
		return src == subject.SourceReport
	case *sluicev1.Command_Wake, *sluicev1.Command_ScriptResult, *sluicev1.Command_ChildEnded, *sluicev1.Command_CancelChild,
		*sluicev1.Command_ParentHeard, *sluicev1.Command_AwaitMessage, *sluicev1.Command_EndWait, *sluicev1.Command_DeliverMessage,
		*sluicev1.Command_MemoResult:
		return src == subject.SourceEngine
	case *sluicev1.Command_RetireFlow:
		return src == subject.SourceEngine || src == subject.SourceAPI
	}
	return true // of no known kind: the core says so
}

func (e *Engine) putBack(ctx context.Context, msg jetstream.Msg, delay time.Duration, reason string) {
	e.metrics.putBack.WithLabelValues(reason).Inc()
	if err := msg.NakWithDelay(delay); err != nil {
		e.log.DebugContext(ctx, "a command could not be put back, it comes again by itself", slog.Any("error", err))
	}
}

// ack is the last thing that happens to a command. One that is lost leads to a
// repeat, which is recognized.
func (e *Engine) ack(ctx context.Context, msg jetstream.Msg) {
	if err := msg.Ack(); err != nil {
		e.log.DebugContext(ctx, "an ack could not be sent, the command comes again", slog.Any("error", err))
	}
}

// reply tells who waits what became of a command. It is not waited for.
func (e *Engine) reply(ctx context.Context, c *command) {
	to := c.msg.Headers().Get(bus.HeaderReply)
	if to == "" || c.verdict.Reply == nil {
		return
	}
	data, err := proto.Marshal(c.verdict.Reply)
	if err == nil {
		err = e.bus.NC.PublishMsg(&nats.Msg{Subject: to, Data: data})
	}
	if err != nil {
		e.log.DebugContext(ctx, "a reply could not be sent", slog.Any("error", err))
	}
}
