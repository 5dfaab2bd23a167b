package iam

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

const (
	maxCertBody       = 16_384
	minCertID         = 24
	signingCertLength = 32
)

func malformedCertificate(format string, args ...any) error {
	return protocol.Errorf(http.StatusBadRequest, "MalformedCertificate", format, args...)
}

// readCertificate reads the one certificate of a PEM text. Errors: MalformedCertificate.
func readCertificate(body string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(body))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, malformedCertificate("Unable to parse certificate. Please ensure the certificate is in PEM format.")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, malformedCertificate("Unable to parse certificate. Please ensure the certificate is in PEM format.")
	}
	return cert, nil
}

func signingCertOut(name string, k fsm.UserCredential) types.SigningCertificate {
	return types.SigningCertificate{
		UserName: aws.String(name), CertificateId: aws.String(k.ID), CertificateBody: aws.String(k.Body), Status: status(k.Inactive), UploadDate: date(k.Created),
	}
}

// UploadSigningCertificate gives a user, or the caller, a certificate. Errors: MalformedCertificate, InvalidCertificate,
// DuplicateCertificate, LimitExceeded, NoSuchEntity.
func (s *Service) UploadSigningCertificate(ctx context.Context, c *principal.Caller, in *awsiam.UploadSigningCertificateInput) (*awsiam.UploadSigningCertificateOutput, error) {
	body, err := required(in.CertificateBody, "certificateBody", maxCertBody)
	if err != nil {
		return nil, err
	}
	cert, err := readCertificate(body)
	if err != nil {
		return nil, err
	}
	if s.cfg.Clock().After(cert.NotAfter) {
		return nil, protocol.Errorf(http.StatusBadRequest, "InvalidCertificate", "The certificate has expired.")
	}
	sum := sha256.Sum256(cert.Raw)
	k := fsm.UserCredential{Type: fsm.SigningCertificate, Body: body, Fingerprint: hex.EncodeToString(sum[:])}
	if k.ID, err = s.newID("", signingCertLength); err != nil {
		return nil, err
	}
	user, err := s.addCredential(ctx, c, in.UserName, &k)
	if err != nil {
		return nil, err
	}
	out := signingCertOut(user.Name, k)
	return &awsiam.UploadSigningCertificateOutput{Certificate: &out}, nil
}

// UpdateSigningCertificate switches a certificate on or off. Errors: NoSuchEntity.
func (s *Service) UpdateSigningCertificate(ctx context.Context, c *principal.Caller, in *awsiam.UpdateSigningCertificateInput) (*awsiam.UpdateSigningCertificateOutput, error) {
	id, err := validID(in.CertificateId, "certificateId", minCertID)
	if err != nil {
		return nil, err
	}
	return done[awsiam.UpdateSigningCertificateOutput](s.switchCredential(ctx, c, in.UserName, fsm.SigningCertificate, id, in.Status))
}

// DeleteSigningCertificate takes a certificate from a user or the caller. Errors: NoSuchEntity.
func (s *Service) DeleteSigningCertificate(ctx context.Context, c *principal.Caller, in *awsiam.DeleteSigningCertificateInput) (*awsiam.DeleteSigningCertificateOutput, error) {
	id, err := validID(in.CertificateId, "certificateId", minCertID)
	if err != nil {
		return nil, err
	}
	return done[awsiam.DeleteSigningCertificateOutput](s.dropCredential(ctx, c, in.UserName, fsm.SigningCertificate, id))
}

// ListSigningCertificates lists the certificates of a user or of the caller. Errors: NoSuchEntity.
func (s *Service) ListSigningCertificates(ctx context.Context, c *principal.Caller, in *awsiam.ListSigningCertificatesInput) (*awsiam.ListSigningCertificatesOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	user, certs, next, err := s.listCredentials(ctx, c, in.UserName, fsm.SigningCertificate, p)
	if err != nil {
		return nil, err
	}
	out := &awsiam.ListSigningCertificatesOutput{Certificates: []types.SigningCertificate{}, IsTruncated: next != nil, Marker: next}
	for _, k := range certs {
		out.Certificates = append(out.Certificates, signingCertOut(user.Name, k))
	}
	return out, nil
}
