package script

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/kode4food/ale"
	"github.com/kode4food/ale/core/bootstrap"
	"github.com/kode4food/ale/core/builtin"
	"github.com/kode4food/ale/data"
	"github.com/kode4food/ale/env"
	"github.com/kode4food/ale/eval"
	"github.com/kode4food/ale/read"
)

// aleEngine compiles Ale. What a script defines lives on in its environment, so
// each run compiles the forms that were read once in an environment of its own.
type aleEngine struct {
	env          *env.Environment
	name, placed *regexp.Regexp
}

// newAle takes goroutines, channels and the clock out of Ale's library, for the
// whole process, and starts it.
func newAle() (engine, error) {
	for what, builtins := range map[string][]*data.Procedure{
		"goroutines": {&builtin.Go, &builtin.Chan}, "the clock": {&builtin.CurrentTime},
	} {
		for _, b := range builtins {
			*b = data.MakeProcedure(func(...ale.Value) ale.Value {
				panic(failf("scripts have no %s", what))
			}, 0, data.OrMore)
		}
	}
	e := env.NewEnvironment()
	bootstrap.Into(e)
	return &aleEngine{
		env:    e,
		name:   regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*[?!]?$`),
		placed: regexp.MustCompile(`(?s)^(.*) \(line (\d+), column \d+\)$`),
	}, nil
}

// aleScript is a script that was read: its forms, and the lines they begin at.
type aleScript struct {
	*aleEngine

	params []string // inputs that the script knows by name
	forms  data.Vector
	lines  []int
}

func (a *aleEngine) compile(p Program) (compiled, error) {
	s := &aleScript{aleEngine: a}
	for _, name := range append([]string{inputsName}, p.Names...) {
		if a.name.MatchString(name) && !slices.Contains(s.params, name) {
			s.params = append(s.params, name)
		}
	}
	var tree []aleForm
	err := a.guard(func() error {
		ns := a.env.Snapshot().GetAnonymous()
		forms, err := read.FromString(ns, data.String(p.Source))
		if err != nil {
			return err
		}
		for f, rest, ok := forms.Split(); ok; f, rest, ok = rest.Split() {
			s.forms = append(s.forms, f)
		}
		tree, err = readTree(p.Source)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(s.forms) == 0 {
		return nil, failf("the script is empty")
	}
	for _, form := range tree {
		s.lines = append(s.lines, form.line)
	}
	if err := a.tryCompile(s.params, s.forms); err != nil {
		err.Line = a.locate(s.params, tree, err)
		return nil, err
	}
	return s, nil
}

// tryCompile compiles forms as the body of a function, and does not call it.
func (a *aleEngine) tryCompile(params []string, forms data.Vector) *Error {
	err := a.guard(func() error {
		_, err := eval.Value(a.env.Snapshot().GetAnonymous(), aleLambda(params, forms))
		return err
	})
	if failed, ok := errors.AsType[*Error](err); ok {
		return failed
	}
	return nil
}

func aleLambda(params []string, forms data.Vector) ale.Value {
	names := data.Vector{}
	for _, name := range params {
		names = append(names, data.Local(name))
	}
	head := data.Vector{env.RootSymbol("lambda"), data.NewList(names...)}
	return data.NewList(append(head, forms...)...)
}

// guard turns what Ale panics with, and its errors, into errors of the script.
func (a *aleEngine) guard(do func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = a.failure(cause)
		}
	}()
	if err := do(); err != nil {
		return a.failure(err)
	}
	return nil
}

func (a *aleEngine) failure(cause any) *Error {
	err, ok := cause.(error)
	if !ok {
		return failf("%v", cause)
	}
	if failed, ok := errors.AsType[*Error](err); ok {
		return failed
	}
	if parts := a.placed.FindStringSubmatch(err.Error()); parts != nil {
		line, _ := strconv.Atoi(parts[2])
		return &Error{Line: line, Message: parts[1]}
	}
	return failf("%v", err)
}

// call runs the script in an environment of its own and hands its result to use,
// for it may be lazy. Ale does not say where a run fails, so each form notes the
// line that it begins at.
func (s *aleScript) call(inputs map[string]any, use func(ale.Value) error) error {
	line := 0
	err := s.guard(func() error {
		ns := s.env.Snapshot().GetAnonymous()
		const at = "sluice-line"
		err := env.BindPrivate(ns, at, data.MakeProcedure(func(args ...ale.Value) ale.Value {
			if n, ok := args[0].(data.Integer); ok {
				line = int(n)
			}
			return data.Null
		}, 1))
		if err != nil {
			return fmt.Errorf("prepare a run: %w", err)
		}
		var body data.Vector
		for i, form := range s.forms {
			body = append(body, data.NewList(data.Local(at), data.Integer(s.lines[min(i, len(s.lines)-1)])), form)
		}
		call := data.Vector{aleLambda(s.params, body)}
		for _, value := range s.arguments(inputs) {
			call = append(call, data.NewList(env.RootSymbol("quote"), value))
		}
		value, err := eval.Value(ns, data.NewList(call...))
		if err != nil {
			return err
		}
		return use(value)
	})
	if failed, ok := errors.AsType[*Error](err); ok && failed.Line == 0 {
		return &Error{Line: line, Message: failed.Message}
	}
	return err
}

// arguments are the inputs in the order of the parameters.
func (s *aleScript) arguments(inputs map[string]any) data.Vector {
	args := data.Vector{}
	for _, name := range s.params {
		value, given := inputs[name]
		if !given && name == inputsName {
			value = inputs
		}
		args = append(args, aleValue(value))
	}
	return args
}

func (s *aleScript) run(inputs map[string]any, out *encoder) error {
	return s.call(inputs, func(value ale.Value) error { return encodeAle(out, value) })
}

func (s *aleScript) holds(inputs map[string]any) (truth bool, err error) {
	err = s.call(inputs, func(value ale.Value) error {
		truth = value != data.False
		return nil
	})
	return truth, err
}
