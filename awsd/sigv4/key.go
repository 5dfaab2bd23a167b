package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"sync"
)

// signingKey signs what has one access key, day, region and service.
type signingKey [sha256.Size]byte

// keyScope names a signing key.
type keyScope struct{ id, date, region, service string }

// derivedKey is a signing key with the secret that it was derived from.
type derivedKey struct {
	secret string
	key    signingKey
}

// keyCache remembers derived keys, which cost four HMACs each. Only scopes that have passed checkScope with
// a key that exists come here, and the secret is compared on each hit, so that a key that was replaced or
// deactivated (a Lookup refuses that one first) is never answered from here. It holds two generations of at
// most maxKeys: when the young one is full it becomes the old, and what is not asked for again is dropped.
type keyCache struct {
	mu         sync.Mutex // guards the maps
	young, old map[keyScope]derivedKey
}

const maxKeys = 1024

// get returns the signing key of a scope under a secret.
func (c *keyCache) get(scope keyScope, secret string) signingKey {
	c.mu.Lock()
	k, ok := c.young[scope]
	if !ok {
		if k, ok = c.old[scope]; ok {
			c.putLocked(scope, k)
		}
	}
	c.mu.Unlock()
	if ok && subtle.ConstantTimeCompare([]byte(k.secret), []byte(secret)) == 1 {
		return k.key
	}
	k = derivedKey{secret, deriveKey(scope, secret)}
	c.mu.Lock()
	c.putLocked(scope, k)
	c.mu.Unlock()
	return k.key
}

func (c *keyCache) putLocked(scope keyScope, k derivedKey) {
	if c.young == nil || len(c.young) >= maxKeys {
		c.old, c.young = c.young, make(map[keyScope]derivedKey)
	}
	c.young[scope] = k
}

// deriveKey is HMAC(HMAC(HMAC(HMAC("AWS4"+secret, date), region), service), "aws4_request").
func deriveKey(scope keyScope, secret string) signingKey {
	key := []byte("AWS4" + secret)
	for _, part := range [...]string{scope.date, scope.region, scope.service, terminator} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return signingKey(key)
}
