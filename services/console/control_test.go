package console_test

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// fail reports that a step's only work item, in its first generation, failed.
func (s *site) fail(flowID, stepID string) {
	s.t.Helper()
	cmd := &sluicev1.Command{FlowId: flowID, Kind: &sluicev1.Command_CompleteWork{CompleteWork: &sluicev1.CompleteWork{
		Work:    &sluicev1.WorkRef{Run: 7, StepId: stepID, Attempt: 1},
		Outcome: &sluicev1.Outcome{Error: "declined", Digest: []byte("no")},
	}}}
	if err := s.bus.PublishCommand(s.t.Context(), subject.SourceHook, cmd, nil); err != nil {
		s.t.Fatal(err)
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	s.do(post, "/engine/flow", `{"id":"f","goals":["charge"],"init":{"order":"1"}}`).want(http.StatusCreated)
	s.do(post, "/engine/flow/f/resume", "").problem(http.StatusConflict, "conflict", "")
	s.do(post, "/engine/flow/f/pause", `{"reason":"the provider is down"}`).want(http.StatusOK).has("flow_id", `"f"`)
	s.do(post, "/engine/flow/f/pause", "").problem(http.StatusConflict, "conflict", "")
	s.do(get, "/engine/flow/f/status", "").has("status", `"paused"`)
	s.eventually("/engine/flow?status=paused", "flows.0.id", `"f"`)
	s.complete("f", "reserve", map[string]string{"stock": "1"})
	s.eventually("/engine/flow/f", "executions.reserve.status", `"completed"`)
	s.do(get, "/engine/flow/f", "").has("status", `"paused"`, "executions.charge.status", `"pending"`)
	s.do(post, "/engine/flow/f/resume", "").want(http.StatusOK)
	s.do(get, "/engine/flow/f", "").has("status", `"active"`, "executions.charge.status", `"active"`)
	s.eventually("/engine/flow?status=active", "flows.0.id", `"f"`)
	s.do(get, "/engine/flow/f/events", "").has("events.3.type", `"flow_paused"`, "events.3.reason", `"the provider is down"`)
	s.do(post, "/engine/flow/nobody/pause", "").problem(http.StatusNotFound, "unknown_flow", "")
}

func TestRetryOfAFailedFlow(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	s.do(post, "/engine/flow", `{"id":"f","goals":["charge"],"init":{"order":"1"}}`).want(http.StatusCreated)
	s.do(post, "/engine/flow/f/retry", "").problem(http.StatusConflict, "conflict", "")
	s.fail("f", "reserve")
	s.eventually("/engine/flow?status=failed", "flows.0.id", `"f"`)
	s.eventually("/engine/flow/f/status", "status", `"failed"`)
	s.do(post, "/engine/flow/f/retry", `{"reason":"there is stock again"}`).want(http.StatusOK)
	// At once: the index may not know it yet.
	s.do(get, "/engine/flow/f/status", "").has("status", `"active"`, "completed_at", "", "error", "")
	s.do(get, "/engine/flow/f", "").has("status", `"active"`, "completed_at", "", "error", "",
		"executions.reserve.status", `"active"`, "executions.reserve.work_items.0.attempt", "2", "executions.charge.status", `"pending"`)
	s.eventually("/engine/flow?status=active", "flows.0.id", `"f"`)
	s.do(get, "/engine/flow?status=failed", "").has("flows", "[]")
	s.do(del, "/engine/flow/f", "").problem(http.StatusConflict, "conflict", "")
}

func TestRepairOfASteps(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	n := 0
	begun := func() string {
		t.Helper()
		n++
		id := "f" + strconv.Itoa(n)
		s.do(post, "/engine/flow", `{"id":"`+id+`","goals":["charge"],"init":{"order":"1"}}`).want(http.StatusCreated)
		return "/engine/flow/" + id
	}
	flow := begun()
	s.do(post, flow+"/step/reserve/complete", `{"outputs":{"stock":"many"}}`).problem(http.StatusBadRequest, "invalid", "")
	s.do(post, flow+"/step/nobody/complete", "").problem(http.StatusNotFound, "unknown_step", "")
	s.do(post, flow+"/step/reserve/retry", `{"item":"3"}`).problem(http.StatusNotFound, "unknown_step", "")
	s.do(post, flow+"/step/reserve/complete", `{"outputs":{"stock":12345678901234567890.10},"item":"0","reason":"counted by hand"}`).
		want(http.StatusOK).has("step_id", `"reserve"`)
	s.do(get, flow, "").has("attributes.stock.value", "12345678901234567890.10", "executions.charge.status", `"active"`)
	s.do(post, flow+"/step/reserve/retry", "").problem(http.StatusConflict, "conflict", "")
	s.do(post, flow+"/step/charge/skip", `{"reason":"free of charge"}`).want(http.StatusOK)
	s.do(get, flow, "").has("status", `"completed"`, "executions.charge.status", `"skipped"`)
	s.do(get, flow+"/events", "").has("events.3.type", `"step_overridden"`, "events.3.action", `"complete"`,
		"events.3.reason", `"counted by hand"`, "events.3.item", `"0"`)

	flow = begun()
	s.do(post, flow+"/step/reserve/retry", `{"item":0}`).want(http.StatusOK)
	s.do(get, flow, "").has("executions.reserve.work_items.0.attempt", "2")
	s.do(post, flow+"/step/reserve/fail", `{"error":"no more of them"}`).want(http.StatusOK)
	s.do(get, flow, "").has("status", `"failed"`, "executions.reserve.error", `"no more of them"`)
	s.do(post, flow+"/step/reserve/fail", "").problem(http.StatusConflict, "conflict", "")
}
