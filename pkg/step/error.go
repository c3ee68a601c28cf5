package step

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// FieldError says what is wrong with one field of what somebody wrote.
type FieldError struct {
	// Field is the path to the field, such as attributes.amount.role; empty for
	// the whole body.
	Field string
	// Message says what is wrong, to follow the field's name.
	Message string
}

// Error returns the field's name and what is wrong with it.
func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

// FieldErrors is every mistake that was found in what somebody wrote; it is not
// empty when it is an error.
type FieldErrors []FieldError

// Error returns the mistakes in the order they were found.
func (e FieldErrors) Error() string {
	texts := make([]string, len(e))
	for i := range e {
		texts[i] = e[i].Error()
	}
	return strings.Join(texts, "; ")
}

// parseError says in the writer's words what the JSON package found.
func parseError(err error) *FieldError {
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return &FieldError{dotted(syntactic.JSONPointer), syntaxMessage(syntactic)}
	}
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return &FieldError{"", err.Error()}
	}
	if errors.Is(semantic.Err, json.ErrUnknownName) {
		return &FieldError{dotted(semantic.JSONPointer), "unknown field"}
	}
	if errors.Is(semantic.Err, errOnTimeout) {
		return &FieldError{dotted(semantic.JSONPointer), errOnTimeout.Error()}
	}
	return &FieldError{dotted(semantic.JSONPointer), "must be " + wanted(semantic.GoType)}
}

func syntaxMessage(err *jsontext.SyntacticError) string {
	if errors.Is(err.Err, jsontext.ErrDuplicateName) {
		return "stands twice in its object"
	}
	return "not valid JSON: " + err.Err.Error()
}

// wanted is the JSON that a Go type is read from.
func wanted(t reflect.Type) string {
	if t == nil {
		return "of another type"
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() { //nolint:exhaustive // the kinds that definitions and results have
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Int32, reflect.Int64:
		return "a whole number in range"
	default:
		return "an object"
	}
}

// dotted turns /attributes/amount/role into attributes.amount.role.
func dotted(p jsontext.Pointer) string {
	return strings.Join(slices.Collect(p.Tokens()), ".")
}
