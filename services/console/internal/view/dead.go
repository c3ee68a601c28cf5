package view

import (
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/dead"
)

// maxRaw is how many bytes of an original that cannot be decoded are shown.
const maxRaw = 64 << 10

// Letter is a dead letter without the message that it is about.
type Letter struct {
	ID         uint64    `json:"id"`
	What       string    `json:"what"`
	Class      string    `json:"class"`
	Reason     string    `json:"reason"`
	Subject    string    `json:"subject"`
	FlowID     string    `json:"flow_id,omitempty"`
	StepID     string    `json:"step_id,omitempty"`
	Stream     string    `json:"stream"`
	Sequence   uint64    `json:"sequence"`
	StoredAt   time.Time `json:"stored_at"` // the first time
	DeadAt     time.Time `json:"dead_at"`   // the last time
	Deliveries uint64    `json:"deliveries"`
	Redrives   uint32    `json:"redrives"`
	Size       uint64    `json:"size"` // bytes of the original
}

// WholeLetter is a dead letter with the message: decoded, or as bytes.
type WholeLetter struct {
	Letter

	Headers   map[string]string `json:"headers"`
	Message   map[string]any    `json:"message,omitempty"`
	Data      []byte            `json:"data,omitempty"`      // where there is no message, see [Masked]
	Truncated bool              `json:"truncated,omitempty"` // data are only the first of it
}

// LetterOf shows a letter in short.
func LetterOf(s dead.Stored, b *bus.Bus) Letter {
	out := Letter{
		ID: s.ID, What: s.GetWhat(), Class: s.GetClass(), Reason: s.GetReason(), Subject: s.GetSubject(),
		Stream: s.GetStream(), Sequence: s.GetSequence(), StoredAt: Time(s.GetStoredNs()), DeadAt: Time(s.GetDeadNs()),
		Deliveries: s.GetDeliveries(), Redrives: s.GetRedrives(), Size: s.Size,
	}
	if _, _, flowID, err := b.Space.ParseCommand(s.GetSubject()); err == nil {
		out.FlowID = flowID
	}
	if stepID, _, flowID, err := b.Space.ParseInvoke(s.GetSubject()); err == nil {
		out.StepID, out.FlowID = stepID, flowID
	}
	return out
}

// WholeLetterOf shows a letter and its message.
func WholeLetterOf(s dead.Stored, b *bus.Bus) WholeLetter {
	out := WholeLetter{Letter: LetterOf(s, b), Headers: make(map[string]string, len(s.GetHeaders()))}
	for name, value := range s.GetHeaders() {
		out.Headers[name] = headerOf(name, value)
	}
	if message := messageIn(s); message != nil {
		out.Message = MessageOf(message)
		return out
	}
	raw := s.GetData()
	if len(raw) > maxRaw {
		raw = raw[:maxRaw]
	}
	out.Data, out.Truncated = Masked(raw), uint64(len(raw)) < s.Size
	return out
}

// headerOf shows the headers that Sluice sets as they are: none holds a token.
func headerOf(name, value string) string {
	if strings.HasPrefix(name, "Nats-") || strings.HasPrefix(name, "Sluice-") || name == "traceparent" || name == "tracestate" {
		return value
	}
	return string(Masked([]byte(value)))
}

// messageIn returns the message that the original is, or nil where it is none.
func messageIn(s dead.Stored) proto.Message {
	var message proto.Message
	switch s.GetWhat() {
	case dead.Command, dead.Wake:
		message = &sluicev1.Command{}
	case dead.Invocation:
		message = &sluicev1.Invocation{}
	default:
		return nil
	}
	if s.Unreadable || s.GetCutFrom() > 0 || proto.Unmarshal(s.GetData(), message) != nil {
		return nil
	}
	return message
}
