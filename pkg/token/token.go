package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
)

// ErrInvalid means that a token is not one of ours for this flow and step. It
// never says which part was wrong.
var ErrInvalid = errors.New("no such token")

const (
	version    = 1
	macBytes   = 16
	tailBytes  = 1 + 1 + 8 + 4 + 4 // version, key id, run, generation, item
	tokenBytes = macBytes + tailBytes
	prefixLen  = 8
)

// Length is the number of characters of a token.
const Length = (tokenBytes*8 + 5) / 6

// encoding takes one spelling only: the unused bits of the last character must
// be zero.
//
//nolint:gochecknoglobals // a constant, but for Go's type system
var encoding = base64.RawURLEncoding.Strict()

// Claims are what a token stands for.
type Claims struct {
	FlowID string
	StepID string
	// Run is the flow's random number, so that an id used again after its
	// history was purged shares nothing with its predecessor.
	Run uint64
	// Item is the work item's place in input order, from 0.
	Item uint32
	// Generation counts the item's retries by hand, from 0.
	Generation uint32
}

// Prefix returns the part of a token that may be shown to people and written to
// logs: its first 8 characters.
func Prefix(tok string) string {
	if len(tok) > prefixLen {
		return tok[:prefixLen]
	}
	return tok
}

// Hash returns what may be kept of a token where it could be stolen: 32
// hexadecimal digits, the first half of its SHA-256.
func Hash(tok string) string {
	sum := sha256.Sum256([]byte(tok))
	return hex.EncodeToString(sum[:16])
}

// tail writes what stands after the MAC.
func (c Claims) tail(keyID uint8) [tailBytes]byte {
	var b [tailBytes]byte
	b[0], b[1] = version, keyID
	binary.BigEndian.PutUint64(b[2:], c.Run)
	binary.BigEndian.PutUint32(b[10:], c.Generation)
	binary.BigEndian.PutUint32(b[14:], c.Item)
	return b
}

// mac covers the tail and both ids; their lengths stand before them, so that no
// two pairs of ids give the same bytes.
func mac(secret []byte, flowID, stepID string, tail []byte) []byte {
	h := hmac.New(sha256.New, secret)
	var lengths [8]byte
	binary.BigEndian.PutUint32(lengths[:4], uint32(len(flowID))) //nolint:gosec // ids are short
	binary.BigEndian.PutUint32(lengths[4:], uint32(len(stepID))) //nolint:gosec // ids are short
	h.Write(lengths[:])
	h.Write([]byte(flowID))
	h.Write([]byte(stepID))
	h.Write(tail)
	return h.Sum(nil)[:macBytes]
}
