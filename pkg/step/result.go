package step

import (
	"bytes"
	"crypto/sha256"
	stdjson "encoding/json"
	"math"
	"time"

	"github.com/go-json-experiment/json"
)

// MaxRetryAfter is the longest delay that a result may ask for.
const MaxRetryAfter = 24 * time.Hour

// Result is a StepResult: what a worker says about an attempt.
type Result struct {
	// Success says that the work is done.
	Success bool
	// Outputs are JSON values by name.
	Outputs map[string]stdjson.RawMessage
	// Error says what went wrong.
	Error string
	// NotCompleted says that the attempt came to nothing and another one may
	// succeed. Never together with Success.
	NotCompleted bool
	// RetryAfterMS is the least delay before the next attempt, in milliseconds;
	// only with NotCompleted. 0 asks for none.
	RetryAfterMS int64
	// Attempt is the attempt that the result is of, from 1; 0 when it does not say.
	Attempt uint32
}

// resultJSON keeps what must not be null or may be spelled in several ways as
// it came.
type resultJSON struct {
	Success      stdjson.RawMessage            `json:"success"`
	Outputs      map[string]stdjson.RawMessage `json:"outputs"`
	Error        stdjson.RawMessage            `json:"error"`
	NotCompleted stdjson.RawMessage            `json:"not_completed"`
	RetryAfterMS stdjson.RawMessage            `json:"retry_after_ms"`
	Attempt      stdjson.RawMessage            `json:"attempt"`
}

// ParseResult reads a StepResult. Fields that it does not know are ignored. It
// returns a [*FieldError] for what is not a StepResult: wrong types and
// combinations, duplicate keys, invalid UTF-8, more than [MaxDepth] levels.
func ParseResult(body []byte) (Result, error) {
	if err := checkDepth(body); err != nil {
		return Result{}, err
	}
	if kind := typeOf(body); kind != TypeObject && kind != "" {
		return Result{}, &FieldError{"", "must be an object"}
	}
	var w resultJSON
	if err := json.Unmarshal(body, &w); err != nil {
		return Result{}, parseError(err)
	}
	return w.result()
}

func (w *resultJSON) result() (Result, error) {
	r := Result{Outputs: w.Outputs}
	if w.Success == nil {
		return Result{}, &FieldError{"success", "is required"}
	}
	var attempt int64
	for _, problem := range []*FieldError{
		readBool("success", w.Success, &r.Success),
		readString("error", w.Error, &r.Error),
		readBool("not_completed", w.NotCompleted, &r.NotCompleted),
		readWhole("retry_after_ms", w.RetryAfterMS, 0, MaxRetryAfter.Milliseconds(), &r.RetryAfterMS),
		readWhole("attempt", w.Attempt, 1, math.MaxUint32, &attempt),
	} {
		if problem != nil {
			return Result{}, problem
		}
	}
	r.Attempt = uint32(attempt) //nolint:gosec // readWhole checked the range
	if r.NotCompleted && r.Success {
		return Result{}, &FieldError{"not_completed", "must not stand with success"}
	}
	if r.RetryAfterMS > 0 && !r.NotCompleted {
		return Result{}, &FieldError{"retry_after_ms", "must stand with not_completed only"}
	}
	return r, nil
}

func readBool(field string, value stdjson.RawMessage, into *bool) *FieldError {
	if value == nil {
		return nil
	}
	if typeOf(value) != TypeBoolean {
		return &FieldError{field, "must be true or false"}
	}
	*into = value[0] == 't'
	return nil
}

func readString(field string, value stdjson.RawMessage, into *string) *FieldError {
	if value == nil {
		return nil
	}
	if typeOf(value) != TypeString || json.Unmarshal(value, into) != nil {
		return &FieldError{field, "must be a string"}
	}
	return nil
}

func readWhole(field string, value stdjson.RawMessage, least, most int64, into *int64) *FieldError {
	if value == nil {
		return nil
	}
	wrong := wholeRange(field, least, most)
	if typeOf(value) != TypeNumber {
		return wrong
	}
	n, ok := wholeNumber(string(value))
	if !ok || n < least || n > most {
		return wrong
	}
	*into = n
	return nil
}

// Digest returns 16 bytes that are equal for results that are equal as JSON:
// keys in any order, numbers by exact decimal value. What is absent equals what
// is empty, and the attempt is not part of it.
func (r Result) Digest() []byte {
	text, err := json.Marshal(struct {
		Success      bool                          `json:"success"`
		Outputs      map[string]stdjson.RawMessage `json:"outputs,omitempty"`
		Error        string                        `json:"error,omitempty"`
		NotCompleted bool                          `json:"not_completed,omitzero"`
		RetryAfterMS int64                         `json:"retry_after_ms,omitzero"`
	}{r.Success, r.Outputs, r.Error, r.NotCompleted, r.RetryAfterMS}, json.Deterministic(true))
	if err == nil {
		if digest, err := CanonicalDigest(text); err == nil {
			return digest
		}
	}
	return r.rawDigest()
}

// rawDigest is for results that did not come from ParseResult and are no JSON:
// it tells them apart by their bytes.
func (r Result) rawDigest() []byte {
	var text bytes.Buffer
	text.WriteString(r.Error)
	for _, name := range sortedNames(r.Outputs) {
		text.WriteString("\x00" + name + "\x00")
		text.Write(r.Outputs[name])
	}
	sum := sha256.Sum256(text.Bytes())
	return sum[:digestSize]
}
