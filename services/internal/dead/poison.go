package dead

import (
	"errors"
	"fmt"
)

// What a dead letter was.
const (
	Command    = "command"
	Invocation = "invocation"
	Wake       = "wake"
)

// Kinds are all that a dead letter may have been.
func Kinds() []string { return []string{Command, Invocation, Wake} }

// A Class is the kind of reason for which a message is dead.
type Class string

// The classes of reasons.
const (
	Garbage    Class = "garbage"    // its bytes cannot be decoded
	Misplaced  Class = "misplaced"  // it does not belong on its subject
	Impossible Class = "impossible" // it asks for what cannot be
	Panic      Class = "panic"      // processing it panics
	// Undelivered is a callback that nobody took.
	Undelivered Class = "undelivered"
)

// Poison is the error that a message can never be processed.
type Poison struct { //nolint:errname // it is the message, and why it is one
	Class  Class
	Reason string
}

// Error gives the reason.
func (p *Poison) Error() string { return p.Reason }

// Poisoned returns a [*Poison].
func Poisoned(class Class, format string, args ...any) error {
	return &Poison{Class: class, Reason: fmt.Sprintf(format, args...)}
}

// ClassOf returns the class of an error, and Impossible for one that is no
// [*Poison].
func ClassOf(err error) Class {
	if p, ok := errors.AsType[*Poison](err); ok {
		return p.Class
	}
	return Impossible
}
