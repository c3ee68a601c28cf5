package flow

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// isWait reports whether the step waits: its work items have one attempt, which
// nobody is called for, and no token.
func (s *State) isWait(i int) bool { return s.Plan.Steps[i].Proto.GetWait() != nil }

// startWait begins the wait of a work item.
func (t *Turn) startWait(i, j int, inputs map[string]json.RawMessage) {
	it, wait := &t.s.Steps[i].Items[j], t.s.Plan.Steps[i].Proto.GetWait()
	t.attempts++
	e := t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkStarted{WorkStarted: &sluicev1.WorkStarted{
		DeadlineNs: t.after(wait.GetTimeoutMs()), WaitUntilNs: t.waitUntil(wait), Inputs: t.values.refs(inputs),
	}}})
	e.Attempt = it.Attempt + 1
	t.emit(e)
}

// waitUntil is when a wait for a time that begins now is over. One for a time
// that is past is over now. 0 means that it is not for a time.
func (t *Turn) waitUntil(wait *sluicev1.Wait) int64 {
	if wait.UntilNs != nil {
		return max(wait.GetUntilNs(), t.now)
	}
	return t.after(wait.GetDurationMs())
}

// waitOver ends a wait whose time came, or that is given up, whichever was
// first.
func (t *Turn) waitOver(i, j int) {
	it, wait := &t.s.Steps[i].Items[j], t.s.Plan.Steps[i].Proto.GetWait()
	if it.Until != 0 && (it.Deadline == 0 || it.Until <= it.Deadline) {
		t.succeed(i, j, &sluicev1.Outcome{Success: true, Outputs: t.timeOutputs(i, it.Until)}, nil, false)
		return
	}
	t.emit(t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkTimedOut{WorkTimedOut: &sluicev1.WorkTimedOut{
		Limit: limitTimeout,
	}}}))
	if wait.GetOnTimeout() == nil {
		t.failWork(i, j, fmt.Sprintf("it waited in vain for %d ms", wait.GetTimeoutMs()), nil)
		return
	}
	t.succeed(i, j, &sluicev1.Outcome{Success: true, Outputs: wait.GetOnTimeout().GetOutputs()}, nil, false)
}

// timeOutputs are what a wait for a time gives: its outputs say when it was over,
// or only that it was.
func (t *Turn) timeOutputs(i int, at int64) map[string][]byte {
	outputs := map[string][]byte{}
	for _, output := range t.s.Plan.Steps[i].Outputs {
		switch output.Type { //nolint:exhaustive // others are refused when the step is registered
		case step.TypeBoolean:
			outputs[output.Name] = []byte("true")
		case step.TypeNumber:
			outputs[output.Name] = strconv.AppendInt(nil, at/millisecond, 10)
		default:
			outputs[output.Name] = []byte(`"` + time.Unix(0, at).UTC().Format(time.RFC3339Nano) + `"`)
		}
	}
	return outputs
}

// waitDue returns when a wait is over by itself, or given up; 0 means never.
func (it *Item) waitDue() int64 {
	if it.Until == 0 || it.Deadline == 0 {
		return cmp.Or(it.Until, it.Deadline)
	}
	return min(it.Until, it.Deadline)
}
