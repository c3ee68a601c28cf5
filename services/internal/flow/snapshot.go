package flow

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// snapshotEvery is how many commits a load of a small flow has to replay at most.
const snapshotEvery = 64

// snapshotDue reports whether the next commit carries a snapshot. There are as
// many events between two of them as the state has parts, so that a command costs
// the same in a flow of ten thousand work items as in a small one.
func (s *State) snapshotDue() bool {
	if s.commitsSinceSnapshot < snapshotEvery {
		return false
	}
	size := len(s.Attributes)
	for i := range s.Steps {
		size += 1 + len(s.Steps[i].Items)
	}
	if s.mail != nil {
		size += len(s.mail.waiters) + len(s.mail.messages)
	}
	return s.eventsSinceSnapshot >= size
}

// takeSnapshot puts the state into the turn's commit, unless it is too large for
// that: then a load goes on to begin where it does now, and the next try comes
// when it would after a snapshot.
func (t *Turn) takeSnapshot() {
	snap := t.s.Snapshot()
	size := proto.Size(snap) + framing
	if size > t.env.CommitBytes/3 {
		t.s.commitsSinceSnapshot, t.s.eventsSinceSnapshot = 0, 0
		return
	}
	t.snapshot = snap
	t.size += size
}

// Snapshot returns the state as a message that shares nothing with it but JSON
// values, which nobody changes.
func (s *State) Snapshot() *sluicev1.Snapshot {
	var values valueTable
	snap := &sluicev1.Snapshot{
		Revision:      s.Revision,
		Status:        s.Status,
		Run:           s.Run,
		CreatedNs:     s.Created,
		CompletedNs:   s.Completed,
		UpdatedNs:     s.Updated,
		DeadlineNs:    s.Deadline,
		ReopenedNs:    s.Reopened,
		StartAtNs:     s.StartAt,
		BegunNs:       s.Begun,
		Plan:          s.planBytes,
		Labels:        s.Labels,
		Error:         s.Error,
		RequestDigest: s.RequestDigest,
		ParentFlowId:  s.ParentFlow,
		ParentStepId:  s.ParentStep,
		Parent:        s.Parent,
		ParentTold:    s.Told,
		CallbackUrl:   s.CallbackURL, CallbackSecret: s.CallbackSecret,
		Deactivated:   s.Deactivated,
		Retired:       s.Retired,
		EndedRevision: s.EndedRevision,
		Floor:         s.folded.floor,
		FloorTimeNs:   s.folded.floorTime,
	}
	for _, name := range slices.Sorted(maps.Keys(s.Attributes)) {
		attribute := s.Attributes[name]
		snap.Attributes = append(snap.Attributes, &sluicev1.AttributeState{
			Name: name, Value: values.ref(attribute.Value), StepId: attribute.Step,
		})
	}
	for i := range s.Steps {
		snap.Steps = append(snap.Steps, snapshotStep(&s.Steps[i], &values))
	}
	for _, c := range s.folded.commands {
		snap.Folded = append(snap.Folded, &sluicev1.FoldedCommand{
			Sequence: c.Sequence, TimeNs: c.Time, Kind: c.kind, Revision: c.revision,
		})
	}
	snap.Ending = snapshotEnding(s.Ending)
	snap.Strays = snapshotStrays(s.strays)
	snap.Mailbox = s.mail.snapshot(&values)
	snap.Values = values.list
	return snap
}

func snapshotStep(st *Step, values *valueTable) *sluicev1.StepState {
	out := &sluicev1.StepState{
		Status:      st.Status,
		StartedNs:   st.Started,
		CompletedNs: st.Completed,
		Inputs:      values.refs(st.Inputs),
		Outputs:     values.refs(st.Outputs),
		Error:       st.Error,
		Unsatisfied: st.Unsatisfied,
		Questions:   st.questions,
		Asked:       st.asked,
		Held:        st.held,
	}
	for j := range st.Items {
		it := &st.Items[j]
		out.Items = append(out.Items, &sluicev1.WorkState{
			Status:      it.Status,
			Token:       it.Token,
			Attempt:     it.Attempt,
			Generation:  it.Generation,
			RetryCount:  it.RetryCount,
			StartedNs:   it.Started,
			CompletedNs: it.Completed,
			DeadlineNs:  it.Deadline,
			NextRetryNs: it.NextRetry,

			HeartbeatDeadlineNs: it.Heartbeat,
			WaitUntilNs:         it.Until,
			Approvals:           snapshotApprovals(it.Approvals),
			Mailbox:             it.mailbox,
			KeyedAttempt:        it.keyed,
			MessageRun:          it.took.run,
			MessageNumber:       it.took.number,

			Inputs:       values.refs(it.Inputs),
			Outputs:      values.refs(it.Outputs),
			Error:        it.Error,
			Digest:       it.digest,
			Ignored:      snapshotSeen(it.ignored),
			NotCompleted: snapshotSeen(it.notCompleted),
			SuccessOrder: it.order,
			Compensation: snapshotCompensation(it.Compensation),
		})
	}
	return out
}

