package iam

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/go-jose/go-jose/v4"

	"hive/fsm"
)

// recordOperations are the operations on what accounts and users have beside entities and policies.
var recordOperations = []string{
	"CreateOpenIDConnectProvider", "GetOpenIDConnectProvider", "ListOpenIDConnectProviders", "DeleteOpenIDConnectProvider",
	"AddClientIDToOpenIDConnectProvider", "RemoveClientIDFromOpenIDConnectProvider", "UpdateOpenIDConnectProviderThumbprint",
	"TagOpenIDConnectProvider", "UntagOpenIDConnectProvider", "ListOpenIDConnectProviderTags",
	"CreateLoginProfile", "GetLoginProfile", "UpdateLoginProfile", "DeleteLoginProfile", "ChangePassword",
	"CreateAccountAlias", "DeleteAccountAlias", "ListAccountAliases",
	"UpdateAccountPasswordPolicy", "GetAccountPasswordPolicy", "DeleteAccountPasswordPolicy",
	"CreateVirtualMFADevice", "DeleteVirtualMFADevice", "ListVirtualMFADevices", "EnableMFADevice", "DeactivateMFADevice",
	"ResyncMFADevice", "GetMFADevice", "ListMFADevices", "TagMFADevice", "UntagMFADevice", "ListMFADeviceTags",
	"GetAccountSummary", "GenerateCredentialReport", "GetCredentialReport", "GetAccountAuthorizationDetails",
	"CreateServiceLinkedRole", "DeleteServiceLinkedRole", "GetServiceLinkedRoleDeletionStatus",
	"UploadSSHPublicKey", "GetSSHPublicKey", "UpdateSSHPublicKey", "DeleteSSHPublicKey", "ListSSHPublicKeys",
	"UploadSigningCertificate", "UpdateSigningCertificate", "DeleteSigningCertificate", "ListSigningCertificates",
	"UploadServerCertificate", "GetServerCertificate", "ListServerCertificates", "UpdateServerCertificate", "DeleteServerCertificate",
	"TagServerCertificate", "UntagServerCertificate", "ListServerCertificateTags",
	"CreateSAMLProvider", "UpdateSAMLProvider", "GetSAMLProvider", "ListSAMLProviders", "DeleteSAMLProvider",
	"TagSAMLProvider", "UntagSAMLProvider", "ListSAMLProviderTags",
	"CreateServiceSpecificCredential", "ListServiceSpecificCredentials", "ResetServiceSpecificCredential",
	"UpdateServiceSpecificCredential", "DeleteServiceSpecificCredential", "ListPoliciesGrantingServiceAccess",
	"GenerateServiceLastAccessedDetails", "GetServiceLastAccessedDetails", "GetServiceLastAccessedDetailsWithEntities",
	"SimulatePrincipalPolicy", "SimulateCustomPolicy", "GetContextKeysForCustomPolicy", "GetContextKeysForPrincipalPolicy",
}

const (
	thumbprint = "c3768084dfb3d2b68b7897bf5f565da8ef00000a"
	oidcARN    = "arn:aws:iam::123456789012:oidc-provider/id.example.com/tenant"
)

func (r *rig) provider() {
	r.t.Helper()
	must(r.CreateOpenIDConnectProvider(r.t.Context(), r.root, &awsiam.CreateOpenIDConnectProviderInput{
		Url: aws.String("https://id.example.com/tenant"), ClientIDList: []string{"a", "b", "a"}, ThumbprintList: []string{thumbprint},
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}},
	}))(r.t)
}

func (r *rig) getProvider() *awsiam.GetOpenIDConnectProviderOutput {
	r.t.Helper()
	return must(r.GetOpenIDConnectProvider(r.t.Context(), r.root, &awsiam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: aws.String(oidcARN)}))(r.t)
}

