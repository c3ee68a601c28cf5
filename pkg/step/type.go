package step

import (
	"bytes"
	"encoding/json"
)

// Type is the declared JSON type of an attribute.
type Type string

// The types of attributes.
const (
	TypeString  Type = "string"
	TypeNumber  Type = "number"
	TypeBoolean Type = "boolean"
	TypeObject  Type = "object"
	TypeArray   Type = "array"
	TypeNull    Type = "null"
	TypeAny     Type = "any"
)

// Accepts reports whether value, which is valid JSON, is of the type. A type
// that does not exist accepts nothing.
func (t Type) Accepts(value json.RawMessage) bool {
	kind := typeOf(value)
	return kind != "" && (t == TypeAny || t == kind)
}

// valid reports whether the type exists.
func (t Type) valid() bool {
	switch t {
	case TypeString, TypeNumber, TypeBoolean, TypeObject, TypeArray, TypeNull, TypeAny:
		return true
	}
	return false
}

// typeOf tells a JSON value's type by its first character; it is empty for what
// is no JSON.
func typeOf(value json.RawMessage) Type {
	value = bytes.TrimLeft(value, " \t\r\n")
	if len(value) == 0 {
		return ""
	}
	switch c := value[0]; {
	case c == '"':
		return TypeString
	case c == '{':
		return TypeObject
	case c == '[':
		return TypeArray
	case c == 't' || c == 'f':
		return TypeBoolean
	case c == 'n':
		return TypeNull
	case c == '-' || c >= '0' && c <= '9':
		return TypeNumber
	}
	return ""
}
