// Package access says who may do what at the control API: bearer keys with
// roles, and which addresses a console without keys may listen on.
package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// A Role is what the holder of a key may do. Each one includes those before it.
type Role int

const (
	// Nobody may do nothing: it is the role of whoever has no key.
	Nobody Role = iota
	// Read may look at everything.
	Read
	// Operate may start, cancel, pause and repair flows.
	Operate
	// Admin may change steps and delete histories.
	Admin
)

// String returns the role's word in API_KEYS.
func (r Role) String() string {
	switch r {
	case Read:
		return "read"
	case Operate:
		return "operate"
	case Admin:
		return "admin"
	case Nobody:
	}
	return "nobody"
}

// minKey is the least length of a key: shorter ones can be guessed.
const minKey = 16

type key struct {
	name string
	role Role
	hash [sha256.Size]byte
}

// Keys are the keys that are let in. Only their hashes are kept.
type Keys struct {
	list []key
}

// Parse reads API_KEYS: name:role:key, separated by commas. An error names
// every entry that is wrong, and never the key.
func Parse(text string) (*Keys, error) {
	keys := &Keys{}
	if strings.TrimSpace(text) == "" {
		return keys, nil
	}
	var mistakes []error
	names := map[string]bool{}
	for i, entry := range strings.Split(text, ",") {
		k, err := parseKey(strings.TrimSpace(entry))
		switch {
		case err != nil:
			mistakes = append(mistakes, fmt.Errorf("entry %d: %w", i+1, err))
		case names[k.name]:
			mistakes = append(mistakes, fmt.Errorf("entry %d: the name %q stands twice", i+1, k.name))
		default:
			names[k.name] = true
			keys.list = append(keys.list, k)
		}
	}
	return keys, errors.Join(mistakes...)
}

func parseKey(entry string) (key, error) {
	parts := strings.SplitN(entry, ":", 3)
	if len(parts) != 3 || parts[0] == "" {
		return key{}, errors.New("must be name:role:key")
	}
	role := Nobody
	for _, r := range []Role{Read, Operate, Admin} {
		if parts[1] == r.String() {
			role = r
		}
	}
	if role == Nobody {
		return key{}, fmt.Errorf("the role of %q must be read, operate or admin", parts[0])
	}
	if len(parts[2]) < minKey {
		return key{}, fmt.Errorf("the key of %q must have at least %d characters", parts[0], minKey)
	}
	return key{name: parts[0], role: role, hash: sha256.Sum256([]byte(parts[2]))}, nil
}

// Any reports whether there are keys at all. Without them everybody is let in.
func (k *Keys) Any() bool { return len(k.list) > 0 }

// Find returns name and role of a bearer key, Nobody for one that is unknown.
// It compares with every key, so that its time says nothing.
func (k *Keys) Find(bearer string) (string, Role) {
	hash := sha256.Sum256([]byte(bearer))
	name, role := "", Nobody
	for i := range k.list {
		if subtle.ConstantTimeCompare(hash[:], k.list[i].hash[:]) == 1 {
			name, role = k.list[i].name, k.list[i].role
		}
	}
	return name, role
}

// IsLoopback reports whether host, without a port, means this machine alone.
func IsLoopback(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}
