package step_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/pkg/step"
)

func TestParseHeartbeat(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]step.Heartbeat{
		"":                               {},
		"{}":                             {},
		`{"progress": 4e-1}`:             {Progress: step.Progress{Progress: 0.4}},
		`{"progress":1,"more":[]}`:       {Progress: step.Progress{Progress: 1}},
		`{"message":"half","attempt":2}`: {Progress: step.Progress{Message: "half"}, Attempt: 2},
		`{"message":"` + strings.Repeat("ä", step.MaxHeartbeatMessage) + `"}`: {
			Progress: step.Progress{Message: strings.Repeat("ä", step.MaxHeartbeatMessage)},
		},
	} {
		if got, err := step.ParseHeartbeat([]byte(body)); err != nil || got != want {
			t.Errorf("%.60s: %v, %v", body, got, err)
		}
	}
	for body, field := range map[string]string{
		`[]`: "", `{`: "", `{"progress":0,"progress":0}`: "progress",
		`{"progress":"0.4"}`: "progress", `{"progress":1.01}`: "progress", `{"progress":-0.1}`: "progress", `{"progress":1e999}`: "progress",
		`{"progress":null}`: "progress", `{"message":7}`: "message", `{"attempt":0}`: "attempt",
		`{"message":"` + strings.Repeat("x", step.MaxHeartbeatMessage+1) + `"}`: "message",
	} {
		_, err := step.ParseHeartbeat([]byte(body))
		if wrong, ok := errors.AsType[*step.FieldError](err); !ok || wrong.Field != field {
			t.Errorf("%.60s: %v, want the field %q", body, err, field)
		}
	}
}
