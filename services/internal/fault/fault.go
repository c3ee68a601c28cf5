// Package fault says what the caller of an operation can do about its failure.
// The edges decide by kind, never by text.
package fault

import (
	"errors"
	"fmt"
)

// A Kind says what a caller can do about an error.
type Kind string

// The kinds of errors.
const (
	Internal    Kind = "internal"    // a bug or a broken promise: report it
	Invalid     Kind = "invalid"     // the input can never work: do not retry
	NotFound    Kind = "not_found"   // the thing named does not exist
	Conflict    Kind = "conflict"    // somebody else was first: reload and retry
	Unavailable Kind = "unavailable" // a dependency is down: retry later
)

// Error is an error with a kind and the operation that failed.
type Error struct {
	Kind Kind
	Op   string // package.Func, such as "bus.Connect"
	Err  error  // the cause; may be nil
}

// Error returns operation and cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Op + ": " + string(e.Kind)
	}
	return e.Op + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New returns err as an error of that kind.
func New(kind Kind, op string, err error) error {
	return &Error{Kind: kind, Op: op, Err: err}
}

// Newf is [New] for a cause that is made here.
func Newf(kind Kind, op, format string, args ...any) error {
	return &Error{Kind: kind, Op: op, Err: fmt.Errorf(format, args...)}
}

// KindOf returns the kind of the outermost error that has one, [Internal] when
// none has, and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
