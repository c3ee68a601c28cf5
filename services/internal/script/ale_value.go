package script

import (
	"math/big"

	"github.com/kode4food/ale"
	"github.com/kode4food/ale/data"
)

// aleValue makes an Ale value: lists become vectors, and the names of objects
// keywords.
func aleValue(value any) ale.Value {
	switch v := value.(type) {
	case bool:
		return data.Bool(v)
	case string:
		return data.String(v)
	case int64:
		return data.Integer(v)
	case *big.Int:
		return (*data.BigInt)(v)
	case float64:
		return data.Float(v)
	case []any:
		list := make(data.Vector, len(v))
		for i := range v {
			list[i] = aleValue(v[i])
		}
		return list
	case map[string]any:
		pairs := make(data.Pairs, 0, len(v))
		for name, member := range v {
			pairs = append(pairs, data.NewCons(data.Keyword(name), aleValue(member)))
		}
		return data.NewObject(pairs...)
	default:
		return data.Null
	}
}

func encodeAle(out *encoder, value ale.Value) error {
	switch v := value.(type) {
	case nil:
		return out.null()
	case data.Bool:
		return out.boolean(bool(v))
	case data.String:
		return out.text(string(v))
	case data.Keyword:
		return out.text(string(v))
	case data.Local:
		return out.text(string(v))
	case data.Integer:
		return out.whole(int64(v))
	case *data.BigInt:
		return out.large((*big.Int)(v))
	case data.Float:
		return out.float(float64(v))
	case *data.Ratio:
		f, _ := (*big.Rat)(v).Float64()
		return out.float(f)
	case *data.Object:
		return encodeAleObject(out, v)
	case *data.List:
		if v.IsEmpty() {
			return out.null() // the empty list is Ale's null
		}
		return encodeAleSequence(out, v)
	case data.Sequence:
		return encodeAleSequence(out, v)
	default:
		return failf("its result holds what JSON does not have: %.100s", data.ToString(value))
	}
}

func encodeAleSequence(out *encoder, s data.Sequence) error {
	return out.array(func() error {
		for f, rest, ok := s.Split(); ok; f, rest, ok = rest.Split() {
			if err := encodeAle(out, f); err != nil {
				return err
			}
		}
		return nil
	})
}

func encodeAleObject(out *encoder, o *data.Object) error {
	members := map[string]ale.Value{}
	for _, pair := range o.Pairs() {
		var name string
		switch key := pair.Car().(type) {
		case data.Keyword:
			name = string(key)
		case data.String:
			name = string(key)
		case data.Local:
			name = string(key)
		default:
			return failf("its result holds an object whose key is neither keyword nor string: %.100s", data.ToString(key))
		}
		if _, twice := members[name]; twice {
			return failf("its result holds an object with the key %q twice", name)
		}
		members[name] = pair.Cdr()
	}
	return object(out, members, func(v ale.Value) error { return encodeAle(out, v) })
}
