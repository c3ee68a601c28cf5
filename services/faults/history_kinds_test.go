package faults_test

import (
	"encoding/json"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/step"
)

// undoPath is where successes are undone.
const undoPath = "/undo"

// shapesOfKinds are flows whose steps call nobody, are undone, or are controlled by
// hand.
func shapesOfKinds() map[string]shape {
	order := order()
	return map[string]shape{
		"script":        {goal: "sum", init: map[string]any{"numbers": []any{1, 2.5, -3}}, status: client.Completed},
		"script-failed": {goal: "sum", init: map[string]any{"numbers": []any{1, "two"}}, status: client.Failed},
		"unless":        {goal: "unless", init: order, status: client.Completed},
		"nap":           {goal: "nap", init: order, status: client.Completed},
		"napping": {goal: "sleep", init: order, status: client.Active, meanwhile: func(h *histories, flow string) {
			h.event(flow, event.WorkStarted)
		}},
		"given-up": {goal: "impatient", init: order, status: client.Completed},
		"message": {goal: "hear", init: map[string]any{"room": "a b"}, status: client.Completed, meanwhile: func(h *histories, _ string) {
			h.must(h.api.PostMessage(h.t.Context(), client.Message{Name: "word", Key: "a b", ID: "1", Outputs: map[string]any{"heard": 1.5}}))
		}},
		"approval": {goal: "review", init: order, status: client.Completed, meanwhile: func(h *histories, flow string) {
			h.event(flow, event.WorkStarted)
			for _, who := range []string{"ann", "bob"} {
				_, err := h.api.Approve(h.t.Context(), client.Decision{Flow: flow, Step: "review", By: who, Comment: "of " + who})
				h.must(err)
			}
		}},
		"rejected": {goal: "review", init: order, status: client.Completed, meanwhile: func(h *histories, flow string) {
			h.event(flow, event.WorkStarted)
			_, err := h.api.Reject(h.t.Context(), client.Decision{Flow: flow, Step: "review", By: "ann"})
			h.must(err)
		}},
		"parent":      {goal: "errand", init: map[string]any{"numbers": []any{7, 8}}, status: client.Completed, child: "errand"},
		"compensated": {goal: "after-booked", init: order, status: client.Failed},
		"undone-by-cancel": {goal: "unpaid", init: order, status: client.Canceled, settled: event.FlowCanceled, meanwhile: func(h *histories, flow string) {
			h.call(flow, "unpaid", 1)
			h.must(h.api.CancelFlow(h.t.Context(), flow, "no longer wanted"))
		}},
		"paused": {goal: "charge", init: order, status: client.Paused, meanwhile: func(h *histories, flow string) {
			h.call(flow, "charge", 1)
			h.must(h.api.PauseFlow(h.t.Context(), flow, "a look at it"))
		}},
		"resumed": {goal: "charge", init: order, status: client.Completed, meanwhile: func(h *histories, flow string) {
			h.call(flow, "charge", 1)
			h.must(h.api.PauseFlow(h.t.Context(), flow, "a look at it"))
			h.post(flow, "charge", 1, succeeded)
			h.must(h.api.ResumeFlow(h.t.Context(), flow, ""))
		}},
		"repaired": {goal: "ship", init: order, status: client.Completed, meanwhile: func(h *histories, flow string) {
			h.call(flow, "charge", 1)
			h.must(h.api.CompleteStep(h.t.Context(), client.Override{Flow: flow, Step: "charge", Reason: "paid in cash"}, map[string]any{"receipt": 3}))
		}},
		"retried": {goal: "charge", init: order, status: client.Completed, meanwhile: func(h *histories, flow string) {
			h.call(flow, "charge", 1)
			h.must(h.api.RetryStep(h.t.Context(), client.Override{Flow: flow, Step: "charge"}))
			h.post(flow, "charge", 2, succeeded)
		}},
		"later":  {goal: "nap", init: order, status: client.Completed, startAt: time.Second},
		"silent": {goal: "beating", init: order, status: client.Failed},
	}
}

// must ends the test where what was asked is refused.
func (h *histories) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// registerKinds registers the steps of shapesOfKinds.
func (h *histories) registerKinds() {
	wait := func(id string, w step.Wait, attributes map[string]step.Attribute) step.Definition {
		return step.Definition{ID: id, Type: step.KindWait, Wait: &w, Attributes: attributes}
	}
	undoable := func() *step.HTTP { return &step.HTTP{Compensate: h.worker.URL + undoPath} }
	h.define([]step.Definition{
		{
			ID: "sum", Type: step.KindScript, Attributes: attributes("total", "numbers"),
			Script: &step.Script{Language: "lua", Script: "local sum = 0 for _, n in ipairs(numbers) do sum = sum + n end return {total = sum}"},
		},
		{
			ID: "unless", Type: step.KindSync, Attributes: attributes("not_done", "order"),
			Predicate: &step.Script{Language: "cel", Script: `order.note == ""`},
		},
		wait("nap", step.Wait{DurationMS: 100}, attributes("slept", "order")),
		wait("sleep", step.Wait{DurationMS: (1000 * time.Hour).Milliseconds()}, attributes("slept-long", "order")),
		wait("impatient", step.Wait{
			Message: &step.WaitMessage{Name: "nobody says this", Key: &step.Script{Language: "cel", Script: `"a key"`}}, TimeoutMS: 100, OnTimeout: &step.OnTimeout{Outputs: map[string]json.RawMessage{"gave-up": json.RawMessage("true")}},
		}, attributes("gave-up", "order")),
		wait("hear", step.Wait{
			Message: &step.WaitMessage{Name: "word", Key: &step.Script{Language: "cel", Script: "room"}},
		}, attributes("heard", "room")),
		wait("review", step.Wait{Approval: &step.Approval{Approvers: 2, Title: "May it?"}}, attributes("approved", "order")),
		{
			ID: "errand", Type: step.KindFlow, Attributes: attributes("sums", "numbers"),
			Flow: &step.Child{Goals: []string{"sum"}, OutputMap: map[string]string{"total": "sums"}},
		},
		{ID: "booked", Type: step.KindSync, Attributes: attributes("room_key", "order"), HTTP: undoable()},
		{
			ID: "after-booked", Type: step.KindScript, Attributes: attributes("never_had", "room_key"),
			Script: &step.Script{Language: "cel", Script: `{"never_had": 1 / 0}`},
		},
		{ID: "unpaid", Type: step.KindAsync, Attributes: attributes("paid", "room_key"), HTTP: undoable()},
		{
			ID: "beating", Type: step.KindAsync, Attributes: attributes("beat", "order"),
			WorkConfig: &step.WorkConfig{MaxRetries: 0, HeartbeatTimeoutMS: 1000},
		},
	})
}
