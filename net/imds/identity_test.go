package imds_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hive/net/imds"
)

func certificate(t *testing.T, key crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "hive"}, NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestTheIdentityDocumentIsSignedByTheCluster(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		key  crypto.Signer
		list string
	}{{ec, "document\npkcs7\nsignature"}, {rs, "document\npkcs7\nrsa2048\nsignature"}} {
		r := newRig(t)
		r.w.Launch(guest(nil))
		r.cfg.Signer, r.cfg.Certificate = c.key, certificate(t, c.key)
		get := func(name string) string {
			a := r.ask(one, "GET", "/latest/dynamic/instance-identity/"+name)
			if a.status != 200 {
				t.Fatalf("%s: %d", name, a.status)
			}
			return a.body
		}
		if got := get(""); got != c.list {
			t.Errorf("listing: %q, want %q", got, c.list)
		}
		document := get("document")
		signature, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(get("signature"), "\n", ""))
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256([]byte(document))
		switch public := c.key.Public().(type) {
		case *ecdsa.PublicKey:
			if !ecdsa.VerifyASN1(public, digest[:], signature) {
				t.Error("the signature by ECDSA is wrong")
			}
		case *rsa.PublicKey:
			if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature); err != nil {
				t.Error(err)
			}
			openssl(t, r.cfg.Certificate, get("rsa2048"), document)
		}
		openssl(t, r.cfg.Certificate, get("pkcs7"), document)
	}
}

// openssl verifies as AWS's documentation tells: the lines put between PEM's, the signer's certificate at hand.
func openssl(t *testing.T, cert *x509.Certificate, message, document string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"message": "-----BEGIN PKCS7-----\n" + message + "\n-----END PKCS7-----\n",
		"cert":    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "openssl", "smime", "-verify", "-in", "message", "-inform", "PEM",
		"-certfile", "cert", "-nointern", "-noverify", "-binary", "-out", "document")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v: %s", err, out)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "document")); err != nil || string(got) != document {
		t.Errorf("the message has %q, want %q (%v)", got, document, err)
	}
}

func TestASignerThatCannotSignIsRefused(t *testing.T) {
	r := newRig(t)
	r.cfg.Signer, _ = rsa.GenerateKey(rand.Reader, 2048)
	if _, err := imds.New(r.cfg); err == nil {
		t.Error("a signer without its certificate was taken")
	}
	r = newRig(t)
	r.cfg.Key = []byte("short")
	if _, err := imds.New(r.cfg); err == nil {
		t.Error("a short key was taken")
	}
}
