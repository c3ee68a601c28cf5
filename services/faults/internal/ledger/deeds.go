package ledger

import (
	"encoding/json"
	"time"
)

// Undo is one call that undoes a success.
type Undo struct {
	Flow, Step, Token string
	// Attempt counts the calls that undo one success, from 1.
	Attempt uint32
	// Inputs and Outputs are canonical JSON.
	Inputs, Outputs string
	// Begun is when it arrived, and Answered when its answer was about to go.
	Begun, Answered time.Time
	Status          int
}

// OK reports whether the call was answered by a 2xx.
func (u Undo) OK() bool { return u.Status >= 200 && u.Status < 300 }

// Callback is one telling of a flow's end.
type Callback struct {
	Flow string
	// ID is what the same ending is told under, however often it is told.
	ID string
	// Type, Status, Error and CompletedAt are what it says; Outputs are canonical
	// JSON.
	Type, Status, Error, Outputs string
	CompletedAt                  time.Time
	At                           time.Time
	// Answer is the HTTP status that it got.
	Answer int
	// Unsigned says why its signature is wrong; empty where it is right.
	Unsigned string
}

// Taken reports whether the telling was answered by a 2xx.
func (c Callback) Taken() bool { return c.Answer >= 200 && c.Answer < 300 }

// Beat is one heartbeat.
type Beat struct {
	Flow, Step, Token string
	Attempt           uint32
	Progress          float64
	Message           string
	Sent, Answered    time.Time
	Status            int // 0 means that no answer came
}

// Control is one request to pause a flow, to resume it, or to begin its failed
// steps again.
type Control struct {
	Flow   string
	Action Action
	Status int // 0 means that no answer came
}

// An Action is what a person does to a flow.
type Action string

// The actions.
const (
	Pause  Action = "pause"
	Resume Action = "resume"
	Retry  Action = "retry"
)

// Message is one message that was posted. Its key is its flow's, which takes it by
// a step.
type Message struct {
	Flow, Step, ID string
	// Outputs are canonical JSON.
	Outputs string
	Status  int // 0 means that no answer came
}

// Decision is one answer of a person to what a step asks.
type Decision struct {
	Flow, Step, By, Comment string
	Approved                bool
	Status                  int // 0 means that no answer came
}

// Values are JSON values by name.
type Values = map[string]json.RawMessage

// Step is what the load knows of one of its steps, and what can therefore be asked
// of it.
type Step struct {
	// Gives is its output.
	Gives string
	// Script computes what a script step must give; nil for other steps.
	Script func(inputs Values) Values
	// Holds is what its predicate must say; nil where it has none.
	Holds func(inputs Values) bool
	// Undone says that its successes are undone where the flow does not complete.
	Undone bool
	// Each is the input whose elements become work items; empty where there is one.
	Each string
	// AtOnce is how many of its work items may run at once; 0 where it does not say.
	AtOnce int
	// Silence is how long its worker may be silent; 0 where no heartbeat is asked for.
	Silence time.Duration
	// Lasts is how long it waits for a time; 0 where it does not.
	Lasts time.Duration
	// Takes is the name of the message that it waits for; empty where it does not.
	Takes string
	// Asks is how many people must approve; 0 where it asks nobody.
	Asks int
	// Earliest is how long after its flow's start it may be called at the earliest.
	Earliest time.Duration
	// Child is which attribute of its child flow each output is; nil where it starts
	// none.
	Child map[string]string
}

// Calls reports whether somebody is called for the step.
func (s Step) Calls() bool {
	return s.Script == nil && s.Lasts == 0 && s.Takes == "" && s.Asks == 0 && s.Child == nil
}

// Undo adds a call that undoes a success.
func (l *Ledger) Undo(u Undo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book.Undos = append(l.book.Undos, u)
}

// Callback adds a telling of a flow's end.
func (l *Ledger) Callback(c Callback) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book.Callbacks = append(l.book.Callbacks, c)
}

// Beat adds a heartbeat with its answer.
func (l *Ledger) Beat(b Beat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book.Beats = append(l.book.Beats, b)
}

// Control adds what a person asked for, with its answer.
func (l *Ledger) Control(c Control) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book.Controls = append(l.book.Controls, c)
}

// Message adds a message with its answer.
func (l *Ledger) Message(m Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book.Messages = append(l.book.Messages, m)
}

// Decision adds what a person said, with its answer.
func (l *Ledger) Decision(d Decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book.Decisions = append(l.book.Decisions, d)
}

// Knows adds what the load knows of a step.
func (l *Ledger) Knows(id string, s Step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.book.Steps == nil {
		l.book.Steps = map[string]Step{}
	}
	l.book.Steps[id] = s
}
