package conf

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// MistakesError are all that is wrong with a configuration.
type MistakesError []error

// Error lists them, a line each.
func (m MistakesError) Error() string {
	lines := make([]string, 0, len(m)+1)
	lines = append(lines, "the configuration has mistakes:")
	for _, err := range m {
		lines = append(lines, "  "+err.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives each of them.
func (m MistakesError) Unwrap() []error { return m }

// flatten takes joined errors apart.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, flatten(one)...)
	}
	return all
}

// check parses one setting alone, so that the mistake can name it as the
// environment does.
func (s Setting) check(value string) error {
	scratch := reflect.New(s.owner).Interface()
	err := env.ParseWithOptions(scratch, env.Options{Environment: map[string]string{s.Name: value}})
	for _, one := range flatten(err) {
		wrong, ok := errors.AsType[env.ParseError](one)
		if !ok {
			continue
		}
		shown := fmt.Sprintf("%q", value)
		if s.Secret {
			shown = "its value"
		}
		return fmt.Errorf("%s: %s is not %s", s.Name, shown, kind(wrong.Type))
	}
	return nil
}

// kind says what a type wants to read.
func kind(t reflect.Type) string {
	if t == reflect.TypeFor[time.Duration]() {
		return "a duration such as 8s or 1h30m"
	}
	switch t.Kind() { //nolint:exhaustive // what people set is one of these; the rest says its type
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number from 0 on"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "a valid " + t.String()
	}
}
