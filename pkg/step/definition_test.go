package step_test

import (
	"encoding/json"
	"errors"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/pkg/step"
)

const whole = `{"id":"charge-card","name":"Charge card","type":"async","labels":{"team":"pay"},
	"attributes":{"amount":{"role":"required","type":"number"},"currency":{"role":"const","type":"string","default":"\"EUR\""},
		"note":{"role":"optional"},"receipt":{"role":"output","type":"object"}},
	"http":{"endpoint":"https://pay.example/charge","timeout":30000,"health_check":"https://pay.example/health",
		"secret":"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz","headers":{"Authorization":"Bearer x"},
		"compensate":"https://pay.example/refund"},
	"work_config":{"max_retries":3,"backoff_ms":100,"max_backoff_ms":5000,"backoff_type":"linear","parallelism":4,"timeout_ms":60000}}`

func parse(t *testing.T, text string) step.Definition {
	t.Helper()
	d, err := step.ParseDefinition([]byte(text))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	return d
}

func TestWholeDefinition(t *testing.T) {
	t.Parallel()
	d := parse(t, whole)
	if err := d.Validate(step.Limits{}); err != nil {
		t.Fatalf("validate: %v", err)
	}
	again, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if back := parse(t, string(again)); !back.Equal(d) {
		t.Errorf("%s differs after a round trip", again)
	}
	shown, err := json.Marshal(d.Redacted())
	if err != nil {
		t.Fatal(err)
	}
	if text := string(shown); strings.Contains(text, "whsec_") || strings.Contains(text, "Bearer") || !strings.Contains(text, "Authorization") {
		t.Errorf("redacted: %s", text)
	}
	if d.HTTP.Secret == "" || d.HTTP.Headers["Authorization"] != "Bearer x" {
		t.Error("redacting changed the definition itself")
	}
	if other := parse(t, strings.Replace(whole, "Bearer x", "Bearer y", 1)); other.Equal(d) {
		t.Error("another header is no difference")
	}
}

