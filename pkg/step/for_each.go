package step

import (
	"cmp"
	stdjson "encoding/json"
	"errors"
	"fmt"
)

// EffectiveType is the type, or any where none is given.
func (a Attribute) EffectiveType() Type { return cmp.Or(a.Type, TypeAny) }

// ElementType is the type of each element of a for_each input, and of what each
// work item of a step with such an input gives as this output. The attribute is
// an array in both cases: a type of array says no more than that, and any other
// is that of the elements.
func (a Attribute) ElementType() Type {
	if a.EffectiveType() == TypeArray {
		return TypeAny
	}
	return a.EffectiveType()
}

// HasForEach reports whether the step has an input whose elements become work
// items. Its outputs are then arrays, whatever their number.
func (d Definition) HasForEach() bool {
	for _, a := range d.Attributes {
		if a.ForEach {
			return true
		}
	}
	return false
}

// AttributeType is the type that an attribute has in a flow, as far as this step
// says something of it, and any where it does not.
func (d Definition) AttributeType(name string) Type {
	a := d.Attributes[name]
	if a.ForEach || a.Role == RoleOutput && d.HasForEach() {
		return TypeArray
	}
	return a.EffectiveType()
}

// Elements returns the elements of the value of a for_each input, as they are
// written. It returns an error that reads after the input's name where the value
// is no array, or an element is not of that type.
func Elements(value stdjson.RawMessage, kind Type) ([]stdjson.RawMessage, error) {
	var elements []stdjson.RawMessage
	if typeOf(value) != TypeArray || stdjson.Unmarshal(value, &elements) != nil {
		return nil, errors.New("is no array, which for_each needs")
	}
	for i, element := range elements {
		if kind.valid() && !kind.Accepts(element) {
			return nil, fmt.Errorf("has an element %d that is not of type %s", i, kind)
		}
	}
	return elements, nil
}
