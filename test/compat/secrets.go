package compat

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"time"
)

// totp is what a virtual MFA device of that seed shows: the code of a moment and the one after it (RFC 6238, as
// authenticators do: SHA-1, 30 s, 6 digits). Seed is base32 in base64, as CreateVirtualMFADevice answers it.
func totp(params map[string]any, now time.Time) (any, error) {
	at, err := moment(params, now)
	if err != nil {
		return nil, err
	}
	text, _ := params["Seed"].(string)
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	seed, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.TrimRight(string(raw), "="))
	if err != nil || len(seed) == 0 {
		return nil, fmt.Errorf("the seed %q is no base32", raw)
	}
	step := uint64(at.Unix() / 30)
	return map[string]any{"Code": hotp(seed, step), "Next": hotp(seed, step+1)}, nil
}

func hotp(seed []byte, counter uint64) string {
	h := hmac.New(sha1.New, seed)
	h.Write(binary.BigEndian.AppendUint64(nil, counter))
	sum := h.Sum(nil)
	n := binary.BigEndian.Uint32(sum[sum[19]&15:]) &^ (1 << 31)
	return fmt.Sprintf("%06d", n%1_000_000)
}

// certificate is a certificate that the world's provider has signed for itself, from a day ago for a year, in PEM and as its
// bare base64, with its private key, and the key as SSH has it.
func certificate(key *rsa.PrivateKey, params map[string]any, now time.Time) (any, error) {
	if key == nil {
		return nil, errNoKey
	}
	name, _ := params["CN"].(string)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(0, 0, -1), NotAfter: now.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	var blob []byte // RFC 4253, section 6.6
	for _, field := range [][]byte{[]byte("ssh-rsa"), big.NewInt(int64(key.E)).Bytes(), append([]byte{0}, key.N.Bytes()...)} {
		blob = append(binary.BigEndian.AppendUint32(blob, uint32(len(field))), field...)
	}
	return map[string]any{
		"Certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), "Base64": base64.StdEncoding.EncodeToString(der),
		"PrivateKey": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
		"SSH":        "ssh-rsa " + base64.StdEncoding.EncodeToString(blob) + " " + name,
	}, nil
}

var errNoKey = errors.New("this world has no identity provider")

// identityToken signs claims as an identity provider does (RFC 7519, RS256). Times are durations from now, in the claims iat, exp
// and nbf; without exp it is an hour.
func identityToken(key *rsa.PrivateKey, params map[string]any, now time.Time) (any, error) {
	claims := maps.Clone(params)
	for name, without := range map[string]string{"iat": "0s", "exp": "1h", "nbf": ""} {
		text, ok := claims[name].(string)
		if !ok {
			text = without
		}
		if text == "" {
			continue
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, err
		}
		claims[name] = now.Add(d).Unix()
	}
	if key == nil {
		return nil, errNoKey
	}
	alg, _ := claims["alg"].(string)
	delete(claims, "alg")
	if alg == "" {
		alg = "RS256"
	}
	head, err := json.Marshal(map[string]string{"alg": alg, "typ": "JWT", "kid": "compat"})
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	if alg == "none" {
		return map[string]any{"Token": text + "."}, nil
	}
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		return nil, err
	}
	return map[string]any{"Token": text + "." + base64.RawURLEncoding.EncodeToString(signature)}, nil
}

// keySet is the provider's public key as a JSON Web Key Set.
func keySet(key *rsa.PrivateKey) ([]byte, error) {
	if key == nil {
		return nil, errNoKey
	}
	return json.Marshal(map[string]any{"keys": []any{map[string]string{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "compat",
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())}}})
}
