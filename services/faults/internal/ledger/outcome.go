package ledger

import (
	"bytes"
	"encoding/json"
	"math/big"
)

// Outcome is what a worker says about an attempt, as far as histories show it.
type Outcome struct {
	Kind    Kind
	Outputs map[string]json.RawMessage
	Error   string
}

// Digest is equal for outcomes that are equal as JSON. It is made without any
// code of Sluice's.
func (o Outcome) Digest() string {
	text, err := json.Marshal(o.Outputs)
	if err != nil {
		return "not JSON: " + err.Error()
	}
	return string(o.Kind) + " " + Canonical(text) + " " + o.Error
}

// Canonical is one spelling for all texts that are equal as JSON: keys in order,
// numbers by their exact value. What is no JSON stays as it is.
func Canonical(text []byte) string {
	value, err := Decode(text)
	if err != nil {
		return string(text)
	}
	out, err := json.Marshal(value)
	if err != nil {
		return string(text)
	}
	return string(out)
}

// Decode reads JSON so that equal values are deeply equal.
func Decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	return exact(value), nil
}

// number is the exact value of a number, which no string can be mistaken for.
type number struct {
	Exact string `json:"number"`
}

func exact(value any) any {
	switch v := value.(type) {
	case json.Number:
		if r, ok := new(big.Rat).SetString(v.String()); ok {
			return number{r.RatString()}
		}
	case map[string]any:
		for name, part := range v {
			v[name] = exact(part)
		}
	case []any:
		for i, part := range v {
			v[i] = exact(part)
		}
	}
	return value
}
