package invariant_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/invariant"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// waits is a flow that waited for a time, two messages and a person.
func waits() invariant.Evidence {
	heard := func(n string) ledger.Values { return ledger.Values{"out": json.RawMessage(`"` + n + `"`)} }
	return invariant.Evidence{
		Book: ledger.Book{
			Starts: []ledger.Start{{Flow: "f", Status: 201, Sent: noon()}},
			Calls:  []ledger.Call{{Flow: "f", Step: "thank", At: noon().Add(time.Second)}},
			Messages: []ledger.Message{
				{Flow: "f", ID: "1", Outputs: `{"out":"1"}`},
				{Flow: "f", ID: "1", Outputs: `{"out":"1"}`, Status: 202},
				{Flow: "f", ID: "2", Outputs: `{"out":"2"}`, Status: 202},
				{Flow: "f", ID: "1", Outputs: `{"out":"1"}`, Status: 202},
			},
			Decisions: []ledger.Decision{{Flow: "f", Step: "review", By: "somebody", Approved: true, Status: 200}},
			Steps: map[string]ledger.Step{
				"nap": {Lasts: time.Second, Gives: "nap-out"}, "hear": {Takes: "word"}, "again": {Takes: "word"},
				"review": {Asks: 1}, "thank": {Earliest: time.Second},
			},
		},
		Flows: map[string]invariant.History{"f": {
			Known: true, State: client.FlowState{Status: client.Completed},
			Events: []event.Event{
				{Type: event.WorkStarted, StepID: "nap", Time: noon(), WaitUntil: noon().Add(time.Second)},
				{
					Type: event.WorkSucceeded, StepID: "nap", Time: noon().Add(time.Second),
					Outputs: ledger.Values{"nap-out": json.RawMessage(`"2026-03-01T12:00:01Z"`)},
				},
				{Type: event.WaitKeyed, StepID: "hear", Value: json.RawMessage(`"f"`)},
				{Type: event.MessageTaken, StepID: "hear", MessageID: "1"},
				{Type: event.WorkSucceeded, StepID: "hear", Outputs: heard("1")},
				{Type: event.MessageTaken, StepID: "again", MessageID: "2"},
				{Type: event.WorkSucceeded, StepID: "again", Outputs: heard("2")},
				{Type: event.ApprovalGiven, StepID: "review", By: "somebody", Approved: new(true)},
				{Type: event.WorkSucceeded, StepID: "review", Outputs: ledger.Values{"approved": json.RawMessage("true")}},
			},
		}},
	}
}

func TestWhatIsWrongWithWaitsIsFound(t *testing.T) {
	t.Parallel()
	if breaks(waits(), invariant.Waited) {
		t.Fatalf("nothing is wrong, and found is %v", invariant.Check(waits()))
	}
	none := func(_ *invariant.History, e *event.Event) { *e = event.Event{Type: event.FlowDeactivated} }
	for what, c := range map[string]change{
		"a wait of another length": {"f", 0, func(_ *invariant.History, e *event.Event) { e.WaitUntil = e.WaitUntil.Add(time.Millisecond) }},
		"over too early":           {"f", 1, func(_ *invariant.History, e *event.Event) { e.Time = e.Time.Add(-time.Millisecond) }},
		"over at another time than it says": {"f", 1, func(_ *invariant.History, e *event.Event) {
			e.Outputs = ledger.Values{"nap-out": json.RawMessage(`"2026-03-01T12:00:02Z"`)}
		}},
		"another key":                        {"f", 2, func(_ *invariant.History, e *event.Event) { e.Value = json.RawMessage(`"g"`) }},
		"a message that is never taken":      {"f", 5, none},
		"a message that is taken twice":      {"f", 5, func(_ *invariant.History, e *event.Event) { e.MessageID = "1" }},
		"a message that nobody sent":         {"f", 5, func(_ *invariant.History, e *event.Event) { e.MessageID = "3" }},
		"other outputs than the message has": {"f", 4, func(h *invariant.History, e *event.Event) { e.Outputs = h.Events[6].Outputs }},
		"an answer that nobody gave":         {"f", 7, func(_ *invariant.History, e *event.Event) { e.Approved = new(false) }},
		"an answer that counts twice":        {"f", 7, func(h *invariant.History, e *event.Event) { h.Events = append(h.Events, *e) }},
		"an end that nobody gave":            {"f", 7, none},
		"another answer than was given":      {"f", 8, func(_ *invariant.History, e *event.Event) { e.Outputs["approved"] = json.RawMessage("false") }},
		"a wait in vain":                     {"f", 8, func(_ *invariant.History, e *event.Event) { e.Type = event.WorkFailed }},
	} {
		e := waits()
		c.apply(e)
		if !breaks(e, invariant.Waited) {
			t.Errorf("%s: not found", what)
		}
	}
	early := waits()
	early.Book.Calls[0].At = noon().Add(time.Second - time.Millisecond)
	refused := waits()
	refused.Book.Messages[0].Status = 409
	if !breaks(early, invariant.Waited) || !breaks(refused, invariant.Waited) {
		t.Error("a call that is too early, or a message that is refused: not found")
	}
}
