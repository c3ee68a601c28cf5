package verify

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/verify/check"
)

// suspectsKept is how many messages wait for a second look at once.
const suspectsKept = 1000

// suspect is a message that seems wrong, and how to look again.
type suspect struct {
	stream   string
	sequence uint64
	look     func(ctx context.Context) (*check.Finding, error)
}

// messages reads a work queue in order and looks at each message, whatever its
// subject; what a look finds is looked at again, once whoever works on it had the
// time.
func (w *walk) messages(
	ctx context.Context, stream string, count *int, look func(ctx context.Context, m *bus.Stored) (*check.Finding, error),
) error {
	state, err := w.state(ctx, stream)
	if err != nil {
		return err
	}
	r := &reader{bus: w.Bus, stream: stream, filter: anything, from: 1, last: state.Last, singly: true}
	read := uint64(0)
	for {
		page, err := r.next(ctx)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, m := range page {
			read++
			*count++
			if err := w.lookAt(ctx, suspect{stream, m.Sequence, func(ctx context.Context) (*check.Finding, error) {
				return look(ctx, m)
			}}, state.Last); err != nil {
				return err
			}
		}
	}
	if read < state.Messages {
		return w.lookForUnreadable(ctx, &reader{bus: w.Bus, stream: stream, filter: anything, singly: true})
	}
	return nil
}

// lookAt looks at a message of a stream that ends with the sequence last.
func (w *walk) lookAt(ctx context.Context, s suspect, last uint64) error {
	found, err := s.look(ctx)
	if err != nil || found == nil {
		return err
	}
	w.progress(Progress{Stream: s.stream, Pass: 1, Passes: 1, Sequence: s.sequence, Last: last})
	w.suspects = append(w.suspects, s)
	if len(w.suspects) < suspectsKept {
		return nil
	}
	return w.lookAgain(ctx)
}

// lookAgain reports the suspects that are still there and still wrong.
func (w *walk) lookAgain(ctx context.Context) error {
	if len(w.suspects) == 0 {
		return nil
	}
	if err := wait(ctx, w.Settle); err != nil {
		return err
	}
	for _, s := range w.suspects {
		m, err := w.Bus.Next(ctx, s.stream, anything, s.sequence)
		if err != nil {
			return err //nolint:wrapcheck // it says all
		}
		if m == nil || m.Sequence != s.sequence {
			continue // done with
		}
		found, err := s.look(ctx)
		if err == nil && found != nil {
			err = w.report(*found)
		}
		if err != nil {
			return err
		}
	}
	w.suspects = nil
	return nil
}

// flow loads a flow. It is nil where its history is damaged, which is reported
// elsewhere, and does not exist where there is no such flow.
func (w *walk) flow(ctx context.Context, flowID string) (*flow.State, error) {
	loaded, err := w.journal.Load(ctx, flowID)
	switch {
	case errors.Is(err, journal.ErrBroken):
		return nil, nil //nolint:nilnil // reported elsewhere
	case err != nil:
		return nil, err //nolint:wrapcheck // it says all
	case loaded.Broken != "":
		return nil, nil //nolint:nilnil // reported elsewhere
	}
	return loaded.State, nil
}

func (w *walk) lookAtInvocations(ctx context.Context) error {
	for k := range w.Bus.Config.Shards {
		stream := w.Bus.Invocations(k)
		err := w.messages(ctx, stream, &w.summary.Invocations,
			func(ctx context.Context, m *bus.Stored) (*check.Finding, error) { return w.invocation(ctx, stream, m) })
		if err != nil {
			return err
		}
	}
	return nil
}

// invocation looks for the attempt that a call is for.
func (w *walk) invocation(ctx context.Context, stream string, m *bus.Stored) (*check.Finding, error) {
	_, _, flowID, err := w.Bus.Space.ParseInvoke(m.Subject)
	inv := &sluicev1.Invocation{}
	if err == nil {
		err = proto.Unmarshal(m.Data, inv)
	}
	work := inv.GetWork()
	f := &check.Finding{Stream: stream, Sequence: m.Sequence, FlowID: flowID, StepID: work.GetStepId(), Item: work.GetItem()}
	if err != nil || inv.GetFlowId() != flowID {
		f.Kind, f.Detail = check.Misplaced, "what stands there is no invocation of the flow that its subject names"
		return f, nil //nolint:nilerr // it is the finding
	}
	s, err := w.flow(ctx, flowID)
	switch {
	case err != nil || s == nil:
		return nil, err
	case inv.GetCallback() != nil && (!s.Exists() || s.Run != work.GetRun()):
		return nil, nil //nolint:nilnil // it may be tried for longer than its flow's history is kept
	case inv.GetCallback().GetRevision() > s.Revision:
		f.Kind = check.LostTail
		f.Detail = fmt.Sprintf("a callback for revision %d, and the flow's history ends with revision %d", inv.GetCallback().GetRevision(), s.Revision)
	case !s.Exists():
		f.Kind, f.Detail = check.Orphan, "a call for a flow that does not exist"
	case s.Run != work.GetRun():
		f.Kind, f.Detail = check.Orphan, "a call for an earlier flow with this id"
	case attempts(s, work) < work.GetAttempt():
		f.Kind = check.LostTail
		f.Detail = fmt.Sprintf("a call for attempt %d, and the flow's history ends with attempt %d", work.GetAttempt(), attempts(s, work))
	default:
		return nil, nil //nolint:nilnil // no finding is no failure
	}
	return f, nil
}

