package console_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// kyc registers a step that starts a flow of fetch, which takes user_id and gives
// user_name.
func (s *site) kyc() {
	s.t.Helper()
	s.do(post, "/engine/step", `{"id":"fetch","type":"async","http":{"endpoint":"http://127.0.0.1:9/fetch"},
		"attributes":{"user_id":{"role":"required","type":"number"},"user_name":{"role":"output","type":"string"}}}`).want(http.StatusCreated)
	s.do(post, "/engine/step", `{"id":"kyc","type":"flow",
		"attributes":{"uid":{"role":"required","type":"number"},"name":{"role":"output","type":"string"}},
		"flow":{"goals":["fetch"],"input_map":{"uid":"user_id"},"output_map":{"user_name":"name"}}}`).want(http.StatusCreated)
}

func TestChildFlows(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.kyc()
	s.do(get, "/engine/step/kyc", "").has("flow", `{"goals":["fetch"],"input_map":{"uid":"user_id"},"output_map":{"user_name":"name"}}`)
	s.do(post, "/engine/plan", `{"goals":["kyc"]}`).want(http.StatusOK).has("required", `["uid"]`, "children.kyc.goals", `["fetch"]`,
		"children.kyc.required", `["user_id"]`, "children.kyc.steps.fetch.id", `"fetch"`)
	s.do(post, "/engine/flow", `{"id":"order","goals":["kyc"],"init":{"uid":7},"labels":{"team":"pay"}}`).want(http.StatusCreated)
	s.eventually("/engine/flow/order", "executions.kyc.work_items.0.status", `"active"`)
	child, err := strconv.Unquote(s.do(get, "/engine/flow/order", "").at("executions.kyc.work_items.0.child_flow_id"))
	if err != nil || !strings.HasPrefix(child, "order.kyc.") {
		t.Fatalf("the child is %q (%v)", child, err)
	}
	s.eventually("/engine/flow/"+child, "status", `"active"`)
	s.do(get, "/engine/flow/"+child, "").has("parent_flow_id", `"order"`, "parent_step_id", `"kyc"`, "attributes.user_id.value", "7", "labels.team", `"pay"`)
	s.do(get, "/engine/flow/order/events", "").has("events.2.type", `"work_started"`, "events.2.child_flow_id", strconv.Quote(child))

	s.eventually("/engine/flow?children=true", "count", "2")
	for query, count := range map[string]string{
		"": "1", "?children=false": "1", "?children=true": "2", "?goal=fetch": "0", "?goal=fetch&children=true": "1",
		"?label=team": "1", "?label=team&children=true": "2", "?status=active": "1", "?status=active&children=true": "2",
		"?id_prefix=order": "1", "?id_prefix=order&children=true": "2", "?total=true": "1",
	} {
		s.do(get, "/engine/flow"+query, "").has("count", count)
	}
	s.do(get, "/engine/flow?total=true", "").has("total", "1")
	s.do(get, "/engine/flow?children=maybe", "").problem(http.StatusBadRequest, "invalid", "children")
	s.do(http.MethodDelete, "/engine/flow/"+child, "").problem(http.StatusConflict, "conflict", "")

	s.complete(child, "fetch", map[string]string{"user_name": `"ann"`})
	s.eventually("/engine/flow/order", "status", `"completed"`)
	s.do(get, "/engine/flow/order", "").has("attributes.name", `{"value":"ann","step":"kyc"}`)
	// This engine does not say that the parent has heard: the child is kept.
	if detail := s.do(http.MethodDelete, "/engine/flow/"+child, "").problem(http.StatusConflict, "conflict", "").at("detail"); !strings.Contains(detail, `\"order\" has not heard`) {
		t.Errorf("it is kept because %s", detail)
	}
	s.do(post, "/engine/flow/"+child+"/retry", "").problem(http.StatusConflict, "conflict", "")
}

func TestChildFlowsThatCannotStart(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.kyc()
	for id, goal := range map[string]string{"self": "self", "lost": "nobody", "blind": "kyc"} {
		s.do(post, "/engine/step", `{"id":"`+id+`","type":"flow","flow":{"goals":["`+goal+`"]}}`).want(http.StatusCreated)
	}
	for _, path := range []string{"/engine/flow", "/engine/plan"} {
		for goal, want := range map[string]struct {
			status       int
			code, detail string
		}{
			"self":  {http.StatusBadRequest, "invalid", `the child flow of step \"self\": it contains itself: self starts self`},
			"lost":  {http.StatusNotFound, "unknown_goal", `the child flow of step \"lost\": unknown goals: nobody`},
			"blind": {http.StatusBadRequest, "missing_inputs", `the child flow of step \"blind\": missing inputs: uid`},
		} {
			s.do(post, path, `{"goals":["`+goal+`"]}`).problem(want.status, want.code, "goals").has("detail", `"`+want.detail+`"`)
		}
	}
	s.do(post, "/engine/step", `{"id":"bad","type":"flow","flow":{"goals":["kyc"],"input_map":{"x":"uid"}}}`).
		problem(http.StatusBadRequest, "invalid", "flow.input_map.x")
	// The same request is known when its steps are planned no more.
	s.do(post, "/engine/flow", `{"id":"order","goals":["kyc"],"init":{"uid":7}}`).want(http.StatusCreated)
	s.do(http.MethodDelete, "/engine/step/fetch", "").want(http.StatusOK)
	s.do(post, "/engine/flow", `{"id":"order","goals":["kyc"],"init":{"uid":7}}`).want(http.StatusOK)
}
