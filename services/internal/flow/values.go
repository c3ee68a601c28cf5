package flow

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// valueTable is a commit's table of JSON values: each stands once, and events
// refer to it by number, from 1.
type valueTable struct {
	list  [][]byte
	index map[string]uint32
	size  int // of all, in bytes
}

func (v *valueTable) ref(value json.RawMessage) uint32 {
	if n, ok := v.index[string(value)]; ok {
		return n
	}
	if v.index == nil {
		v.index = map[string]uint32{}
	}
	v.list = append(v.list, value)
	v.size += len(value) + framing
	n := uint32(len(v.list)) //nolint:gosec // a commit holds far fewer than 2^32 values
	v.index[string(value)] = n
	return n
}

// has reports whether the value is in the table already.
func (v *valueTable) has(value json.RawMessage) bool {
	_, ok := v.index[string(value)]
	return ok
}

func (v *valueTable) refs(values map[string]json.RawMessage) map[string]uint32 {
	if len(values) == 0 {
		return nil
	}
	out := make(map[string]uint32, len(values))
	if len(values) == 1 { // most work items have one input of their own and give one output
		for name, value := range values {
			out[name] = v.ref(value)
		}
		return out
	}
	// In order, so that equal states make equal tables.
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out[name] = v.ref(values[name])
	}
	return out
}

// resolve looks one value up.
func resolve(table [][]byte, ref uint32) (json.RawMessage, error) {
	if ref == 0 || int(ref) > len(table) {
		return nil, fmt.Errorf("value %d of %d does not exist", ref, len(table))
	}
	return table[ref-1], nil
}

func resolveAll(table [][]byte, refs map[string]uint32) (map[string]json.RawMessage, error) {
	if len(refs) == 0 {
		return nil, nil //nolint:nilnil // no values are a nil map
	}
	out := make(map[string]json.RawMessage, len(refs))
	for name, ref := range refs {
		value, err := resolve(table, ref)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = value
	}
	return out, nil
}
