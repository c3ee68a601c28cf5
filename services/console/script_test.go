package console_test

import (
	"net/http"
	"testing"

	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func TestMain(m *testing.M) {
	if testkit.Script() {
		return
	}
	m.Run()
}

func TestScriptsCompileWhenTheyAreRegistered(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	wrong := func(body, field, part string) {
		t.Helper()
		s.do(post, "/engine/step", body).want(http.StatusBadRequest).has("errors.0.field", `"`+field+`"`, "errors.0.message", part)
	}
	wrong(`{"id":"s","type":"script","script":{"language":"lua","script":"x = 1\nreturn 1 2"}}`,
		"script.script", `"does not compile: line 2: syntax error near \"2\""`)
	wrong(`{"id":"s","type":"script","script":{"language":"cel","script":"1 +\n nope"}}`,
		"script.script", `"does not compile: line 2: undeclared reference to 'nope'"`)
	wrong(`{"id":"s","type":"script","script":{"language":"ale","script":"(+ 1\n (nope))"}}`,
		"script.script", `"does not compile: line 2: name not declared in namespace: nope"`)
	wrong(`{"id":"s","type":"sync","http":{"endpoint":"http://h"},"predicate":{"language":"cel","script":"n + 1"},"attributes":{"m":{"role":"required"}}}`,
		"predicate.script", `"does not compile: line 1: undeclared reference to 'n'"`)

	step := `{"id":"s","type":"script","script":{"language":"cel","script":"{\"double\": n * 2}"},"predicate":{"language":"lua","script":"n > 1"},
		"attributes":{"n":{"role":"required","type":"number"},"double":{"role":"output","type":"number"}}}`
	s.do(post, "/engine/step", step).want(http.StatusCreated)
	s.do(get, "/engine/step/s", "").has("script.language", `"cel"`, "predicate.script", `"n > 1"`)
	s.do(get, "/engine/health/s", "").has("status", `"healthy"`)
	s.do(post, "/engine/plan", `{"goals":["s"],"init":{"n":3}}`).want(http.StatusOK)
}