func TestOIDCProviderGoesThroughItsLife(t *testing.T) {
	r := newRig(t)
	ctx, arn := t.Context(), aws.String(oidcARN)
	r.provider()
	got := r.getProvider()
	if *got.Url != "id.example.com/tenant" || !slices.Equal(got.ClientIDList, []string{"a", "b"}) || !slices.Equal(got.ThumbprintList, []string{thumbprint}) ||
		!got.CreateDate.Equal(started) || len(got.Tags) != 1 {
		t.Errorf("%+v", got)
	}
	for range 2 { // again is no error
		must(r.AddClientIDToOpenIDConnectProvider(ctx, r.root, &awsiam.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: aws.String("c")}))(t)
		must(r.RemoveClientIDFromOpenIDConnectProvider(ctx, r.root, &awsiam.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: aws.String("a")}))(t)
	}
	other := strings.Repeat("ab", 20)
	must(r.UpdateOpenIDConnectProviderThumbprint(ctx, r.root, &awsiam.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: arn, ThumbprintList: []string{other, thumbprint}}))(t)
	must(r.TagOpenIDConnectProvider(ctx, r.root, &awsiam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("red")}, {Key: aws.String("a"), Value: aws.String("")}}}))(t)
	got = r.getProvider()
	if !slices.Equal(got.ClientIDList, []string{"b", "c"}) || !slices.Equal(got.ThumbprintList, []string{other, thumbprint}) || len(got.Tags) != 2 {
		t.Errorf("%+v", got)
	}
	must(r.UntagOpenIDConnectProvider(ctx, r.root, &awsiam.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, TagKeys: []string{"team", "none"}}))(t)
	tags := must(r.ListOpenIDConnectProviderTags(ctx, r.root, &awsiam.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: arn}))(t)
	if len(tags.Tags) != 1 || *tags.Tags[0].Key != "a" || tags.IsTruncated {
		t.Errorf("%+v", tags)
	}
	if list := must(r.ListOpenIDConnectProviders(ctx, r.root, &awsiam.ListOpenIDConnectProvidersInput{}))(t).OpenIDConnectProviderList; len(list) != 1 || *list[0].Arn != oidcARN {
		t.Errorf("%+v", list)
	}
	for range 2 { // again is no error, as AWS documents it
		must(r.DeleteOpenIDConnectProvider(ctx, r.root, &awsiam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}))(t)
	}
	_, err := r.GetOpenIDConnectProvider(ctx, r.root, &awsiam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
	wantCode(t, err, 404, "NoSuchEntity")
}

func TestBadOIDCProvidersAreRefused(t *testing.T) {
	r := newRig(t)
	r.provider()
	create := func(in awsiam.CreateOpenIDConnectProviderInput) error {
		_, err := r.CreateOpenIDConnectProvider(t.Context(), r.root, &in)
		return err
	}
	many := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprint(i))
		}
		return out
	}
	url := aws.String("https://x.example.com")
	_, noArn := r.GetOpenIDConnectProvider(t.Context(), r.root, &awsiam.GetOpenIDConnectProviderInput{})
	_, badArn := r.GetOpenIDConnectProvider(t.Context(), r.root, &awsiam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: aws.String("arn:aws:iam::123456789012:oidc-provider/none")})
	_, noPrint := r.UpdateOpenIDConnectProviderThumbprint(t.Context(), r.root, &awsiam.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: aws.String(oidcARN)})
	for i, c := range []struct {
		err    error
		status int
		code   string
	}{
		{create(awsiam.CreateOpenIDConnectProviderInput{}), 400, "ValidationError"},
		{create(awsiam.CreateOpenIDConnectProviderInput{Url: aws.String("http://id.example.com")}), 400, "ValidationError"},
		{create(awsiam.CreateOpenIDConnectProviderInput{Url: aws.String("https://")}), 400, "ValidationError"},
		{create(awsiam.CreateOpenIDConnectProviderInput{Url: aws.String("https://id.example.com:443")}), 400, "ValidationError"},
		{create(awsiam.CreateOpenIDConnectProviderInput{Url: aws.String("https://id.example.com/?q")}), 400, "ValidationError"},
		{create(awsiam.CreateOpenIDConnectProviderInput{Url: aws.String("https://u@id.example.com")}), 400, "ValidationError"},
		{create(awsiam.CreateOpenIDConnectProviderInput{Url: aws.String("https://id.example.com/tenant")}), 409, "EntityAlreadyExists"},
		{create(awsiam.CreateOpenIDConnectProviderInput{Url: url, ClientIDList: []string{""}}), 400, "ValidationError"},
		{create(awsiam.CreateOpenIDConnectProviderInput{Url: url, ClientIDList: many(101)}), 409, "LimitExceeded"},
		{create(awsiam.CreateOpenIDConnectProviderInput{Url: url, ThumbprintList: []string{"short"}}), 400, "ValidationError"},
		{create(awsiam.CreateOpenIDConnectProviderInput{Url: url, ThumbprintList: []string{strings.Repeat("x", 40)}}), 400, "InvalidInput"},
		{create(awsiam.CreateOpenIDConnectProviderInput{Url: url, ThumbprintList: slices.Repeat([]string{thumbprint}, 6)}), 400, "InvalidInput"},
		{noArn, 400, "ValidationError"},
		{badArn, 404, "NoSuchEntity"},
		{noPrint, 400, "ValidationError"},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) { wantCode(t, c.err, c.status, c.code) })
	}
}

