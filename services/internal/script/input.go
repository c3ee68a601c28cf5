package script

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
)

// decode reads a JSON value as nil, bool, string, int64, *big.Int, float64,
// []any and map[string]any: whole numbers stay whole, others become the nearest
// float.
func decode(text json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, failf("is no JSON: %v", err)
	}
	return withNumbers(value)
}

func withNumbers(value any) (any, error) {
	switch v := value.(type) {
	case json.Number:
		return number(v.String())
	case []any:
		for i := range v {
			element, err := withNumbers(v[i])
			if err != nil {
				return nil, err
			}
			v[i] = element
		}
	case map[string]any:
		for name, member := range v {
			read, err := withNumbers(member)
			if err != nil {
				return nil, err
			}
			v[name] = read
		}
	}
	return value, nil
}

// number refuses what no float comes near, whole or not: what one language
// could not hold, none gets.
func number(text string) (any, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, failf("holds %.40s, which is too large for a script", text)
	}
	if !strings.ContainsAny(text, ".eE") {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
		if n, ok := new(big.Int).SetString(text, 10); ok {
			return n, nil
		}
	}
	return f, nil
}

// nearest is the float that stands for a whole number where a language has no
// whole numbers of any size.
func nearest(n *big.Int) float64 {
	f, _ := new(big.Float).SetInt(n).Float64()
	return f
}

// decodeAll reads the inputs of a run. Each of names is in what it returns: nil
// where the run has none.
func decodeAll(names []string, inputs map[string]json.RawMessage) (map[string]any, error) {
	values := make(map[string]any, len(names))
	for _, name := range names {
		values[name] = nil
	}
	for name, text := range inputs {
		value, err := decode(text)
		if err != nil {
			return nil, failf("input %q %v", name, err)
		}
		values[name] = value
	}
	return values, nil
}

// withoutBig returns a decoded value that is no list or object for a language
// without whole numbers of any size.
func withoutBig(value any) any {
	if n, ok := value.(*big.Int); ok {
		return nearest(n)
	}
	return value
}
