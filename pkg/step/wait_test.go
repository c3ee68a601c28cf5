package step_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/pkg/step"
)

// waiting is a definition of type wait with some of its fields replaced.
func waiting(t *testing.T, changes string) (step.Definition, error) {
	t.Helper()
	fields := map[string]json.RawMessage{"id": []byte(`"w"`), "type": []byte(`"wait"`)}
	var change map[string]json.RawMessage
	if err := json.Unmarshal([]byte(changes), &change); err != nil {
		t.Fatalf("%s: %v", changes, err)
	}
	maps.Copy(fields, change)
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	d, err := step.ParseDefinition(text)
	if err != nil {
		return d, err
	}
	return d, d.Validate(step.Limits{})
}

func TestWaits(t *testing.T) {
	t.Parallel()
	for _, changes := range []string{
		`{"wait":{"duration_ms":60000}}`,
		`{"wait":{"until":"2030-01-31T09:00:00+02:00"}}`,
		`{"wait":{"until":"1999-01-31T09:00:00.123456789Z","timeout_ms":5,"on_timeout":"fail"}}`,
		`{"wait":{"duration_ms":5,"timeout_ms":4,"on_timeout":{"outputs":{"a":false}}},"attributes":{"a":{"role":"output","type":"boolean"}}}`,
		`{"wait":{"duration_ms":5},"attributes":{"a":{"role":"output","type":"string"},"x":{"role":"required","type":"object","for_each":true}},"work_config":{"parallelism":9}}`,
		`{"wait":{"duration_ms":5,"timeout_ms":4,"on_timeout":{"outputs":{"a":"late"}}},"attributes":{"a":{"role":"output","type":"array"},"x":{"role":"required","for_each":true}}}`,
		`{"wait":{"approval":{}}}`,
		`{"wait":{"approval":{"approvers":1,"title":"..."},"timeout_ms":86400000,"on_timeout":{"outputs":{"approved":false}}}}`,
		`{"wait":{"duration_ms":60000},"attributes":{"a":{"role":"output","type":"number"}}}`,
		`{"wait":{"message":{"name":"paid","key":{"language":"cel","script":"order"}}},"attributes":{"order":{"role":"required"},"amount":{"role":"output","type":"number"}}}`,
		`{"wait":{"approval":{"approvers":3,"title":"Ship it?"},"timeout_ms":5,"on_timeout":{"outputs":{"approved":false}}},"attributes":{"approved":{"role":"output","type":"boolean"},"by":{"role":"output","type":"string"},"comment":{"role":"output"}}}`,
	} {
		d, err := waiting(t, changes)
		if err != nil {
			t.Errorf("%s: %v", changes, err)
			continue
		}
		again, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if back := parse(t, string(again)); !back.Equal(d) {
			t.Errorf("%s differs after a round trip: %s", changes, again)
		}
	}
}

func TestWrongWaitsAreNamed(t *testing.T) {
	t.Parallel()
	for changes, want := range map[string]string{
		`{}`:          "wait",
		`{"wait":{}}`: "wait",
		`{"wait":{"duration_ms":1,"until":"2030-01-31T09:00:00Z"}}`:                      "wait",
		`{"wait":{"duration_ms":-1}}`:                                                    "wait.duration_ms",
		`{"wait":{"duration_ms":1.5}}`:                                                   "wait.duration_ms",
		`{"wait":{"duration_ms":315360000001}}`:                                          "wait.duration_ms",
		`{"wait":{"until":"tomorrow"}}`:                                                  "wait.until",
		`{"wait":{"until":"2030-01-31"}}`:                                                "wait.until",
		`{"wait":{"until":"2300-01-31T09:00:00Z"}}`:                                      "wait.until",
		`{"wait":{"duration_ms":1,"timeout_ms":-1}}`:                                     "wait.timeout_ms",
		`{"wait":{"duration_ms":1,"on_timeout":"fail"}}`:                                 "wait.on_timeout",
		`{"wait":{"duration_ms":1,"timeout_ms":1,"on_timeout":"ignore"}}`:                "wait.on_timeout",
		`{"wait":{"duration_ms":1,"timeout_ms":1,"on_timeout":{}}}`:                      "wait.on_timeout",
		`{"wait":{"duration_ms":1,"timeout_ms":1,"on_timeout":{"outputs":{},"more":1}}}`: "wait.on_timeout",
		`{"wait":{"duration_ms":1,"timeout_ms":1,"on_timeout":{"outputs":{"a":1}}},"attributes":{"a":{"role":"required"}}}`:                "wait.on_timeout.outputs.a",
		`{"wait":{"duration_ms":1},"http":{"endpoint":"http://h/x"}}`:                                                                      "http",
		`{"wait":{"duration_ms":1},"script":{"language":"cel","script":"1"}}`:                                                              "script",
		`{"wait":{"duration_ms":1},"work_config":{"timeout_ms":5}}`:                                                                        "work_config.timeout_ms",
		`{"wait":{"duration_ms":1},"work_config":{"deadline_ms":5}}`:                                                                       "work_config.deadline_ms",
		`{"wait":{"duration_ms":1},"work_config":{"heartbeat_timeout_ms":5}}`:                                                              "work_config.heartbeat_timeout_ms",
		`{"wait":{"duration_ms":1},"attributes":{"a":{"role":"output","type":"object"}}}`:                                                  "attributes.a.type",
		`{"wait":{"duration_ms":1,"for":"ever"}}`:                                                                                          "wait.for",
		`{"wait":{"message":{"key":{"language":"cel","script":"1"}}}}`:                                                                     "wait.message.name",
		`{"wait":{"message":{"name":"paid"}}}`:                                                                                             "wait.message.key",
		`{"wait":{"message":{"name":"paid","key":{"language":"perl","script":"1"}}}}`:                                                      "wait.message.key.language",
		`{"wait":{"message":{"name":"paid","key":"order"}}}`:                                                                               "wait.message.key",
		`{"wait":{"message":{"name":"paid","key":{"language":"cel","script":"1"}},"duration_ms":1}}`:                                       "wait",
		`{"wait":{"approval":{},"duration_ms":1}}`:                                                                                         "wait",
		`{"wait":{"approval":{"approvers":-1}}}`:                                                                                           "wait.approval.approvers",
		`{"wait":{"approval":{"approvers":33}}}`:                                                                                           "wait.approval.approvers",
		`{"wait":{"approval":{"title":"` + strings.Repeat("x", 257) + `"}}}`:                                                               "wait.approval.title",
		`{"wait":{"approval":{"by":["ann"]}}}`:                                                                                             "wait.approval.by",
		`{"wait":{"approval":{}},"attributes":{"approved":{"role":"output","type":"string"}}}`:                                             "attributes.approved.type",
		`{"wait":{"approval":{}},"attributes":{"x":{"role":"required","for_each":true},"by":{"role":"output","type":"boolean"}}}`:          "attributes.by.type",
		`{"type":"script","script":{"language":"cel","script":"1"},"wait":{"duration_ms":1}}`:                                              "wait",
		`{"wait":{"duration_ms":1,"timeout_ms":1,"on_timeout":{"outputs":{"a":1}}},"attributes":{"a":{"role":"output","type":"boolean"}}}`: "wait.on_timeout.outputs.a",
	} {
		if _, err := waiting(t, changes); !names(err, want) {
			t.Errorf("%s: error %v does not name %q", changes, err, want)
		}
	}
}
