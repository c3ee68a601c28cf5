package flow

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// An Env is what a turn must know of the world.
type Env struct {
	// Now is the log's clock, in Unix nanoseconds.
	Now int64
	// Run is a random number for the flow that this turn may start.
	Run uint64
	// Floor is the sequence of the COMMANDS stream up to which everything of
	// the flow's partition is acked.
	Floor uint64
	// Token makes the token of a work item; only its first 8 characters are kept.
	Token func(token.Claims) string
	// ArgumentBytes bounds what one invocation may carry, and the outputs of one
	// outcome. 0 means 4 MiB.
	ArgumentBytes int
	// CommitBytes is what one commit should not grow past. It must leave room
	// for ArgumentBytes beside a snapshot of a third of it. 0 means 7 MiB.
	CommitBytes int
	// MaxItems is how many work items a step may have. 0 means 100,000, and more
	// than a million are never taken.
	MaxItems int
	// Full means that the log has room for outcomes and endings only: no step
	// and no attempt starts. What could have started waits; see [Turn.Due].
	Full bool
}

// A Turn folds commands into the events of one commit. The state is changed as
// they are applied: when the commit is refused by somebody who was first, drop
// the state.
type Turn struct {
	s          *State
	env        Env
	now        int64
	size       int // of snapshot, events and causes, in bytes
	events     []*sluicev1.Event
	values     valueTable
	cause      []*sluicev1.FoldedCommand
	snapshot   *sluicev1.Snapshot
	waiting    bool // a step could start and was left for another turn
	left       bool // something was, at some time in this turn
	attempts   int  // that started
	childBytes int  // of the plans of child flows that did
	repeated   bool // a command was folded before: what waited then may still wait
	silent     []*sluicev1.WorkRef
	memoized   bool // what is applied is the outcome of equal work
}

// Begin starts a turn. When a snapshot is due it is taken now, for it is the
// state before the commit.
func (s *State) Begin(env Env) *Turn {
	t := &Turn{s: s, env: env, now: max(env.Now, s.Updated)}
	if t.env.ArgumentBytes == 0 {
		t.env.ArgumentBytes = 4 << 20
	}
	if t.env.CommitBytes == 0 {
		t.env.CommitBytes = 7 << 20
	}
	if t.env.MaxItems == 0 {
		t.env.MaxItems = 100_000
	}
	t.env.MaxItems = min(t.env.MaxItems, maxItems)
	if s.snapshotDue() && !env.Full {
		t.takeSnapshot()
	}
	return t
}

// A VerdictKind says what became of a command.
type VerdictKind int

const (
	// Folded means that the command led to events of this turn's commit.
	Folded VerdictKind = iota + 1
	// Repeat means that an earlier commit folded it: that commit's effects
	// are emitted again, then it is acked.
	Repeat
	// Nothing means that no commit follows: it is acked once a fresh read
	// shows that the state is the flow's last one.
	Nothing
	// Absent means that there is no such flow: it is counted, and acked as
	// with Nothing.
	Absent
	// Postponed means that it must be put back for a moment.
	Postponed
	// Impossible means that it can never be carried out: it is a dead letter.
	Impossible
)

// A Verdict is what became of one command.
type Verdict struct {
	Kind     VerdictKind
	Revision uint64          // of the commit that folded a Repeat; 0 when that is forgotten
	Reply    *sluicev1.Reply // for whoever waits; nil when the command wants none
	Reason   string          // of an Impossible command
	// Answer are commands to others that follow from the command itself, and are to
	// be stored before it is acked.
	Answer []*sluicev1.Command
}

// Apply decides one command. Position is where it stands in COMMANDS.
func (t *Turn) Apply(cmd *sluicev1.Command, at Position) Verdict {
	if cmd.GetFlowId() != t.s.ID {
		return Verdict{Kind: Impossible, Reason: fmt.Sprintf("command is for flow %q", cmd.GetFlowId())}
	}
	if revision, ok := t.repeat(at); ok {
		t.repeated = true
		return Verdict{Kind: Repeat, Revision: revision, Reply: t.repeatedReply(cmd)}
	}
	before := len(t.events)
	verdict := t.decide(cmd, at)
	switch {
	case verdict.Kind != 0:
	case len(t.events) == before:
		verdict.Kind = Nothing
	default:
		verdict.Kind = Folded
		cause := &sluicev1.FoldedCommand{Sequence: at.Sequence, TimeNs: at.Time, Kind: kindOf(cmd)}
		t.cause = append(t.cause, cause)
		t.size += proto.Size(cause) + framing
	}
	if verdict.Reply != nil {
		verdict.Reply.Revision = t.revision()
	}
	return verdict
}

