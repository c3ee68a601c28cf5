package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/services/internal/bus"
)

const (
	get  = http.MethodGet
	post = http.MethodPost
	put  = http.MethodPut
	del  = http.MethodDelete
)

func TestFlowLife(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	request := `{"id":"order-1","goals":["charge"],"init":{"order":"A-1"},"labels":{"team":"pay"}}`
	s.do(post, "/engine/flow", request).want(http.StatusCreated).has("flow_id", `"order-1"`)
	s.do(post, "/engine/flow", ` {"init":{"order":"A-1"},"labels":{"team":"pay"},"goals":["charge","charge"],"id":"order-1","timeout_ms":0}`).
		want(http.StatusOK).has("flow_id", `"order-1"`)
	s.do(post, "/engine/flow", strings.Replace(request, "A-1", "A-2", 1)).problem(http.StatusConflict, "conflict", "")

	s.do(get, "/engine/flow/order-1", "").want(http.StatusOK).has(
		"id", `"order-1"`, "status", `"active"`, "completed_at", "", "error", "",
		"labels", `{"team":"pay"}`,
		"plan.goals", `["charge"]`, "plan.required", `["order"]`, "plan.excluded", `{"satisfied":[],"missing":{}}`,
		"plan.attributes.stock", `{"providers":["reserve"],"consumers":["charge"]}`,
		"plan.steps.reserve.http.headers.Authorization", `"********"`,
		"attributes.order", `{"value":"A-1"}`,
		"executions.reserve.status", `"active"`, "executions.reserve.inputs", `{"order":"A-1"}`,
		"executions.reserve.work_items.0.status", `"active"`, "executions.reserve.work_items.0.attempt", "1",
		"executions.reserve.work_items.0.token", `"tokreser"`,
		"executions.charge.status", `"pending"`, "executions.charge.work_items", `{}`,
	)
	s.do(get, "/engine/health/reserve", "").want(http.StatusOK).has("status", `"unknown"`)
	s.complete("order-1", "reserve", map[string]string{"stock": "12345678901234567890.10"})
	s.eventually("/engine/flow/order-1", "executions.charge.status", `"active"`)
	s.eventually("/engine/health/reserve", "status", `"healthy"`)
	s.do(get, "/engine/health", "").has("health.reserve.status", `"healthy"`, "health.charge.status", `"unknown"`)
	s.do(get, "/engine/flow/order-1", "").has(
		"attributes.stock", `{"value":12345678901234567890.10,"step":"reserve"}`,
		"executions.reserve.work_items.0.status", `"succeeded"`)
	s.complete("order-1", "charge", map[string]string{"paid": "true", "extra": `"<&>"`})
	s.eventually("/engine/flow/order-1/status", "status", `"completed"`)
	s.do(get, "/engine/flow/order-1", "").has("executions.charge.outputs.extra", `"<&>"`)
	s.do(get, "/engine/flow/order-1/events", "").want(http.StatusOK).has(
		"events.0.type", `"flow_started"`, "events.0.flow_id", `"order-1"`)
	s.eventually("/engine/flow?status=completed&label=team%3Dpay&goal=charge&total=true", "flows.0.digest.status", `"completed"`)

	s.do(post, "/engine/flow/order-1/cancel", "").problem(http.StatusConflict, "conflict", "")
	s.do(del, "/engine/flow/order-1", "").want(http.StatusNoContent)
	for _, path := range []string{"", "/status", "/events"} {
		s.do(get, "/engine/flow/order-1"+path, "").problem(http.StatusNotFound, "unknown_flow", "")
	}
	s.do(del, "/engine/flow/order-1", "").problem(http.StatusNotFound, "unknown_flow", "")
	s.eventually("/engine/flow", "flows", "[]")
}

func TestCancel(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	for _, id := range []string{"a", "b:c@d+e"} {
		s.do(post, "/engine/flow", fmt.Sprintf(`{"id":%q,"goals":["charge"],"init":{"order":"1"}}`, id)).want(http.StatusCreated)
	}
	s.do(del, "/engine/flow/a", "").problem(http.StatusConflict, "conflict", "")
	s.do(post, "/engine/flow/a/cancel", `{"reason":"changed my mind"}`).want(http.StatusOK)
	s.do(get, "/engine/flow/a/status", "").has("status", `"canceled"`, "error", `"changed my mind"`)
	s.do(post, "/engine/flow/b%3Ac%40d%2Be/cancel", "").want(http.StatusOK)
	s.do(get, "/engine/flow/b:c@d+e", "").has("status", `"canceled"`)
	s.do(post, "/engine/flow/nobody/cancel", "").problem(http.StatusNotFound, "unknown_flow", "")
}

