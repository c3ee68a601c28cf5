package console_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	many := func(n int, entry string) string { // entries with their number in it, separated by commas
		var list []string
		for i := range n {
			list = append(list, strings.ReplaceAll(entry, "#", strconv.Itoa(i)))
		}
		return strings.Join(list, ",")
	}
	const bad = http.StatusBadRequest
	for _, tt := range []struct {
		method, path, body string
		status             int
		code, field        string
	}{
		{post, "/engine/flow", ``, bad, "invalid", ""},
		{post, "/engine/flow", `[]`, bad, "invalid", ""},
		{post, "/engine/flow", `{"goals":["charge"]`, bad, "invalid", ""},
		{post, "/engine/flow", `{}`, bad, "invalid", "goals"},
		{post, "/engine/flow", `{"goals":[]}`, bad, "invalid", "goals"},
		{post, "/engine/flow", `{"goals":["a b"]}`, bad, "invalid", "goals"},
		{post, "/engine/flow", `{"goals":["charge"],"goal":"x"}`, bad, "invalid", "goal"},
		{post, "/engine/flow", `{"goals":["charge"],"goals":["x"]}`, bad, "invalid", "goals"},
		{post, "/engine/flow", `{"goals":["charge"],"init":{"a":1,"a":2}}`, bad, "invalid", "init.a"},
		{post, "/engine/flow", `{"goals":["charge"],"init":[]}`, bad, "invalid", "init"},
		{post, "/engine/flow", `{"goals":["charge"],"init":{"":1}}`, bad, "invalid", "init"},
		{post, "/engine/flow", `{"goals":["charge"],"init":{"order":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}}`, bad, "invalid", "init"},
		{post, "/engine/flow", `{"goals":["charge"],"id":"a b"}`, bad, "invalid", "id"},
		{post, "/engine/flow", `{"goals":["charge"],"id":7}`, bad, "invalid", "id"},
		{post, "/engine/flow", `{"goals":["charge"],"labels":{"a":1}}`, bad, "invalid", "labels.a"},
		{post, "/engine/flow", `{"goals":["charge"],"labels":{"a":null}}`, bad, "invalid", "labels.a"},
		{post, "/engine/flow", `{"goals":["charge"],"timeout_ms":-1}`, bad, "invalid", "timeout_ms"},
		{post, "/engine/flow", `{"goals":["charge"],"timeout_ms":1.5}`, bad, "invalid", "timeout_ms"},
		{post, "/engine/flow", `{"goals":["charge"],"timeout_ms":9000000000000}`, bad, "invalid", "timeout_ms"},
		{post, "/engine/flow", `{"goals":["charge"],"callback_url":7}`, bad, "invalid", "callback_url"},
		{post, "/engine/flow", `{"goals":["charge"],"callback_url":"/ended"}`, bad, "invalid", "callback_url"},
		{post, "/engine/flow", `{"goals":["charge"],"callback_url":"ftp://shop.example/"}`, bad, "invalid", "callback_url"},
		{post, "/engine/flow", `{"goals":["charge"],"callback_url":"https://a:b@shop.example/"}`, bad, "invalid", "callback_url"},
		{post, "/engine/flow", `{"goals":["charge"],"callback_url":"https://shop.example/` + strings.Repeat("x", 2048) + `"}`, bad, "invalid", "callback_url"},
		{post, "/engine/flow", `{"goals":["charge"],"callback_secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}`, bad, "invalid", "callback_secret"},
		{post, "/engine/flow", `{"goals":["charge"],"callback_url":"https://shop.example/","callback_secret":"x"}`, bad, "invalid", "callback_secret"},
		{post, "/engine/flow", `{"goals":["charge"],"callback_url":"https://shop.example/","callback_secret":"whsec_c2hvcnQ="}`, bad, "invalid", "callback_secret"},
		{post, "/engine/flow", `{"goals":["charge"],"start_at":"tomorrow"}`, bad, "invalid", "start_at"},
		{post, "/engine/flow", `{"goals":["charge"],"start_at":"2030-01-01 00:00:00"}`, bad, "invalid", "start_at"},
		{post, "/engine/flow", `{"goals":["charge"],"start_at":"1969-12-31T23:59:59Z"}`, bad, "invalid", "start_at"},
		{post, "/engine/flow", `{"goals":["charge"],"start_at":"2999-01-01T00:00:00Z"}`, bad, "invalid", "start_at"},
		{post, "/engine/flow", `{"goals":["charge"],"start_at":1893456000}`, bad, "invalid", "start_at"},
		{post, "/engine/flow?wait_ms=-1", `{"goals":["charge"]}`, bad, "invalid", "wait_ms"},
		{post, "/engine/flow?wait_ms=60001", `{"goals":["charge"]}`, bad, "invalid", "wait_ms"},
		{post, "/engine/flow", `{"goals":[` + many(65, `"g#"`) + `]}`, bad, "invalid", "goals"},
		{post, "/engine/flow", `{"goals":["charge"],"init":{` + many(129, `"i#":1`) + `}}`, bad, "invalid", "init"},
		{post, "/engine/flow", `{"goals":["charge"],"labels":{` + many(33, `"l#":"v"`) + `}}`, bad, "invalid", "labels"},
		{post, "/engine/flow", `{"goals":["charge"],"init":{"order":"` + strings.Repeat("x", 1<<20) + `"}}`, http.StatusRequestEntityTooLarge, "body_too_large", ""},
		{post, "/engine/plan", `{}`, bad, "invalid", "goals"},
		{post, "/engine/plan", `{"goals":["charge"],"id":"x"}`, bad, "invalid", "id"},
		{post, "/engine/plan", `{"goals":["nope"]}`, http.StatusNotFound, "unknown_goal", "goals"},
		{get, "/engine/flow?state=active", ``, bad, "invalid", "state"},
		{get, "/engine/flow?status=running", ``, bad, "invalid", "status"},
		{get, "/engine/flow?limit=0", ``, bad, "invalid", "limit"},
		{get, "/engine/flow?limit=1001", ``, bad, "invalid", "limit"},
		{get, "/engine/flow?limit=ten", ``, bad, "invalid", "limit"},
		{get, "/engine/flow?since=yesterday", ``, bad, "invalid", "since"},
		{get, "/engine/flow?until=12345", ``, bad, "invalid", "until"},
		{get, "/engine/flow?cursor=x", ``, bad, "invalid", "cursor"},
		{get, "/engine/flow?total=1", ``, bad, "invalid", "total"},
		{get, "/engine/flow?children=yes", ``, bad, "invalid", "children"},
		{get, "/engine/flow?status=%zz", ``, bad, "invalid", ""},
		{get, "/engine/flow/a%20b", ``, bad, "invalid", "id"},
		{get, "/engine/flow/x?wait_ms=soon", ``, bad, "invalid", "wait_ms"},
		{get, "/engine/flow/x?wait_ms=1&wait_ms=2", ``, bad, "invalid", "wait_ms"},
		{get, "/engine/flow/x/events?wait_ms=1", ``, bad, "invalid", "wait_ms"},
		{get, "/engine/flow/x", ``, http.StatusNotFound, "unknown_flow", ""},
		{get, "/engine/flow/x/status", ``, http.StatusNotFound, "unknown_flow", ""},
		{get, "/engine/flow/x/events", ``, http.StatusNotFound, "unknown_flow", ""},
		{post, "/engine/flow/x/cancel", `{"why":"x"}`, bad, "invalid", "why"},
		{post, "/engine/flow/x/cancel", `{"reason":7}`, bad, "invalid", "reason"},
		{post, "/engine/flow/x/cancel", `{"reason":"` + strings.Repeat("x", 1025) + `"}`, bad, "invalid", "reason"},
		{del, "/engine/flow/x", ``, http.StatusNotFound, "unknown_flow", ""},
		{post, "/engine/step", ``, bad, "invalid", ""},
		{post, "/engine/step", `{"id":"x","typ":"async"}`, bad, "invalid", "typ"},
		{post, "/engine/step", strings.Replace(charge, "boolean", "string", 1), http.StatusConflict, "conflict", ""},
		{post, "/engine/step", strings.Replace(strings.Replace(reserve, `"reserve"`, `"other"`, 1), "number", "string", 1), http.StatusConflict, "conflict", ""},
		{post, "/engine/step", strings.Replace(strings.Replace(reserve, `"reserve"`, `"other"`, 1), "top secret", "********", 1), bad, "invalid", "http.headers.Authorization"},
		{put, "/engine/step/reserve", charge, bad, "invalid", "id"},
		{put, "/engine/step/other", strings.Replace(charge, `"charge"`, `"other"`, 1), http.StatusNotFound, "unknown_step", ""},
		{get, "/engine/step/other", ``, http.StatusNotFound, "unknown_step", ""},
		{del, "/engine/step/other", ``, http.StatusNotFound, "", ""},
		{get, "/engine/health/other", ``, http.StatusNotFound, "unknown_step", ""},
		{post, "/engine/flow/x/pause", `{"why":""}`, http.StatusBadRequest, "invalid", "why"},
		{post, "/engine/flow/x/retry", `{"reason":7}`, http.StatusBadRequest, "invalid", "reason"},
		{post, "/engine/flow/x/step/y/skip", `{"outputs":{}}`, http.StatusBadRequest, "invalid", "outputs"},
		{post, "/engine/flow/x/step/y/complete", `{"error":""}`, http.StatusBadRequest, "invalid", "error"},
		{post, "/engine/flow/x/step/y/complete", `{"outputs":[]}`, http.StatusBadRequest, "invalid", "outputs"},
		{post, "/engine/flow/x/step/y/fail", `{"item":"first"}`, http.StatusBadRequest, "invalid", "item"},
		{post, "/engine/flow/x/step/y/retry", `{"item":-1}`, http.StatusBadRequest, "invalid", "item"},
		{post, "/engine/flow/x/step/.y/retry", ``, http.StatusBadRequest, "invalid", "step"},
		{post, "/engine/flow/x/resume?now=1", ``, http.StatusBadRequest, "invalid", "now"},
		{post, "/engine/message", `{}`, http.StatusBadRequest, "invalid", "name"},
		{post, "/engine/message", `{"name":"paid","key":1,"ttl_ms":-1}`, http.StatusBadRequest, "invalid", "ttl_ms"},
		{post, "/engine/message", `{"name":"paid","key":1,"id":"a b"}`, http.StatusBadRequest, "invalid", "id"},
		{post, "/engine/message", `{"name":"paid","key":"` + strings.Repeat("x", 4096) + `"}`, http.StatusBadRequest, "invalid", "key"},
		{post, "/engine/message", `{"name":"paid","output":{}}`, http.StatusBadRequest, "invalid", "output"},
		{put, "/engine/schedule/x", `{}`, bad, "invalid", "cron"},
		{put, "/engine/schedule/x", `{"cron":"soon","flow":{"goals":["charge"]}}`, bad, "invalid", "cron"},
		{put, "/engine/schedule/x", `{"cron":7,"flow":{"goals":["charge"]}}`, bad, "invalid", "cron"},
		{put, "/engine/schedule/x", `{"cron":"0 0 31 2 *","flow":{"goals":["charge"]}}`, bad, "invalid", "cron"},
		{put, "/engine/schedule/x", `{"cron":"@daily","every_ms":1000,"flow":{"goals":["charge"]}}`, bad, "invalid", "every_ms"},
		{put, "/engine/schedule/x", `{"every_ms":1,"flow":{"goals":["charge"]}}`, bad, "invalid", "every_ms"},
		{put, "/engine/schedule/x", `{"every_ms":1000.5,"flow":{"goals":["charge"]}}`, bad, "invalid", "every_ms"},
		{put, "/engine/schedule/x", `{"cron":"@daily","time_zone":"Mars","flow":{"goals":["charge"]}}`, bad, "invalid", "time_zone"},
		{put, "/engine/schedule/x", `{"cron":"@daily","overlap":"some","flow":{"goals":["charge"]}}`, bad, "invalid", "overlap"},
		{put, "/engine/schedule/x", `{"cron":"@daily"}`, bad, "invalid", "flow"},
		{put, "/engine/schedule/x", `{"cron":"@daily","flow":[]}`, bad, "invalid", "flow"},
		{put, "/engine/schedule/x", `{"cron":"@daily","flow":{}}`, bad, "invalid", "flow.goals"},
		{put, "/engine/schedule/x", `{"cron":"@daily","flow":{"goals":["charge"],"id":"f"}}`, bad, "invalid", "flow.id"},
		{put, "/engine/schedule/x", `{"cron":"@daily","flow":{"goals":["charge"],"start_at":"2030-01-01T00:00:00Z"}}`, bad, "invalid", "flow.start_at"},
		{put, "/engine/schedule/x", `{"cron":"@daily","flow":{"goals":["charge"],"timeout_ms":-1}}`, bad, "invalid", "flow.timeout_ms"},
		{put, "/engine/schedule/x", `{"cron":"@daily","flow":{"goals":["charge"],"labels":{"a":1}}}`, bad, "invalid", "flow.labels.a"},
		{put, "/engine/schedule/x", `{"cron":"@daily","flow":{"goals":["charge"],"goal":1}}`, bad, "invalid", "flow.goal"},
		{put, "/engine/schedule/x", `{"cron":"@daily","flow":{"goals":["charge"],"callback_url":"x"}}`, bad, "invalid", "flow.callback_url"},
		{put, "/engine/schedule/x", `{"cron":"@daily","flow":{"goals":["charge"],"callback_url":"https://a.example/","callback_secret":"********"}}`, bad, "invalid", "flow.callback_secret"},
		{put, "/engine/schedule/x", `{"cron":"@daily","id":"x","flow":{"goals":["charge"]}}`, bad, "invalid", "id"},
		{put, "/engine/schedule/x?overlap=skip", `{"cron":"@daily","flow":{"goals":["charge"]}}`, bad, "invalid", "overlap"},
		{put, "/engine/schedule/a%20b", `{"cron":"@daily","flow":{"goals":["charge"]}}`, bad, "invalid", "id"},
		{put, "/engine/schedule/" + strings.Repeat("x", 101), `{"cron":"@daily","flow":{"goals":["charge"]}}`, bad, "invalid", "id"},
		{post, "/engine/schedule/x/pause", `{"why":1}`, bad, "invalid", "why"},
		{get, "/engine/ws", ``, http.StatusNotFound, "not_in_release", "ws"},
		{get, "/engine/events", ``, http.StatusNotFound, "not_in_release", "events"},
		{get, "/engine/nothing", ``, http.StatusNotFound, "not_found", ""},
		{del, "/engine/plan", ``, http.StatusMethodNotAllowed, "method_not_allowed", ""},
	} {
		name := fmt.Sprintf("%s %s %.60s", tt.method, tt.path, tt.body)
		a := s.do(tt.method, tt.path, tt.body)
		if a.status != tt.status {
			t.Errorf("%s: got %d, want %d: %s", name, a.status, tt.status, a.text)
		} else if tt.code != "" {
			a.problem(tt.status, tt.code, tt.field)
		}
	}
	// None of it changed anything.
	s.do(get, "/engine/step", "").has("count", "2")
	s.do(get, "/engine/flow?total=true", "").has("total", "0")
}

