package script

import (
	"strings"

	"github.com/kode4food/ale/data"
	"github.com/kode4food/ale/read"
)

// aleForm is a form as it stands in the script: Ale itself forgets where.
type aleForm struct {
	line     int // where it begins, from 1
	text     string
	children []aleForm
}

// aleToken is what is used of Ale's tokens.
type aleToken interface {
	Input() string
	Line() int
	IsWhitespace() bool
}

// readTree finds the forms of a script that can be read.
func readTree(source string) ([]aleForm, error) {
	tokens, err := read.Tokenize(data.String(source))
	if err != nil {
		return nil, err //nolint:wrapcheck // it is told to who wrote the script
	}
	stack := []aleForm{{}}
	for t, rest, ok := tokens.Split(); ok; t, rest, ok = rest.Split() {
		token, known := t.(aleToken)
		if !known {
			continue
		}
		switch text := token.Input(); {
		case text == "(" || text == "[" || text == "{" || text == "#{" || text == "#b[":
			stack = append(stack, aleForm{line: token.Line() + 1, text: text})
		case text == ")" || text == "]" || text == "}":
			if len(stack) == 1 {
				continue
			}
			done := stack[len(stack)-1]
			done.text += text
			stack = stack[:len(stack)-1]
			stack[len(stack)-1].add(done)
		case token.IsWhitespace():
			stack[len(stack)-1].text += text
		default:
			stack[len(stack)-1].add(aleForm{line: token.Line() + 1, text: text})
		}
	}
	return stack[0].children, nil
}

// add puts a form into the one around it. What stands before a form, such as a
// quote, is one with it.
func (f *aleForm) add(child aleForm) {
	f.text += child.text
	if n := len(f.children); n > 0 && strings.Trim(f.children[n-1].text, "'`,@") == "" {
		before := f.children[n-1]
		child.line, child.text = before.line, before.text+child.text
		f.children[n-1] = child
		return
	}
	f.children = append(f.children, child)
}

// locate finds the line of what does not compile: Ale says why and not where.
// It is the innermost form that fails for the same reason by itself.
func (a *aleEngine) locate(params []string, forms []aleForm, why *Error) int {
	line := 1
	for level := forms; len(level) > 0; {
		next := level
		level = nil
		for _, form := range next {
			if a.failsAlike(params, form, why) {
				line, level = form.line, form.children
				break
			}
		}
	}
	return line
}

func (a *aleEngine) failsAlike(params []string, form aleForm, why *Error) bool {
	var body data.Vector
	err := a.guard(func() error {
		forms, err := read.FromString(a.env.Snapshot().GetAnonymous(), data.String(form.text))
		if err != nil {
			return err //nolint:wrapcheck // only compared
		}
		for f, rest, ok := forms.Split(); ok; f, rest, ok = rest.Split() {
			body = append(body, f)
		}
		return nil
	})
	if err != nil || len(body) == 0 {
		return false
	}
	failed := a.tryCompile(params, body)
	return failed != nil && failed.Message == why.Message
}