// merged is a small valid definition with some of its fields replaced.
func merged(t *testing.T, changes string) string {
	t.Helper()
	base := map[string]json.RawMessage{
		"id": []byte(`"s"`), "type": []byte(`"sync"`), "http": []byte(`{"endpoint":"http://h/x"}`),
	}
	var change map[string]json.RawMessage
	if err := json.Unmarshal([]byte(changes), &change); err != nil {
		t.Fatalf("%s: %v", changes, err)
	}
	maps.Copy(base, change)
	text, err := json.Marshal(base)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWrongValuesAreNamed(t *testing.T) {
	t.Parallel()
	for changes, want := range map[string]string{
		`{"id":""}`:    "id",
		`{"id":"a b"}`: "id",
		`{"id":7}`:     "id",
		`{"name":"` + strings.Repeat("x", 129) + `"}`: "name",
		`{"type":""}`:       "type",
		`{"type":"other"}`:  "type",
		`{"type":"script"}`: "script",
		`{"type":"script","script":{"language":"cel","script":"1"}}`:                     "http",
		`{"script":{"language":"cel","script":"1"}}`:                                     "script",
		`{"predicate":{"language":"perl","script":"1"}}`:                                 "predicate.language",
		`{"predicate":{"language":"cel","script":" "}}`:                                  "predicate.script",
		`{"predicate":{"language":"cel"}}`:                                               "predicate.script",
		`{"predicate":{"language":"cel","script":"` + strings.Repeat("1", 1<<17) + `"}}`: "predicate.script",
		`{"predicate":{"language":"cel","script":"1","timeout":1}}`:                      "predicate.timeout",
		`{"nats":{}}`:                                           "nats",
		`{"script":{}}`:                                         "script",
		`{"flow":{"goals":["g"]}}`:                              "flow",
		`{"wait":{"duration_ms":1}}`:                            "wait",
		`{"predicate":{}}`:                                      "predicate.language",
		`{"unknown":1}`:                                         "unknown",
		`{"http":null}`:                                         "http",
		`{"http":{}}`:                                           "http.endpoint",
		`{"http":{"endpoint":"h/x"}}`:                           "http.endpoint",
		`{"http":{"endpoint":"ftp://h/x"}}`:                     "http.endpoint",
		`{"http":{"endpoint":"http://u:p@h/x"}}`:                "http.endpoint",
		`{"http":{"endpoint":"http://h/x#y"}}`:                  "http.endpoint",
		`{"http":{"endpoint":"http://h","health_check":"x"}}`:   "http.health_check",
		`{"http":{"endpoint":"http://h","compensate":"/undo"}}`: "http.compensate",
		`{"http":{"endpoint":"http://h","compensate":"http://u:p@h/c"}}`:               "http.compensate",
		`{"memoizable":true,"http":{"endpoint":"http://h","compensate":"http://h/c"}}`: "http.compensate",
		`{"type":"wait","memoizable":true,"labels":{"a":"the field is memoizable"}}`:   "memoizable",
		`{"http":{"endpoint":"http://h","timeout":-1}}`:                                "http.timeout",
		`{"http":{"endpoint":"http://h","timeout":"5"}}`:                               "http.timeout",
		`{"http":{"endpoint":"http://h","secret":"x"}}`:                                "http.secret",
		`{"http":{"endpoint":"http://h","secret":"whsec_c2hvcnQ="}}`:                   "http.secret",
		`{"http":{"endpoint":"http://h","headers":{"a b":"x"}}}`:                       "http.headers.a b",
		`{"http":{"endpoint":"http://h","headers":{"A":"x\ny"}}}`:                      "http.headers.A",
		`{"http":{"endpoint":"http://h","headers":{"content-type":"x"}}}`:              "http.headers.content-type",
		`{"http":{"endpoint":"http://h","headers":{"idempotency-key":""}}}`:            "http.headers.idempotency-key",
		`{"http":{"endpoint":"http://h","headers":{"webhook-id":""}}}`:                 "http.headers.webhook-id",
		`{"http":{"endpoint":"http://h","verb":"GET"}}`:                                "http.verb",
		`{"labels":{"":"x"}}`:                                                                         "labels",
		`{"labels":{"a":1}}`:                                                                          "labels.a",
		`{"attributes":{"":{"role":"output"}}}`:                                                       "attributes.",
		`{"attributes":{"a":{}}}`:                                                                     "attributes.a.role",
		`{"attributes":{"a":{"role":"in"}}}`:                                                          "attributes.a.role",
		`{"attributes":{"a":{"role":"output","type":"text"}}}`:                                        "attributes.a.type",
		`{"attributes":{"a":{"role":"required","default":"1"}}}`:                                      "attributes.a.default",
		`{"attributes":{"a":{"role":"const"}}}`:                                                       "attributes.a.default",
		`{"attributes":{"a":{"role":"const","default":"EUR"}}}`:                                       "attributes.a.default",
		`{"attributes":{"a":{"role":"const","type":"number","default":"\"1\""}}}`:                     "attributes.a.default",
		`{"attributes":{"a":{"role":"output","for_each":true}}}`:                                      "attributes.a.for_each",
		`{"attributes":{"a":{"role":"const","for_each":true}}}`:                                       "attributes.a.default",
		`{"attributes":{"a":{"role":"const","for_each":true,"default":"1"}}}`:                         "attributes.a.default",
		`{"attributes":{"a":{"role":"optional","for_each":true,"default":"{}"}}}`:                     "attributes.a.default",
		`{"attributes":{"a":{"role":"const","type":"number","for_each":true,"default":"[1,\"2\"]"}}}`: "attributes.a.default",
		`{"work_config":{"max_retries":-2}}`:                                                          "work_config.max_retries",
		`{"work_config":{"max_retries":1.5}}`:                                                         "work_config.max_retries",
		`{"work_config":{"backoff_ms":-1}}`:                                                           "work_config.backoff_ms",
		`{"work_config":{"backoff_ms":10,"max_backoff_ms":5}}`:                                        "work_config.max_backoff_ms",
		`{"work_config":{"backoff_type":"random"}}`:                                                   "work_config.backoff_type",
		`{"work_config":{"parallelism":-1}}`:                                                          "work_config.parallelism",
		`{"work_config":{"timeout_ms":-2}}`:                                                           "work_config.timeout_ms",
		`{"work_config":{"deadline_ms":-1}}`:                                                          "work_config.deadline_ms",
		`{"work_config":{"heartbeat_timeout_ms":-1}}`:                                                 "work_config.heartbeat_timeout_ms",
		`{"type":"sync","work_config":{"heartbeat_timeout_ms":5}}`:                                    "work_config.heartbeat_timeout_ms",
	} {
		d, err := step.ParseDefinition([]byte(merged(t, changes)))
		if err == nil {
			err = d.Validate(step.Limits{})
		}
		if !names(err, want) {
			t.Errorf("%s: error %v does not name %q", changes, err, want)
		}
	}
}

func names(err error, field string) bool {
	if fe, ok := errors.AsType[*step.FieldError](err); ok {
		return fe.Field == field && fe.Message != ""
	}
	if all, ok := errors.AsType[step.FieldErrors](err); ok {
		for _, fe := range all {
			if fe.Field == field && fe.Message != "" {
				return true
			}
		}
	}
	return false
}

func TestAllMistakesAreReportedTogether(t *testing.T) {
	t.Parallel()
	d := parse(t, `{"id":"a b","type":"sync","nats":{}}`)
	all, ok := errors.AsType[step.FieldErrors](d.Validate(step.Limits{}))
	if !ok || len(all) != 3 {
		t.Errorf("mistakes %v, want id, http and nats", all)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	d := parse(t, merged(t, `{}`))
	d.Labels, d.Attributes = map[string]string{}, map[string]step.Attribute{}
	for i := range 33 {
		d.Labels[strconv.Itoa(i)] = "x"
		d.Attributes[strconv.Itoa(i)] = step.Attribute{Role: step.RoleOutput}
	}
	if err := d.Validate(step.Limits{}); !names(err, "labels") {
		t.Errorf("33 labels: %v", err)
	}
	if err := d.Validate(step.Limits{Labels: 33}); err != nil {
		t.Errorf("33 labels of 33: %v", err)
	}
}

func FuzzParseDefinition(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(`{"id":"s","type":"sync","http":{"endpoint":"http://h"}}`))
	f.Add([]byte(`{"id":"s","type":"wait","wait":{"until":"2030-01-31T09:00:00Z","timeout_ms":5,"on_timeout":{"outputs":{"a": 1}}}}`))
	f.Add([]byte(`{"id":"s","type":"wait","wait":{"duration_ms":5,"timeout_ms":5,"on_timeout":"fail"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := step.ParseDefinition(data)
		if err != nil {
			return
		}
		_ = d.Validate(step.Limits{})
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatalf("what was parsed cannot be written: %v", err)
		}
		back, err := step.ParseDefinition(text)
		if err != nil {
			t.Fatalf("%s: what was written cannot be parsed: %v", text, err)
		}
		if !back.Equal(d) {
			t.Errorf("%s differs after a round trip", text)
		}
	})
}
