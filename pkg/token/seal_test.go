package token_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/sluiceflow/sluice/pkg/token"
)

func sealRing(t *testing.T, ids ...uint8) *token.Ring {
	t.Helper()
	var keys []token.Key
	for _, id := range ids {
		keys = append(keys, token.Key{ID: id, Secret: bytes.Repeat([]byte{id}, token.MinSecretBytes)})
	}
	r, err := token.NewRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSeal(t *testing.T) {
	t.Parallel()
	const purpose = "order-1"
	secret := []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	one := sealRing(t, 1)
	sealed, err := one.Seal(purpose, secret)
	if err != nil {
		t.Fatal(err)
	}
	again, err := one.Seal(purpose, secret)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, secret[:8]) || bytes.Equal(sealed, again) {
		t.Errorf("sealed as %x and %x", sealed, again)
	}
	for name, ring := range map[string]*token.Ring{"the same": one, "rotated": sealRing(t, 2, 1)} {
		if got, err := ring.Open(purpose, sealed); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if got, err := one.Open(purpose, changed); !errors.Is(err, token.ErrSealed) {
			t.Errorf("byte %d changed: got %q, %v", i, got, err)
		}
		if got, err := one.Open(purpose, sealed[:i]); !errors.Is(err, token.ErrSealed) {
			t.Errorf("cut at %d: got %q, %v", i, got, err)
		}
	}
	for name, open := range map[string]func() ([]byte, error){
		"another purpose": func() ([]byte, error) { return one.Open("order-2", sealed) },
		"another key":     func() ([]byte, error) { return sealRing(t, 2).Open(purpose, sealed) },
	} {
		if got, err := open(); !errors.Is(err, token.ErrSealed) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}
