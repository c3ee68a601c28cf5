package script_test

import (
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/services/internal/script"
)

func TestResults(t *testing.T) {
	t.Parallel()
	p := pool(t, config)
	for _, c := range []struct {
		lang             script.Language
		source, in, want string
	}{
		{script.CEL, `{"total": amount + 1, "who": name}`, `{"amount":41,"name":"Ada"}`, `{"total":42,"who":"Ada"}`},
		{script.CEL, `amount * 2`, `{"amount":21}`, `{"result":42}`},
		{script.CEL, `[1, 2.5, "x", true, null]`, `{}`, `{"result":[1,2.5,"x",true,null]}`},
		{script.CEL, `absent == null`, `{}`, `{"result":true}`},
		{script.CEL, `inputs["odd name"]`, `{"odd name":1}`, `{"result":1}`},
		{script.CEL, `amount > 100`, `{"amount":100.5}`, `{"result":true}`},
		{script.CEL, `o.list.map(x, x * 2)`, `{"o":{"list":[1,2]}}`, `{"result":[2,4]}`},
		{script.CEL, `n`, `{"n":9007199254740993}`, `{"result":9007199254740993}`},
		{script.CEL, `string == "s" && type == "t"`, `{"string":"s","type":"t"}`, `{"result":true}`},
		{script.Lua, `return {total = amount + 1, who = name}`, `{"amount":41,"name":"Ada"}`, `{"total":42,"who":"Ada"}`},
		{script.Lua, `amount * 2`, `{"amount":21}`, `{"result":42}`},
		{script.Lua, `return {1, 2.5, "x", true, null}`, `{}`, `{"result":[1,2.5,"x",true,null]}`},
		{script.Lua, `return absent == nil`, `{}`, `{"result":true}`},
		{script.Lua, `return inputs["odd name"]`, `{"odd name":1}`, `{"result":1}`},
		{script.Lua, `return {a = list, b = {}, c = array{}, d = {x = {1}}}`, `{"list":[]}`, `{"a":[],"b":{},"c":[],"d":{"x":[1]}}`},
		{script.Lua, `return {o = o, same = o.n == null}`, `{"o":{"n":null,"l":[null,1]}}`, `{"o":{"l":[null,1],"n":null},"same":true}`},
		{script.Lua, `local s = 0 for i, v in ipairs(list) do s = s + v end return s`, `{"list":[1,2,3]}`, `{"result":6}`},
		{script.Lua, `x = 1`, `{}`, `{"result":null}`},
		{script.Lua, `return pcall(error, "caught")`, `{}`, `{"result":false}`},
		{script.Ale, `{:total (+ amount 1) :who name}`, `{"amount":41,"name":"Ada"}`, `{"total":42,"who":"Ada"}`},
		{script.Ale, `(* amount 2)`, `{"amount":21}`, `{"result":42}`},
		{script.Ale, `[1 2.5 "x" true null :key 'sym]`, `{}`, `{"result":[1,2.5,"x",true,null,"key","sym"]}`},
		{script.Ale, `(null? absent)`, `{}`, `{"result":true}`},
		{script.Ale, `(:odd inputs)`, `{"odd":1}`, `{"result":1}`},
		{script.Ale, `(map (lambda (x) (* x 2)) (:list o))`, `{"o":{"list":[1,2]}}`, `{"result":[2,4]}`},
		{script.Ale, `(* n 10)`, `{"n":9223372036854775807}`, `{"result":92233720368547758070}`},
		{script.Ale, `n`, `{"n":123456789012345678901234567890}`, `{"result":123456789012345678901234567890}`},
		{script.Ale, `(/ 1 4)`, `{}`, `{"result":0.25}`},
		{script.Ale, "(let* ([x 1]\n [y (+ x 1)])\n [x y])", `{}`, `{"result":[1,2]}`},
		{script.Ale, `(define x 1) 2`, `{}`, `{"result":2}`},
	} {
		in := inputs(t, c.in)
		prog := program(c.lang, c.source, in, "absent")
		for range 2 { // the second run finds it compiled, and nothing of the first one
			if got, err := eval(t, p, prog, in); err != nil || got != c.want {
				t.Errorf("%s: %s with %s: got %s, %v; want %s", c.lang, c.source, c.in, got, err, c.want)
			}
		}
	}
}

func TestPredicates(t *testing.T) {
	t.Parallel()
	p := pool(t, config)
	for _, c := range []struct {
		lang       script.Language
		source, in string
		want       bool
	}{
		{script.CEL, `amount > 100`, `{"amount":101}`, true},
		{script.CEL, `amount > 100`, `{"amount":100}`, false},
		{script.CEL, `amount > 100`, `{"amount":100.25}`, true},
		{script.CEL, `flag`, `{"flag":false}`, false},
		{script.Lua, `return amount > 100`, `{"amount":101}`, true},
		{script.Lua, `amount > 100`, `{"amount":100}`, false},
		{script.Lua, `return nil`, `{}`, false},
		{script.Lua, `return 0`, `{}`, true},
		{script.Ale, `(> amount 100)`, `{"amount":101}`, true},
		{script.Ale, `(> amount 100)`, `{"amount":100}`, false},
		{script.Ale, `null`, `{}`, true},
		{script.Ale, `0`, `{}`, true},
	} {
		in := inputs(t, c.in)
		prog := program(c.lang, c.source, in)
		prog.Predicate = true
		result, err := p.Eval(t.Context(), prog, in)
		if err != nil || result.Truth != c.want {
			t.Errorf("%s: %s with %s: got %v, %v", c.lang, c.source, c.in, result.Truth, err)
		}
	}
}

