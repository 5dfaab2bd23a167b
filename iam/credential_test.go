package iam

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"golang.org/x/crypto/ssh"

	"hive/fsm"
)

// pair is a certificate and its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate, signed by another pair or by itself.
func issue(t *testing.T, name string, until time.Time, by *pair) *pair {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: started.Add(-time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	parent, signer := template, crypto.Signer(key)
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer))(t)
	return &pair{must(x509.ParseCertificate(der))(t), key}
}

func (p *pair) certPEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw}))
}

func (p *pair) keyPEM(t *testing.T) string {
	t.Helper()
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(p.key))(t)}))
}

func TestSSHPublicKeysComeBackInBothEncodings(t *testing.T) {
	r := newRig(t)
	ctx, name := t.Context(), aws.String("alice")
	r.user("alice")
	key := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	public := must(ssh.NewPublicKey(&key.PublicKey))(t)
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
	block := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(&key.PublicKey))(t)}))
	upload := func(body string) (*types.SSHPublicKey, error) {
		out, err := r.UploadSSHPublicKey(ctx, r.root, &awsiam.UploadSSHPublicKeyInput{UserName: name, SSHPublicKeyBody: &body})
		if err != nil {
			return nil, err
		}
		return out.SSHPublicKey, nil
	}
	made := must(upload(line + " alice@home"))(t)
	if !strings.HasPrefix(*made.SSHPublicKeyId, "APKA") || len(*made.SSHPublicKeyId) != 21 || *made.Fingerprint != ssh.FingerprintLegacyMD5(public) || made.Status != types.StatusTypeActive {
		t.Errorf("%+v", made)
	}
	get := func(encoding types.EncodingType) (string, error) {
		out, err := r.GetSSHPublicKey(ctx, r.root, &awsiam.GetSSHPublicKeyInput{UserName: name, SSHPublicKeyId: made.SSHPublicKeyId, Encoding: encoding})
		if err != nil {
			return "", err
		}
		return *out.SSHPublicKey.SSHPublicKeyBody, nil
	}
	if got := must(get(types.EncodingTypeSsh))(t); got != line+" alice@home" {
		t.Errorf("%s", got)
	}
	if got := must(get(types.EncodingTypePem))(t); got != block {
		t.Errorf("%s", got)
	}
	_, err := get("X")
	wantCode(t, err, 400, "UnrecognizedPublicKeyEncoding")
	_, err = upload(block)
	wantCode(t, err, 400, "DuplicateSSHPublicKey")
	short := must(rsa.GenerateKey(rand.Reader, 1024))(t)
	ec := must(ssh.NewPublicKey(&issue(t, "x", started.Add(time.Hour), nil).key.PublicKey))(t)
	for _, bad := range []string{"x", "ssh-rsa AAAA", string(ssh.MarshalAuthorizedKey(must(ssh.NewPublicKey(&short.PublicKey))(t))), string(ssh.MarshalAuthorizedKey(ec)), "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"} {
		_, err := upload(bad)
		wantCode(t, err, 400, "InvalidPublicKey")
	}
	must(r.UpdateSSHPublicKey(ctx, r.root, &awsiam.UpdateSSHPublicKeyInput{UserName: name, SSHPublicKeyId: made.SSHPublicKeyId, Status: types.StatusTypeInactive}))(t)
	list := must(r.ListSSHPublicKeys(ctx, r.root, &awsiam.ListSSHPublicKeysInput{UserName: name}))(t).SSHPublicKeys
	if len(list) != 1 || list[0].Status != types.StatusTypeInactive || *list[0].UserName != "alice" {
		t.Errorf("%+v", list)
	}
	must(r.DeleteSSHPublicKey(ctx, r.root, &awsiam.DeleteSSHPublicKeyInput{UserName: name, SSHPublicKeyId: made.SSHPublicKeyId}))(t)
	_, err = get(types.EncodingTypeSsh)
	wantCode(t, err, 404, "NoSuchEntity")
}

