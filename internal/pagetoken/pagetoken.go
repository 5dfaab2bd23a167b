// Package pagetoken makes the tokens by which a client asks for the next page of a listing: sealed, so that they tell
// nothing and nobody else can make one, and bound to the request that they came from. It keeps nothing: every node that
// has the key opens the tokens of every other. It never decides what a page is.
package pagetoken

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// Sealer keeps what is in a token unreadable; context is what it is bound to. A seal.Box is one.
type Sealer interface {
	Seal(plain []byte, context string) ([]byte, error)
	Open(sealed []byte, context string) ([]byte, error)
}

// ErrInvalid is a token that was not made here, or not for this request.
var ErrInvalid = errors.New("page token is not one of this request")

// text is the alphabet of tokens: letters and digits alone, which stand in a URL as they are and in every pattern that
// AWS's models have for tokens.
var text = base32.StdEncoding.WithPadding(base32.NoPadding)

// Seal makes the token of a page that begins behind after, for the requests that bound names: the account, the operation
// and what else must stay the same from page to page. The error is that of the sealer.
func Seal(s Sealer, bound []string, after string) (string, error) {
	sealed, err := s.Seal([]byte(after), context(bound))
	if err != nil {
		return "", fmt.Errorf("make a page token: %w", err)
	}
	return text.EncodeToString(sealed), nil
}

// Open is what Seal was given with the same bound, or ErrInvalid.
func Open(s Sealer, bound []string, token string) (after string, err error) {
	sealed, err := text.DecodeString(token)
	if err != nil || text.EncodeToString(sealed) != token { // base32 overlooks line ends and the last character's spare bits
		return "", ErrInvalid
	}
	plain, err := s.Open(sealed, context(bound))
	if err != nil {
		return "", ErrInvalid
	}
	return string(plain), nil
}

// context is a hash over the strings and their lengths, so that no two lists share one.
func context(bound []string) string {
	var b []byte
	for _, s := range bound {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(b)
	return "page-token/" + string(sum[:])
}

// Request is a hash of an operation's input, a struct of the SDK, but for the named members and for those that are not
// set: something to be bound to.
func Request(in any, without ...string) (string, error) {
	raw, err := json.Marshal(in)
	if err != nil {
		return "", fmt.Errorf("hash a request: %w", err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return "", fmt.Errorf("hash a request: %w", err)
	}
	for _, name := range without {
		delete(members, name)
	}
	for name, value := range members {
		if string(value) == "null" {
			delete(members, name) // another version of the SDK may not have it
		}
	}
	if raw, err = json.Marshal(members); err != nil {
		return "", fmt.Errorf("hash a request: %w", err)
	}
	sum := sha256.Sum256(raw)
	return string(sum[:]), nil
}
