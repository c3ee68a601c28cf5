package flow

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// An Ending is how a flow will end once what succeeded is compensated. The zero
// At means that no ending is decided.
type Ending struct {
	Status sluicev1.FlowStatus // unspecified where nothing had to be compensated before the end
	Reason string
	By     string // who asked for it
	At     int64  // when it was decided, in Unix nanoseconds
}

// A Compensation is where a work item is in being undone. Times are Unix
// nanoseconds.
type Compensation struct {
	Attempt    uint32 // counts the calls from 1
	RetryCount uint32
	Started    int64 // of the first call
	Completed  int64
	Deadline   int64  // when the call that is under way times out; 0 when none is
	NextRetry  int64  // when the next call is made; 0 when none is due
	Error      string // of the last call
}

// A place names a work item within its flow.
type place struct{ step, item int }

// over reports whether the flow's ending is decided: nothing starts any more but
// compensations.
func (s *State) over() bool { return s.Ending.At != 0 }

// undoes reports whether the flow ends in such a way that what succeeded is
// compensated: one that completed keeps what it has.
func (s *State) undoes() bool {
	how := s.Status
	if !s.Final() {
		how = s.Ending.Status
	}
	return how == sluicev1.FlowStatus_FLOW_STATUS_FAILED || how == sluicev1.FlowStatus_FLOW_STATUS_CANCELED
}

func (s *State) compensable(step int) bool { return s.Plan.Steps[step].Proto.GetCompensate() != "" }

// accepts reports whether outcomes of the step's open work items count though the
// flow's ending is decided: a success has to be undone then.
func (s *State) accepts(step int) bool { return s.undoes() && !s.Deactivated && s.compensable(step) }

// lot says what has become of a flow whose ending is decided.
func (s *State) lot() string {
	if s.Final() {
		return StatusName(s.Status)
	}
	return "being compensated"
}

// event is the ending that was decided.
func (e Ending) event() *sluicev1.Event {
	if e.Status == sluicev1.FlowStatus_FLOW_STATUS_CANCELED {
		return &sluicev1.Event{Kind: &sluicev1.Event_FlowCanceled{FlowCanceled: &sluicev1.FlowCanceled{
			Reason: e.Reason, By: e.By,
		}}}
	}
	return &sluicev1.Event{Kind: &sluicev1.Event_FlowFailed{FlowFailed: &sluicev1.FlowFailed{Error: e.Reason}}}
}

// succeeded remembers a success that can be compensated.
func (s *State) succeeded(i, j int) {
	if s.compensable(i) {
		s.successes++
		s.Steps[i].Items[j].order = s.successes
		s.undone = append(s.undone, place{i, j})
	}
}

// lastSuccess returns the last success that can be compensated and is not yet.
func (s *State) lastSuccess() (step, item int, ok bool) {
	for n := len(s.undone); n > 0; n-- {
		p := s.undone[n-1]
		if s.Steps[p.step].Items[p.item].Status == sluicev1.WorkStatus_WORK_STATUS_SUCCEEDED {
			return p.step, p.item, true
		}
		s.undone = s.undone[:n-1]
	}
	return 0, 0, false
}

// restoreSuccesses makes what a restored state's work items say of the order in
// which they succeeded.
func (s *State) restoreSuccesses() {
	for i := range s.Steps {
		for j := range s.Steps[i].Items {
			it := &s.Steps[i].Items[j]
			s.successes = max(s.successes, it.order)
			switch {
			case it.Status == sluicev1.WorkStatus_WORK_STATUS_COMPENSATING:
				s.compensating = true
			case it.Status == sluicev1.WorkStatus_WORK_STATUS_SUCCEEDED && it.order > 0:
				s.undone = append(s.undone, place{i, j})
			}
		}
	}
	slices.SortFunc(s.undone, func(a, b place) int {
		return cmp.Compare(s.Steps[a.step].Items[a.item].order, s.Steps[b.step].Items[b.item].order)
	})
}

