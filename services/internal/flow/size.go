package flow

import "encoding/json"

// framing is what a field of a message has around it at most, in bytes.
const framing = 8

// Size returns what the turn's commit has grown to, in bytes.
func (t *Turn) Size() int { return t.size + t.values.size }

// fits reports whether so many bytes more can go into the turn's commit.
func (t *Turn) fits(bytes int) bool { return t.Size()+bytes <= t.env.CommitBytes }

// mayStart reports whether a step may start in this turn with those inputs. In
// a commit with nothing else they always fit: what is too much for an invocation
// is refused before.
func (t *Turn) mayStart(inputs map[string]json.RawMessage) bool {
	size := sizeOf(inputs)
	return !t.env.Full && (size > t.env.ArgumentBytes || t.fits(size+2*framing*len(inputs)))
}

func sizeOf(values map[string]json.RawMessage) int {
	n := 0
	for name, value := range values {
		n += len(name) + len(value)
	}
	return n
}
