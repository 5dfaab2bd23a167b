package imds

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

// identity is the instance's identity document with its signatures, by name. Only what the cluster's key can truly
// sign is there: rsa2048 with an RSA key of 2,048 bits.
func (s *Server) identity(i Instance) (map[string]string, error) {
	document := document(i)
	out := map[string]string{"document": document}
	if s.cfg.Signer == nil {
		return out, nil
	}
	digest := sha256.Sum256([]byte(document))
	signature, err := s.cfg.Signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign the identity document of %s: %w", i.ID, err)
	}
	out["signature"] = lines(signature)
	message, err := signedData([]byte(document), signature, s.cfg.Certificate)
	if err != nil {
		return nil, fmt.Errorf("sign the identity document of %s: %w", i.ID, err)
	}
	out["pkcs7"] = lines(message)
	if key, ok := s.cfg.Signer.Public().(*rsa.PublicKey); ok && key.N.BitLen() == 2048 {
		out["rsa2048"] = out["pkcs7"]
	}
	return out, nil
}

func checkSigner(cfg Config) error {
	if cfg.Signer == nil {
		return nil
	}
	if cfg.Certificate == nil {
		return errors.New("imds: a signer without its certificate")
	}
	switch cfg.Signer.Public().(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
		return nil
	}
	return fmt.Errorf("imds: identity documents cannot be signed by a %T", cfg.Signer.Public())
}

// document is the identity document, byte for byte laid out as AWS does.
func document(i Instance) string {
	var b strings.Builder
	b.WriteString("{\n")
	for n, kv := range [][2]string{
		{"accountId", string(i.Account)}, {"architecture", i.Arch}, {"availabilityZone", i.Zone},
		{"billingProducts", ""}, {"devpayProductCodes", ""}, {"marketplaceProductCodes", ""},
		{"imageId", string(i.Image)}, {"instanceId", string(i.ID)}, {"instanceType", i.Type}, {"kernelId", ""},
		{"pendingTime", time.UnixMilli(i.Launched).UTC().Format("2006-01-02T15:04:05Z")}, {"privateIp", i.Address},
		{"ramdiskId", ""}, {"region", i.Region}, {"version", "2017-09-30"},
	} {
		if n > 0 {
			b.WriteString(",\n")
		}
		value := "null"
		if kv[1] != "" {
			value = fmt.Sprintf("%q", kv[1]) // ids and names of our own: nothing that JSON writes otherwise
		}
		fmt.Fprintf(&b, "  %q : %s", kv[0], value)
	}
	b.WriteString("\n}")
	return b.String()
}

// lines is base64 in lines of 64 characters, with none after the last.
func lines(raw []byte) string {
	text := base64.StdEncoding.EncodeToString(raw)
	var out []string
	for len(text) > 64 {
		out, text = append(out, text[:64]), text[64:]
	}
	return strings.Join(append(out, text), "\n")
}