func TestCompensation(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	undoable := strings.Replace(reserve, `/reserve",`, `/reserve","compensate":"http://127.0.0.1:9/undo",`, 1)
	s.do(post, "/engine/step", undoable).want(http.StatusCreated).has("step.http.compensate", `"http://127.0.0.1:9/undo"`)
	s.do(post, "/engine/step", charge).want(http.StatusCreated)
	s.do(post, "/engine/flow", `{"id":"a","goals":["charge"],"init":{"order":"1"}}`).want(http.StatusCreated)
	s.complete("a", "reserve", map[string]string{"stock": "1"})
	s.eventually("/engine/flow/a", "executions.charge.status", `"active"`)
	s.do(post, "/engine/flow/a/cancel", `{"reason":"changed my mind"}`).want(http.StatusOK).
		has("status", `"active"`, "message", `"flow \"a\" is being compensated, and canceled then"`)
	s.do(post, "/engine/flow/a/cancel", "").problem(http.StatusConflict, "conflict", "")
	s.do(del, "/engine/flow/a", "").problem(http.StatusConflict, "conflict", "")
	s.do(get, "/engine/flow/a/status", "").has("status", `"active"`, "completed_at", "")
	s.do(get, "/engine/flow/a", "").has(
		"status", `"active"`, "ending.status", `"canceled"`, "ending.error", `"changed my mind"`,
		"executions.reserve.work_items.0.status", `"compensating"`,
		"executions.reserve.work_items.0.compensation.attempt", "1",
		"executions.reserve.work_items.0.compensation.retry_count", "0")
	s.compensated("a", "reserve")
	s.eventually("/engine/flow/a/status", "status", `"canceled"`)
	s.do(get, "/engine/flow/a", "").has("ending", "", "executions.reserve.work_items.0.status", `"compensated"`)
	s.do(get, "/engine/flow/a/events", "").has(
		"events.8.type", `"work_compensating"`, "events.8.ending", `"canceled"`, "events.8.reason", `"changed my mind"`,
		"events.9.type", `"work_compensated"`, "events.9.attempt", "1",
		"events.10.type", `"flow_canceled"`)
	s.do(del, "/engine/flow/a", "").want(http.StatusNoContent)
}

func TestTheSameRequestAfterStepsChanged(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	request := `{"id":"order-1","goals":["charge"],"init":{"order":"A-1"}}`
	s.do(post, "/engine/flow", request).want(http.StatusCreated)
	s.do(put, "/engine/step/charge", strings.Replace(charge, "9/charge", "9/other", 1)).want(http.StatusOK)
	s.do(post, "/engine/flow", request).want(http.StatusOK)
	s.do(del, "/engine/step/charge", "").want(http.StatusOK)
	s.do(post, "/engine/flow", request).want(http.StatusOK)
	s.do(post, "/engine/flow", strings.Replace(request, "A-1", "A-2", 1)).problem(http.StatusConflict, "conflict", "")
	s.do(post, "/engine/flow", strings.Replace(request, "order-1", "order-2", 1)).problem(http.StatusNotFound, "unknown_goal", "goals")
}

func TestPlanning(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	s.do(post, "/engine/plan", `{"goals":["charge"],"init":{"order":"A-1"}}`).want(http.StatusOK).has(
		"goals", `["charge"]`, "required", `["order"]`, "steps.reserve.id", `"reserve"`)
	s.do(post, "/engine/plan", `{"goals":["charge"],"init":{"paid":true}}`).want(http.StatusOK).has(
		"goals", `["charge"]`, "required", "[]", "steps", "{}", "attributes", "{}", "excluded", `{"satisfied":["charge"],"missing":{}}`)
	s.do(post, "/engine/flow", `{"goals":["charge"],"init":null}`).problem(http.StatusBadRequest, "missing_inputs", "init.order")
	s.do(post, "/engine/flow", `{"goals":["nope"]}`).problem(http.StatusNotFound, "unknown_goal", "goals")
	s.do(post, "/engine/flow", `{"goals":["charge"],"init":{"order":7}}`).problem(http.StatusBadRequest, "invalid", "")
	// What was planned for a string is not found again for a number.
	s.do(post, "/engine/flow", `{"goals":["charge"],"init":{"order":"x"}}`).want(http.StatusCreated)
	s.do(post, "/engine/flow", `{"goals":["charge"],"init":{"order":7}}`).problem(http.StatusBadRequest, "invalid", "")
	if id := s.do(post, "/engine/flow", `{"goals":["charge"],"init":{"order":"x"}}`).want(http.StatusCreated).at("flow_id"); len(id) < 10 {
		t.Errorf("the id that was made is %s", id)
	}
}

