// Package seal keeps secrets in replicated records unreadable to whoever gets hold of a log or a
// snapshot: AES-256-GCM under the cluster's seal key. It never writes the key anywhere and knows no
// record: the context that binds a ciphertext to its record is the caller's.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"sync"
)

// KeySize is the length of a seal key in bytes.
const KeySize = 32

// ErrSealed is a sealed value that does not open: another key, another record, or altered bytes.
var ErrSealed = errors.New("sealed value does not open under this key and for this record")

// A sealed value is: 1 byte version | 12 bytes nonce | ciphertext | 16 bytes tag. The version byte
// and the context are authenticated with it (NIST SP 800-38D). Nonces are random: one key is good for
// 2^32 values.
const (
	version   = 1
	nonceSize = 12
	overhead  = 1 + nonceSize + 16
)

// Box seals and opens values under one key. It may be used by many goroutines.
type Box struct {
	aead cipher.AEAD

	mu     sync.Mutex // guards random, which need not be safe for concurrent use
	random io.Reader
}

// New is a Box for a key of KeySize bytes that draws its nonces from random.
func New(key []byte, random io.Reader) (*Box, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("seal key of %d bytes, not %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	return &Box{aead: aead, random: random}, nil
}

// Seal encrypts plain for the record that context names ("access-key/AKIA…"). Only Open with the same
// context opens it.
func (b *Box) Seal(plain []byte, context string) ([]byte, error) {
	out := make([]byte, 1+nonceSize, len(plain)+overhead)
	out[0] = version
	b.mu.Lock()
	_, err := io.ReadFull(b.random, out[1:])
	b.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("draw a nonce: %w", err)
	}
	return b.aead.Seal(out, out[1:], plain, associated(context)), nil
}

// Open decrypts what Seal made with the same context, or answers ErrSealed.
func (b *Box) Open(sealed []byte, context string) ([]byte, error) {
	if len(sealed) < overhead || sealed[0] != version {
		return nil, fmt.Errorf("%s: %w", context, ErrSealed)
	}
	plain, err := b.aead.Open(nil, sealed[1:1+nonceSize], sealed[1+nonceSize:], associated(context))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", context, ErrSealed)
	}
	return plain, nil
}

func associated(context string) []byte { return append([]byte{version}, context...) }
