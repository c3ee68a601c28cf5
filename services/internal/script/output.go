package script

import (
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sluiceflow/sluice/pkg/step"
)

// encoder writes a result as JSON, and gives up where it grows too long or too
// deep: values may be without end, or share their parts.
type encoder struct {
	buf   []byte
	limit int
	depth int
}

// add begins a value: it puts the comma between it and the one before.
func (e *encoder) add() {
	if n := len(e.buf); n > 0 && e.buf[n-1] != '[' && e.buf[n-1] != '{' && e.buf[n-1] != ':' {
		e.buf = append(e.buf, ',')
	}
}

func (e *encoder) bounded() error {
	if len(e.buf) > e.limit {
		return failf("its result is longer than %d bytes of JSON", e.limit)
	}
	return nil
}

func (e *encoder) literal(text string) error {
	e.add()
	e.buf = append(e.buf, text...)
	return e.bounded()
}

func (e *encoder) null() error          { return e.literal("null") }
func (e *encoder) boolean(b bool) error { return e.literal(strconv.FormatBool(b)) }
func (e *encoder) whole(n int64) error  { return e.literal(strconv.FormatInt(n, 10)) }

func (e *encoder) unsigned(n uint64) error { return e.literal(strconv.FormatUint(n, 10)) }

func (e *encoder) large(n *big.Int) error {
	if n.BitLen() > 4*e.limit { // more digits than could be written
		return failf("its result is longer than %d bytes of JSON", e.limit)
	}
	return e.literal(n.String())
}

// largestExact is where floats begin to be written with an exponent.
const largestExact = 1e21

func (e *encoder) float(f float64) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return failf("its result holds a number that JSON does not have: %v", f)
	}
	format := byte('f')
	if size := math.Abs(f); size != 0 && (size < 1/largestExact || size >= largestExact) {
		format = 'e'
	}
	return e.literal(strconv.FormatFloat(f, format, -1, 64))
}

func (e *encoder) text(s string) error {
	if len(s) > e.limit {
		return failf("its result is longer than %d bytes of JSON", e.limit)
	}
	e.add()
	quoted, err := jsontext.AppendQuote(e.buf, s)
	if err != nil {
		return failf("its result holds a text that is not valid UTF-8")
	}
	e.buf = quoted
	return e.bounded()
}

// nested writes an array or an object by its members.
func (e *encoder) nested(brackets string, members func() error) error {
	if e.depth++; e.depth > step.MaxDepth {
		return failf("its result is nested deeper than %d, or holds itself", step.MaxDepth)
	}
	e.add()
	e.buf = append(e.buf, brackets[0])
	if err := members(); err != nil {
		return err
	}
	e.buf = append(e.buf, brackets[1])
	e.depth--
	return e.bounded()
}

func (e *encoder) array(elements func() error) error { return e.nested("[]", elements) }

// object writes an object, its names sorted.
func object[T any](e *encoder, members map[string]T, write func(T) error) error {
	return e.nested("{}", func() error {
		for _, name := range slices.Sorted(maps.Keys(members)) {
			if err := e.text(name); err != nil {
				return err
			}
			e.buf = append(e.buf, ':')
			if err := write(members[name]); err != nil {
				return err
			}
		}
		return nil
	})
}
