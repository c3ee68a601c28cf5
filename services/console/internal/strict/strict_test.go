package strict_test

import (
	"encoding/json"
	"errors"
	"reflect"
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

// What is accepted says what encoding/json reads in it, and can be written and
// read again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"id":"order-1","goals":["a","b"],"init":{"n":1.10e3,"x":null,"y":{"z":[]}},"labels":{"team":"pay","none":null},"limit":5}`))
	f.Add([]byte(`{"goals":["a"],"goals":["b"]}`))
	f.Add([]byte(`{"limit":null,"total":true} `))
	f.Fuzz(func(t *testing.T, body []byte) {
		var v, same, back request
		if err := strict.Decode(body, &v); err != nil {
			if _, ok := errors.AsType[*step.FieldError](err); !ok {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if err := json.Unmarshal(body, &same); err != nil || !reflect.DeepEqual(v, same) {
			t.Errorf("%s is read as %+v, and otherwise as %+v (%v)", body, v, same, err)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if err := strict.Decode(text, &back); err != nil {
			t.Fatalf("%s: what was written cannot be read: %v", text, err)
		}
		if again, err := json.Marshal(back); err != nil || string(again) != string(text) {
			t.Errorf("%s became %s (%v)", text, again, err)
		}
	})
}
