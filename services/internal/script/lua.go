package script

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
)

// luaChunk is what Lua calls the script in its messages.
const luaChunk = "script"

// How deep Lua's calls may be nested, and how many values may stand on its stack.
const (
	luaCalls     = 16 << 10
	luaStack     = 4 << 10
	luaStackMost = 1 << 20
)

// luaEngine compiles Lua. A compiled script has no state; each run has a state
// of its own.
type luaEngine struct{ name, placed, traced *regexp.Regexp }

func newLua() (engine, error) {
	return &luaEngine{
		name:   regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`),
		placed: regexp.MustCompile(`(?s)^` + luaChunk + `:(\d+): (.*)$`),
		traced: regexp.MustCompile(`\s` + luaChunk + `:(\d+): `),
	}, nil
}

// luaScript is a compiled chunk.
type luaScript struct {
	*luaEngine

	chunk *lua.FunctionProto
}

// compile takes an expression as well as a chunk that returns something.
func (l *luaEngine) compile(p Program) (compiled, error) {
	chunk, err := luaCompile("return " + p.Source)
	if err != nil {
		chunk, err = luaCompile(p.Source)
	}
	if err != nil {
		return nil, err
	}
	return &luaScript{luaEngine: l, chunk: chunk}, nil
}

func luaCompile(source string) (*lua.FunctionProto, error) {
	statements, err := parse.Parse(strings.NewReader(source), luaChunk)
	var syntax *parse.Error
	switch {
	case errors.As(err, &syntax):
		message := strings.TrimSpace(syntax.Message)
		if syntax.Pos.Line == parse.EOF {
			return nil, &Error{Line: 1 + strings.Count(source, "\n"), Message: message + " at the end of the script"}
		}
		return nil, &Error{Line: syntax.Pos.Line, Message: fmt.Sprintf("%s near %q", message, syntax.Token)}
	case err != nil:
		return nil, failf("%v", err)
	}
	chunk, err := lua.Compile(statements, luaChunk)
	var refused *lua.CompileError
	switch {
	case errors.As(err, &refused):
		return nil, &Error{Line: refused.Line, Message: refused.Message}
	case err != nil:
		return nil, failf("%v", err)
	}
	return chunk, nil
}

// luaRun is one run of a script.
type luaRun struct {
	state *lua.LState
	// null stands for null inside of lists and objects, where nil would be a hole.
	null *lua.LUserData
	// arrays is the metatable of what is a list even when it is empty.
	arrays *lua.LTable
}

func newLuaRun() *luaRun {
	r := &luaRun{state: lua.NewState(lua.Options{
		SkipOpenLibs: true, CallStackSize: luaCalls, MinimizeStackMemory: true,
		RegistrySize: luaStack, RegistryMaxSize: luaStackMost, RegistryGrowStep: luaStack,
	})}
	lua.OpenBase(r.state)
	lua.OpenTable(r.state)
	lua.OpenString(r.state)
	lua.OpenMath(r.state)
	for _, name := range []string{
		"collectgarbage", "dofile", "getfenv", "load", "loadfile", "loadstring", "print", "_printregs", "setfenv",
		"module", "require", "newproxy", "_GOPHER_LUA_VERSION",
	} {
		r.state.SetGlobal(name, lua.LNil)
	}
	for _, name := range []string{"random", "randomseed"} { // a script is a function of its inputs
		r.state.SetField(r.state.GetGlobal(lua.MathLibName), name, lua.LNil)
	}
	r.null, r.arrays = r.state.NewUserData(), r.state.NewTable()
	r.arrays.RawSetString("__metatable", lua.LString("array"))
	r.state.SetGlobal("null", r.null)
	r.state.SetGlobal("array", r.state.NewFunction(func(l *lua.LState) int {
		l.CheckTable(1).Metatable = r.arrays
		l.SetTop(1)
		return 1
	}))
	return r
}

// call runs the chunk and returns its first result.
func (s *luaScript) call(inputs map[string]any) (*luaRun, lua.LValue, error) {
	r := newLuaRun()
	all := r.state.NewTable()
	r.state.SetGlobal(inputsName, all)
	for name, value := range inputs {
		if value == nil {
			if s.name.MatchString(name) {
				r.state.SetGlobal(name, lua.LNil)
			}
			continue
		}
		v := r.value(value)
		all.RawSetString(name, v)
		if s.name.MatchString(name) {
			r.state.SetGlobal(name, v)
		}
	}
	r.state.Push(r.state.NewFunctionFromProto(s.chunk))
	if err := r.state.PCall(0, 1, nil); err != nil {
		return nil, nil, s.failure(r, err)
	}
	return r, r.state.Get(-1), nil
}

func (s *luaScript) run(inputs map[string]any, out *encoder) error {
	r, value, err := s.call(inputs)
	if err != nil {
		return err
	}
	defer r.state.Close()
	return r.encode(out, value)
}

func (s *luaScript) holds(inputs map[string]any) (bool, error) {
	r, value, err := s.call(inputs)
	if err != nil {
		return false, err
	}
	defer r.state.Close()
	return lua.LVAsBool(value), nil
}

// failure says in the script's words what went wrong.
func (s *luaScript) failure(r *luaRun, err error) error {
	defer r.state.Close()
	var failed *lua.ApiError
	if !errors.As(err, &failed) {
		return failf("%v", err)
	}
	message := r.thrown(failed.Object)
	parts := s.placed.FindStringSubmatch(message)
	if parts == nil { // raised with another level, or without a text
		parts = append(s.traced.FindStringSubmatch(failed.StackTrace), message)
	}
	if len(parts) < 3 {
		return failf("%s", message)
	}
	line, _ := strconv.Atoi(parts[1])
	return &Error{Line: line, Message: parts[2]}
}

// thrown is what was raised: a text, or else JSON.
func (r *luaRun) thrown(value lua.LValue) string {
	if text, ok := value.(lua.LString); ok {
		return string(text)
	}
	out := &encoder{limit: maxMessage}
	if r.encode(out, value) != nil {
		return "it raised a " + value.Type().String()
	}
	return string(out.buf)
}

// value makes a Lua value. All numbers are floats there.
func (r *luaRun) value(value any) lua.LValue {
	switch v := value.(type) {
	case bool:
		return lua.LBool(v)
	case string:
		return lua.LString(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case []any:
		list := r.state.CreateTable(len(v), 0)
		list.Metatable = r.arrays
		for _, element := range v {
			list.Append(r.value(element))
		}
		return list
	case map[string]any:
		members := r.state.CreateTable(0, len(v))
		for name, member := range v {
			members.RawSetString(name, r.value(member))
		}
		return members
	case nil:
		return r.null
	default:
		if n, ok := withoutBig(value).(float64); ok {
			return lua.LNumber(n)
		}
		return r.null
	}
}

func (r *luaRun) encode(out *encoder, value lua.LValue) error {
	switch v := value.(type) {
	case lua.LBool:
		return out.boolean(bool(v))
	case lua.LNumber:
		return out.float(float64(v))
	case lua.LString:
		return out.text(string(v))
	case *lua.LTable:
		return r.encodeTable(out, v)
	case *lua.LUserData:
		if v == r.null {
			return out.null()
		}
	case *lua.LNilType:
		return out.null()
	}
	return failf("its result holds a %s, which JSON does not have", value.Type())
}

// encodeTable writes a table whose keys are 1 to n as an array, and one whose
// keys are strings as an object. An empty one is an object, unless it came as an
// array or was marked as one.
func (r *luaRun) encodeTable(out *encoder, t *lua.LTable) error {
	length, keys := t.Len(), 0
	members := map[string]lua.LValue{}
	var refused error
	t.ForEach(func(key, value lua.LValue) {
		keys++
		switch k := key.(type) {
		case lua.LString:
			members[string(k)] = value
		case lua.LNumber:
			if n := float64(k); n != math.Trunc(n) || n < 1 || n > float64(length) {
				refused = failf("its result holds a table with key %v: an array's keys are 1 to n, without a hole", n)
			}
		default:
			refused = failf("its result holds a table with a %s as key", key.Type())
		}
	})
	switch {
	case refused != nil:
		return refused
	case len(members) == 0 && (keys > 0 || t.Metatable == r.arrays):
		return r.encodeArray(out, t, length, keys)
	case len(members) != keys || t.Metatable == r.arrays:
		return failf("its result holds a table with both numbers and names as keys: it is neither an array nor an object")
	}
	return object(out, members, func(v lua.LValue) error { return r.encode(out, v) })
}

func (r *luaRun) encodeArray(out *encoder, t *lua.LTable, length, keys int) error {
	if length != keys {
		return failf("its result holds an array with a hole: use null for what is not there")
	}
	return out.array(func() error {
		for i := 1; i <= length; i++ {
			if err := r.encode(out, t.RawGetInt(i)); err != nil {
				return err
			}
		}
		return nil
	})
}