// lateDue is due for a flow whose ending is decided: a call that undoes a success
// has its deadline or its retry, and a worker whose success would have to be
// undone is waited for until its attempt is over.
func (s *State) lateDue(i, j int) int64 {
	switch it := &s.Steps[i].Items[j]; {
	case it.Status == sluicev1.WorkStatus_WORK_STATUS_COMPENSATING:
		return cmp.Or(it.Compensation.NextRetry, it.Compensation.Deadline)
	case !it.underway() || !s.accepts(i):
		return 0
	default:
		at := cmp.Or(it.Deadline, s.Ending.At+s.patience(i))
		if until := s.until(i, it.Started); until != 0 {
			at = min(at, until)
		}
		return at
	}
}

// patience is how long an attempt of the step may take, in nanoseconds.
func (s *State) patience(i int) int64 {
	timeout := s.Plan.Steps[i].Proto.GetWork().GetTimeoutMs()
	if timeout <= 0 {
		timeout = lastResort
	}
	return saturating(timeout, millisecond)
}

// inputsOf are the inputs that a work item is called with. Nobody may change them.
func (s *State) inputsOf(i, j int) map[string]json.RawMessage {
	shared, own := s.Steps[i].Inputs, s.Steps[i].Items[j].Inputs
	if len(own) == 0 {
		return shared
	}
	inputs := make(map[string]json.RawMessage, len(shared)+len(own))
	maps.Copy(inputs, shared)
	maps.Copy(inputs, own)
	return inputs
}

// applyCompensation applies the events of work items that are being undone. It
// reports false for others.
func (s *State) applyCompensation(i, j int, e *sluicev1.Event, at int64) (mine bool, err error) {
	switch k := e.GetKind().(type) {
	case *sluicev1.Event_WorkCompensating:
		return true, s.applyCompensating(place{i, j}, e, at)
	case *sluicev1.Event_WorkCompensated:
		return true, s.applyCompensated(i, j, sluicev1.WorkStatus_WORK_STATUS_COMPENSATED, "", at)
	case *sluicev1.Event_CompensationFailed:
		return true, s.applyCompensated(i, j, sluicev1.WorkStatus_WORK_STATUS_COMPENSATION_FAILED, k.CompensationFailed.GetError(), at)
	}
	it := &s.Steps[i].Items[j]
	if it.Status != sluicev1.WorkStatus_WORK_STATUS_COMPENSATING {
		return false, nil
	}
	switch k := e.GetKind().(type) {
	case *sluicev1.Event_WorkNotCompleted:
		it.Compensation.Error, it.Compensation.Deadline = k.WorkNotCompleted.GetError(), 0
	case *sluicev1.Event_WorkTimedOut:
		it.Compensation.Error, it.Compensation.Deadline = "no answer in time", 0
	case *sluicev1.Event_RetryScheduled:
		it.Compensation.NextRetry, it.Compensation.RetryCount = k.RetryScheduled.GetNextRetryAtNs(), k.RetryScheduled.GetRetryCount()
		s.arm(i, j)
	default:
		return false, nil
	}
	return true, nil
}

func (s *State) applyCompensating(p place, e *sluicev1.Event, at int64) error {
	it, how := &s.Steps[p.step].Items[p.item], e.GetWorkCompensating()
	decides := how.GetEnding() != sluicev1.FlowStatus_FLOW_STATUS_UNSPECIFIED
	if decides == s.over() {
		return fmt.Errorf("%w: work_compensating that ends the flow as %s", ErrMalformed, StatusName(how.GetEnding()))
	}
	i, j, some := s.lastSuccess()
	switch {
	case it.Status == sluicev1.WorkStatus_WORK_STATUS_COMPENSATING && it.Compensation.NextRetry != 0:
	case some && p == place{i, j} && !s.compensating:
		s.undone = s.undone[:len(s.undone)-1]
		it.Status, it.Compensation = sluicev1.WorkStatus_WORK_STATUS_COMPENSATING, &Compensation{Started: at}
		s.compensating = true
	default:
		return fmt.Errorf("%w: work_compensating of a work item that is %s", ErrMalformed, WorkStatusName(it.Status))
	}
	it.Compensation.Attempt = e.GetAttempt()
	it.Compensation.Deadline, it.Compensation.NextRetry = how.GetDeadlineNs(), 0
	if !decides {
		s.arm(p.step, p.item)
		return nil
	}
	s.Ending = Ending{Status: how.GetEnding(), Reason: how.GetReason(), By: how.GetBy(), At: at}
	s.Status = sluicev1.FlowStatus_FLOW_STATUS_ACTIVE // no pause holds up what ends the flow
	if !s.undoes() {
		return fmt.Errorf("%w: work_compensating in a flow that ends as %s", ErrMalformed, StatusName(how.GetEnding()))
	}
	s.rebuildDeadlines()
	return nil
}

