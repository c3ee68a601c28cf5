package script

import (
	"encoding/json"
	"math/big"
)

// Children are the process ids of the children that wait for work.
func Children(p *Pool) []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var pids []int
	for _, child := range p.idle {
		pids = append(pids, child.pid)
	}
	return pids
}

// Identity is a child in this process; it runs the script that returns its
// input, by what binds values alone.
type Identity struct{ child *child }

// NewIdentity returns one, to be used by one caller at a time.
func NewIdentity() (*Identity, error) {
	c, err := newChild()
	return &Identity{c}, err
}

// Of returns what becomes of a value in a language.
func (i *Identity) Of(lang Language, value json.RawMessage) (json.RawMessage, error) {
	resp, err := i.child.try(request{
		Op: opRun, Program: Program{Language: lang, Source: "v", Names: []string{"v"}},
		Inputs: map[string]json.RawMessage{"v": value},
	})
	return resp.Value, err
}

// Decoded is a value as the languages get it, its numbers floats.
func Decoded(value json.RawMessage) (any, error) {
	v, err := decode(value)
	return floats(v), err
}

func floats(value any) any {
	switch v := value.(type) {
	case int64:
		return float64(v)
	case *big.Int:
		return nearest(v)
	case []any:
		for i := range v {
			v[i] = floats(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = floats(v[name])
		}
	}
	return value
}
