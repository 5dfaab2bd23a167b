package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"encoding/binary"

	"hive/fsm"
)

// A join token is printed as "hive1." and, in lower-case base32 without padding:
//
//	4 bytes cluster id | 16 bytes secret | 32 bytes SHA-256 of the CA's certificate (DER) | 4 bytes CRC32
//
// so that a joiner knows the cluster before it says anything secret. The "1" is the format.
const (
	tokenPrefix = "hive1."
	secretSize  = 16
	tokenSize   = 4 + secretSize + sha256.Size + crc32.Size
)

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ErrBadToken is text that is not a whole join token.
var ErrBadToken = fmt.Errorf("%w: not a join token: copy it whole, it begins with %s", ErrBadInput, tokenPrefix)

// JoinToken is what lets a node join, and tells it which cluster it joins.
type JoinToken struct {
	Cluster fsm.ClusterID
	Secret  [secretSize]byte
	Pin     [sha256.Size]byte
}

// NewJoinToken draws a token's secret.
func NewJoinToken(id fsm.ClusterID, caDER []byte, random io.Reader) (JoinToken, error) {
	t := JoinToken{Cluster: id, Pin: sha256.Sum256(caDER)}
	_, err := io.ReadFull(random, t.Secret[:])
	return t, err
}

// String is the token as it is printed and typed.
func (t JoinToken) String() string {
	raw := make([]byte, 0, tokenSize)
	id, err := hex.DecodeString(strings.TrimPrefix(string(t.Cluster), "c-"))
	if err != nil || len(id) != 4 {
		panic("cluster: id " + t.Cluster + " is not of the form c-01234567")
	}
	raw = append(raw, id...)
	raw = append(raw, t.Secret[:]...)
	raw = append(raw, t.Pin[:]...)
	raw = binary.BigEndian.AppendUint32(raw, crc32.ChecksumIEEE(raw))
	return tokenPrefix + base32Lower.EncodeToString(raw)
}

// ParseJoinToken reads a printed token.
func ParseJoinToken(text string) (JoinToken, error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(text), tokenPrefix)
	if !ok {
		return JoinToken{}, ErrBadToken
	}
	raw, err := base32Lower.DecodeString(strings.ToLower(body))
	if err != nil || len(raw) != tokenSize {
		return JoinToken{}, ErrBadToken
	}
	payload, sum := raw[:tokenSize-crc32.Size], raw[tokenSize-crc32.Size:]
	if binary.BigEndian.Uint32(sum) != crc32.ChecksumIEEE(payload) {
		return JoinToken{}, ErrBadToken
	}
	t := JoinToken{Cluster: fsm.ClusterID("c-" + hex.EncodeToString(payload[:4]))}
	copy(t.Secret[:], payload[4:])
	copy(t.Pin[:], payload[4+secretSize:])
	if t.String() != tokenPrefix+strings.ToLower(body) { // the last character has two bits that base32 does not look at
		return JoinToken{}, ErrBadToken
	}
	return t, nil
}

// ID names the token's record without telling its secret.
func (t JoinToken) ID() string { return hex.EncodeToString(t.Hash()[:4]) }

// Hash is what the cluster keeps of the secret.
func (t JoinToken) Hash() []byte {
	sum := sha256.Sum256(t.Secret[:])
	return sum[:]
}

// Record is the token's record.
func (t JoinToken) Record(created, expires int64, uses int, caps []string) fsm.Token {
	return fsm.Token{ID: t.ID(), Hash: t.Hash(), Created: created, Expires: expires, UsesLeft: uses, Caps: caps}
}

// PinMatches tells whether der is the certificate of the CA that the token names.
func (t JoinToken) PinMatches(der []byte) bool {
	sum := sha256.Sum256(der)
	return bytes.Equal(sum[:], t.Pin[:])
}
