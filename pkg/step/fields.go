package step

import (
	"fmt"
	"maps"
	"slices"
)

func sortedNames[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

// wholeRange says that a field must be a whole number between two others.
func wholeRange(field string, least, most int64) *FieldError {
	return &FieldError{field, fmt.Sprintf("must be a whole number from %d to %d", least, most)}
}
