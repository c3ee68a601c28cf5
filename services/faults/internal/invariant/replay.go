package invariant

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// replay is invariant 6: the events, folded here, give what the API shows.
func (c *check) replay(id string, h History) {
	if len(h.Events) == 0 {
		c.broken(Replayed, id, "it has a state (%s) and no events", h.State.Status)
		return
	}
	f := fold{
		state: client.FlowState{ID: id, Executions: map[string]client.Execution{}}, anyError: map[string]bool{}, steps: c.Book.Steps,
	}
	for step := range h.State.Plan.Steps {
		f.state.Executions[step] = client.Execution{Status: client.Pending, WorkItems: map[string]client.WorkItem{}}
	}
	var revision uint64
	for i, e := range h.Events {
		if e.Revision != revision && e.Revision != revision+1 {
			c.broken(Replayed, id, "event %d has revision %d after %d", i, e.Revision, revision)
		}
		if e.Time.Before(f.state.LastUpdated) {
			c.broken(Replayed, id, "event %d (%s) is older than the one before it", i, e.Type)
		}
		revision, f.state.LastUpdated = e.Revision, e.Time
		if e.FlowID != id {
			c.broken(Replayed, id, "event %d is of flow %q", i, e.FlowID)
		}
		if err := f.apply(e); err != nil {
			c.broken(Replayed, id, "event %d: %v", i, err)
			return
		}
	}
	shown := f.comparable(h.State)
	if at, ok := difference("", tree(f.state), tree(shown)); !ok {
		c.broken(Replayed, id, "the history gives another state than the API shows: %s", at)
	}
}

// fold makes a state of events, knowing no more than the contract.
type fold struct {
	state client.FlowState
	// anyError are the work items whose error the engine words itself.
	anyError map[string]bool
	// steps are what the load knows of them.
	steps map[string]ledger.Step
}

func (f *fold) apply(e event.Event) error {
	s := &f.state
	switch e.Type { //nolint:exhaustive // the others are asked about elsewhere, or unknown
	case event.FlowStarted:
		s.Status, s.CreatedAt, s.Labels = client.Active, e.Time, e.Labels
		s.ParentFlowID, s.ParentStepID, s.StartAt = e.ParentFlowID, e.ParentStepID, e.StartAt
		s.Attributes = map[string]client.Attribute{}
		for name, value := range e.Init {
			s.Attributes[name] = client.Attribute{Value: value}
		}
	case event.FlowCompleted:
		f.end(client.Completed, e.Time, "")
	case event.FlowFailed:
		f.end(client.Failed, e.Time, e.Error)
	case event.FlowCanceled:
		f.end(client.Canceled, e.Time, e.Reason)
	case event.FlowPaused:
		s.Status = client.Paused
	case event.FlowResumed:
		f.resumed()
	case event.AttributeSet:
		if _, twice := s.Attributes[e.Key]; twice {
			return fmt.Errorf("attribute %q is set twice", e.Key)
		}
		s.Attributes[e.Key] = client.Attribute{Value: e.Value, Step: e.StepID}
	case event.FlowBegun:
		s.BegunAt = e.Time
	case event.FlowDeactivated, event.FlowRetired, event.ParentTold:
	default:
		return f.step(e)
	}
	return nil
}

func (f *fold) end(status client.Status, at time.Time, reason string) {
	f.state.Status, f.state.CompletedAt, f.state.Error, f.state.Ending = status, at, reason, nil
}

func (f *fold) step(e event.Event) error {
	x, ok := f.state.Executions[e.StepID]
	if !ok {
		return fmt.Errorf("%s of step %q, which is not in the plan", e.Type, e.StepID)
	}
	if e.Item != "" {
		it, ok := x.WorkItems[e.Item]
		if !ok {
			return fmt.Errorf("%s of work item %s of step %q, which does not exist", e.Type, e.Item, e.StepID)
		}
		err := f.work(&it, e)
		x.WorkItems[e.Item] = it
		return err
	}
	switch e.Type { //nolint:exhaustive // the others are asked about elsewhere, or unknown
	case event.StepStarted:
		x.Status, x.StartedAt, x.Inputs = client.Active, e.Time, e.Inputs
		for i := range e.WorkItems {
			it := client.WorkItem{Status: client.Pending}
			if f.steps[e.StepID].Each == "" {
				it.Inputs = e.Inputs
			}
			it.Approval = asked(f.steps[e.StepID])
			x.WorkItems[strconv.FormatUint(uint64(i), 10)] = it
		}
	case event.PredicateAsked:
		x.Inputs = e.Inputs
	case event.PredicateHeld:
	case event.StepOverridden:
		f.overridden(e)
		return nil
	case event.StepCompleted:
		x.Status, x.CompletedAt, x.Outputs = client.Completed, e.Time, e.Outputs
	case event.StepFailed:
		x.Status, x.CompletedAt, x.Error, x.Unsatisfied = client.Failed, e.Time, e.Error, e.Unsatisfied
	case event.StepSkipped:
		x.Status, x.CompletedAt, x.Error, x.Unsatisfied = client.Skipped, e.Time, e.Reason, e.Unsatisfied
	default:
		return fmt.Errorf("%s is no event of a step", e.Type)
	}
	f.state.Executions[e.StepID] = x
	return nil
}

