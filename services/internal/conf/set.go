package conf

import (
	"cmp"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/pflag"
)

// Lookup gives the value of a name and whether it is set, as os.LookupEnv.
type Lookup func(name string) (value string, ok bool)

// A Validator is a part of a configuration that knows more of what is wrong
// than its types say. It may join several errors.
type Validator interface{ Validate() error }

// Set is the settings of one program.
type Set struct {
	cfg      any
	defaults map[string]string
	list     []Setting
	flags    *pflag.FlagSet
}

// New makes the set of the settings that a struct has, and the structs in it.
// The given defaults stand for those of the tags.
func New(cfg any, defaults map[string]string) *Set {
	return &Set{
		cfg: cfg, defaults: defaults,
		list: settings(reflect.TypeOf(cfg).Elem(), defaults),
	}
}

// Without takes settings out: they keep their defaults, whatever is set.
func (s *Set) Without(names ...string) *Set {
	s.list = slices.DeleteFunc(s.list, func(one Setting) bool { return slices.Contains(names, one.Name) })
	return s
}

// Load reads a struct's settings from env. The error, if any, is of type
// [MistakesError].
func Load(cfg any, lookup Lookup) error { return New(cfg, nil).Load(lookup) }

// Bind adds a flag for each setting, named as it (in any case, with _ or -).
// A flag that is given beats the environment.
func (s *Set) Bind(flags *pflag.FlagSet) {
	short := make(map[string]string)
	for name, alias := range aliases() {
		short[alias] = Setting{Name: name}.Flag()
	}
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		name = Setting{Name: name}.Flag()
		if full, ok := short[name]; ok {
			name = full
		}
		return pflag.NormalizedName(name)
	})
	for _, one := range s.list {
		flags.String(one.Flag(), one.Default, one.usage())
	}
	s.flags = flags
}

func (s Setting) usage() string {
	usage := s.Name
	if alias := aliases()[s.Name]; alias != "" {
		usage += " (also --" + alias + ")"
	}
	if s.Secret {
		usage += " (or " + s.Name + "_FILE)"
	}
	return usage + ":`` " + s.Help
}

// Load reads the settings: flags that were given, then the environment, then
// defaults. An empty value is as good as none. The error, if any, is of type
// [MistakesError].
func (s *Set) Load(lookup Lookup) error {
	values := make(map[string]string, len(s.list))
	var mistakes MistakesError
	for _, one := range s.list {
		value, err := s.value(one, lookup)
		if err == nil && value != "" {
			err = one.check(value)
			values[one.Name] = value
		}
		if err != nil {
			mistakes = append(mistakes, err)
			delete(values, one.Name)
		}
	}
	err := env.ParseWithOptions(s.cfg, env.Options{Environment: values})
	mistakes = append(mistakes, flatten(err)...)
	mistakes = append(mistakes, validate(reflect.ValueOf(s.cfg).Elem())...)
	if len(mistakes) > 0 {
		return mistakes
	}
	return nil
}

func (s *Set) value(one Setting, lookup Lookup) (string, error) {
	if s.flags != nil && s.flags.Changed(one.Flag()) {
		return s.flags.GetString(one.Flag())
	}
	value, _ := lookup(one.Name)
	if !one.Secret {
		return cmp.Or(value, s.defaults[one.Name]), nil
	}
	path, _ := lookup(one.Name + "_FILE")
	switch {
	case path == "":
		return cmp.Or(value, s.defaults[one.Name]), nil
	case value != "":
		return "", fmt.Errorf("%s and %s_FILE are both set: which one counts?", one.Name, one.Name)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", one.Name, err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

// validate asks every part of the configuration that validates itself.
func validate(v reflect.Value) []error {
	var mistakes []error
	if part, ok := reflect.TypeAssert[Validator](v.Addr()); ok {
		mistakes = append(mistakes, flatten(part.Validate())...)
	}
	for i := range v.NumField() {
		field := v.Field(i)
		if v.Type().Field(i).IsExported() && field.Kind() == reflect.Struct {
			mistakes = append(mistakes, validate(field)...)
		}
	}
	return mistakes
}
