package token

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// ErrSealed means that what is sealed cannot be opened: its key is gone, or it
// was sealed for something else.
var ErrSealed = errors.New("it cannot be opened")

const (
	sealVersion = 1
	sealHeader  = 2 // version, key id
	sealKey     = "sluice seal 1"
)

// Seal encrypts a secret that is kept where others read. It opens only for the
// same purpose, by a ring that has the key which signs now.
func (r *Ring) Seal(purpose string, secret []byte) ([]byte, error) {
	box, err := boxOf(r.signer.Secret)
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, sealHeader+box.NonceSize(), sealHeader+box.NonceSize()+len(secret)+box.Overhead())
	sealed[0], sealed[1] = sealVersion, r.signer.ID
	_, _ = rand.Read(sealed[sealHeader:])                                      // never fails
	return box.Seal(sealed, sealed[sealHeader:], secret, []byte(purpose)), nil //nolint:gosec // the nonce is random: two lines up
}

// Open returns what was sealed for that purpose, or [ErrSealed].
func (r *Ring) Open(purpose string, sealed []byte) ([]byte, error) {
	if len(sealed) < sealHeader || sealed[0] != sealVersion {
		return nil, ErrSealed
	}
	key, known := r.keys[sealed[1]]
	if !known {
		return nil, ErrSealed
	}
	box, err := boxOf(key)
	if err != nil {
		return nil, err
	}
	if sealed = sealed[sealHeader:]; len(sealed) < box.NonceSize() {
		return nil, ErrSealed
	}
	secret, err := box.Open(nil, sealed[:box.NonceSize()], sealed[box.NonceSize():], []byte(purpose))
	if err != nil {
		return nil, ErrSealed
	}
	return secret, nil
}

// boxOf derives what seals from what signs, so that one use of a key tells
// nothing of the other.
func boxOf(secret []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, sealKey, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("use a key: %w", err)
	}
	return cipher.NewGCM(block)
}
