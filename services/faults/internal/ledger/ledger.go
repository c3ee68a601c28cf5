// Package ledger is what the load wrote down: every webhook that it sent with
// the answer, every invocation that it got, every flow that it started. What the
// invariants are checked against.
package ledger

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// A Kind says what a post carries.
type Kind string

// The kinds of posts.
const (
	Success      Kind = "success"
	Failure      Kind = "failure"       // for good
	NotCompleted Kind = "not_completed" // wants another attempt
	Garbage      Kind = "garbage"       // no StepResult, with a token that is ours
	Forged       Kind = "forged"        // a token that is none of this flow and step
)

// Post is one webhook.
type Post struct {
	Flow, Step string
	Token      string // as it was handed out, or forged
	// Attempt is the one that the post is of, from 1, which is also what a post
	// says that names none.
	Attempt uint32
	Kind    Kind
	// Outcome is what it says; of no meaning for garbage.
	Outcome Outcome
	// Note says what is special about it, such as how the token was forged.
	Note string

	Sent, Answered time.Time
	// Status is the HTTP status; 0 means that no answer came.
	Status int
	// Code is accepted or replayed, or the code of the problem.
	Code string
	// Told is what a refusal says, without what repeats the address.
	Told string
}

// OK reports whether the post got a 2xx.
func (p Post) OK() bool { return p.Status >= 200 && p.Status < 300 }

// Refused reports whether the post got a 4xx: it must have changed nothing.
func (p Post) Refused() bool { return p.Status >= 400 && p.Status < 500 }

// Call is one invocation that arrived.
type Call struct {
	Flow, Step, Token string
	Attempt           uint32
	Async             bool
	// Given are the arguments, and Arguments the same as canonical JSON.
	Given     Values
	Arguments string
	At        time.Time
	// Outcome is what the answer said; nil where it said none.
	Outcome *Outcome
	// Progress is what it was told that an earlier attempt had said last; empty
	// where it was told nothing.
	Progress string
}

// Start is one request to start a flow.
type Start struct {
	Flow string
	// Request tells different requests for one id apart.
	Request string
	// Told says that the flow's end is to be told.
	Told           bool
	Sent, Answered time.Time
	Status         int // 0 means that no answer came
}

// Cancel is one request to cancel a flow.
type Cancel struct {
	Flow   string
	Status int // 0 means that no answer came
}

// Book is all that was written down.
type Book struct {
	Posts     []Post
	Calls     []Call
	Starts    []Start
	Cancels   []Cancel
	Undos     []Undo
	Callbacks []Callback
	Beats     []Beat
	Controls  []Control
	Messages  []Message
	Decisions []Decision
	// Steps are those that there is more to say of, by id.
	Steps map[string]Step
}

// Ledger takes entries from many goroutines.
type Ledger struct {
	mu   sync.Mutex
	book Book
}

// Post adds a webhook with its answer.
func (l *Ledger) Post(p Post) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book.Posts = append(l.book.Posts, p)
}

// Call adds an invocation.
func (l *Ledger) Call(c Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book.Calls = append(l.book.Calls, c)
}

// Start adds a start of a flow with its answer.
func (l *Ledger) Start(s Start) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book.Starts = append(l.book.Starts, s)
}

// Cancel adds a cancellation with its answer.
func (l *Ledger) Cancel(c Cancel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book.Cancels = append(l.book.Cancels, c)
}

// Book is a copy of what is there now.
func (l *Ledger) Book() Book {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Book{
		Posts:     slices.Clone(l.book.Posts),
		Calls:     slices.Clone(l.book.Calls),
		Starts:    slices.Clone(l.book.Starts),
		Cancels:   slices.Clone(l.book.Cancels),
		Undos:     slices.Clone(l.book.Undos),
		Callbacks: slices.Clone(l.book.Callbacks),
		Beats:     slices.Clone(l.book.Beats),
		Controls:  slices.Clone(l.book.Controls),
		Messages:  slices.Clone(l.book.Messages),
		Decisions: slices.Clone(l.book.Decisions),
		Steps:     maps.Clone(l.book.Steps),
	}
}