func TestSigningCertificatesAreTwoPerUser(t *testing.T) {
	r := newRig(t)
	ctx, name := t.Context(), aws.String("alice")
	alice := r.user("alice")
	upload := func(body string) (*types.SigningCertificate, error) {
		out, err := r.UploadSigningCertificate(ctx, alice, &awsiam.UploadSigningCertificateInput{CertificateBody: &body})
		if err != nil {
			return nil, err
		}
		return out.Certificate, nil
	}
	one := issue(t, "one", started.Add(time.Hour), nil)
	made := must(upload(one.certPEM()))(t)
	_, err := upload(one.certPEM())
	wantCode(t, err, 409, "DuplicateCertificate")
	must(upload(issue(t, "two", started.Add(time.Hour), nil).certPEM()))(t)
	_, err = upload(issue(t, "three", started.Add(time.Hour), nil).certPEM())
	wantCode(t, err, 409, "LimitExceeded")
	_, err = upload("x")
	wantCode(t, err, 400, "MalformedCertificate")
	_, err = upload(issue(t, "old", started.Add(-time.Minute), nil).certPEM())
	wantCode(t, err, 400, "InvalidCertificate")
	must(r.UpdateSigningCertificate(ctx, r.root, &awsiam.UpdateSigningCertificateInput{UserName: name, CertificateId: made.CertificateId, Status: types.StatusTypeInactive}))(t)
	page := must(r.ListSigningCertificates(ctx, r.root, &awsiam.ListSigningCertificatesInput{UserName: name, MaxItems: aws.Int32(1)}))(t)
	rest := must(r.ListSigningCertificates(ctx, r.root, &awsiam.ListSigningCertificatesInput{UserName: name, Marker: page.Marker}))(t)
	all := append(page.Certificates, rest.Certificates...)
	if len(all) != 2 || !page.IsTruncated || rest.IsTruncated {
		t.Errorf("%+v", all)
	}
	for _, c := range all {
		if (c.Status == types.StatusTypeInactive) != (*c.CertificateId == *made.CertificateId) {
			t.Errorf("%+v", c)
		}
	}
	_, err = r.DeleteUser(ctx, r.root, &awsiam.DeleteUserInput{UserName: name})
	wantCode(t, err, 409, "DeleteConflict")
	must(r.DeleteSigningCertificate(ctx, alice, &awsiam.DeleteSigningCertificateInput{CertificateId: made.CertificateId}))(t)
	_, err = r.DeleteSigningCertificate(ctx, alice, &awsiam.DeleteSigningCertificateInput{CertificateId: made.CertificateId})
	wantCode(t, err, 404, "NoSuchEntity")
}

