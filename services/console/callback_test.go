package console_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/dead"
)

// What a flow's end is told by is part of the request, and its secret is never
// shown.
func TestStartWithACallback(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	const request = `{"id":"f","goals":["reserve"],"init":{"order":"A-1"},"callback_url":"https://shop.example/ended","callback_secret":"` + secret + `"}`
	s.do(post, "/engine/flow", request).want(http.StatusCreated)
	s.do(post, "/engine/flow", request).want(http.StatusOK)
	for _, other := range []string{
		strings.Replace(request, "ended", "end", 1), strings.Replace(request, "MfKQ", "MfKR", 1),
		strings.Replace(request, `,"callback_secret":"`+secret+`"`, "", 1),
	} {
		s.do(post, "/engine/flow", other).problem(http.StatusConflict, "conflict", "")
	}
	s.do(post, "/engine/flow", `{"id":"g","goals":["reserve"],"init":{"order":"A-1"},"callback_url":null,"callback_secret":null}`).want(http.StatusCreated)

	s.do(get, "/engine/flow/f/events", "").want(http.StatusOK).has("events.0.callback_url", `"https://shop.example/ended"`)
	for _, path := range []string{"/engine/flow/f", "/engine/flow/f/status", "/engine/flow/f/events", "/engine/flow", "/engine"} {
		if got := s.do(get, path, "").want(http.StatusOK).text; strings.Contains(got, secret[10:]) {
			t.Errorf("%s shows the secret: %s", path, got)
		}
	}
}

func TestADeadCallbackShowsNoSecret(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	secret := base64.RawURLEncoding.EncodeToString([]byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
	data := s.encode(&sluicev1.Invocation{
		FlowId: "f", Work: &sluicev1.WorkRef{Run: 7, StepId: subject.CallbackStep}, Endpoint: "https://shop.example/ended",
		Callback: &sluicev1.Callback{Revision: 4, Status: sluicev1.FlowStatus_FLOW_STATUS_COMPLETED, Signed: true, Secret: secret},
	})
	place := s.bus.Space.InvokeHTTP(subject.CallbackStep, s.bus.Partition("f"), "f")
	s.bury(
		&sluicev1.DeadLetter{What: dead.Invocation, Subject: place, Data: data},
		&sluicev1.DeadLetter{What: dead.Invocation, Subject: place, Data: append([]byte("\xff"), data...)}, // no message any more
	)
	s.do(get, "/engine/dead/1", "").want(http.StatusOK).has("flow_id", `"f"`, "step_id", `"_callback"`,
		"message.callback.secret", `"********"`, "message.callback.status", `"FLOW_STATUS_COMPLETED"`)
	garbage := s.do(get, "/engine/dead/2", "").want(http.StatusOK).has("message", "")
	var raw []byte
	if err := json.Unmarshal([]byte(garbage.at("data")), &raw); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), secret[:12]) {
		t.Errorf("the secret is shown: %q", raw)
	}
}
