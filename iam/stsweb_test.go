//lint:file-ignore SA1019 PackedPolicySize is deprecated, and still told

package iam_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"hive/fsm"
)

const issuer = "https://Token.Example.com/org"

// idp is an identity provider of the home account.
type idp struct {
	w   *wire
	key *ecdsa.PrivateKey
}

func newIDP(w *wire) *idp {
	w.t.Helper()
	p := &idp{w, ok(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(w.t)}
	w.propose(&fsm.CreateOIDCProvider{Provider: fsm.OIDCProvider{Account: home, URL: strings.TrimPrefix(issuer, "https://"), Clients: []string{"client", "other"}}})
	return p
}

// publish records the provider's key as an operator does.
func (p *idp) publish(id string) {
	p.w.t.Helper()
	set := ok(json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: id, Algorithm: "ES256", Use: "sig"}}}))(p.w.t)
	ok(p.w.users.RecordProviderKeys(p.w.t.Context(), home, issuer, set))(p.w.t)
}

type claims map[string]any

// token is a token that the provider signs; edit changes what it says.
func (p *idp) token(edit claims) string {
	p.w.t.Helper()
	return p.tokenBy(p.key, "k1", edit)
}

func (p *idp) tokenBy(key any, id string, edit claims) string {
	p.w.t.Helper()
	now := p.w.clock()
	said := claims{"iss": issuer, "sub": "repo:x", "aud": "client", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	for name, value := range edit {
		if said[name] = value; value == nil {
			delete(said, name)
		}
	}
	algorithm := jose.ES256
	if _, secret := key.([]byte); secret {
		algorithm = jose.HS256
	}
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", id)
	signer := ok(jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options))(p.w.t)
	return ok(jwt.Signed(signer).Claims(map[string]any(said)).Serialize())(p.w.t)
}

func (p *idp) assume(role, token string) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	p.w.t.Helper()
	return p.w.stsOf(aws.Credentials{}).AssumeRoleWithWebIdentity(p.w.t.Context(), &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: &role, RoleSessionName: aws.String("web"), WebIdentityToken: &token,
	})
}

const (
	trustIDP = `{"Federated":"arn:aws:iam::123456789012:oidc-provider/Token.Example.com/org"}`
	webs     = `["sts:AssumeRoleWithWebIdentity","sts:TagSession","sts:SetSourceIdentity"]`
)

