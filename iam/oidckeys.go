package iam

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"hive/fsm"
)

// ErrBadKeys are keys that no token could be proved with, or that must not be recorded.
var ErrBadKeys = errors.New("cannot be a provider's keys")

// minRSABits is the shortest RSA key that a token is believed by (RFC 7518, 3.3).
const minRSABits = 2048

// RecordProviderKeys records the signing keys of an OIDC provider, named by ARN or URL, over those that were there: a JWKS
// (RFC 7517), as the provider publishes it at its jwks_uri. Nothing is fetched, so it is the operator who vouches for them,
// and who records new ones before the provider signs with them. It answers how many keys were taken.
//
// Keys that are not for signatures are left out. ErrBadKeys: not a JWKS, a private or a symmetric key in it, a key that is
// weak or of an unknown algorithm, a key id that stands twice, or none left. fsm.ErrNotFound: no such provider.
func (s *Service) RecordProviderKeys(ctx context.Context, account fsm.AccountID, provider string, jwks []byte) (int, error) {
	keys, err := signingKeys(jwks)
	if err != nil {
		return 0, err
	}
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		return 0, fmt.Errorf("encode keys: %w", err)
	}
	url := strings.TrimPrefix(provider, fsm.OIDCProvider{Account: account}.ARN())
	url = strings.TrimPrefix(url, "https://")
	err = s.cfg.Group.Propose(ctx, &fsm.PutProviderKeys{Account: account, URL: url, Keys: string(text), At: s.cfg.Clock().Unix()})
	if err != nil {
		return 0, err
	}
	s.cfg.Log.InfoContext(ctx, "keys of an OIDC provider recorded", "account", account, "provider", url, "keys", len(keys))
	return len(keys), nil
}

// signingKeys are the keys of a JWKS that tokens are proved with.
func signingKeys(jwks []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(jwks, &set); err != nil || set.Keys == nil {
		return nil, fmt.Errorf("not a JWKS, {\"keys\": [...]}: %w", ErrBadKeys)
	}
	var out []jose.JSONWebKey
	seen := map[string]bool{}
	for i, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := json.Unmarshal(raw, &key); err != nil {
			return nil, fmt.Errorf("key %d: not a JWK of a known type: %w", i+1, ErrBadKeys) // its error may show the key
		}
		if key.Use != "" && key.Use != "sig" {
			continue
		}
		if err := checkSigningKey(key); err != nil {
			return nil, fmt.Errorf("key %d %q: %w: %w", i+1, key.KeyID, err, ErrBadKeys)
		}
		if seen[key.KeyID] {
			return nil, fmt.Errorf("key %d: id %q stands twice: %w", i+1, key.KeyID, ErrBadKeys)
		}
		seen[key.KeyID] = true
		out = append(out, jose.JSONWebKey{Key: key.Key, KeyID: key.KeyID, Algorithm: key.Algorithm, Use: key.Use})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no key for signatures: %w", ErrBadKeys)
	}
	return out, nil
}

// checkSigningKey refuses what AWS does not take from a provider: its tokens are signed with RS256, RS384, RS512, ES256,
// ES384 or ES512.
func checkSigningKey(key jose.JSONWebKey) error {
	if !key.Valid() || !key.IsPublic() {
		return errors.New("not a public key: a provider publishes public keys only")
	}
	family := ""
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		if family = "RS"; k.N.BitLen() < minRSABits {
			return fmt.Errorf("RSA key of %d bits, %d are needed", k.N.BitLen(), minRSABits)
		}
	case *ecdsa.PublicKey:
		family = "ES"
	default:
		return errors.New("neither an RSA nor an elliptic curve key")
	}
	switch {
	case key.Algorithm == "":
	case len(key.Algorithm) != 5 || !strings.HasPrefix(key.Algorithm, family), !strings.Contains("256 384 512", key.Algorithm[2:]):
		return fmt.Errorf("algorithm %q does not belong to it", key.Algorithm)
	}
	return nil
}
