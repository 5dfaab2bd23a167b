package natsd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// RouteTLS is the configuration for both sides of a route: each shows its node's certificate and believes one that roots
// have signed for a node that member knows. Names are not looked at: a node is who its certificate says, wherever it was
// found.
func RouteTLS(cert func() *tls.Certificate, roots *x509.CertPool, member func(node string) bool) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots, SessionTicketsDisabled: true,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert(), nil },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert(), nil },
		// The standard check of the server's side wants a host name; VerifyConnection does the whole check for both.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection:   func(state tls.ConnectionState) error { return verifyNode(state, roots, member) },
	}
}

// ErrNotMember is a certificate of a node that is not of this cluster.
var ErrNotMember = errors.New("the certificate at the other end is not of a member of this cluster")

func verifyNode(state tls.ConnectionState, roots *x509.CertPool, member func(string) bool) error {
	if len(state.PeerCertificates) == 0 {
		return ErrNotMember
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, c := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	leaf := state.PeerCertificates[0]
	if _, err := leaf.Verify(opts); err != nil {
		return err
	}
	if !member(leaf.Subject.CommonName) {
		return fmt.Errorf("%q: %w", leaf.Subject.CommonName, ErrNotMember)
	}
	return nil
}
