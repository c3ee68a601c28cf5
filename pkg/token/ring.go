package token

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// MinSecretBytes is the least length of a key's secret.
const MinSecretBytes = 32

// A Key signs tokens. Its secret never leaves the process.
type Key struct {
	ID     uint8
	Secret []byte
}

// A Ring holds the keys of an installation. It never changes, so it is safe for
// concurrent use; keys rotate by replacing it.
type Ring struct {
	signer Key
	keys   map[uint8][]byte
	decoy  []byte
}

// NewRing returns a ring whose first key signs and all of whose keys verify. It
// fails without a key, with a secret shorter than [MinSecretBytes], and when two
// keys share an id.
func NewRing(keys ...Key) (*Ring, error) {
	if len(keys) == 0 {
		return nil, errors.New("no token keys")
	}
	r := &Ring{signer: keys[0], keys: make(map[uint8][]byte, len(keys)), decoy: make([]byte, MinSecretBytes)}
	for _, k := range keys {
		if len(k.Secret) < MinSecretBytes {
			return nil, fmt.Errorf("token key %d has %d bytes, at least %d are needed", k.ID, len(k.Secret), MinSecretBytes)
		}
		if _, twice := r.keys[k.ID]; twice {
			return nil, fmt.Errorf("token key %d is there twice", k.ID)
		}
		r.keys[k.ID] = k.Secret
	}
	return r, nil
}

// ParseRing reads keys as "1:<base64>,2:<base64>": the first one signs. Its
// errors never show a secret.
func ParseRing(text string) (*Ring, error) {
	var keys []Key
	for i, entry := range strings.Split(text, ",") {
		id, secret, ok := strings.Cut(strings.TrimSpace(entry), ":")
		if !ok {
			return nil, fmt.Errorf("token key %d of the list is not <id>:<base64>", i+1)
		}
		n, err := strconv.ParseUint(id, 10, 8)
		if err != nil {
			return nil, fmt.Errorf("token key %d of the list: its id is not a number from 0 to 255", i+1)
		}
		b, err := base64.StdEncoding.DecodeString(secret)
		if err != nil {
			return nil, fmt.Errorf("token key %d: its secret is not base64", n)
		}
		keys = append(keys, Key{ID: uint8(n), Secret: b})
	}
	return NewRing(keys...)
}

// Mint returns the token of these claims.
func (r *Ring) Mint(c Claims) string { return c.mint(r.signer) }

// MintAll returns the tokens that these claims have under each key of the ring,
// for what was minted before the keys rotated is still out there.
func (r *Ring) MintAll(c Claims) []string {
	all := make([]string, 0, len(r.keys))
	for _, id := range slices.Sorted(maps.Keys(r.keys)) {
		all = append(all, c.mint(Key{ID: id, Secret: r.keys[id]}))
	}
	return all
}

func (c Claims) mint(k Key) string {
	tail := c.tail(k.ID)
	b := make([]byte, 0, tokenBytes)
	b = append(b, mac(k.Secret, c.FlowID, c.StepID, tail[:])...)
	b = append(b, tail[:]...)
	return encoding.EncodeToString(b)
}

// Verify returns the claims of a token that was minted for this flow and step by
// one of the ring's keys, else [ErrInvalid]. An unknown key costs as much time
// as a wrong MAC.
func (r *Ring) Verify(flowID, stepID, tok string) (Claims, error) {
	if len(tok) != Length {
		return Claims{}, ErrInvalid
	}
	b, err := encoding.DecodeString(tok)
	// The decoder passes over line breaks: what holds some is shorter.
	if err != nil || len(b) != tokenBytes || b[macBytes] != version {
		return Claims{}, ErrInvalid
	}
	tail := b[macBytes:]
	secret, known := r.keys[tail[1]]
	if !known {
		secret = r.decoy
	}
	if !hmac.Equal(mac(secret, flowID, stepID, tail), b[:macBytes]) || !known {
		return Claims{}, ErrInvalid
	}
	return Claims{
		FlowID:     flowID,
		StepID:     stepID,
		Run:        binary.BigEndian.Uint64(tail[2:]),
		Generation: binary.BigEndian.Uint32(tail[10:]),
		Item:       binary.BigEndian.Uint32(tail[14:]),
	}, nil
}