// attempts is how many attempts of a work item the history has.
func attempts(s *flow.State, work *sluicev1.WorkRef) uint32 {
	i, ok := s.Plan.Index[work.GetStepId()]
	if !ok || int(work.GetItem()) >= len(s.Steps[i].Items) {
		return 0
	}
	return s.Steps[i].Items[work.GetItem()].Attempt
}

func (w *walk) lookAtTimers(ctx context.Context) error {
	for k := range w.Bus.Config.Shards {
		stream := w.Bus.Timers(k)
		err := w.messages(ctx, stream, &w.summary.Timers,
			func(ctx context.Context, m *bus.Stored) (*check.Finding, error) { return w.timer(ctx, stream, m) })
		if err != nil {
			return err
		}
	}
	return nil
}

// timer looks for the flow that a schedule, or what it became, is to wake.
func (w *walk) timer(ctx context.Context, stream string, m *bus.Stored) (*check.Finding, error) {
	flowID, err := w.Bus.Space.ParseTimed(m.Subject)
	f := &check.Finding{Kind: check.Misplaced, Stream: stream, Sequence: m.Sequence, FlowID: flowID}
	if err == nil {
		_, err = commandOf(m, flowID)
	}
	if err != nil {
		f.Detail = err.Error()
		return f, nil //nolint:nilerr // it is the finding
	}
	s, err := w.flow(ctx, flowID)
	if err != nil || s == nil {
		return nil, err
	}
	said, _ := strconv.ParseUint(m.Header.Get(bus.HeaderRevision), 10, 64) // 0 for one without
	switch {
	case !s.Exists():
		f.Kind, f.Detail = check.Orphan, "a timer of a flow that does not exist"
	case said > s.Revision && !s.Final():
		f.Kind = check.LostTail
		f.Detail = fmt.Sprintf("a timer of revision %d, and the flow's history ends with revision %d", said, s.Revision)
	default:
		return nil, nil //nolint:nilnil // no finding is no failure
	}
	return f, nil
}

// commandOf returns an error unless a message is a command for the flow that its
// subject names.
func commandOf(m *bus.Stored, flowID string) (*sluicev1.Command, error) {
	cmd := &sluicev1.Command{}
	if err := proto.Unmarshal(m.Data, cmd); err != nil {
		return nil, fmt.Errorf("what stands there is no command: %w", err)
	}
	if cmd.GetFlowId() != flowID {
		return nil, fmt.Errorf("a command for flow %q on the subject of %q", cmd.GetFlowId(), flowID)
	}
	return cmd, nil
}

func (w *walk) lookAtCommands(ctx context.Context) error {
	for k := range w.Bus.Config.Shards {
		stream := w.Bus.Commands(k)
		err := w.messages(ctx, stream, &w.summary.Commands,
			func(ctx context.Context, m *bus.Stored) (*check.Finding, error) { return w.command(ctx, stream, m) })
		if err != nil {
			return err
		}
	}
	return nil
}

// command looks for the flow that a command is for, and for the attempt. A flow
// that waits to be started is not there yet.
func (w *walk) command(ctx context.Context, stream string, m *bus.Stored) (*check.Finding, error) {
	src, partition, flowID, err := w.Bus.Space.ParseCommand(m.Subject)
	var cmd *sluicev1.Command
	if err == nil {
		cmd, err = commandOf(m, flowID)
	}
	f := &check.Finding{Stream: stream, Sequence: m.Sequence, FlowID: flowID}
	if err != nil {
		f.Kind, f.Detail = check.Misplaced, err.Error()
		return f, nil //nolint:nilerr // it is the finding
	}
	if src == subject.SourceAPI {
		return nil, nil //nolint:nilnil // people may ask for what does not exist
	}
	s, err := w.flow(ctx, flowID)
	if err != nil || s == nil {
		return nil, err
	}
	switch {
	case s.Exists():
		return unknownAttempt(f, s, cmd), nil
	case makesFlow(cmd), answersNobody(cmd):
		return nil, nil //nolint:nilnil // no finding is no failure
	}
	asked, err := w.Bus.Last(ctx, stream, w.Bus.Space.Command(subject.SourceAPI, partition, flowID))
	if err != nil || asked != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	f.Kind, f.Detail = check.Orphan, "a command of source "+string(src)+" for a flow that does not exist"
	return f, nil
}

// makesFlow reports whether the flow of a command need not be there yet.
func makesFlow(cmd *sluicev1.Command) bool {
	return cmd.GetStartFlow() != nil || cmd.GetCancelChild() != nil || subject.IsMailbox(cmd.GetFlowId())
}

// answersNobody reports whether the flow of a command may be gone already: flows
// and mailboxes tell each other more than once, until they are answered.
func answersNobody(cmd *sluicev1.Command) bool {
	return cmd.GetChildEnded() != nil || cmd.GetParentHeard() != nil || cmd.GetDeliverMessage() != nil
}

// unknownAttempt returns the finding that a command tells of an attempt which its
// flow does not have, or nil.
func unknownAttempt(f *check.Finding, s *flow.State, cmd *sluicev1.Command) *check.Finding {
	work := cmd.GetCompleteWork().GetWork()
	if report := cmd.GetReportCall(); report != nil {
		work = report.GetWork()
	}
	if work == nil || work.GetRun() != s.Run || work.GetAttempt() <= attempts(s, work) {
		return nil
	}
	f.Kind, f.StepID, f.Item = check.LostTail, work.GetStepId(), work.GetItem()
	f.Detail = fmt.Sprintf("an outcome of attempt %d, and the flow's history ends with attempt %d", work.GetAttempt(), attempts(s, work))
	return f
}