// decide returns a verdict of kind 0 where the events say it.
func (t *Turn) decide(cmd *sluicev1.Command, at Position) Verdict {
	if subject.IsMailbox(t.s.ID) {
		return t.decideMail(cmd, at)
	}
	if start := cmd.GetStartFlow(); start != nil {
		return t.startFlow(start)
	}
	if c := cmd.GetCancelChild(); c != nil {
		return t.cancelChild(c)
	}
	if !t.s.Exists() {
		return t.absent(cmd)
	}
	switch k := cmd.GetKind().(type) {
	case *sluicev1.Command_CompleteWork:
		return t.completeWork(k.CompleteWork, at)
	case *sluicev1.Command_ReportCall:
		return t.reportCall(k.ReportCall, at)
	case *sluicev1.Command_ScriptResult:
		return t.scriptResult(k.ScriptResult, at)
	case *sluicev1.Command_MemoResult:
		return t.memoResult(k.MemoResult, at)
	case *sluicev1.Command_CancelFlow:
		return t.cancelFlow(k.CancelFlow)
	case *sluicev1.Command_Wake:
		return t.wake(k.Wake)
	case *sluicev1.Command_RetireFlow:
		return t.retireFlow(k.RetireFlow, at)
	case *sluicev1.Command_PauseFlow:
		return t.pauseFlow(k.PauseFlow)
	case *sluicev1.Command_ResumeFlow:
		return t.resumeFlow(k.ResumeFlow)
	case *sluicev1.Command_RetryFlow:
		return t.retryFlow(k.RetryFlow)
	case *sluicev1.Command_OverrideStep:
		return t.overrideStep(k.OverrideStep)
	case *sluicev1.Command_DecideApproval:
		return t.decideApproval(k.DecideApproval, at)
	case *sluicev1.Command_DeliverMessage:
		return t.deliverMessage(k.DeliverMessage, at)
	case *sluicev1.Command_ChildEnded:
		return t.childEnded(k.ChildEnded, at)
	case *sluicev1.Command_ParentHeard:
		return t.parentHeard(k.ParentHeard)
	default:
		return Verdict{Kind: Impossible, Reason: fmt.Sprintf("command of unknown kind %T", k)}
	}
}

func (t *Turn) absent(cmd *sluicev1.Command) Verdict {
	switch cmd.GetKind().(type) {
	case *sluicev1.Command_CancelFlow, *sluicev1.Command_RetireFlow, *sluicev1.Command_PauseFlow,
		*sluicev1.Command_ResumeFlow, *sluicev1.Command_RetryFlow, *sluicev1.Command_OverrideStep,
		*sluicev1.Command_DecideApproval:
		return Verdict{Kind: Absent, Reply: &sluicev1.Reply{
			Code:   sluicev1.ReplyCode_REPLY_CODE_NOT_FOUND,
			Detail: fmt.Sprintf("flow %q does not exist", cmd.GetFlowId()),
		}}
	case *sluicev1.Command_DeliverMessage:
		c := cmd.GetDeliverMessage()
		return Verdict{Kind: Absent, Answer: []*sluicev1.Command{endOfWait(c.GetMailbox(), t.s.ID, c.GetWork(), messageRef{})}}
	case nil:
		return Verdict{Kind: Impossible, Reason: "command without a kind"}
	default:
		return Verdict{Kind: Absent}
	}
}

// Commit ends the turn. It returns nil when no command led to an event. The
// commit has neither checksums nor a place yet; the state is past it already.
func (t *Turn) Commit() *sluicev1.Commit {
	if len(t.events) == 0 {
		return nil
	}
	c := &sluicev1.Commit{
		FlowId:   t.s.ID,
		Revision: t.s.Revision + 1,
		TimeNs:   t.now,
		Cause:    t.cause,
		Floor:    max(t.env.Floor, t.s.folded.floor),
		Events:   t.events,
		Values:   t.values.list,
		Snapshot: t.snapshot,
	}
	t.s.close(c)
	return c
}

// emit adds an event and applies it: what is decided next sees it.
func (t *Turn) emit(e *sluicev1.Event) {
	t.events = append(t.events, e)
	t.size += proto.Size(e) + framing
	if err := t.s.apply(e, t.values.list, t.now); err != nil {
		panic(fmt.Sprintf("flow %s decided an event that does not apply: %v", t.s.ID, err))
	}
}

// repeat looks in earlier commits and in this turn.
func (t *Turn) repeat(at Position) (uint64, bool) {
	for _, c := range t.cause {
		if c.GetSequence() == at.Sequence && c.GetTimeNs() == at.Time {
			return t.revision(), true
		}
	}
	return t.s.folded.repeat(at)
}

// repeatedReply says once more what was said when the command was folded: only
// commands that did something are.
func (t *Turn) repeatedReply(cmd *sluicev1.Command) *sluicev1.Reply {
	switch cmd.GetKind().(type) {
	case *sluicev1.Command_StartFlow, *sluicev1.Command_CancelFlow, *sluicev1.Command_RetireFlow, *sluicev1.Command_PauseFlow,
		*sluicev1.Command_ResumeFlow, *sluicev1.Command_RetryFlow, *sluicev1.Command_OverrideStep,
		*sluicev1.Command_DecideApproval, *sluicev1.Command_PostMessage:
		return &sluicev1.Reply{Code: sluicev1.ReplyCode_REPLY_CODE_OK, Revision: t.s.Revision}
	default:
		return nil
	}
}

// revision returns the revision that the flow has once the turn is committed.
func (t *Turn) revision() uint64 {
	if len(t.events) == 0 {
		return t.s.Revision
	}
	return t.s.Revision + 1
}
