package step

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how deep objects and arrays may be nested in what people and
// workers write.
const MaxDepth = 64

// digestSize is the length of a digest: half of a SHA-256.
const digestSize = 16

// CanonicalDigest returns 16 bytes that are equal for values that are equal as
// JSON: keys in any order, strings however they are escaped, numbers by exact
// decimal value. It returns a [*FieldError] for what is not strict JSON.
func CanonicalDigest(value json.RawMessage) ([]byte, error) {
	if err := checkDepth(value); err != nil {
		return nil, err
	}
	canonical := jsontext.Value(bytes.Clone(value))
	// The package would write numbers as float64 does, and lose digits.
	err := canonical.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false))
	if err != nil {
		return nil, parseError(err)
	}
	sum := sha256.Sum256(withCanonicalNumbers(canonical))
	return sum[:digestSize], nil
}

// withCanonicalNumbers rewrites the numbers of a compact JSON text.
func withCanonicalNumbers(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"':
			end := stringEnd(text, i)
			out = append(out, text[i:end]...)
			i = end
		case typeOf(text[i:i+1]) == TypeNumber:
			end := i + 1
			for end < len(text) && bytes.IndexByte([]byte("0123456789+-.eE"), text[end]) >= 0 {
				end++
			}
			out = append(out, canonicalNumber(string(text[i:end]))...)
			i = end
		default:
			out = append(out, c)
			i++
		}
	}
	return out
}

// stringEnd returns the place after the JSON string that starts at start.
func stringEnd(text []byte, start int) int {
	for i := start + 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// checkDepth refuses what is nested too deep, before anything recurses into it.
func checkDepth(text []byte) error {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i = stringEnd(text, i) - 1
		case '{', '[':
			if depth++; depth > MaxDepth {
				return tooDeep(text)
			}
		case '}', ']':
			depth--
		}
	}
	return nil
}

// tooDeep names the field that leads too deep.
func tooDeep(text []byte) *FieldError {
	field := ""
	d := jsontext.NewDecoder(bytes.NewReader(text))
	for d.StackDepth() <= MaxDepth {
		if _, err := d.ReadToken(); err != nil {
			return parseError(err)
		}
		for name := range d.StackPointer().Tokens() {
			field = name
			break
		}
	}
	return &FieldError{field, fmt.Sprintf("nested deeper than %d", MaxDepth)}
}
