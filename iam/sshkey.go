package iam

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"golang.org/x/crypto/ssh"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

const (
	maxSSHKeyBody = 16_384
	minSSHKeyID   = 20
)

// readSSHKey reads a public key in the form ssh-rsa or PEM: an RSA key of 2048 bits at least, as in AWS.
func readSSHKey(body string) (ssh.PublicKey, error) {
	bad := protocol.Errorf(http.StatusBadRequest, "InvalidPublicKey", "The public key is not valid: it must be an RSA key of at least %d bits in ssh-rsa or PEM format.", minRSABits)
	var key ssh.PublicKey
	if block, _ := pem.Decode([]byte(body)); block != nil {
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			public, err = x509.ParsePKCS1PublicKey(block.Bytes)
		}
		if err != nil {
			return nil, bad
		}
		if key, err = ssh.NewPublicKey(public); err != nil {
			return nil, bad
		}
	} else {
		var err error
		if key, _, _, _, err = ssh.ParseAuthorizedKey([]byte(body)); err != nil {
			return nil, bad
		}
	}
	public, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return nil, bad
	}
	if k, ok := public.CryptoPublicKey().(*rsa.PublicKey); !ok || k.N.BitLen() < minRSABits {
		return nil, bad
	}
	return key, nil
}

// sshKeyIn is a key in the encoding asked for; as it was given where that is its own.
func sshKeyIn(body string, encoding types.EncodingType) (string, error) {
	isPEM := strings.Contains(body, "-----BEGIN ")
	if isPEM == (encoding == types.EncodingTypePem) {
		return body, nil
	}
	key, err := readSSHKey(body)
	if err != nil {
		return "", err
	}
	if encoding == types.EncodingTypeSsh {
		return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
	}
	public, _ := key.(ssh.CryptoPublicKey)
	der, err := x509.MarshalPKIXPublicKey(public.CryptoPublicKey())
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

func sshKeyOut(name string, k fsm.UserCredential, body string) *types.SSHPublicKey {
	return &types.SSHPublicKey{
		UserName: aws.String(name), SSHPublicKeyId: aws.String(k.ID), Fingerprint: aws.String(k.Fingerprint), SSHPublicKeyBody: aws.String(body),
		Status: status(k.Inactive), UploadDate: date(k.Created),
	}
}

// UploadSSHPublicKey gives a user an SSH public key. Errors: InvalidPublicKey, DuplicateSSHPublicKey, LimitExceeded,
// NoSuchEntity.
func (s *Service) UploadSSHPublicKey(ctx context.Context, c *principal.Caller, in *awsiam.UploadSSHPublicKeyInput) (*awsiam.UploadSSHPublicKeyOutput, error) {
	if _, err := requiredName(in.UserName, "userName", maxNewUserName); err != nil {
		return nil, err
	}
	body, err := required(in.SSHPublicKeyBody, "sSHPublicKeyBody", maxSSHKeyBody)
	if err != nil {
		return nil, err
	}
	key, err := readSSHKey(body)
	if err != nil {
		return nil, err
	}
	k := fsm.UserCredential{Type: fsm.SSHPublicKey, Body: body, Fingerprint: ssh.FingerprintLegacyMD5(key)}
	if k.ID, err = s.newID("APKA", entityIDLength); err != nil {
		return nil, err
	}
	user, err := s.addCredential(ctx, c, in.UserName, &k)
	if err != nil {
		return nil, err
	}
	return &awsiam.UploadSSHPublicKeyOutput{SSHPublicKey: sshKeyOut(user.Name, k, body)}, nil
}

// GetSSHPublicKey is a user's key in the encoding asked for. Errors: NoSuchEntity, UnrecognizedPublicKeyEncoding.
func (s *Service) GetSSHPublicKey(ctx context.Context, c *principal.Caller, in *awsiam.GetSSHPublicKeyInput) (*awsiam.GetSSHPublicKeyOutput, error) {
	id, err := validID(in.SSHPublicKeyId, "sSHPublicKeyId", minSSHKeyID)
	if err != nil {
		return nil, err
	}
	if in.Encoding != types.EncodingTypeSsh && in.Encoding != types.EncodingTypePem {
		return nil, protocol.Errorf(http.StatusBadRequest, "UnrecognizedPublicKeyEncoding", "The public key encoding %s is not recognized: it must be SSH or PEM.", quoted(string(in.Encoding)))
	}
	if _, err := requiredName(in.UserName, "userName", maxNewUserName); err != nil {
		return nil, err
	}
	var user fsm.User
	var k fsm.UserCredential
	err = s.read(ctx, func(v *fsm.View) error {
		user, k, err = credentialOf(v, c, in.UserName, fsm.SSHPublicKey, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	body, err := sshKeyIn(k.Body, in.Encoding)
	if err != nil {
		return nil, err
	}
	return &awsiam.GetSSHPublicKeyOutput{SSHPublicKey: sshKeyOut(user.Name, k, body)}, nil
}

// UpdateSSHPublicKey switches a user's key on or off. Errors: NoSuchEntity.
func (s *Service) UpdateSSHPublicKey(ctx context.Context, c *principal.Caller, in *awsiam.UpdateSSHPublicKeyInput) (*awsiam.UpdateSSHPublicKeyOutput, error) {
	id, err := validID(in.SSHPublicKeyId, "sSHPublicKeyId", minSSHKeyID)
	if err != nil {
		return nil, err
	}
	if _, err := requiredName(in.UserName, "userName", maxNewUserName); err != nil {
		return nil, err
	}
	return done[awsiam.UpdateSSHPublicKeyOutput](s.switchCredential(ctx, c, in.UserName, fsm.SSHPublicKey, id, in.Status))
}

// DeleteSSHPublicKey takes a key from a user. Errors: NoSuchEntity.
func (s *Service) DeleteSSHPublicKey(ctx context.Context, c *principal.Caller, in *awsiam.DeleteSSHPublicKeyInput) (*awsiam.DeleteSSHPublicKeyOutput, error) {
	id, err := validID(in.SSHPublicKeyId, "sSHPublicKeyId", minSSHKeyID)
	if err != nil {
		return nil, err
	}
	if _, err := requiredName(in.UserName, "userName", maxNewUserName); err != nil {
		return nil, err
	}
	return done[awsiam.DeleteSSHPublicKeyOutput](s.dropCredential(ctx, c, in.UserName, fsm.SSHPublicKey, id))
}

// ListSSHPublicKeys lists the keys of a user or of the caller, without their bodies. Errors: NoSuchEntity.
func (s *Service) ListSSHPublicKeys(ctx context.Context, c *principal.Caller, in *awsiam.ListSSHPublicKeysInput) (*awsiam.ListSSHPublicKeysOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	user, keys, next, err := s.listCredentials(ctx, c, in.UserName, fsm.SSHPublicKey, p)
	if err != nil {
		return nil, err
	}
	out := &awsiam.ListSSHPublicKeysOutput{SSHPublicKeys: []types.SSHPublicKeyMetadata{}, IsTruncated: next != nil, Marker: next}
	for _, k := range keys {
		out.SSHPublicKeys = append(out.SSHPublicKeys, types.SSHPublicKeyMetadata{
			UserName: aws.String(user.Name), SSHPublicKeyId: aws.String(k.ID), Status: status(k.Inactive), UploadDate: date(k.Created),
		})
	}
	return out, nil
}
