package subject

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
)

const hexDigits = "0123456789ABCDEF"

// MaxIDLength is the largest number of characters of an id.
const MaxIDLength = 128

// ErrID means that a text is no id.
var ErrID = errors.New("an id has 1 to 128 characters of A-Za-z0-9_.:@+- and begins with a letter or a digit")

// CheckID returns [ErrID] if the id is not of the contract's form.
func CheckID(id string) error {
	if id == "" || len(id) > MaxIDLength || !alphanumeric(id[0]) {
		return ErrID
	}
	for i := range len(id) {
		if c := id[i]; !alphanumeric(c) && strings.IndexByte("_.:@+-", c) < 0 {
			return ErrID
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func plain(c byte) bool { return alphanumeric(c) || c == '_' || c == '-' }

// Escape writes an id as one token of a subject or key.
func Escape(id string) string {
	n := 0
	for i := range len(id) {
		if !plain(id[i]) {
			n++
		}
	}
	if n == 0 {
		return id
	}
	b := make([]byte, 0, len(id)+2*n)
	for i := range len(id) {
		if c := id[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '=', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return string(b)
}

// Unescape reads what [Escape] wrote, and no other spelling of it.
func Unescape(tok string) (string, error) {
	b := make([]byte, 0, len(tok))
	for i := 0; i < len(tok); i++ {
		switch c := tok[i]; {
		case plain(c):
			b = append(b, c)
		case c == '=' && i+2 < len(tok):
			high, low := strings.IndexByte(hexDigits, tok[i+1]), strings.IndexByte(hexDigits, tok[i+2])
			c := byte(high<<4 | low) //nolint:gosec // checked in the next line: both are less than 16
			if high < 0 || low < 0 || plain(c) {
				return "", fmt.Errorf("%q is not an escaped id", tok)
			}
			b = append(b, c)
			i += 2
		default:
			return "", fmt.Errorf("%q is not an escaped id", tok)
		}
	}
	if len(b) == 0 {
		return "", errors.New("an empty token is not an escaped id")
	}
	return string(b), nil
}

// Partition returns the partition of a flow, from 0: FNV-1a (64 bit) of its id
// modulo the number of partitions.
func Partition(flowID string, partitions int) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(flowID))             // never fails
	return int(h.Sum64() % uint64(partitions)) //nolint:gosec // partitions is small and positive
}