// jwks is a key set of the keys given, as a provider publishes it.
func jwks(t *testing.T, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	out, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestProviderKeysAreRecordedOffline(t *testing.T) {
	r := newRig(t)
	r.provider()
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	ecKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	set := jwks(t,
		jose.JSONWebKey{Key: &rsaKey.PublicKey, KeyID: "r", Algorithm: "RS256", Use: "sig"},
		jose.JSONWebKey{Key: &ecKey.PublicKey, KeyID: "e"},
		jose.JSONWebKey{Key: &rsaKey.PublicKey, KeyID: "enc", Use: "enc"})
	for _, name := range []string{oidcARN, "https://id.example.com/tenant", "id.example.com/tenant"} {
		if n, err := r.RecordProviderKeys(t.Context(), account, name, set); n != 2 || err != nil {
			t.Errorf("%s: %d keys, %v", name, n, err)
		}
	}
	err := r.group.View(func(v *fsm.View) error {
		p, _ := fsm.OIDCProviderByARN(v, account, oidcARN)
		var back jose.JSONWebKeySet
		if err := json.Unmarshal([]byte(p.Keys), &back); err != nil {
			return err
		}
		if len(back.Keys) != 2 || len(back.Key("r")) != 1 || len(back.Key("e")) != 1 || p.KeysAt != started.Unix() {
			t.Errorf("%+v", p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.RecordProviderKeys(t.Context(), account, "other.example.com", set); !errors.Is(err, fsm.ErrNotFound) {
		t.Errorf("keys of a provider that is not there: %v", err)
	}
}

func TestNonsenseIsNotRecordedAsProviderKeys(t *testing.T) {
	r := newRig(t)
	r.provider()
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	short := must(rsa.GenerateKey(rand.Reader, 1024))(t)
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := jose.JSONWebKey{Key: &rsaKey.PublicKey, KeyID: "r", Algorithm: "RS256", Use: "sig"}
	with := func(change func(*jose.JSONWebKey)) []byte {
		k := key
		change(&k)
		return jwks(t, k)
	}
	private := with(func(k *jose.JSONWebKey) { k.Key = rsaKey })
	for name, set := range map[string][]byte{
		"nothing": nil, "text": []byte("x"), "no set": []byte("{}"), "empty": []byte(`{"keys":[]}`), "no key": []byte(`{"keys":[{}]}`),
		"half a key": []byte(`{"keys":[{"kty":"RSA","e":"AQAB"}]}`),
		"private":    private,
		"symmetric":  with(func(k *jose.JSONWebKey) { k.Key, k.Algorithm = []byte("0123456789012345"), "HS256" }),
		"short":      with(func(k *jose.JSONWebKey) { k.Key = &short.PublicKey }),
		"encryption": with(func(k *jose.JSONWebKey) { k.Use = "enc" }),
		"algorithm":  with(func(k *jose.JSONWebKey) { k.Algorithm = "ES256" }),
		"PSS":        with(func(k *jose.JSONWebKey) { k.Algorithm = "PS256" }),
		"ed25519":    with(func(k *jose.JSONWebKey) { k.Key, k.Algorithm = public, "EdDSA" }),
		"twice":      jwks(t, key, key),
	} {
		_, err := r.RecordProviderKeys(t.Context(), account, oidcARN, set)
		if !errors.Is(err, ErrBadKeys) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), rsaKey.D.Text(62)) || len(err.Error()) > 300 {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
	if got := r.getProvider(); got == nil {
		t.Error("the provider is gone")
	}
}