func (s *State) applyCompensated(i, j int, status sluicev1.WorkStatus, reason string, at int64) error {
	it := &s.Steps[i].Items[j]
	if it.Status != sluicev1.WorkStatus_WORK_STATUS_COMPENSATING {
		return fmt.Errorf("%w: the end of a compensation of a work item that is %s", ErrMalformed, WorkStatusName(it.Status))
	}
	s.compensating = false
	it.Status, it.Compensation.Completed, it.Compensation.Error = status, at, reason
	it.Compensation.Deadline, it.Compensation.NextRetry = 0, 0
	return nil
}

// compensationCall returns the call that work_compensating asks for, unless it is
// over by now. Its answer is all that there is to it, whatever the step's type.
func (s *State) compensationCall(e *sluicev1.Event) *sluicev1.Invocation {
	i, it := s.item(e.GetStepId(), e.GetItem())
	if it == nil || it.Status != sluicev1.WorkStatus_WORK_STATUS_COMPENSATING || it.Generation != e.GetGeneration() ||
		it.Compensation.Attempt != e.GetAttempt() || it.Compensation.NextRetry != 0 {
		return nil
	}
	inv := s.call(i, int(e.GetItem()))
	inv.Type, inv.Endpoint, inv.Compensate = sluicev1.StepType_STEP_TYPE_SYNC, s.Plan.Steps[i].Proto.GetCompensate(), true
	inv.Work.Attempt, inv.DeadlineNs = it.Compensation.Attempt, it.Compensation.Deadline
	inv.Outputs = bytesOf(it.Outputs)
	return inv
}

func bytesOf(values map[string]json.RawMessage) map[string][]byte {
	out := make(map[string][]byte, len(values))
	for name, value := range values {
		out[name] = value
	}
	return out
}

func snapshotEnding(e Ending) *sluicev1.EndingState {
	if e.At == 0 {
		return nil
	}
	return &sluicev1.EndingState{Status: e.Status, Reason: e.Reason, By: e.By, DecidedNs: e.At}
}

// restoreEnding also knows the end of a flow that a release without compensation
// stored.
func (s *State) restoreEnding(e *sluicev1.EndingState) {
	s.Ending = Ending{Status: e.GetStatus(), Reason: e.GetReason(), By: e.GetBy(), At: e.GetDecidedNs()}
	if s.Final() && s.Ending.At == 0 {
		s.Ending.At = s.Completed
	}
}

func snapshotCompensation(c *Compensation) *sluicev1.CompensationState {
	if c == nil {
		return nil
	}
	return &sluicev1.CompensationState{
		Attempt: c.Attempt, RetryCount: c.RetryCount, StartedNs: c.Started, CompletedNs: c.Completed,
		DeadlineNs: c.Deadline, NextRetryNs: c.NextRetry, Error: c.Error,
	}
}

func restoreCompensation(c *sluicev1.CompensationState) *Compensation {
	if c == nil {
		return nil
	}
	return &Compensation{
		Attempt: c.GetAttempt(), RetryCount: c.GetRetryCount(), Started: c.GetStartedNs(), Completed: c.GetCompletedNs(),
		Deadline: c.GetDeadlineNs(), NextRetry: c.GetNextRetryNs(), Error: c.GetError(),
	}
}
