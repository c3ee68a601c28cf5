package conf

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
)

// A Setting is one thing that can be configured.
type Setting struct {
	// Name is its environment variable.
	Name string
	// Default holds where nothing is set.
	Default string
	// Help is its meaning, in a few words.
	Help string
	// Secret is true where its value is shown to nobody.
	Secret bool

	owner reflect.Type // the struct that has it
}

// aliases are settings that have a second, shorter flag.
func aliases() map[string]string {
	return map[string]string{"LISTEN_ADDR": "listen", "DATA_DIR": "data"}
}

// Flag is the setting's name as a flag: LISTEN_ADDR is listen-addr.
func (s Setting) Flag() string {
	return strings.ReplaceAll(strings.ToLower(s.Name), "_", "-")
}

// settings lists what a struct has, and the structs in it, by name. What
// several of them have is one setting.
func settings(t reflect.Type, defaults map[string]string) []Setting {
	found := make(map[string]Setting)
	collect(t, func(s Setting) {
		known, again := found[s.Name]
		if again {
			s.Help = cmp.Or(known.Help, s.Help)
			s.Default = cmp.Or(known.Default, s.Default)
			s.Secret = s.Secret || known.Secret
			s.owner = known.owner
		}
		if value, ok := defaults[s.Name]; ok {
			s.Default = value
		}
		found[s.Name] = s
	})
	list := make([]Setting, 0, len(found))
	for _, s := range found {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Setting) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func collect(t reflect.Type, add func(Setting)) {
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("env"), ",")
		switch {
		case name != "":
			add(Setting{
				Name: name, Default: field.Tag.Get("envDefault"), Help: field.Tag.Get("help"),
				Secret: field.Tag.Get("secret") == "true", owner: t,
			})
		case field.IsExported() && field.Type.Kind() == reflect.Struct:
			collect(field.Type, add)
		}
	}
}
