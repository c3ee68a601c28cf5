package console_test

import (
	"net/http"
	"testing"
)

func TestAStepThatWaits(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.do(post, "/engine/step", `{"id":"cool","type":"wait","wait":{"duration_ms":60000,"until":"2030-01-31T09:00:00Z"}}`).
		problem(http.StatusBadRequest, "invalid", "wait")
	s.do(post, "/engine/step", `{"id":"cool","type":"wait","wait":{"until":"2099-01-31T09:00:00+01:00","timeout_ms":86400000,"on_timeout":{"outputs":{"cooled":"no"}}},
		"attributes":{"order":{"role":"required"},"cooled":{"role":"output","type":"string"}}}`).want(http.StatusCreated)
	s.do(get, "/engine/step/cool", "").has("wait.until", `"2099-01-31T09:00:00+01:00"`, "wait.on_timeout", `{"outputs":{"cooled":"no"}}`)
	s.do(post, "/engine/flow", `{"id":"f","goals":["cool"],"init":{"order":"1"}}`).want(http.StatusCreated)
	s.do(get, "/engine/flow/f", "").has("plan.steps.cool.type", `"wait"`, "executions.cool.status", `"active"`,
		"executions.cool.work_items.0.wait_until", `"2099-01-31T08:00:00Z"`, "executions.cool.work_items.0.token", "")
	s.do(get, "/engine/flow/f/events", "").has("events.2.type", `"work_started"`, "events.2.wait_until", `"2099-01-31T08:00:00Z"`)
	s.do(post, "/engine/flow/f/step/cool/complete", `{"outputs":{"cooled":"by hand"}}`).want(http.StatusOK)
	s.do(get, "/engine/flow/f", "").has("status", `"completed"`, "attributes.cooled.value", `"by hand"`)
}

func TestMessages(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.do(post, "/engine/step", `{"id":"paid","type":"wait","wait":{"message":{"name":"payment","key":{"language":"cel","script":"order +"}}},
		"attributes":{"order":{"role":"required"},"amount":{"role":"output"}}}`).problem(http.StatusBadRequest, "invalid", "wait.message.key.script")
	const message = `{"name":"payment","key":{"b":1.0,"a":"x"},"id":"m-1","outputs":{"amount":12.50},"ttl_ms":60000}`
	s.do(post, "/engine/message", message).want(http.StatusAccepted).has("message", `"the message is stored"`)
	s.do(post, "/engine/message", `{"name":"payment","key":{"a":"x","b":1},"id":"m-1"}`).want(http.StatusAccepted).
		has("message", `"the message was stored before"`)
	s.do(post, "/engine/message", `{"name":"payment","key":null}`).want(http.StatusAccepted)
	s.do(get, "/engine/flow", "").has("count", "0") // a mailbox is no flow
}
