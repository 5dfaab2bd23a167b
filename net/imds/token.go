package imds

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"hive/fsm"
)

// tokens makes and checks session tokens. A token is its own record, so that one from any daemon is good at any other,
// and after a restart:
//
//	byte 0      version, 1
//	bytes 1-8   end of its life, Unix seconds, big endian
//	bytes 9-40  HMAC-SHA256 over bytes 0-8 and the instance's id
//
// in base64 of URLs: 56 characters, as AWS's.
type tokens struct{ key []byte }

const tokenVersion = 1

// maxTTL is the longest life of a token, in seconds.
const maxTTL = 21600

func newTokens(secret []byte) (tokens, error) {
	if len(secret) < 16 {
		return tokens{}, fmt.Errorf("imds: a token key of %d bytes is too short", len(secret))
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "hive imds token", sha256.Size)
	return tokens{key}, err
}

func (t tokens) sum(head []byte, id fsm.InstanceID) []byte {
	h := hmac.New(sha256.New, t.key)
	h.Write(head)
	h.Write([]byte(id)) // a hash never fails
	return h.Sum(nil)
}

func (t tokens) make(id fsm.InstanceID, end time.Time) string {
	head := binary.BigEndian.AppendUint64([]byte{tokenVersion}, uint64(end.Unix()))
	return base64.URLEncoding.EncodeToString(append(head, t.sum(head, id)...))
}

// left is how long a token of the instance is still good; not at all when it is somebody else's, forged or over.
func (t tokens) left(token string, id fsm.InstanceID, now time.Time) time.Duration {
	raw, err := base64.URLEncoding.DecodeString(token)
	if err != nil || len(raw) != 9+sha256.Size || raw[0] != tokenVersion || !hmac.Equal(raw[9:], t.sum(raw[:9], id)) {
		return 0
	}
	return time.Unix(int64(binary.BigEndian.Uint64(raw[1:9])), 0).Sub(now)
}
