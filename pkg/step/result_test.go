package step_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceflow/sluice/pkg/step"
)

func TestParseResult(t *testing.T) {
	t.Parallel()
	r, err := step.ParseResult([]byte(`{"success":false,"error":"busy","not_completed":true,"retry_after_ms":5000,"attempt":2,"other":[1]}`))
	if err != nil || r.Success || r.Error != "busy" || !r.NotCompleted || r.RetryAfterMS != 5000 || r.Attempt != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = step.ParseResult([]byte(`{"success":true,"outputs":{"n":12345678901234567890.10}}`))
	if err != nil || string(r.Outputs["n"]) != "12345678901234567890.10" {
		t.Errorf("%+v, %v: the number lost its text", r, err)
	}
	if r, err = step.ParseResult([]byte(`{"success":true,"outputs":null}`)); err != nil || r.Outputs != nil {
		t.Errorf("null outputs: %+v, %v", r, err)
	}
}

func TestParseResultNamesTheField(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 70) + strings.Repeat("]", 70)
	for body, field := range map[string]string{
		``:                                      "",
		`null`:                                  "",
		`[]`:                                    "",
		`{`:                                     "",
		`{}`:                                    "success",
		`{"success":"yes"}`:                     "success",
		`{"success":null}`:                      "success",
		`{"success":1}`:                         "success",
		`{"success":true,"success":false}`:      "success",
		`{"success":true,"outputs":[]}`:         "outputs",
		`{"success":true,"outputs":"x"}`:        "outputs",
		`{"success":false,"error":7}`:           "error",
		`{"success":true,"not_completed":true}`: "not_completed",
		`{"success":false,"not_completed":"x"}`: "not_completed",
		`{"success":false,"retry_after_ms":5}`:  "retry_after_ms",
		`{"success":false,"not_completed":true,"retry_after_ms":-1}`:       "retry_after_ms",
		`{"success":false,"not_completed":true,"retry_after_ms":86400001}`: "retry_after_ms",
		`{"success":false,"not_completed":true,"retry_after_ms":1.5}`:      "retry_after_ms",
		`{"success":true,"attempt":0}`:                                     "attempt",
		`{"success":true,"attempt":4294967296}`:                            "attempt",
		`{"success":true,"outputs":{"x":` + deep + `}}`:                    "outputs",
		`{"success":true,"outputs":{"a":1,"a":2}}`:                         "outputs.a",
		"{\"success\":true,\"error\":\"\xff\"}":                            "error",
	} {
		_, err := step.ParseResult([]byte(body))
		fe, ok := errors.AsType[*step.FieldError](err)
		if !ok || fe.Message == "" || (field != "" && !strings.HasPrefix(fe.Field, field)) {
			t.Errorf("%.60s: error %v, want one about %q", body, err, field)
		}
	}
}

func digest(t *testing.T, value string) []byte {
	t.Helper()
	d, err := step.CanonicalDigest(json.RawMessage(value))
	if err != nil {
		t.Fatalf("%.40s: %v", value, err)
	}
	return d
}

func TestEqualValuesHaveEqualDigests(t *testing.T) {
	t.Parallel()
	for a, b := range map[string]string{
		`{"a":1,"b":[1,2]}`:         ` { "b" : [1.0, 20e-1], "a" : 10e-1 } `,
		`1`:                         `1.000`,
		`-0`:                        `0`,
		`100`:                       `1E2`,
		`0.001`:                     `1e-3`,
		`"ab"`:                      `"\u0061b"`,
		`1e400`:                     `10e399`,
		`1e99999999999999999999999`: `10e99999999999999999999998`,
		`0e99999999999999999999999`: `0`,
	} {
		if !bytes.Equal(digest(t, a), digest(t, b)) {
			t.Errorf("%s and %s have different digests", a, b)
		}
	}
	for a, b := range map[string]string{
		`1`: `"1"`, `9007199254740993`: `9007199254740992`, `[1,2]`: `[2,1]`, `0.1`: `0.10000000000000001`, `1e400`: `1e401`, `{"a":1}`: `{"b":1}`, `-1`: `1`,
	} {
		if bytes.Equal(digest(t, a), digest(t, b)) {
			t.Errorf("%s and %s have one digest", a, b)
		}
	}
}

func TestDigestIgnoresTheAttempt(t *testing.T) {
	t.Parallel()
	a, errA := step.ParseResult([]byte(`{"success":true,"outputs":{"x":1},"attempt":1}`))
	b, errB := step.ParseResult([]byte(`{"attempt":2,"outputs":{"x":1.0},"success":true,"extra":5}`))
	if errA != nil || errB != nil || !bytes.Equal(a.Digest(), b.Digest()) {
		t.Errorf("digests differ (%v, %v)", errA, errB)
	}
}

// A number keeps its digest however it is shifted.
func TestNumbersByExactValue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`[1-9][0-9]{0,30}`).Draw(t, "digits")
		exponent := rapid.IntRange(-400, 400).Draw(t, "exponent")
		zeros := rapid.IntRange(0, 20).Draw(t, "zeros")
		a := json.RawMessage(digits + "e" + itoa(exponent))
		b := json.RawMessage(digits + strings.Repeat("0", zeros) + "e" + itoa(exponent-zeros))
		da, errA := step.CanonicalDigest(a)
		db, errB := step.CanonicalDigest(b)
		if errA != nil || errB != nil || !bytes.Equal(da, db) {
			t.Fatalf("%s and %s have different digests (%v, %v)", a, b, errA, errB)
		}
	})
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func TestTypes(t *testing.T) {
	t.Parallel()
	values := map[step.Type]string{
		step.TypeString: `"x"`, step.TypeNumber: `-1.5`, step.TypeBoolean: `false`,
		step.TypeObject: `{}`, step.TypeArray: ` []`, step.TypeNull: `null`,
	}
	for kind, value := range values {
		for other := range values {
			if got := other.Accepts(json.RawMessage(value)); got != (other == kind) {
				t.Errorf("%s accepts %s: %v", other, value, got)
			}
		}
		if !step.TypeAny.Accepts(json.RawMessage(value)) {
			t.Errorf("any does not accept %s", value)
		}
	}
	if step.Type("text").Accepts(json.RawMessage(`"x"`)) {
		t.Error("a type that does not exist accepts something")
	}
}

func FuzzParseResult(f *testing.F) {
	f.Add([]byte(`{"success":true,"outputs":{"a":1e5}}`))
	f.Add([]byte(`{"success":false,"not_completed":true,"retry_after_ms":5}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := step.ParseResult(body)
		if err != nil {
			return
		}
		again, err := json.Marshal(map[string]any{
			"success": r.Success, "outputs": r.Outputs, "error": r.Error,
			"not_completed": r.NotCompleted && !r.Success,
		})
		if err != nil {
			t.Fatalf("what was parsed cannot be written: %v", err)
		}
		back, err := step.ParseResult(again)
		if err != nil {
			t.Fatalf("what was written cannot be parsed: %v", err)
		}
		if back.RetryAfterMS = r.RetryAfterMS; !bytes.Equal(back.Digest(), r.Digest()) {
			t.Errorf("the digest changed on the way")
		}
	})
}
