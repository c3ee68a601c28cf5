package script

import (
	"encoding/json"
	"fmt"
	"strings"
)

// A Language is what a script is written in.
type Language string

// The languages of scripts.
const (
	CEL Language = "cel"
	Lua Language = "lua"
	Ale Language = "ale"
)

// Known reports whether the language exists.
func (l Language) Known() bool { return l == CEL || l == Lua || l == Ale }

// MaxSource is how many bytes a script may have.
const MaxSource = 64 << 10

// MaxOutput is how many bytes of JSON a script's result may have.
const MaxOutput = 1 << 20

// A Program is a script and what it may refer to.
type Program struct {
	Language Language `json:"language"`
	Source   string   `json:"source"`
	// Names are the inputs' names, sorted. One that is absent from a run's
	// inputs is null.
	Names []string `json:"names,omitempty"`
	// Predicate is true where a truth is asked for and not outputs.
	Predicate bool `json:"predicate,omitempty"`
}

// Key is equal for programs that are equal.
func (p Program) Key() string {
	return fmt.Sprintf("%s %t %q %s", p.Language, p.Predicate, p.Names, p.Source)
}

// check refuses what needs no runtime to be refused.
func (p Program) check() error {
	switch {
	case !p.Language.Known():
		return &Error{Message: fmt.Sprintf("the language is %q, it must be cel, lua or ale", p.Language)}
	case strings.TrimSpace(p.Source) == "":
		return &Error{Message: "the script is empty"}
	case len(p.Source) > MaxSource:
		return &Error{Message: fmt.Sprintf("the script has %d bytes, at most %d are allowed", len(p.Source), MaxSource)}
	}
	return nil
}

// A Result is what a run gave.
type Result struct {
	// Truth is what a predicate said.
	Truth bool
	// Outputs are a script's, by name.
	Outputs map[string]json.RawMessage
}

// Error is a script's own failure: running it again with the same inputs fails
// again. What it says is for who wrote the script.
type Error struct {
	// Line is where it failed, from 1; 0 where nobody knows.
	Line    int
	Message string
}

// Error returns line and message.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Message)
}

// failf is an [Error] without a line.
func failf(format string, args ...any) *Error {
	return &Error{Message: fmt.Sprintf(format, args...)}
}

// outputs makes a map of outputs of a script's result: anything but an object
// becomes the output named result.
func outputs(value json.RawMessage) (map[string]json.RawMessage, error) {
	if len(value) > 0 && value[0] == '{' {
		var named map[string]json.RawMessage
		if err := json.Unmarshal(value, &named); err != nil {
			return nil, fmt.Errorf("read a script's result: %w", err)
		}
		return named, nil
	}
	return map[string]json.RawMessage{"result": value}, nil
}