func TestAGoalThatInitGivesIsReached(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	s.do(post, "/engine/flow", `{"id":"paid-1","goals":["charge"],"init":{"paid":true}}`).want(http.StatusCreated)
	s.do(get, "/engine/flow/paid-1", "").want(http.StatusOK).has(
		"status", `"completed"`, "executions", "{}", "plan.goals", `["charge"]`, "plan.excluded.satisfied", `["charge"]`,
		"attributes.paid", `{"value":true}`)
	s.do(get, "/engine/flow/paid-1/events", "").want(http.StatusOK).has("events.1.type", `"flow_completed"`, "events.1.result", `{"paid":true}`)
	s.eventually("/engine/flow?goal=charge&total=true", "flows.0.id", `"paid-1"`)
	s.do(post, "/engine/flow", `{"goals":["charge"],"init":{"paid":"yes"}}`).problem(http.StatusBadRequest, "invalid", "")
}

func TestAStartThatNobodyAnsweredCanBeAskedAgain(t *testing.T) {
	t.Parallel()
	s := siteWithoutEngine(t, config(t))
	s.order()
	const request = `"goals":["charge"],"init":{"order":"A-1"}}`
	a := s.do(post, "/engine/flow", "{"+request).problem(http.StatusServiceUnavailable, "unavailable", "")
	id := a.at("flow_id")
	if len(id) < 10 || !strings.Contains(a.at("detail"), strings.Trim(id, `"`)) || a.header.Get("Retry-After") == "" {
		t.Fatalf("%s, Retry-After %q", a.text, a.header.Get("Retry-After"))
	}
	s.startEngine()
	s.eventually("/engine/flow/"+strings.Trim(id, `"`), "status", `"active"`) // it was stored
	s.do(post, "/engine/flow", `{"id":`+id+","+request).want(http.StatusOK).has("flow_id", id)
	s.eventually("/engine/flow?total=true", "total", "1")
}

func TestListPages(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	s.do(get, "/engine/flow", "").want(http.StatusOK).has("flows", "[]", "count", "0", "next", "", "total", "")
	for i := range 5 {
		s.do(post, "/engine/flow", fmt.Sprintf(`{"id":"f-%d","goals":["charge"],"init":{"order":"1"}}`, i)).want(http.StatusCreated)
	}
	s.eventually("/engine/flow?total=true", "total", "5")
	page := s.do(get, "/engine/flow?limit=3&id_prefix=f-&total=true", "").want(http.StatusOK).has(
		"count", "3", "total", "5", "flows.0.id", `"f-4"`, "flows.2.id", `"f-2"`)
	next := strings.Trim(page.at("next"), `"`)
	s.do(get, "/engine/flow?limit=3&id_prefix=f-&cursor="+next, "").want(http.StatusOK).has(
		"count", "2", "flows.0.id", `"f-1"`, "flows.1.id", `"f-0"`, "next", "")
	s.do(get, "/engine", "").want(http.StatusOK).has(
		"active.f-0.status", `"active"`, "deactivated", "[]", "archiving", "{}", "flow_digests", "{}",
		"attributes.stock", `{"providers":["reserve"],"consumers":["charge"]}`, "health.charge.status", `"unknown"`)
}

func TestABrokenHistoryIsShownAsFailed(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	request := `{"id":"order-1","goals":["charge"],"init":{"order":"1"}}`
	s.do(post, "/engine/flow", request).want(http.StatusCreated)
	msg := nats.NewMsg(s.bus.Space.Flow(subject.KindAdvanced, s.bus.Partition("order-1"), "order-1"))
	msg.Data = []byte("flipped")
	msg.Header.Set(bus.HeaderChecksum, "00")
	msg.Header.Set(bus.HeaderSnapshot, "0")
	msg.Header.Set(bus.HeaderRevision, "2")
	if err := s.bus.Publish(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	s.do(get, "/engine/flow/order-1/status", "").want(http.StatusOK).has("status", `"failed"`)
	a := s.do(get, "/engine/flow/order-1", "").want(http.StatusOK).has(
		"status", `"failed"`, "executions", "{}", "plan.goals", "[]")
	if !strings.Contains(a.at("error"), "broken history") {
		t.Error(a.text)
	}
	s.do(get, "/engine/flow/order-1/events", "").problem(http.StatusInternalServerError, "broken_history", "")
	s.do(del, "/engine/step/charge", "").want(http.StatusOK)
	s.do(post, "/engine/flow", request).problem(http.StatusConflict, "conflict", "")
}