func TestServerCertificateGoesThroughItsLife(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	top := issue(t, "top", started.Add(time.Hour), nil)
	middle := issue(t, "middle", started.Add(time.Hour), top)
	leaf := issue(t, "leaf", started.Add(time.Hour), middle)
	chain := middle.certPEM() + top.certPEM()
	made := must(r.UploadServerCertificate(ctx, r.root, &awsiam.UploadServerCertificateInput{
		ServerCertificateName: aws.String("www"), CertificateBody: aws.String(leaf.certPEM()), PrivateKey: aws.String(leaf.keyPEM(t)), CertificateChain: &chain,
		Path: aws.String("/cloudfront/"), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
	}))(t)
	meta := made.ServerCertificateMetadata
	if *meta.Arn != "arn:aws:iam::123456789012:server-certificate/cloudfront/www" || !meta.Expiration.Equal(started.Add(time.Hour)) || !meta.UploadDate.Equal(started) || len(made.Tags) != 1 {
		t.Errorf("%+v", meta)
	}
	got := must(r.GetServerCertificate(ctx, r.root, &awsiam.GetServerCertificateInput{ServerCertificateName: aws.String("WWW")}))(t).ServerCertificate
	if *got.CertificateBody != leaf.certPEM() || *got.CertificateChain != chain || *got.ServerCertificateMetadata.ServerCertificateId != *meta.ServerCertificateId {
		t.Errorf("%+v", got)
	}
	err := r.group.View(func(v *fsm.View) error {
		c, _ := fsm.ServerCertificateByName(v, account, "www")
		if bytes.Contains(c.Key, []byte("PRIVATE KEY")) {
			t.Error("the key is not sealed")
		}
		if plain, err := r.box.Open(c.Key, c.SealContext()); err != nil || string(plain) != leaf.keyPEM(t) {
			t.Errorf("the sealed key is another: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	must(r.UpdateServerCertificate(ctx, r.root, &awsiam.UpdateServerCertificateInput{ServerCertificateName: aws.String("www"), NewServerCertificateName: aws.String("web"), NewPath: aws.String("/")}))(t)
	must(r.TagServerCertificate(ctx, r.root, &awsiam.TagServerCertificateInput{ServerCertificateName: aws.String("web"), Tags: []types.Tag{{Key: aws.String("K"), Value: aws.String("2")}}}))(t)
	must(r.UntagServerCertificate(ctx, r.root, &awsiam.UntagServerCertificateInput{ServerCertificateName: aws.String("web"), TagKeys: []string{"k"}}))(t)
	if tags := must(r.ListServerCertificateTags(ctx, r.root, &awsiam.ListServerCertificateTagsInput{ServerCertificateName: aws.String("web")}))(t).Tags; len(tags) != 1 || *tags[0].Key != "K" {
		t.Errorf("%+v", tags)
	}
	list := must(r.ListServerCertificates(ctx, r.root, &awsiam.ListServerCertificatesInput{PathPrefix: aws.String("/")}))(t).ServerCertificateMetadataList
	none := must(r.ListServerCertificates(ctx, r.root, &awsiam.ListServerCertificatesInput{PathPrefix: aws.String("/cloudfront/")}))(t).ServerCertificateMetadataList
	if len(list) != 1 || *list[0].ServerCertificateName != "web" || len(none) != 0 {
		t.Errorf("%+v, %+v", list, none)
	}
	must(r.DeleteServerCertificate(ctx, r.root, &awsiam.DeleteServerCertificateInput{ServerCertificateName: aws.String("web")}))(t)
	_, err = r.DeleteServerCertificate(ctx, r.root, &awsiam.DeleteServerCertificateInput{ServerCertificateName: aws.String("web")})
	wantCode(t, err, 404, "NoSuchEntity")
}

func TestBadServerCertificatesAreRefused(t *testing.T) {
	r := newRig(t)
	top := issue(t, "top", started.Add(time.Hour), nil)
	leaf, other := issue(t, "leaf", started.Add(time.Hour), top), issue(t, "other", started.Add(time.Hour), nil)
	old := issue(t, "old", started.Add(-time.Minute), nil)
	upload := func(name, body, key string, chain *string) error {
		_, err := r.UploadServerCertificate(t.Context(), r.root, &awsiam.UploadServerCertificateInput{ServerCertificateName: &name, CertificateBody: &body, PrivateKey: &key, CertificateChain: chain})
		return err
	}
	if err := upload("www", leaf.certPEM(), leaf.keyPEM(t), nil); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		err    error
		status int
		code   string
	}{
		{upload("WWW", leaf.certPEM(), leaf.keyPEM(t), nil), 409, "EntityAlreadyExists"},
		{upload("a", "x", leaf.keyPEM(t), nil), 400, "MalformedCertificate"},
		{upload("a", leaf.certPEM(), "x", nil), 400, "MalformedCertificate"},
		{upload("a", leaf.certPEM(), other.keyPEM(t), nil), 400, "KeyPairMismatch"},
		{upload("a", old.certPEM(), old.keyPEM(t), nil), 400, "MalformedCertificate"},
		{upload("a", leaf.certPEM(), leaf.keyPEM(t), aws.String(other.certPEM())), 400, "MalformedCertificate"},
		{upload("a", leaf.certPEM(), leaf.keyPEM(t), aws.String("x")), 400, "MalformedCertificate"},
		{upload("a b", leaf.certPEM(), leaf.keyPEM(t), nil), 400, "ValidationError"},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) { wantCode(t, c.err, c.status, c.code) })
		if c.err != nil && strings.Contains(c.err.Error(), "PRIVATE") {
			t.Errorf("the refusal shows the key: %v", c.err)
		}
	}
}

// metadata is that of a SAML identity provider.
func metadata(until string) string {
	if until != "" {
		until = fmt.Sprintf(` validUntil=%q`, until)
	}
	return `<?xml version="1.0"?><md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://idp.example.com"` + until + `>` +
		`<md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><!--` + strings.Repeat("x", 1000) +
		`--><md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://idp.example.com/sso"/></md:IDPSSODescriptor></md:EntityDescriptor>`
}

func TestSAMLProviderGoesThroughItsLife(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	doc := metadata("2030-01-02T03:04:05Z")
	create := func(in awsiam.CreateSAMLProviderInput) (*string, error) {
		out, err := r.CreateSAMLProvider(ctx, r.root, &in)
		if err != nil {
			return nil, err
		}
		return out.SAMLProviderArn, nil
	}
	arn := must(create(awsiam.CreateSAMLProviderInput{Name: aws.String("corp"), SAMLMetadataDocument: &doc, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}))(t)
	_, err := create(awsiam.CreateSAMLProviderInput{Name: aws.String("corp"), SAMLMetadataDocument: &doc})
	wantCode(t, err, 409, "EntityAlreadyExists")
	get := func() *awsiam.GetSAMLProviderOutput {
		t.Helper()
		return must(r.GetSAMLProvider(ctx, r.root, &awsiam.GetSAMLProviderInput{SAMLProviderArn: arn}))(t)
	}
	if got := get(); *got.SAMLMetadataDocument != doc || got.ValidUntil.Year() != 2030 || len(got.Tags) != 1 || got.SAMLProviderUUID == nil || *arn != "arn:aws:iam::123456789012:saml-provider/corp" {
		t.Errorf("%+v", got)
	}
	key := aws.String(issue(t, "x", started.Add(time.Hour), nil).keyPEM(t))
	must(r.UpdateSAMLProvider(ctx, r.root, &awsiam.UpdateSAMLProviderInput{
		SAMLProviderArn: arn, SAMLMetadataDocument: aws.String(metadata("")), AddPrivateKey: key, AssertionEncryptionMode: types.AssertionEncryptionModeTypeRequired,
	}))(t)
	got := get()
	if got.ValidUntil.Year() != 2124 || got.AssertionEncryptionMode != types.AssertionEncryptionModeTypeRequired || len(got.PrivateKeyList) != 1 || len(got.Tags) != 1 {
		t.Errorf("%+v", got)
	}
	_, err = r.UpdateSAMLProvider(ctx, r.root, &awsiam.UpdateSAMLProviderInput{SAMLProviderArn: arn, RemovePrivateKey: got.PrivateKeyList[0].KeyId})
	wantCode(t, err, 400, "InvalidInput") // assertions must be encrypted
	_, err = r.UpdateSAMLProvider(ctx, r.root, &awsiam.UpdateSAMLProviderInput{SAMLProviderArn: arn, RemovePrivateKey: aws.String("NOSUCHKEY0000000000000")})
	wantCode(t, err, 404, "NoSuchEntity")
	must(r.TagSAMLProvider(ctx, r.root, &awsiam.TagSAMLProviderInput{SAMLProviderArn: arn, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}))(t)
	must(r.UntagSAMLProvider(ctx, r.root, &awsiam.UntagSAMLProviderInput{SAMLProviderArn: arn, TagKeys: []string{"k"}}))(t)
	if tags := must(r.ListSAMLProviderTags(ctx, r.root, &awsiam.ListSAMLProviderTagsInput{SAMLProviderArn: arn}))(t).Tags; len(tags) != 1 || *tags[0].Key != "a" {
		t.Errorf("%+v", tags)
	}
	if list := must(r.ListSAMLProviders(ctx, r.root, &awsiam.ListSAMLProvidersInput{}))(t).SAMLProviderList; len(list) != 1 || *list[0].Arn != *arn {
		t.Errorf("%+v", list)
	}
	must(r.DeleteSAMLProvider(ctx, r.root, &awsiam.DeleteSAMLProviderInput{SAMLProviderArn: arn}))(t)
	_, err = r.DeleteSAMLProvider(ctx, r.root, &awsiam.DeleteSAMLProviderInput{SAMLProviderArn: arn})
	wantCode(t, err, 404, "NoSuchEntity")
	for i, bad := range []awsiam.CreateSAMLProviderInput{
		{Name: aws.String("x"), SAMLMetadataDocument: aws.String(strings.Repeat("x", 1000))},
		{Name: aws.String("x"), SAMLMetadataDocument: aws.String(strings.Replace(doc, "IDPSSODescriptor", "SPSSODescriptor", 2))},
		{Name: aws.String("x"), SAMLMetadataDocument: aws.String(metadata("soon"))},
		{Name: aws.String("x"), SAMLMetadataDocument: &doc, AddPrivateKey: aws.String("x")},
		{Name: aws.String("x"), SAMLMetadataDocument: &doc, AssertionEncryptionMode: types.AssertionEncryptionModeTypeRequired},
	} {
		_, err := create(bad)
		t.Run(fmt.Sprint(i), func(t *testing.T) { wantCode(t, err, 400, "InvalidInput") })
	}
	for _, bad := range []awsiam.CreateSAMLProviderInput{{Name: aws.String("x y"), SAMLMetadataDocument: &doc}, {Name: aws.String("x"), SAMLMetadataDocument: aws.String("x")}, {Name: aws.String("x")}} {
		_, err := create(bad)
		wantCode(t, err, 400, "ValidationError")
	}
}

func TestServiceSpecificCredentialsShowTheirPasswordOnce(t *testing.T) {
	r := newRig(t)
	ctx, name := t.Context(), aws.String("alice")
	r.user("alice")
	service := aws.String("codecommit.amazonaws.com")
	create := func(service *string) (*types.ServiceSpecificCredential, error) {
		out, err := r.CreateServiceSpecificCredential(ctx, r.root, &awsiam.CreateServiceSpecificCredentialInput{UserName: name, ServiceName: service})
		if err != nil {
			return nil, err
		}
		return out.ServiceSpecificCredential, nil
	}
	one, two := must(create(service))(t), must(create(service))(t)
	if *one.ServiceUserName != "alice-at-123456789012" || *two.ServiceUserName != "alice+1-at-123456789012" || *one.ServicePassword == *two.ServicePassword {
		t.Errorf("%s, %s", *one.ServiceUserName, *two.ServiceUserName)
	}
	_, err := create(service)
	wantCode(t, err, 409, "LimitExceeded")
	_, err = create(aws.String("nosuch.amazonaws.com"))
	wantCode(t, err, 404, "NotSupportedService")
	reset := must(r.ResetServiceSpecificCredential(ctx, r.root, &awsiam.ResetServiceSpecificCredentialInput{UserName: name, ServiceSpecificCredentialId: one.ServiceSpecificCredentialId}))(t).ServiceSpecificCredential
	if *reset.ServicePassword == *one.ServicePassword || *reset.ServiceUserName != *one.ServiceUserName {
		t.Error("the password is the old one")
	}
	must(r.UpdateServiceSpecificCredential(ctx, r.root, &awsiam.UpdateServiceSpecificCredentialInput{UserName: name, ServiceSpecificCredentialId: one.ServiceSpecificCredentialId, Status: types.StatusTypeInactive}))(t)
	for _, in := range []*awsiam.ListServiceSpecificCredentialsInput{{UserName: name}, {AllUsers: aws.Bool(true)}, {UserName: name, ServiceName: service}} {
		list := must(r.ListServiceSpecificCredentials(ctx, r.root, in))(t).ServiceSpecificCredentials
		if len(list) != 2 || (list[0].Status == types.StatusTypeInactive) == (list[1].Status == types.StatusTypeInactive) {
			t.Errorf("%+v", list)
		}
	}
	if strings.Contains(r.log.String(), *reset.ServicePassword) {
		t.Error("the log holds the password")
	}
	must(r.DeleteServiceSpecificCredential(ctx, r.root, &awsiam.DeleteServiceSpecificCredentialInput{UserName: name, ServiceSpecificCredentialId: one.ServiceSpecificCredentialId}))(t)
	_, err = r.ResetServiceSpecificCredential(ctx, r.root, &awsiam.ResetServiceSpecificCredentialInput{UserName: name, ServiceSpecificCredentialId: one.ServiceSpecificCredentialId})
	wantCode(t, err, 404, "NoSuchEntity")
}
