package invariant_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/invariant"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// breaks reports whether evidence breaks an invariant, beside others that it may.
func breaks(e invariant.Evidence, by int) bool {
	return slices.ContainsFunc(invariant.Check(e), func(v invariant.Violation) bool { return v.Invariant == by })
}

// change is something done to histories that kept their promises.
type change struct {
	// flow and event are what is changed; no event means the flow.
	flow  string
	event int
	to    func(h *invariant.History, e *event.Event)
}

func (c change) apply(e invariant.Evidence) {
	h := e.Flows[c.flow]
	c.to(&h, &h.Events[c.event])
	e.Flows[c.flow] = h
}

// nest is a parent whose child gave what it needs, and one that was canceled with its
// child.
func nest() invariant.Evidence {
	gave := ledger.Values{"errand-out": json.RawMessage(`"good"`)}
	return invariant.Evidence{
		Quiet: true,
		Book: ledger.Book{
			Starts: []ledger.Start{{Flow: "p", Status: 201}, {Flow: "q", Status: 201}},
			Steps:  map[string]ledger.Step{"errand": {Child: map[string]string{"errand-out": "toil-out"}}},
		},
		Flows: map[string]invariant.History{
			"p": {
				Known: true, State: client.FlowState{Status: client.Completed, CompletedAt: noon()},
				Events: []event.Event{
					{Type: event.WorkStarted, StepID: "errand", Attempt: 1, ChildFlowID: "p.c"},
					{Type: event.WorkSucceeded, StepID: "errand", Attempt: 1, Outputs: gave},
				},
			},
			"p.c": {
				Known: true, State: client.FlowState{
					Status: client.Completed, CompletedAt: noon(), ParentFlowID: "p", ParentStepID: "errand",
					Attributes: map[string]client.Attribute{"toil-out": {Value: json.RawMessage(`"good"`)}},
				},
				Events: []event.Event{{Type: event.FlowCompleted}, {Type: event.ParentTold}},
			},
			"q": {
				Known: true, State: client.FlowState{Status: client.Canceled, CompletedAt: noon()},
				Events: []event.Event{{Type: event.WorkStarted, StepID: "errand", Attempt: 1, ChildFlowID: "q.c"}},
			},
			"q.c": {
				Known: true, State: client.FlowState{Status: client.Canceled, CompletedAt: noon().Add(time.Minute), ParentFlowID: "q", ParentStepID: "errand"},
				Events: []event.Event{{Type: event.FlowCanceled}, {Type: event.ParentTold}},
			},
		},
	}
}

func TestWhatIsWrongWithChildrenIsFound(t *testing.T) {
	t.Parallel()
	if breaks(nest(), invariant.Nested) || breaks(nest(), invariant.Ended) || breaks(nest(), invariant.Answers) {
		t.Fatalf("nothing is wrong, and found is %v", invariant.Check(nest()))
	}
	for what, c := range map[string]change{
		"the child is not there": {"p.c", 0, func(h *invariant.History, _ *event.Event) { h.Known = false }},
		"it has another parent":  {"p.c", 0, func(h *invariant.History, _ *event.Event) { h.State.ParentFlowID = "q" }},
		"an attempt has none":    {"p", 0, func(_ *invariant.History, e *event.Event) { e.ChildFlowID = "" }},
		"other outputs": {"p", 1, func(_ *invariant.History, e *event.Event) {
			e.Outputs = ledger.Values{"errand-out": json.RawMessage(`"other"`)}
		}},
		"success of a child that failed":    {"p.c", 0, func(h *invariant.History, _ *event.Event) { h.State.Status = client.Failed }},
		"failure of a child that completed": {"p", 1, func(_ *invariant.History, e *event.Event) { e.Type = event.WorkFailed }},
		"two ends": {"p.c", 1, func(h *invariant.History, _ *event.Event) {
			h.Events = append(h.Events, event.Event{Type: event.FlowFailed})
		}},
		"an end that is not told": {"p.c", 1, func(_ *invariant.History, e *event.Event) { e.Type = event.FlowDeactivated }},
		"an end that is told twice": {"p.c", 0, func(h *invariant.History, _ *event.Event) {
			h.Events = append(h.Events, event.Event{Type: event.ParentTold})
		}},
		"an orphan that is not canceled": {"q.c", 0, func(h *invariant.History, _ *event.Event) { h.State.Status = client.Completed }},
	} {
		e := nest()
		c.apply(e)
		if !breaks(e, invariant.Nested) {
			t.Errorf("%s: not found", what)
		}
	}
	open := nest()
	change{"q.c", 0, func(h *invariant.History, _ *event.Event) { h.State.Status = client.Active }}.apply(open)
	if !breaks(open, invariant.Ended) {
		t.Error("an orphan that goes on: not found")
	}
}
