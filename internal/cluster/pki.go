package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"

	"hive/fsm"
)

// Lifetimes of certificates. A node renews its own after a third of its life.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	nodeLife = 365 * 24 * time.Hour
	backdate = 10 * time.Minute // for clocks that are a little behind
)

// Authority is the cluster's CA with its private key.
type Authority struct {
	Cert *x509.Certificate
	key  crypto.Signer
}

// NewAuthority makes the CA of a cluster.
func NewAuthority(id fsm.ClusterID, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Hive cluster " + string(id)},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{Cert: cert, key: key}, err
}

// LoadAuthority reads the CA from its certificate (PEM) and its key (PKCS #8, DER).
func LoadAuthority(certPEM, keyDER []byte) (*Authority, error) {
	cert, err := ParseCert(certPEM)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return nil, fmt.Errorf("CA key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("CA key cannot sign")
	}
	return &Authority{Cert: cert, key: signer}, nil
}

// KeyDER is the CA's private key in PKCS #8, to be sealed.
func (a *Authority) KeyDER() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(a.key) }

// PEM is the CA's certificate.
func (a *Authority) PEM() []byte { return certPEM(a.Cert.Raw) }

// Issue makes the certificate of a node (PEM) for its public key. Names are the host names and
// addresses under which AWS clients reach it; the node id is the common name, which peers check.
func (a *Authority) Issue(node fsm.NodeID, pub crypto.PublicKey, names []string, now time.Time) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: string(node)},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(nodeLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, pub, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %s: %w", node, err)
	}
	return certPEM(der), nil
}

// CertNames are the names of a node's certificate: its id, its host and the loopback names.
func CertNames(node fsm.NodeID, hosts ...string) []string {
	names := []string{string(node), "localhost", "*.s3.localhost", "127.0.0.1", "::1"}
	for _, h := range hosts {
		if h == "" {
			continue
		}
		names = append(names, h)
		if net.ParseIP(h) == nil {
			names = append(names, "*.s3."+h)
		}
	}
	return names
}

// NewNodeKey makes a node's private key, PEM.
func NewNodeKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// PublicKey is the public half of a node's private key (PEM), in SPKI DER, and its SHA-256.
func PublicKey(keyPEM []byte) (spki, hash []byte, err error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, nil, errors.New("node key: not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("node key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, errors.New("node key: cannot sign")
	}
	spki, err = x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, nil, err
	}
	sum := sha256.Sum256(spki)
	return spki, sum[:], nil
}

// Chain is a node's certificate for TLS, with the CA behind it: a joiner compares that with its
// token's pin.
func Chain(certPEM, keyPEM, caPEM []byte) (tls.Certificate, error) {
	return tls.X509KeyPair(slices.Concat(certPEM, caPEM), keyPEM)
}

// ParseCert reads one certificate.
func ParseCert(raw []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("certificate: not PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}