func TestContentType(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	body := `{"goals":["nope"]}`
	for said, status := range map[string]int{
		"":                                  http.StatusNotFound,
		"application/json":                  http.StatusNotFound,
		"application/json; charset=utf-8":   http.StatusNotFound,
		"text/plain":                        http.StatusUnsupportedMediaType,
		"application/x-www-form-urlencoded": http.StatusUnsupportedMediaType,
	} {
		header := http.Header{}
		if said != "" {
			header.Set("Content-Type", said)
		}
		s.send(post, "/engine/flow", body, header).want(status)
	}
}

func TestSteps(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.do(get, "/engine/step", "").want(http.StatusOK).has("steps", "[]", "count", "0")
	s.do(post, "/engine/step", reserve).want(http.StatusCreated).has(
		"step.id", `"reserve"`, "step.http.headers.Authorization", `"********"`)
	s.do(post, "/engine/step", reserve).want(http.StatusOK)
	s.do(post, "/engine/step", strings.Replace(reserve, "Reserve", "Other", 1)).problem(http.StatusConflict, "conflict", "")
	s.do(get, "/engine/step/reserve", "").want(http.StatusOK).has("name", `"Reserve"`, "http.headers.Authorization", `"********"`)
	s.do(put, "/engine/step/reserve", strings.Replace(reserve, "Reserve", "Other", 1)).want(http.StatusOK).has("step.name", `"Other"`)
	s.do(get, "/engine/step", "").want(http.StatusOK).has("count", "1", "steps.0.name", `"Other"`)
	s.do(get, "/engine/health", "").want(http.StatusOK).has("count", "1", "health.reserve.status", `"unknown"`)
	s.do(get, "/engine/health/reserve", "").want(http.StatusOK).has("status", `"unknown"`)
	s.do(del, "/engine/step/reserve", "").want(http.StatusOK)
	s.do(get, "/engine/step/reserve", "").want(http.StatusNotFound)
}
