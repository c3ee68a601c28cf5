package script_test

import (
	"encoding/json"
	"testing"

	"github.com/sluiceflow/sluice/services/internal/script"
)

func BenchmarkEval(b *testing.B) {
	p := script.NewPool(config)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(b.Context()) }()
	b.Cleanup(func() {
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	in := map[string]json.RawMessage{"amount": json.RawMessage("41")}
	for lang, source := range map[script.Language]string{
		script.CEL: `{"total": amount + 1}`, script.Lua: `return {total = amount + 1}`, script.Ale: `{:total (+ amount 1)}`,
	} {
		b.Run(string(lang), func(b *testing.B) {
			for b.Loop() {
				if _, err := p.Eval(b.Context(), program(lang, source, in), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
