package iam

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

const (
	maxServerCertName = 128
	maxCertChain      = 2_097_152
	// certGrace is how far the clock of who made a certificate may be ahead.
	certGrace = 5 * time.Minute
)

// readPrivateKey reads an unencrypted PEM private key. Errors never show it: MalformedCertificate.
func readPrivateKey(body string) (crypto.Signer, error) {
	bad := malformedCertificate("Unable to parse key; the body must be encoded in PEM format and the key must not be encrypted.")
	block, _ := pem.Decode([]byte(body))
	if block == nil {
		return nil, bad
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, bad
	}
	return signer, nil
}

// checkChain refuses a chain that does not go on from a certificate, each signed by the next.
func checkChain(leaf *x509.Certificate, chain string) error {
	bad := malformedCertificate("Unable to validate certificate chain. The certificate chain must start with the immediate signing certificate, followed by any intermediaries in order. The index within the chain of the invalid certificate is: 0")
	below, rest := leaf, []byte(chain)
	for {
		block, left := pem.Decode(rest)
		if block == nil {
			break
		}
		above, err := x509.ParseCertificate(block.Bytes)
		if err != nil || below.CheckSignatureFrom(above) != nil {
			return bad
		}
		below, rest = above, left
	}
	if below == leaf || strings.TrimSpace(string(rest)) != "" {
		return bad
	}
	return nil
}

// newServerCert reads a request's certificate, and checks that its parts belong together and are good at now.
func newServerCert(in *awsiam.UploadServerCertificateInput, now time.Time) (c fsm.ServerCertificate, key string, err error) {
	if c.Name, err = requiredName(in.ServerCertificateName, "serverCertificateName", maxServerCertName); err != nil {
		return c, "", err
	}
	if c.Path, err = validPath(in.Path, "path"); err != nil {
		return c, "", err
	}
	if c.Body, err = required(in.CertificateBody, "certificateBody", maxCertBody); err != nil {
		return c, "", err
	}
	if in.PrivateKey == nil || *in.PrivateKey == "" || len(*in.PrivateKey) > maxCertBody {
		return c, "", constraint("'***'", "privateKey", "Member must have length from 1 to 16384")
	}
	leaf, err := readCertificate(c.Body)
	if err != nil {
		return c, "", err
	}
	signer, err := readPrivateKey(*in.PrivateKey)
	if err != nil {
		return c, "", err
	}
	if public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(signer.Public()) {
		return c, "", protocol.Errorf(http.StatusBadRequest, "KeyPairMismatch", "The private key does not match the certificate.")
	}
	if now.Add(certGrace).Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return c, "", malformedCertificate("The certificate is not valid at present: it must be uploaded within its validity period.")
	}
	if in.CertificateChain != nil {
		if c.Chain, err = required(in.CertificateChain, "certificateChain", maxCertChain); err != nil {
			return c, "", err
		}
		if err := checkChain(leaf, c.Chain); err != nil {
			return c, "", err
		}
	}
	c.Created, c.Expires = now.Unix(), leaf.NotAfter.Unix()
	c.Tags, err = inCase.valid(in.Tags)
	return c, *in.PrivateKey, err
}

// UploadServerCertificate keeps a certificate with its private key, which is never shown again. Errors:
// MalformedCertificate, KeyPairMismatch, EntityAlreadyExists, LimitExceeded, InvalidInput.
func (s *Service) UploadServerCertificate(ctx context.Context, c *principal.Caller, in *awsiam.UploadServerCertificateInput) (*awsiam.UploadServerCertificateOutput, error) {
	cert, key, err := newServerCert(in, s.cfg.Clock())
	if err != nil {
		return nil, err
	}
	id, err := s.newID("ASCA", entityIDLength)
	if err != nil {
		return nil, err
	}
	cert.Account, cert.ID = fsm.AccountID(c.Account), fsm.EntityID(id)
	if cert.Key, err = s.cfg.Sealer.Seal([]byte(key), cert.SealContext()); err != nil {
		return nil, err
	}
	if err := s.propose(ctx, c, &fsm.CreateServerCertificate{Certificate: cert}, ""); err != nil {
		return nil, err
	}
	out := &awsiam.UploadServerCertificateOutput{ServerCertificateMetadata: serverCertOut(cert)}
	if len(cert.Tags) > 0 {
		out.Tags = tagsOut(cert.Tags)
	}
	return out, nil
}

func serverCertOut(c fsm.ServerCertificate) *types.ServerCertificateMetadata {
	return &types.ServerCertificateMetadata{
		Arn: aws.String(c.ARN()), Path: aws.String(c.Path), ServerCertificateId: aws.String(string(c.ID)), ServerCertificateName: aws.String(c.Name),
		UploadDate: date(c.Created), Expiration: date(c.Expires),
	}
}

func serverCertIn(v *fsm.View, c *principal.Caller, value *string) (fsm.ServerCertificate, error) {
	name, err := requiredName(value, "serverCertificateName", maxServerCertName)
	if err != nil {
		return fsm.ServerCertificate{}, err
	}
	cert, ok := fsm.ServerCertificateByName(v, fsm.AccountID(c.Account), name)
	if !ok {
		return cert, fsm.Errorf(fsm.ErrNotFound, "server-certificate/"+name)
	}
	return cert, nil
}

