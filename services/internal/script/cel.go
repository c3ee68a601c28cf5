package script

import (
	"errors"
	"regexp"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

// celCost is how much one evaluation may cost by CEL's own count: a million
// steps or so. It does not bound all that CEL can do (decision 13).
const celCost = 1_000_000

// inputsName is what all inputs are known by together, for those whose names are
// no names in the language. An input of that name goes before it.
const inputsName = "inputs"

// celEngine compiles CEL.
type celEngine struct {
	env  *cel.Env
	name *regexp.Regexp
}

func newCEL() (engine, error) {
	env, err := cel.NewEnv(
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(),
		ext.Strings(), ext.Math(), ext.Lists(), ext.Sets(), ext.Bindings(), ext.Encoders(),
	)
	if err != nil {
		return nil, failf("make the environment of CEL: %v", err)
	}
	return &celEngine{env: env, name: regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)}, nil
}

// celScript is a compiled expression.
type celScript struct {
	ast     *cel.Ast
	program cel.Program
}

func (c *celEngine) compile(p Program) (compiled, error) {
	env := c.env
	names := p.Names
	if !slices.Contains(names, inputsName) {
		names = append(slices.Clone(names), inputsName)
	}
	for _, name := range names {
		if !c.name.MatchString(name) {
			continue
		}
		// What CEL means something else by is in inputs alone.
		if extended, err := env.Extend(cel.Variable(name, cel.DynType)); err == nil {
			env = extended
		}
	}
	ast, issues := env.Compile(p.Source)
	if found := issues.Errors(); len(found) > 0 {
		return nil, &Error{Line: found[0].Location.Line(), Message: found[0].Message}
	}
	if kind := ast.OutputType(); p.Predicate && !kind.IsExactType(cel.BoolType) && !kind.IsExactType(cel.DynType) {
		return nil, failf("a predicate must give true or false, this one gives a %s", kind)
	}
	program, err := env.Program(ast, cel.CostLimit(celCost))
	if err != nil {
		return nil, failf("%v", err)
	}
	return &celScript{ast: ast, program: program}, nil
}

func (s *celScript) eval(inputs map[string]any) (ref.Val, error) {
	vars := make(map[string]any, len(inputs)+1)
	all := make(map[string]any, len(inputs))
	for name, value := range inputs {
		all[name] = celValue(value)
		vars[name] = all[name]
	}
	if _, taken := vars[inputsName]; !taken {
		vars[inputsName] = all
	}
	value, _, err := s.program.Eval(vars)
	if err != nil {
		return nil, &Error{Line: s.line(err), Message: err.Error()}
	}
	return value, nil
}

// line is where an evaluation failed; 0 where CEL does not say.
func (s *celScript) line(err error) int {
	var failed *types.Err
	if !errors.As(err, &failed) {
		return 0
	}
	return s.ast.NativeRep().SourceInfo().GetStartLocation(failed.NodeID()).Line()
}

func (s *celScript) run(inputs map[string]any, out *encoder) error {
	value, err := s.eval(inputs)
	if err != nil {
		return err
	}
	return encodeCEL(out, value)
}

func (s *celScript) holds(inputs map[string]any) (bool, error) {
	value, err := s.eval(inputs)
	if err != nil {
		return false, err
	}
	truth, ok := value.(types.Bool)
	if !ok {
		return false, failf("a predicate must give true or false, this one gave a %s", value.Type().TypeName())
	}
	return bool(truth), nil
}

// celValue makes of a decoded value one that CEL knows: it has whole numbers of
// 64 bits.
func celValue(value any) any {
	switch v := value.(type) {
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = celValue(v[i])
		}
		return list
	case map[string]any:
		members := make(map[string]any, len(v))
		for name, member := range v {
			members[name] = celValue(member)
		}
		return members
	default:
		return withoutBig(value)
	}
}

func encodeCEL(out *encoder, value ref.Val) error {
	switch v := value.(type) {
	case types.Null:
		return out.null()
	case types.Bool:
		return out.boolean(bool(v))
	case types.Int:
		return out.whole(int64(v))
	case types.Uint:
		return out.unsigned(uint64(v))
	case types.Double:
		return out.float(float64(v))
	case types.String:
		return out.text(string(v))
	case traits.Mapper:
		return encodeCELMap(out, v)
	case traits.Lister:
		return out.array(func() error {
			for it := v.Iterator(); it.HasNext() == types.True; {
				if err := encodeCEL(out, it.Next()); err != nil {
					return err
				}
			}
			return nil
		})
	default:
		return failf("its result holds a %s, which JSON does not have", value.Type().TypeName())
	}
}

func encodeCELMap(out *encoder, m traits.Mapper) error {
	members := map[string]ref.Val{}
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.(types.String)
		if !ok {
			return failf("its result holds a map whose key is a %s; names are strings", key.Type().TypeName())
		}
		members[string(name)] = m.Get(key)
	}
	return object(out, members, func(v ref.Val) error { return encodeCEL(out, v) })
}