func (f *fold) work(it *client.WorkItem, e event.Event) error {
	key := e.StepID + " " + e.Item
	if f.undo(it, e) {
		return nil
	}
	switch e.Type { //nolint:exhaustive // the others are asked about elsewhere, or unknown
	case event.WorkStarted:
		if it.StartedAt.IsZero() {
			it.StartedAt = e.Time
		}
		if f.steps[e.StepID].Each != "" && it.Attempt == 0 {
			it.Inputs = e.Inputs
		}
		it.Status, it.Token, it.Attempt, it.ChildFlowID = client.Active, e.Token, e.Attempt, e.ChildFlowID
		it.NextRetryAt, it.WaitUntil = time.Time{}, e.WaitUntil
	case event.WorkSucceeded:
		it.Status, it.CompletedAt, it.Outputs, it.Error = client.Succeeded, e.Time, e.Outputs, ""
		it.NextRetryAt, it.WaitUntil = time.Time{}, time.Time{}
		delete(f.anyError, key)
	case event.WorkFailed:
		it.Status, it.CompletedAt, it.Error = client.Failed, e.Time, e.Error
		it.NextRetryAt = time.Time{}
		delete(f.anyError, key)
	case event.WorkNotCompleted:
		it.Status, it.Error = client.NotCompleted, e.Error
		delete(f.anyError, key)
	case event.WorkTimedOut:
		it.Status = client.NotCompleted
		f.anyError[key] = true
	case event.RetryScheduled:
		it.RetryCount, it.NextRetryAt = e.RetryCount, e.NextRetryAt
	case event.ApprovalGiven:
		return answered(it, e)
	case event.CompletionIgnored, event.WaitKeyed, event.MessageTaken:
	default:
		return fmt.Errorf("%s is no event of a work item", e.Type)
	}
	return nil
}

// comparable is the shown state without what events do not say.
func (f *fold) comparable(s client.FlowState) client.FlowState {
	s.Plan = client.Plan{}
	executions := make(map[string]client.Execution, len(s.Executions))
	for step, x := range s.Executions {
		x.Duration = 0
		items := make(map[string]client.WorkItem, len(x.WorkItems))
		for item, it := range x.WorkItems {
			mine := f.state.Executions[step].WorkItems[item]
			if f.anyError[step+" "+item] {
				it.Error = mine.Error
			}
			if it.Compensation != nil && mine.Compensation != nil && f.anyError[step+" "+item+" undo"] {
				undo := *it.Compensation
				undo.Error, it.Compensation = mine.Compensation.Error, &undo
			}
			it.Progress = nil
			if it.Approval != nil { // links are for who may operate, and in no history
				asks := *it.Approval
				asks.Links, it.Approval = nil, &asks
			}
			items[item] = it
		}
		x.WorkItems = items
		executions[step] = x
	}
	s.Executions = executions
	return s
}

// tree is a state as JSON values that can be compared.
func tree(s client.FlowState) any {
	text, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	value, err := ledger.Decode(text)
	if err != nil {
		return err.Error()
	}
	return value
}

// difference names a place where two values differ.
func difference(at string, replayed, shown any) (string, bool) {
	a, okA := replayed.(map[string]any)
	b, okB := shown.(map[string]any)
	if !okA || !okB {
		if reflect.DeepEqual(replayed, shown) {
			return "", true
		}
		return fmt.Sprintf("%s is %v in the history and %v in the state", at, replayed, shown), false
	}
	keys := map[string]bool{}
	for name := range a {
		keys[name] = true
	}
	for name := range b {
		keys[name] = true
	}
	for _, name := range sortedKeys(keys) {
		if place, ok := difference(at+"/"+name, a[name], b[name]); !ok {
			return place, false
		}
	}
	return "", true
}

// outcomeOf is what an event of a work item says was applied.
func outcomeOf(e event.Event) ledger.Outcome {
	switch e.Type { //nolint:exhaustive // the others apply nothing
	case event.WorkSucceeded:
		return ledger.Outcome{Kind: ledger.Success, Outputs: e.Outputs}
	case event.WorkFailed:
		return ledger.Outcome{Kind: ledger.Failure, Error: e.Error}
	case event.WorkNotCompleted:
		return ledger.Outcome{Kind: ledger.NotCompleted, Error: e.Error}
	default:
		return ledger.Outcome{}
	}
}