// GetServerCertificate is a certificate without its key. Errors: NoSuchEntity.
func (s *Service) GetServerCertificate(ctx context.Context, c *principal.Caller, in *awsiam.GetServerCertificateInput) (*awsiam.GetServerCertificateOutput, error) {
	var cert fsm.ServerCertificate
	err := s.read(ctx, func(v *fsm.View) (err error) {
		cert, err = serverCertIn(v, c, in.ServerCertificateName)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.GetServerCertificateOutput{ServerCertificate: &types.ServerCertificate{
		ServerCertificateMetadata: serverCertOut(cert), CertificateBody: aws.String(cert.Body), CertificateChain: optional(cert.Chain), Tags: tagsOut(cert.Tags),
	}}, nil
}

// ListServerCertificates lists certificates in order of name, without bodies.
func (s *Service) ListServerCertificates(ctx context.Context, c *principal.Caller, in *awsiam.ListServerCertificatesInput) (*awsiam.ListServerCertificatesOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	prefix, err := validPrefix(in.PathPrefix)
	if err != nil {
		return nil, err
	}
	var found []fsm.ServerCertificate
	err = s.read(ctx, func(v *fsm.View) error {
		for _, cert := range fsm.ServerCertificatesOf(v, fsm.AccountID(c.Account)) {
			if strings.HasPrefix(cert.Path, prefix) {
				found = append(found, cert)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	found, next := cut(p, found, func(cert fsm.ServerCertificate) string { return strings.ToLower(cert.Name) })
	out := &awsiam.ListServerCertificatesOutput{ServerCertificateMetadataList: []types.ServerCertificateMetadata{}, IsTruncated: next != nil, Marker: next}
	for _, cert := range found {
		out.ServerCertificateMetadataList = append(out.ServerCertificateMetadataList, *serverCertOut(cert))
	}
	return out, nil
}

// changeServerCert lets change decide on a certificate's new name, path and tags, and records them.
func (s *Service) changeServerCert(ctx context.Context, c *principal.Caller, name *string, change func(*fsm.UpdateServerCertificate) error) error {
	return s.decide(ctx, c, text(name), func(v *fsm.View) (fsm.Command, error) {
		cert, err := serverCertIn(v, c, name)
		if err != nil {
			return nil, err
		}
		cmd := &fsm.UpdateServerCertificate{Account: cert.Account, Name: cert.Name, Rev: cert.Rev, NewName: cert.Name, NewPath: cert.Path, Tags: cert.Tags}
		return cmd, change(cmd)
	})
}

// UpdateServerCertificate renames a certificate or moves it to another path. Errors: NoSuchEntity, EntityAlreadyExists.
func (s *Service) UpdateServerCertificate(ctx context.Context, c *principal.Caller, in *awsiam.UpdateServerCertificateInput) (*awsiam.UpdateServerCertificateOutput, error) {
	return done[awsiam.UpdateServerCertificateOutput](s.changeServerCert(ctx, c, in.ServerCertificateName, func(cmd *fsm.UpdateServerCertificate) (err error) {
		if in.NewServerCertificateName != nil {
			if cmd.NewName, err = requiredName(in.NewServerCertificateName, "newServerCertificateName", maxServerCertName); err != nil {
				return err
			}
		}
		if in.NewPath != nil {
			cmd.NewPath, err = validPath(in.NewPath, "newPath")
		}
		return err
	}))
}

// DeleteServerCertificate removes a certificate with its key. Errors: NoSuchEntity.
func (s *Service) DeleteServerCertificate(ctx context.Context, c *principal.Caller, in *awsiam.DeleteServerCertificateInput) (*awsiam.DeleteServerCertificateOutput, error) {
	return done[awsiam.DeleteServerCertificateOutput](s.decide(ctx, c, text(in.ServerCertificateName), func(v *fsm.View) (fsm.Command, error) {
		cert, err := serverCertIn(v, c, in.ServerCertificateName)
		return &fsm.DeleteServerCertificate{Account: cert.Account, Name: cert.Name}, err
	}))
}

// TagServerCertificate adds tags to a certificate, over those of the same key.
func (s *Service) TagServerCertificate(ctx context.Context, c *principal.Caller, in *awsiam.TagServerCertificateInput) (*awsiam.TagServerCertificateOutput, error) {
	return done[awsiam.TagServerCertificateOutput](s.changeServerCert(ctx, c, in.ServerCertificateName, func(cmd *fsm.UpdateServerCertificate) (err error) {
		cmd.Tags, err = inCase.put(cmd.Tags, in.Tags, "TagsPerServerCertificate")
		return err
	}))
}

// UntagServerCertificate removes tags from a certificate.
func (s *Service) UntagServerCertificate(ctx context.Context, c *principal.Caller, in *awsiam.UntagServerCertificateInput) (*awsiam.UntagServerCertificateOutput, error) {
	return done[awsiam.UntagServerCertificateOutput](s.changeServerCert(ctx, c, in.ServerCertificateName, func(cmd *fsm.UpdateServerCertificate) (err error) {
		cmd.Tags, err = inCase.take(cmd.Tags, in.TagKeys)
		return err
	}))
}

// ListServerCertificateTags lists a certificate's tags in order of key.
func (s *Service) ListServerCertificateTags(ctx context.Context, c *principal.Caller, in *awsiam.ListServerCertificateTagsInput) (*awsiam.ListServerCertificateTagsOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	var cert fsm.ServerCertificate
	err = s.read(ctx, func(v *fsm.View) error {
		cert, err = serverCertIn(v, c, in.ServerCertificateName)
		return err
	})
	if err != nil {
		return nil, err
	}
	tags, next := pageOfTags(p, cert.Tags)
	return &awsiam.ListServerCertificateTagsOutput{Tags: tags, IsTruncated: next != nil, Marker: next}, nil
}
