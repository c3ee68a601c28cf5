package strict_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/console/internal/strict"
)

type request struct {
	ID     string                     `json:"id"`
	Goals  []string                   `json:"goals"`
	Init   map[string]json.RawMessage `json:"init"`
	Labels map[string]*string         `json:"labels"`
	Limit  *int64                     `json:"limit"`
	Total  bool                       `json:"total"`
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ body, field, message string }{
		{``, "", "the body must be a JSON object"},
		{`null`, "", "the body must be a JSON object"},
		{`[]`, "", "the body must be a JSON object"},
		{`{"goal":["a"]}`, "goal", "unknown field"},
		{`{"Goals":["a"]}`, "Goals", "unknown field"},
		{`{"goals":["a"],"goals":["b"]}`, "goals", "stands twice in its object"},
		{`{"init":{"a":{"b":1,"b":2}}}`, "init.a.b", "stands twice in its object"},
		{`{"goals":"a"}`, "goals", "must be a list"},
		{`{"goals":[1]}`, "goals.0", "must be a string"},
		{`{"labels":{"team":7}}`, "labels.team", "must be a string"},
		{`{"init":[]}`, "init", "must be an object"},
		{`{"limit":1.5}`, "limit", "must be a whole number in range"},
		{`{"limit":92233720368547758080}`, "limit", "must be a whole number in range"},
		{`{"total":"yes"}`, "total", "must be true or false"},
	} {
		t.Run(tt.body, func(t *testing.T) {
			t.Parallel()
			var v request
			err := strict.Decode([]byte(tt.body), &v)
			fe, ok := errors.AsType[*step.FieldError](err)
			if !ok {
				t.Fatalf("got %v, want a field error", err)
			}
			if fe.Field != tt.field || fe.Message != tt.message {
				t.Errorf("got %q: %q, want %q: %q", fe.Field, fe.Message, tt.field, tt.message)
			}
		})
	}
	for _, body := range []string{`{"id":"a"} x`, "{\"id\":\"\xff\"}", `{"id":"a"`} {
		if err := strict.Decode([]byte(body), &request{}); err == nil {
			t.Errorf("%q was accepted", body)
		}
	}
}

func TestDecodeKeepsNumbers(t *testing.T) {
	t.Parallel()
	var v request
	if err := strict.Decode([]byte(`{"init":{"n":1.10000000000000000000000001e3,"x":null},"labels":null}`), &v); err != nil {
		t.Fatal(err)
	}
	if got := string(v.Init["n"]); got != "1.10000000000000000000000001e3" {
		t.Errorf("n became %s", got)
	}
	if got := string(v.Init["x"]); got != "null" {
		t.Errorf("x became %q", got)
	}
}