func snapshotSeen(list []seen) []*sluicev1.IgnoredCompletion {
	var out []*sluicev1.IgnoredCompletion
	for _, c := range list {
		out = append(out, &sluicev1.IgnoredCompletion{Digest: []byte(c.digest), Attempt: c.attempt, Generation: c.generation, Dead: c.dead})
	}
	return out
}

// Restore makes the state that a snapshot was taken of. It returns
// [ErrMalformed] when the snapshot makes no sense.
func Restore(id string, snap *sluicev1.Snapshot, plans Plans) (*State, error) {
	s := New(id, plans)
	if subject.IsMailbox(id) {
		return s, s.restoreMailbox(snap)
	}
	p, err := plans(snap.GetPlan())
	if err != nil {
		return nil, fmt.Errorf("%w: plan of a snapshot: %w", ErrMalformed, err)
	}
	if len(p.Steps) != len(snap.GetSteps()) {
		return nil, fmt.Errorf("%w: snapshot of %d steps for a plan of %d", ErrMalformed, len(snap.GetSteps()), len(p.Steps))
	}
	s.planBytes, s.Plan = snap.GetPlan(), p
	s.restoreFlow(snap)
	if err := s.restoreAttributes(snap); err != nil {
		return nil, err
	}
	s.Steps = make([]Step, len(p.Steps))
	for i, st := range snap.GetSteps() {
		if err := s.Steps[i].restore(&p.Steps[i], st, snap.GetValues()); err != nil {
			return nil, fmt.Errorf("%w: snapshot of step %q: %w", ErrMalformed, p.Steps[i].ID, err)
		}
	}
	s.restoreSuccesses()
	s.rebuildDeadlines()
	return s, nil
}

func (s *State) restoreFlow(snap *sluicev1.Snapshot) {
	s.Revision = snap.GetRevision()
	s.Status = snap.GetStatus()
	s.Run = snap.GetRun()
	s.Created, s.Completed, s.Updated = snap.GetCreatedNs(), snap.GetCompletedNs(), snap.GetUpdatedNs()
	s.Deadline, s.Reopened = snap.GetDeadlineNs(), snap.GetReopenedNs()
	s.StartAt, s.Begun = snap.GetStartAtNs(), snap.GetBegunNs()
	s.Labels = snap.GetLabels()
	s.Error = snap.GetError()
	s.RequestDigest = snap.GetRequestDigest()
	s.ParentFlow, s.ParentStep = snap.GetParentFlowId(), snap.GetParentStepId()
	s.Parent, s.Told = snap.GetParent(), snap.GetParentTold()
	s.CallbackURL, s.CallbackSecret = snap.GetCallbackUrl(), snap.GetCallbackSecret()
	s.Deactivated, s.Retired = snap.GetDeactivated(), snap.GetRetired()
	s.EndedRevision = snap.GetEndedRevision()
	s.restoreEnding(snap.GetEnding())
	s.strays = restoreStrays(snap.GetStrays())
	s.folded.floor, s.folded.floorTime = snap.GetFloor(), snap.GetFloorTimeNs()
	for _, c := range snap.GetFolded() {
		s.folded.add(foldedCommand{
			Position: Position{Sequence: c.GetSequence(), Time: c.GetTimeNs()},
			revision: c.GetRevision(),
			kind:     c.GetKind(),
		})
	}
}

func (s *State) restoreAttributes(snap *sluicev1.Snapshot) error {
	s.Attributes = make(map[string]Attribute, len(snap.GetAttributes()))
	for _, a := range snap.GetAttributes() {
		value, err := resolve(snap.GetValues(), a.GetValue())
		if err != nil {
			return fmt.Errorf("%w: snapshot of attribute %q: %w", ErrMalformed, a.GetName(), err)
		}
		s.Attributes[a.GetName()] = Attribute{Value: value, Step: a.GetStepId()}
	}
	return nil
}

