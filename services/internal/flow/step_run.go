package flow

import (
	"encoding/json"
	"fmt"
	"slices"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// maxStarts bounds the work items that start in one commit, so that ten thousand
// that may run at once do not hold up the other flows of their partition.
const maxStarts = 1000

// startStep gives the step its inputs and its work items and starts as many of
// those as may run at once. A step without work items is done. Where the log or
// the commit has no room for its start, the step waits.
func (t *Turn) startStep(i int) {
	inputs := t.inputs(i)
	if t.s.Steps[i].held {
		inputs = t.s.Steps[i].Inputs
	}
	if !t.mayStart(inputs) {
		t.waiting, t.left = true, true
		return
	}
	if size := sizeOf(inputs) + t.s.childSize(i); size > t.env.ArgumentBytes {
		t.failStep(i, fmt.Sprintf("inputs of %d bytes are more than an invocation can carry (%d)",
			size, t.env.ArgumentBytes), nil)
		return
	}
	if t.mustAsk(i) {
		t.askPredicate(i, inputs)
		return
	}
	lists, err := listsOf(&t.s.Plan.Steps[i], inputs)
	if err != nil {
		t.failStep(i, err.Error(), nil)
		return
	}
	items := count(lists)
	if items > int64(t.env.MaxItems) {
		t.failStep(i, fmt.Sprintf("%d work items are more than a step may have (%d)", items, t.env.MaxItems), nil)
		return
	}
	t.emit(t.stepEvent(i, &sluicev1.Event{Kind: &sluicev1.Event_StepStarted{StepStarted: &sluicev1.StepStarted{
		Inputs: t.values.refs(inputs), WorkItems: uint32(items), //nolint:gosec // at most MaxItems
	}}}))
	if items == 0 {
		t.completeStep(i)
		return
	}
	t.fill(i)
}

// inputs are the values that the step is called with: an optional one that
// nobody gave is its default, or left out.
func (t *Turn) inputs(i int) map[string]json.RawMessage {
	inputs := map[string]json.RawMessage{}
	for _, input := range t.s.Plan.Steps[i].Inputs {
		attribute, ok := t.s.Attributes[input.Name]
		switch {
		case ok && awaited(input):
			inputs[input.Name] = attribute.Value
		case input.Default != nil:
			inputs[input.Name] = input.Default
		}
	}
	return inputs
}

// fill starts pending work items while the step has free slots. What has no room
// in this commit, or would make too many invocations of it, is left for the next.
func (t *Turn) fill(i int) {
	st, slots := &t.s.Steps[i], t.slots(i)
	for st.active < slots && !t.s.paused() && !t.s.over() {
		j, ok := st.pending()
		if !ok {
			return
		}
		inputs := st.firstInputs(j)
		if t.env.Full || t.attempts >= maxStarts || !t.fits(sizeOf(inputs)+2*framing*len(inputs)) || !t.mayStartChild(i) {
			t.left = true
			return
		}
		t.startAttempt(i, j, inputs)
	}
}

// slots is how many work items of the step may run at once.
func (t *Turn) slots(i int) int {
	return max(1, int(t.s.Plan.Steps[i].Proto.GetWork().GetParallelism()))
}

// workEnded goes on with the step after one of its work items had its outcome.
func (t *Turn) workEnded(i int) {
	if t.s.over() {
		t.windUp()
		return
	}
	st := &t.s.Steps[i]
	if st.ended < len(st.Items) {
		t.fill(i)
		return
	}
	if st.failed > 0 {
		t.failStep(i, t.s.failure(i), nil)
	} else {
		t.completeStep(i)
	}
	t.advance()
}

// failure is the reason of a step of which work items failed: the first one's.
func (s *State) failure(i int) string {
	items := s.Steps[i].Items
	failed := slices.IndexFunc(items, func(it Item) bool {
		return it.Status == sluicev1.WorkStatus_WORK_STATUS_FAILED
	})
	if !s.Plan.Steps[i].ForEach {
		return items[failed].Error
	}
	return fmt.Sprintf("work item %d failed: %s", failed, items[failed].Error)
}

// completeStep sets the attributes that the step declares and that have no
// value yet: the first one stands.
func (t *Turn) completeStep(i int) {
	outputs, err := t.outputs(i)
	if err != nil {
		t.failStep(i, err.Error(), nil)
		return
	}
	t.completeWith(i, outputs)
}

func (t *Turn) completeWith(i int, outputs map[string]json.RawMessage) {
	var duration int64
	if started := t.s.Steps[i].Started; started != 0 {
		duration = (t.now - started) / millisecond
	}
	t.emit(t.stepEvent(i, &sluicev1.Event{Kind: &sluicev1.Event_StepCompleted{StepCompleted: &sluicev1.StepCompleted{
		Outputs: t.values.refs(outputs), DurationMs: duration,
	}}}))
	for _, output := range t.s.Plan.Steps[i].Outputs {
		value, ok := outputs[output.Name]
		if !ok || t.has(output.Name) {
			continue
		}
		t.emit(t.stepEvent(i, &sluicev1.Event{Kind: &sluicev1.Event_AttributeSet{AttributeSet: &sluicev1.AttributeSet{
			Key: output.Name, Value: t.values.ref(value),
		}}}))
	}
}

func (t *Turn) failStep(i int, reason string, unsatisfied []string) {
	var duration int64
	if started := t.s.Steps[i].Started; started != 0 {
		duration = (t.now - started) / millisecond
	}
	t.emit(t.stepEvent(i, &sluicev1.Event{Kind: &sluicev1.Event_StepFailed{StepFailed: &sluicev1.StepFailed{
		Error: reason, Unsatisfied: unsatisfied, DurationMs: duration,
	}}}))
}

func (t *Turn) skipStep(i int, reason string, unsatisfied []string) {
	t.emit(t.stepEvent(i, &sluicev1.Event{Kind: &sluicev1.Event_StepSkipped{StepSkipped: &sluicev1.StepSkipped{
		Reason: reason, Unsatisfied: unsatisfied,
	}}}))
}

// stepEvent says which step e is about.
func (t *Turn) stepEvent(i int, e *sluicev1.Event) *sluicev1.Event {
	e.StepId = t.s.Plan.Steps[i].ID
	return e
}

// workEvent says which work item, in which attempt, e is about.
func (t *Turn) workEvent(i, j int, e *sluicev1.Event) *sluicev1.Event {
	it := &t.s.Steps[i].Items[j]
	place := uint32(j) //nolint:gosec // a step has far fewer than 2^32 work items
	e.StepId, e.Item = t.s.Plan.Steps[i].ID, &place
	e.Token, e.Attempt, e.Generation = it.Token, it.Attempt, it.Generation
	return e
}
