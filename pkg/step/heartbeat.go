package step

import (
	stdjson "encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// MaxHeartbeatMessage is how many characters the message of a heartbeat may have.
const MaxHeartbeatMessage = 1024

// Heartbeat says that the worker of an attempt lives, and how far it is.
type Heartbeat struct {
	Progress

	// Attempt is the attempt that it is of, from 1; 0 when it does not say.
	Attempt uint32
}

// ParseHeartbeat reads the body of a heartbeat, which may be empty. Fields that
// it does not know are ignored. It returns a [*FieldError] for what makes no
// sense.
func ParseHeartbeat(body []byte) (Heartbeat, error) {
	if len(body) == 0 {
		return Heartbeat{}, nil
	}
	if err := checkDepth(body); err != nil {
		return Heartbeat{}, err
	}
	if kind := typeOf(body); kind != TypeObject && kind != "" {
		return Heartbeat{}, &FieldError{"", "must be an object"}
	}
	var w struct {
		Progress stdjson.RawMessage `json:"progress"`
		Message  stdjson.RawMessage `json:"message"`
		Attempt  stdjson.RawMessage `json:"attempt"`
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return Heartbeat{}, parseError(err)
	}
	var h Heartbeat
	var attempt int64
	for _, problem := range []*FieldError{
		readPart("progress", w.Progress, &h.Progress.Progress),
		readString("message", w.Message, &h.Message),
		readWhole("attempt", w.Attempt, 1, math.MaxUint32, &attempt),
	} {
		if problem != nil {
			return Heartbeat{}, problem
		}
	}
	if utf8.RuneCountInString(h.Message) > MaxHeartbeatMessage {
		return Heartbeat{}, &FieldError{"message", fmt.Sprintf("has at most %d characters", MaxHeartbeatMessage)}
	}
	h.Attempt = uint32(attempt) //nolint:gosec // readWhole checked the range
	return h, nil
}

// readPart reads a number from 0 to 1.
func readPart(field string, value stdjson.RawMessage, into *float64) *FieldError {
	if value == nil {
		return nil
	}
	n, err := strconv.ParseFloat(string(value), 64)
	if typeOf(value) != TypeNumber || err != nil || n < 0 || n > 1 {
		return &FieldError{field, "must be a number from 0 to 1"}
	}
	*into = n
	return nil
}