func (st *Step) restore(def *plan.Step, snap *sluicev1.StepState, values [][]byte) error {
	var err error
	st.Status = snap.GetStatus()
	st.Started, st.Completed = snap.GetStartedNs(), snap.GetCompletedNs()
	st.Error, st.Unsatisfied = snap.GetError(), snap.GetUnsatisfied()
	st.questions, st.asked, st.held = snap.GetQuestions(), snap.GetAsked(), snap.GetHeld()
	if st.Inputs, err = resolveAll(values, snap.GetInputs()); err != nil {
		return err
	}
	if st.Outputs, err = resolveAll(values, snap.GetOutputs()); err != nil {
		return err
	}
	if st.Status != sluicev1.StepStatus_STEP_STATUS_PENDING && st.Started != 0 {
		st.Items = make([]Item, len(snap.GetItems()))
	}
	for j, it := range snap.GetItems() {
		if j >= len(st.Items) {
			return fmt.Errorf("%d work items of a step that has not started", len(snap.GetItems()))
		}
		if err := st.Items[j].restore(it, values); err != nil {
			return fmt.Errorf("work item %d: %w", j, err)
		}
		st.count(j)
	}
	if st.fresh == 0 {
		return nil
	}
	if st.lists, err = listsOf(def, st.Inputs); err != nil {
		return err
	}
	if n := count(st.lists); n != int64(len(st.Items)) {
		return fmt.Errorf("%d work items, and the inputs give %d", len(st.Items), n)
	}
	return nil
}

// count takes a restored work item into the step's counters.
func (st *Step) count(j int) {
	if it := &st.Items[j]; it.Attempt == 0 && !it.final() {
		st.fresh++
	}
	switch it := &st.Items[j]; it.Status {
	case sluicev1.WorkStatus_WORK_STATUS_UNSPECIFIED, sluicev1.WorkStatus_WORK_STATUS_PENDING:
		return
	case sluicev1.WorkStatus_WORK_STATUS_ACTIVE, sluicev1.WorkStatus_WORK_STATUS_NOT_COMPLETED:
		st.active++
	case sluicev1.WorkStatus_WORK_STATUS_FAILED:
		st.failed++
		st.ended++
	case sluicev1.WorkStatus_WORK_STATUS_SUCCEEDED, sluicev1.WorkStatus_WORK_STATUS_COMPENSATING,
		sluicev1.WorkStatus_WORK_STATUS_COMPENSATED, sluicev1.WorkStatus_WORK_STATUS_COMPENSATION_FAILED:
		st.ended++
	}
}

func (it *Item) restore(snap *sluicev1.WorkState, values [][]byte) error {
	*it = Item{
		Status:       snap.GetStatus(),
		Token:        snap.GetToken(),
		Attempt:      snap.GetAttempt(),
		Generation:   snap.GetGeneration(),
		RetryCount:   snap.GetRetryCount(),
		Started:      snap.GetStartedNs(),
		Completed:    snap.GetCompletedNs(),
		Deadline:     snap.GetDeadlineNs(),
		NextRetry:    snap.GetNextRetryNs(),
		Heartbeat:    snap.GetHeartbeatDeadlineNs(),
		Until:        snap.GetWaitUntilNs(),
		Approvals:    restoreApprovals(snap.GetApprovals()),
		mailbox:      snap.GetMailbox(),
		keyed:        snap.GetKeyedAttempt(),
		took:         messageRef{snap.GetMessageRun(), snap.GetMessageNumber()},
		Error:        snap.GetError(),
		digest:       snap.GetDigest(),
		ignored:      restoreSeen(snap.GetIgnored()),
		notCompleted: restoreSeen(snap.GetNotCompleted()),
		order:        snap.GetSuccessOrder(),
		Compensation: restoreCompensation(snap.GetCompensation()),
	}
	if it.Status == sluicev1.WorkStatus_WORK_STATUS_COMPENSATING && it.Compensation == nil {
		return errors.New("it is being compensated and does not say how")
	}
	var err error
	if it.Inputs, err = resolveAll(values, snap.GetInputs()); err != nil {
		return fmt.Errorf("inputs: %w", err)
	}
	if it.Outputs, err = resolveAll(values, snap.GetOutputs()); err != nil {
		return fmt.Errorf("outputs: %w", err)
	}
	return nil
}

func restoreSeen(list []*sluicev1.IgnoredCompletion) []seen {
	var out []seen
	for _, c := range list {
		out = append(out, seen{digest: string(c.GetDigest()), attempt: c.GetAttempt(), generation: c.GetGeneration(), dead: c.GetDead()})
	}
	return out
}
