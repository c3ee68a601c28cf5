package step

import (
	stdjson "encoding/json"
	"errors"

	"github.com/go-json-experiment/json"
)

// Wait is what the work items of a step of type wait wait for: exactly one of
// DurationMS, Until, Message and Approval.
type Wait struct {
	// DurationMS is how long to wait, in milliseconds; 0 means that it is not for
	// this.
	DurationMS int64 `json:"duration_ms,omitzero"`
	// Until is a moment, as RFC 3339 writes it. One that is past is over at once.
	Until string `json:"until,omitempty"`
	// Message is one that somebody posts: its outputs are the step's.
	Message *WaitMessage `json:"message,omitzero"`
	// Approval is what people say.
	Approval *Approval `json:"approval,omitzero"`
	// TimeoutMS is after how many milliseconds the wait is given up; 0 means never.
	TimeoutMS int64 `json:"timeout_ms,omitzero"`
	// OnTimeout is what it then comes to; nil means that the work item fails.
	OnTimeout *OnTimeout `json:"on_timeout,omitzero"`
}

// WaitMessage is a message that a step waits for.
type WaitMessage struct {
	Name string `json:"name"`
	// Key gives the key that the message must have.
	Key *Script `json:"key,omitzero"`
}

// Approval is what people are asked for.
type Approval struct {
	// Approvers is how many of them must approve; 0 means 1.
	Approvers int32 `json:"approvers,omitzero"`
	// Title says what they are asked.
	Title string `json:"title,omitempty"`
}

// OnTimeout says what a wait that is given up comes to.
type OnTimeout struct {
	// Fail says that the work item fails.
	Fail bool
	// Outputs are what it gives where it does not fail.
	Outputs map[string]stdjson.RawMessage
}

const onTimeoutFail = "fail"

var errOnTimeout = errors.New(`must be "fail" or {"outputs": {...}}`)

// MarshalJSON writes "fail", or an object with the outputs.
func (o OnTimeout) MarshalJSON() ([]byte, error) {
	if o.Fail {
		return json.Marshal(onTimeoutFail) //nolint:wrapcheck // a string can be written
	}
	return json.Marshal(struct { //nolint:wrapcheck // who asked says of what
		Outputs map[string]stdjson.RawMessage `json:"outputs"`
	}{o.Outputs}, json.Deterministic(true))
}

// UnmarshalJSON reads what MarshalJSON writes.
func (o *OnTimeout) UnmarshalJSON(text []byte) error {
	var word string
	if json.Unmarshal(text, &word) == nil {
		*o = OnTimeout{Fail: true}
		if word != onTimeoutFail {
			return errOnTimeout
		}
		return nil
	}
	var object struct {
		Outputs *map[string]stdjson.RawMessage `json:"outputs"`
	}
	if json.Unmarshal(text, &object, json.RejectUnknownMembers(true)) != nil || object.Outputs == nil {
		return errOnTimeout
	}
	*o = OnTimeout{Outputs: *object.Outputs}
	return nil
}
