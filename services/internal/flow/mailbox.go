package flow

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// MailboxID returns the id of the mailbox of a name and the digest of a key.
func MailboxID(name string, keyDigest []byte) string {
	h := sha256.New()
	var length [4]byte
	binary.BigEndian.PutUint32(length[:], uint32(len(name))) //nolint:gosec // names are short
	h.Write(length[:])
	h.Write([]byte(name))
	h.Write(keyDigest)
	return subject.Mailbox(hex.EncodeToString(h.Sum(nil)[:16]))
}

const (
	// maxKept is how many messages a mailbox keeps, and how many ids it knows.
	maxKept = 1000
	// giveAgain is how long a mailbox waits before it gives a message to the same
	// waiter again, in nanoseconds; it grows up to maxGiveAgain.
	giveAgain    = 15_000 * millisecond
	maxGiveAgain = 3_600_000 * millisecond
	// linger is how long an empty mailbox is kept, in nanoseconds: longer than a
	// command may take to come again whose ack was lost.
	linger = 60_000 * millisecond
	// askAgain is how long who waits is believed to wait, in nanoseconds, and maxAsked
	// how many are asked at once.
	askAgain = 86_400_000 * millisecond
	maxAsked = 100
)

// waiterID names a work item that waits: in that attempt.
type waiterID struct {
	flow, step                string
	run                       uint64
	item, generation, attempt uint32
}

func waiterOf(flowID string, work *sluicev1.WorkRef) waiterID {
	return waiterID{
		flow: flowID, step: work.GetStepId(), run: work.GetRun(),
		item: work.GetItem(), generation: work.GetGeneration(), attempt: work.GetAttempt(),
	}
}

func (w waiterID) work() *sluicev1.WorkRef {
	return &sluicev1.WorkRef{Run: w.run, StepId: w.step, Item: w.item, Generation: w.generation, Attempt: w.attempt}
}

// waiter is a work item that waits.
type waiter struct {
	place   uint64   // the earlier it came, the smaller
	message *message // that was given to it; nil when none was
	given   uint32   // how often
	again   int64    // when it is given again

	// asked is when it was known to wait, or asked whether it does. It is no part of
	// what the mailbox is: one that is made anew asks sooner.
	asked int64
}

// message is one that nobody took.
type message struct {
	number  uint64
	id      string
	outputs map[string]json.RawMessage
	expires int64
}

// knownMessage is an id by which a message is known, taken or not.
type knownMessage struct {
	id    string
	until int64
}

// A mailbox is an aggregate of its own, in the same log and by the same rules as
// flows: where work items that wait for messages of one name and key meet these
// messages. Its id is none that a flow can have.
type mailbox struct {
	run      uint64
	name     string
	key      json.RawMessage
	last     uint64 // number of the last message
	waiters  map[waiterID]*waiter
	places   uint64 // that were given out
	queue    []waiterID
	matched  map[waiterID]*waiter // of the waiters, those that were given a message
	messages []*message           // kept, by number
	known    []knownMessage       // in the order in which they came
}

func newMailbox() *mailbox {
	return &mailbox{waiters: map[waiterID]*waiter{}, matched: map[waiterID]*waiter{}}
}

// knows reports whether a message of that id came and is not forgotten.
func (m *mailbox) knows(id string, now int64) bool {
	return id != "" && slices.ContainsFunc(m.known, func(k knownMessage) bool { return k.id == id && k.until > now })
}

// size is how much the kept messages take, in bytes.
func (m *mailbox) size() int {
	n := 0
	for _, kept := range m.messages {
		n += sizeOf(kept.outputs)
	}
	return n
}

// free returns the waiter that came first of those that were given nothing.
func (m *mailbox) free() (waiterID, bool) {
	for len(m.queue) > 0 {
		id := m.queue[0]
		if w := m.waiters[id]; w != nil && w.message == nil {
			return id, true
		}
		m.queue = m.queue[1:]
	}
	return waiterID{}, false
}

// doubtful are waiters of which nothing was heard for long. One whose end came
// before its beginning, as messages may, would be there for ever.
func (m *mailbox) doubtful(now int64) []waiterID {
	var ids []waiterID
	for _, id := range m.queue {
		if w := m.waiters[id]; w != nil && w.message == nil && w.asked+askAgain <= now && len(ids) < maxAsked {
			w.asked = now
			ids = append(ids, id)
		}
	}
	return ids
}

// join adds a waiter behind the others.
func (m *mailbox) join(id waiterID, now int64) {
	m.places++
	m.waiters[id] = &waiter{place: m.places, asked: now}
	m.queue = append(m.queue, id)
}

// keep adds a message where its number wants it.
func (m *mailbox) keep(kept *message) {
	i, _ := slices.BinarySearchFunc(m.messages, kept.number, compareNumber)
	m.messages = slices.Insert(m.messages, i, kept)
}

func compareNumber(kept *message, number uint64) int {
	switch {
	case kept.number < number:
		return -1
	case kept.number > number:
		return 1
	}
	return 0
}

// take takes a kept message out, or returns nil where there is none of that
// number.
func (m *mailbox) take(number uint64) *message {
	i, found := slices.BinarySearchFunc(m.messages, number, compareNumber)
	if !found {
		return nil
	}
	kept := m.messages[i]
	m.messages = slices.Delete(m.messages, i, i+1)
	return kept
}

// remember keeps the id of a message, and forgets what is over.
func (m *mailbox) remember(id string, until, now int64) {
	m.known = slices.DeleteFunc(m.known, func(k knownMessage) bool { return k.until <= now })
	if id == "" {
		return
	}
	if len(m.known) >= maxKept {
		m.known = slices.Delete(m.known, 0, 1)
	}
	m.known = append(m.known, knownMessage{id, until})
}

// empty reports whether nobody waits and nothing is kept.
func (m *mailbox) empty() bool { return len(m.waiters) == 0 && len(m.messages) == 0 }

// gone returns when an empty mailbox may go that changed last at that time: when
// nothing can come again that it would have to know.
func (m *mailbox) gone(updated int64) int64 {
	at := updated + linger
	for _, k := range m.known {
		at = max(at, k.until)
	}
	return at
}

// due returns when the mailbox needs attention; 0 means never.
func (s *State) mailboxDue() int64 {
	m := s.mail
	if m == nil || s.Retired {
		return 0
	}
	if m.empty() {
		return m.gone(s.Updated)
	}
	var first int64
	see := func(at int64) {
		if first == 0 || at < first {
			first = at
		}
	}
	for _, kept := range m.messages {
		see(kept.expires)
	}
	for _, w := range m.matched {
		see(w.again)
	}
	return first
}