func TestWebIdentityBecomesARoleWithoutASignature(t *testing.T) {
	w := newWire(t)
	p := newIDP(w)
	p.publish("k1")
	role := w.role(home, "web", trusts(trustIDP, webs, `{"StringEquals":{"token.example.com/org:aud":"client"},"StringLike":{"token.example.com/org:sub":"repo:*"}}`), nil)
	w.put("AROA", "web", "p", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*",
		"Condition":{"StringEquals":{"aws:FederatedProvider":"arn:aws:iam::123456789012:oidc-provider/Token.Example.com/org"}}}]}`)
	got := ok(p.assume(role, p.token(nil)))(t)
	if *got.Audience != "client" || *got.Provider != issuer || *got.SubjectFromWebIdentityToken != "repo:x" || got.Credentials.Expiration.Sub(w.now) != time.Hour {
		t.Errorf("%+v", got)
	}
	session := keysOf(got.Credentials)
	if who := w.identity(session); *who.Arn != "arn:aws:sts::123456789012:assumed-role/web/web" {
		t.Errorf("%v", *who.Arn)
	}
	ok(w.iamOf(session).ListUsers(t.Context(), nil))(t)
	ok(p.assume(role, p.token(claims{"aud": []string{"someone", "client"}})))(t)
	tagged := p.token(claims{
		"https://aws.amazon.com/tags":            claims{"principal_tags": claims{"Team": []string{"blue"}}, "transitive_tag_keys": []string{"Team"}},
		"https://aws.amazon.com/source_identity": "me",
	})
	if got := ok(p.assume(role, tagged))(t); aws.ToString(got.SourceIdentity) != "me" || got.PackedPolicySize == nil {
		t.Errorf("%+v", got)
	}
	plain := w.role(home, "plain", trusts(trustIDP, `"sts:AssumeRoleWithWebIdentity"`, ""), nil)
	_, err := p.assume(plain, tagged)
	wants(t, err, "AccessDenied", "Not authorized to perform sts:TagSession")
	ok(p.assume(plain, p.token(nil)))(t)
}

func TestWebIdentityIsRefusedForWhatIsWrongWithIt(t *testing.T) {
	w := newWire(t)
	p := newIDP(w)
	role := w.role(home, "web", trusts(trustIDP, webs, `{"StringEquals":{"token.example.com/org:sub":"repo:x"}}`), nil)
	_, err := p.assume(role, p.token(nil))
	wants(t, err, "InvalidIdentityToken", "Couldn't retrieve verification key")
	p.publish("k1")
	stranger := ok(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	good := p.token(nil)
	head, rest, _ := strings.Cut(good, ".")
	now := w.now.Unix()
	for name, c := range map[string]struct{ token, code, message string }{
		"not a token":          {"not a token", "InvalidIdentityToken", "not a valid JWT"},
		"another's signature":  {p.tokenBy(stranger, "k1", nil), "InvalidIdentityToken", "signature"},
		"an unknown key":       {p.tokenBy(p.key, "k2", nil), "InvalidIdentityToken", "Couldn't retrieve verification key"},
		"a symmetric key":      {p.tokenBy([]byte("0123456789abcdef0123456789abcdef"), "k1", nil), "InvalidIdentityToken", "not a valid JWT"},
		"altered":              {head + "." + strings.Replace(rest, rest[10:12], "AA", 1), "InvalidIdentityToken", ""},
		"another issuer":       {p.token(claims{"iss": "https://evil.example.com"}), "InvalidIdentityToken", "No OpenIDConnect provider found in your account for https://evil.example.com"},
		"issuer without https": {p.token(claims{"iss": "Token.Example.com/org"}), "InvalidIdentityToken", "No OpenIDConnect provider found"},
		"another audience":     {p.token(claims{"aud": "x"}), "InvalidIdentityToken", "Incorrect token audience"},
		"another party":        {p.token(claims{"azp": "x"}), "InvalidIdentityToken", "Incorrect token audience"},
		"no subject":           {p.token(claims{"sub": nil}), "InvalidIdentityToken", "Missing a required claim: sub"},
		"no end":               {p.token(claims{"exp": nil}), "InvalidIdentityToken", "Missing a required claim: exp"},
		"no issuer":            {p.token(claims{"iss": nil}), "InvalidIdentityToken", "Missing a required claim: iss"},
		"over":                 {p.token(claims{"exp": now - 1}), "ExpiredTokenException", "Token expired: current date/time"},
		"not yet":              {p.token(claims{"nbf": now + 3600}), "IDPRejectedClaim", ""},
		"another subject":      {p.token(claims{"sub": "repo:y"}), "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"},
		"tags that are none":   {p.token(claims{"https://aws.amazon.com/tags": "x"}), "InvalidIdentityToken", "malformed"},
	} {
		_, err := p.assume(role, c.token)
		if wants(t, err, c.code, c.message); t.Failed() {
			t.Fatal(name)
		}
	}
	_, err = p.assume("arn:aws:iam::123456789012:role/none", good)
	wants(t, err, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	_, err = p.assume(w.role(abroad, "web", trusts(trustIDP, webs, ""), nil), good)
	wants(t, err, "InvalidIdentityToken", "No OpenIDConnect provider found")
	_, err = p.assume(w.role(home, "people", trusts(trustHome, webs, ""), nil), good)
	wants(t, err, "AccessDenied", "sts:AssumeRoleWithWebIdentity")
}

func TestNothingElseOfSTSGoesWithoutASignature(t *testing.T) {
	w := newWire(t)
	for _, form := range []url.Values{
		{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}},
		{"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {"arn:aws:iam::123456789012:role/x"}, "RoleSessionName": {"xx"}},
		{"Action": {"assumerolewithwebidentity"}, "Version": {"2011-06-15"}},
		{"Version": {"2011-06-15"}},
	} {
		resp := ok(http.Post(w.url, "application/x-www-form-urlencoded", strings.NewReader(form.Encode())))(t)
		if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("%v: %d, %v", form, resp.StatusCode, err)
		}
	}
}

func TestClaimsOfAnotherCaseDoNotStandForWhoATokenIsOf(t *testing.T) {
	w := newWire(t)
	p := newIDP(w)
	p.publish("k1")
	role := w.role(home, "web", trusts(trustIDP, webs, `{"StringEquals":{"token.example.com/org:aud":"other","token.example.com/org:sub":"admin"}}`), nil)
	for range 20 { // maps have no order
		_, err := p.assume(role, p.token(claims{"SUB": "admin", "Sub": "admin", "AZP": "other"}))
		wants(t, err, "AccessDenied", "")
	}
	ok(p.assume(role, p.token(claims{"SUB": "x", "sub": "admin", "aud": "other"})))(t)
}
