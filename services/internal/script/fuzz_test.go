package script_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/services/internal/script"
)

// FuzzBindings hands any JSON value to each language and gets it back: equal,
// but for numbers between floats, or refused.
func FuzzBindings(f *testing.F) {
	for _, seed := range []string{
		"null", "true", `"a\u0000\ud83d\ude00"`, "[]", "{}", "[null,[],{}]", `{"":1,"a b":{"a":[1,2.5,-0,1e300]}}`, "9223372036854775807",
		"-9223372036854775809", "1e-400", "0.1", `{"__index":1,"metatable":[[]]}`, `"\ud800"`, "1e21", "123456789012345678901234567890",
		"1e309", "1" + strings.Repeat("0", 309),
		strings.Repeat("[", 70) + strings.Repeat("]", 70),
	} {
		f.Add([]byte(seed))
	}
	identity, err := script.NewIdentity()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) > 1<<12 || !json.Valid(value) {
			return
		}
		want, err := script.Decoded(value)
		for _, lang := range []script.Language{script.CEL, script.Lua, script.Ale} {
			got, refused := identity.Of(lang, value)
			if refused != nil {
				_ = failure(t, refused)
				if err == nil && !strings.Contains(refused.Error(), "deeper") {
					t.Errorf("%s: %s is refused: %v", lang, value, refused)
				}
				continue
			}
			back, err := script.Decoded(got)
			if err != nil {
				t.Errorf("%s: %s became %s: %v", lang, value, got, err)
				continue
			}
			if !reflect.DeepEqual(back, want) {
				t.Errorf("%s: %s became %s", lang, value, got)
			}
		}
	})
}