// What is wrong with a script is said when it is compiled, with its line.
func TestWrongScriptsDoNotCompile(t *testing.T) {
	t.Parallel()
	p := pool(t, config)
	for _, c := range []struct {
		lang   script.Language
		source string
		line   int
		part   string
	}{
		{script.CEL, "1 +", 1, "Syntax error"},
		{script.CEL, "1 +\n nope", 2, "undeclared reference to 'nope'"},
		{script.CEL, "1 + 'a'", 1, "no matching overload"},
		{script.Lua, "return 1 +", 1, "syntax error"},
		{script.Lua, "x = 1\nreturn 1 2", 2, "syntax error"},
		{script.Ale, "(+ a 1", 1, "list not closed"},
		{script.Ale, "(+ a 1)\n)", 2, "unmatched list end"},
		{script.Ale, "(+ a\n  (* 2 nope))", 2, "nope"},
		{script.Ale, "(let [x 1]\n  (if))", 2, "got 0 arguments"},
		{script.Ale, "\n\"open", 2, "no closing quote"},
		{script.Ale, "(#include \"/etc/passwd\")", 1, "*fs*"},
		{script.Ale, "; nothing", 0, "empty"},
		{script.CEL, "  \n", 0, "empty"},
		{"python", "1", 0, "cel, lua or ale"},
		{script.Lua, "--" + strings.Repeat("x", script.MaxSource), 0, "bytes"},
	} {
		failed := failure(t, p.Check(t.Context(), script.Program{Language: c.lang, Source: c.source, Names: []string{"a"}}))
		if failed.Line != c.line || !strings.Contains(failed.Message, c.part) {
			t.Errorf("%s: %.40q: got %v, want line %d and %q", c.lang, c.source, failed, c.line, c.part)
		}
	}
	failed := failure(t, p.Check(t.Context(), script.Program{Language: script.CEL, Source: "1 + 1", Predicate: true}))
	if !strings.Contains(failed.Message, "true or false") {
		t.Errorf("got %v", failed)
	}
}

func TestFailingScripts(t *testing.T) {
	t.Parallel()
	p := pool(t, config)
	for _, c := range []struct {
		lang   script.Language
		source string
		in     string
		line   int
		part   string
	}{
		{script.CEL, "1 +\n 1 / n", `{"n":0}`, 2, "division by zero"},
		{script.CEL, "o.nope", `{"o":{}}`, 1, "no such key"},
		{script.CEL, "b'raw'", `{}`, 0, "bytes"},
		{script.CEL, "{1: 2}", `{}`, 0, "names are strings"},
		{script.CEL, "n + 9223372036854775807", `{"n":1}`, 1, "overflow"},
		{script.Lua, "\nerror('boom')", `{}`, 2, "boom"},
		{script.Lua, "error({code = 7})", `{}`, 1, `{"code":7}`},
		{script.Lua, "local x\nreturn x.y", `{}`, 2, "attempt to index"},
		{script.Lua, "return {1, 2, x = 3}", `{}`, 0, "neither an array nor an object"},
		{script.Lua, "return {[1] = 1, [3] = 3}", `{}`, 0, "hole"},
		{script.Lua, "return {[1.5] = 1}", `{}`, 0, "key 1.5"},
		{script.Lua, "return {[true] = 1}", `{}`, 0, "boolean as key"},
		{script.Lua, "return error", `{}`, 0, "function"},
		{script.Lua, `return "\255"`, `{}`, 0, "UTF-8"},
		{script.Lua, "return 0/0", `{}`, 0, "NaN"},
		{script.Lua, "local t = {} t.t = t return t", `{}`, 0, "nested deeper"},
		{script.Lua, "local function f() return 1 + f() end return f()", `{}`, 1, "overflow"},
		{script.Ale, "(+ 1 1)\n(raise \"boom\")", `{}`, 2, "boom"},
		{script.Ale, "(/ 1 0)", `{}`, 1, "divide by zero"},
		{script.Ale, "(+ 1 \"a\")", `{}`, 1, "expected"},
		{script.Ale, "(lambda (x) x)", `{}`, 1, "JSON does not have"},
		{script.Ale, `{:a 1 "a" 2}`, `{}`, 1, "twice"},
		{script.Ale, "{[1] 2}", `{}`, 1, "neither keyword nor string"},
		{script.CEL, "n", `{"n":1e999}`, 0, "too large"},
		{script.Ale, "n", `{"n":1` + strings.Repeat("0", 309) + `}`, 0, "too large"},
	} {
		in := inputs(t, c.in)
		got, err := eval(t, p, program(c.lang, c.source, in), in)
		if err == nil {
			t.Errorf("%s: %s gives %s", c.lang, c.source, got)
			continue
		}
		failed := failure(t, err)
		if failed.Line != c.line || !strings.Contains(failed.Message, c.part) {
			t.Errorf("%s: %q: got %v, want line %d and %q", c.lang, c.source, failed, c.line, c.part)
		}
	}
}

// Texts come back as they were, whatever characters they have.
func TestTextsSurvive(t *testing.T) {
	t.Parallel()
	p := pool(t, config)
	in := inputs(t, `{"s":"a\u0000b\u2028 \ud83d\ude00 <&> \"\\"}`)
	for _, lang := range []script.Language{script.CEL, script.Lua, script.Ale} {
		result, err := p.Eval(t.Context(), program(lang, "s", in), in)
		if err != nil {
			t.Errorf("%s: %v", lang, err)
			continue
		}
		if got, want := text(t, result.Outputs["result"]), text(t, in["s"]); got != want {
			t.Errorf("%s: got %q, want %q", lang, got, want)
		}
	}
}
