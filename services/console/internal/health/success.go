package health

import (
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

const (
	// counts is how long a success of a step's work says that the step is well.
	counts = 60 * time.Second
	// again is how soon after one success of a step the next is looked at.
	again = time.Second
)

// Fields of a commit that are looked for before all of it is read.
const (
	fieldEvents        protowire.Number = 7
	fieldStepID        protowire.Number = 1
	fieldWorkSucceeded protowire.Number = 31
)

// Successes remembers the steps whose work succeeded lately: that says as much
// as a health check does. It is safe for concurrent use.
type Successes struct {
	mu    sync.Mutex
	last  map[string]time.Time
	swept time.Time
}

// NewSuccesses returns successes that have seen none.
func NewSuccesses() *Successes { return &Successes{last: map[string]time.Time{}} }

// Recent reports whether work of the step succeeded in the last 60 seconds.
func (s *Successes) Recent(stepID string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.last[stepID]
	return ok && now.Sub(at) < counts
}

// Take takes in a commit's message that was stored then.
func (s *Successes) Take(commit []byte, stored, now time.Time) {
	if now.Sub(stored) >= counts {
		return // the index is being built
	}
	if stored.After(now) {
		stored = now // another machine's clock must not make it count for longer
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	candidates(commit, func(stepID, event []byte) {
		if stored.Sub(s.last[string(stepID)]) < again {
			return
		}
		var e sluicev1.Event
		if err := proto.Unmarshal(event, &e); err != nil || e.GetWorkSucceeded().GetMemoized() {
			return // nobody was called
		}
		s.last[string(stepID)] = stored
	})
}

// sweep forgets what does not count any more.
func (s *Successes) sweep(now time.Time) {
	if now.Sub(s.swept) < counts {
		return
	}
	s.swept = now
	for stepID, at := range s.last {
		if now.Sub(at) >= counts {
			delete(s.last, stepID)
		}
	}
}

// candidates calls found with the steps and events of a commit in which work
// succeeded. Every commit of the installation passes here, so it is not decoded:
// that would cost ten times as much.
func candidates(commit []byte, found func(stepID, event []byte)) {
	fields(commit, func(number protowire.Number, event []byte) {
		if number != fieldEvents {
			return
		}
		var stepID []byte
		succeeded := false
		fields(event, func(number protowire.Number, value []byte) {
			if number == fieldStepID {
				stepID = value
			}
			succeeded = succeeded || number == fieldWorkSucceeded
		})
		if succeeded && len(stepID) > 0 {
			found(stepID, event)
		}
	})
}

// fields calls each with the fields of a message that have a length: texts,
// bytes and messages. It stops at what is no message.
func fields(message []byte, each func(protowire.Number, []byte)) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			return
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message)
			each(number, value)
		}
		message = message[n:]
	}
}
