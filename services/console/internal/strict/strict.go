// Package strict reads JSON that people write by hand: what is unknown, doubled
// or of another type is refused, with the field's name.
package strict

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sluiceflow/sluice/pkg/step"
)

// Decode reads one JSON object into v, a pointer to a struct. It returns a
// [*step.FieldError] for what does not fit.
func Decode(body []byte, v any) error {
	if kind := jsontext.Value(body).Kind(); kind != '{' {
		return &step.FieldError{Message: "the body must be a JSON object"}
	}
	if err := json.Unmarshal(body, v, json.RejectUnknownMembers(true)); err != nil {
		return explain(err)
	}
	return nil
}

func explain(err error) *step.FieldError {
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		message := "not valid JSON: " + syntactic.Err.Error()
		if errors.Is(syntactic.Err, jsontext.ErrDuplicateName) {
			message = "stands twice in its object"
		}
		return &step.FieldError{Field: dotted(syntactic.JSONPointer), Message: message}
	}
	semantic, ok := errors.AsType[*json.SemanticError](err)
	switch {
	case !ok:
		return &step.FieldError{Message: err.Error()}
	case errors.Is(semantic.Err, json.ErrUnknownName):
		return &step.FieldError{Field: dotted(semantic.JSONPointer), Message: "unknown field"}
	default:
		return &step.FieldError{Field: dotted(semantic.JSONPointer), Message: "must be " + wanted(semantic.GoType)}
	}
}

// wanted is the JSON that a Go type is read from.
func wanted(t reflect.Type) string {
	if t == nil {
		return "of another type"
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	words := map[reflect.Kind]string{
		reflect.String: "a string", reflect.Bool: "true or false", reflect.Slice: "a list",
		reflect.Int64: "a whole number in range",
	}
	if word, ok := words[t.Kind()]; ok {
		return word
	}
	return "an object"
}

// dotted turns /labels/team into labels.team.
func dotted(p jsontext.Pointer) string {
	return strings.Join(slices.Collect(p.Tokens()), ".")
}
