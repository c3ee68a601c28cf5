package console_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

func TestAFlowThatStartsLater(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	at := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	request := func(id string, at time.Time) string {
		return fmt.Sprintf(`{"id":%q,"goals":["charge"],"init":{"order":"1"},"start_at":%q}`, id, at.Format(time.RFC3339))
	}
	s.do(post, "/engine/flow", request("later", at)).want(http.StatusCreated)
	s.do(get, "/engine/flow/later", "").want(http.StatusOK).has(
		"status", `"active"`, "start_at", fmt.Sprintf("%q", at.Format(time.RFC3339)), "begun_at", "",
		"executions.reserve.status", `"pending"`)
	// The same moment in another zone is the same request.
	s.do(post, "/engine/flow", request("later", at.In(time.FixedZone("", 2*3600)))).want(http.StatusOK)
	s.do(post, "/engine/flow", request("later", at.Add(time.Second))).problem(http.StatusConflict, "conflict", "")
	s.do(get, "/engine/flow/later/events", "").has("events.0.start_at", fmt.Sprintf("%q", at.Format(time.RFC3339)), "events.1", "")
	s.do(post, "/engine/flow/later/cancel", "").want(http.StatusOK)
	s.do(get, "/engine/flow/later/status", "").has("status", `"canceled"`)

	s.do(post, "/engine/flow", request("past", at.Add(-2*time.Hour))).want(http.StatusCreated)
	s.do(get, "/engine/flow/past", "").has("executions.reserve.status", `"active"`)
	s.do(post, "/engine/flow", `{"id":"none","goals":["charge"],"init":{"order":"1"},"start_at":null}`).want(http.StatusCreated)
	s.do(get, "/engine/flow/none", "").has("start_at", "", "executions.reserve.status", `"active"`)
}
