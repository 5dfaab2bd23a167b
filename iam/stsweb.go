package iam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// Bounds of identity tokens.
const (
	minIdentity = 4
	maxIdentity = 20_000
	clockSlack  = 5 * time.Minute // by which a provider's clock may be ahead of ours
	maxClaim    = 1024            // characters of a claim that becomes a condition key
)

// AssumeRoleWithWebIdentity makes temporary credentials of a role for the holder of an OIDC provider's token. The request
// needs no signature. The token is proved with the keys that an operator has recorded for the provider: nothing is
// fetched. Errors: InvalidIdentityToken, ExpiredTokenException, IDPRejectedClaim, AccessDenied, and those of AssumeRole.
func (s *STS) AssumeRoleWithWebIdentity(ctx context.Context, c *principal.Caller, in *sts.AssumeRoleWithWebIdentityInput) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	ask, err := newAssumption(&sts.AssumeRoleInput{
		RoleArn: in.RoleArn, RoleSessionName: in.RoleSessionName, DurationSeconds: in.DurationSeconds, MinimumSessionTokenSize: in.MinimumSessionTokenSize,
	})
	if err != nil {
		return nil, err
	}
	if in.ProviderId != nil {
		return nil, invalid("ProviderId is for OAuth 2.0 access tokens, of which no provider is known; leave it out for an OpenID Connect token.")
	}
	text, err := required(in.WebIdentityToken, "webIdentityToken", maxIdentity)
	if err != nil {
		return nil, err
	}
	if len(text) < minIdentity {
		return nil, constraint("'***'", "webIdentityToken", "Member must have length greater than or equal to 4")
	}
	id, err := s.identity(ctx, fsm.AccountID(accountOf(ask.arn)), text)
	if err != nil {
		return nil, err
	}
	if c.Anonymous { // what is kept of the call from here on: as AWS's trail names who shows a token
		c.Account, c.UserName, c.UserID = string(id.provider.Account), id.subject, id.provider.ARN()+":"+id.client+":"+id.subject
	}
	stranger := &principal.Caller{Anonymous: true, SourceIP: c.SourceIP, Secure: c.Secure, UserAgent: c.UserAgent, RequestID: c.RequestID, Region: c.Region}
	if err := id.into(ask, stranger); err != nil {
		return nil, err
	}
	role, err := s.assume(ctx, stranger, ask)
	if err != nil {
		return nil, err
	}
	if err := s.narrow(ctx, &ask.session, string(role.Account), in.Policy, in.PolicyArns); err != nil {
		return nil, err
	}
	out, user, err := s.become(ctx, role, ask, in.MinimumSessionTokenSize)
	if err != nil {
		return nil, err
	}
	return &sts.AssumeRoleWithWebIdentityOutput{
		//lint:ignore SA1019 clients made before SessionTokenUtilization read it
		PackedPolicySize: out.packed,
		Credentials:      out.credentials, AssumedRoleUser: user, SourceIdentity: sourceOut(&ask.session),
		SessionTokenSize: out.size, SessionTokenUtilization: out.utilization,
		Audience: &id.client, Provider: &id.issuer, SubjectFromWebIdentityToken: &id.subject,
	}, nil
}

// webIdentity is what a proved token says.
type webIdentity struct {
	provider fsm.OIDCProvider
	issuer   string
	subject  string
	client   string // that the token was made for
	claims   map[string]json.RawMessage
}

func invalidIdentity(format string, args ...any) error {
	return protocol.Errorf(http.StatusBadRequest, "InvalidIdentityToken", format, args...)
}

// identityAlgorithms are those that AWS takes from providers.
func identityAlgorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512}
}

// identity proves a token by a provider of an account.
func (s *STS) identity(ctx context.Context, account fsm.AccountID, text string) (*webIdentity, error) {
	token, err := jwt.ParseSigned(text, identityAlgorithms())
	if err != nil || len(token.Headers) != 1 {
		return nil, invalidIdentity("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
	}
	var said struct {
		jwt.Claims
		Party string `json:"azp"`
	}
	if err := token.UnsafeClaimsWithoutVerification(&said); err != nil {
		return nil, invalidIdentity("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
	}
	for _, claim := range []struct {
		name string
		none bool
	}{
		{"iss", said.Issuer == ""}, {"sub", said.Subject == ""}, {"aud", len(said.Audience) == 0 && said.Party == ""}, {"exp", said.Expiry == nil}, {"iat", said.IssuedAt == nil},
	} {
		if claim.none {
			return nil, invalidIdentity("Missing a required claim: %s", claim.name)
		}
	}
	id := &webIdentity{issuer: said.Issuer, subject: said.Subject}
	if id.provider, err = s.provider(ctx, account, said.Issuer); err != nil {
		return nil, err
	}
	if err := id.prove(token); err != nil {
		return nil, err
	}
	if err := s.checkTimes(&said.Claims); err != nil {
		return nil, err
	}
	clients := []string(said.Audience)
	if said.Party != "" {
		clients = []string{said.Party}
	}
	at := slices.IndexFunc(clients, func(client string) bool { return slices.Contains(id.provider.Clients, client) })
	if at < 0 {
		return nil, invalidIdentity("Incorrect token audience")
	}
	id.client = clients[at]
	return id, nil
}

// provider is an account's OIDC provider of an issuer.
func (s *STS) provider(ctx context.Context, account fsm.AccountID, issuer string) (p fsm.OIDCProvider, err error) {
	var ok bool
	err = s.read(ctx, func(v *fsm.View) error {
		p, ok = fsm.OIDCProviderByARN(v, account, fsm.OIDCProvider{Account: account, URL: strings.TrimPrefix(issuer, "https://")}.ARN())
		return nil
	})
	if err == nil && (!ok || !strings.HasPrefix(issuer, "https://")) {
		err = invalidIdentity("No OpenIDConnect provider found in your account for %s", issuer)
	}
	return p, err
}

// prove verifies a token with the provider's keys and keeps its claims.
func (id *webIdentity) prove(token *jwt.JSONWebToken) error {
	var set jose.JSONWebKeySet
	if id.provider.Keys != "" {
		if err := json.Unmarshal([]byte(id.provider.Keys), &set); err != nil {
			return fmt.Errorf("keys of %s: %w", id.provider.ARN(), err)
		}
	}
	header, tried := token.Headers[0], false
	for _, key := range set.Keys {
		if header.KeyID != "" && key.KeyID != header.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		tried = true
		if token.Claims(key.Key, &id.claims) == nil {
			return nil
		}
	}
	if !tried {
		return invalidIdentity("Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements")
	}
	return invalidIdentity("The signature of the ID Token cannot be verified with the keys of the identity provider.")
}

// checkTimes holds a token's times against the clock.
func (s *STS) checkTimes(claims *jwt.Claims) error {
	now := s.cfg.Clock()
	if end := claims.Expiry.Time(); !now.Before(end) {
		return protocol.Errorf(http.StatusBadRequest, "ExpiredTokenException",
			"Token expired: current date/time %d must be before the expiration date/time %d", now.Unix(), end.Unix())
	}
	if claims.IssuedAt.Time().After(now.Add(clockSlack)) || claims.NotBefore != nil && claims.NotBefore.Time().After(now.Add(clockSlack)) {
		return protocol.Errorf(http.StatusForbidden, "IDPRejectedClaim", "The ID Token is not valid yet.")
	}
	return nil
}

// Claims that say something about the session. Source: "Pass session tags in AWS STS" in the IAM user guide.
const (
	claimTags   = "https://aws.amazon.com/tags"
	claimSource = "https://aws.amazon.com/source_identity"
)

// provedClaims are those that say who a token is for and of.
var provedClaims = []string{"amr", "aud", "azp", "iss", "oaud", "sub"}

// into makes what a token says a part of the request.
func (id *webIdentity) into(ask *assumption, c *principal.Caller) error {
	ask.action, ask.provider = actionAssumeWithToken, id.provider.ARN()
	ask.session.Provider = ask.provider
	if err := id.tags(ask, c); err != nil {
		return err
	}
	ask.keys = map[string][]string{"aws:federatedprovider": {ask.provider}}
	prefix := strings.ToLower(id.provider.URL) + ":"
	if !strings.Contains(prefix, ".") {
		return nil // no condition can name such a provider's keys, which could be taken for others
	}
	for _, name := range slices.Sorted(maps.Keys(id.claims)) { // lower case comes last, and counts
		key := strings.ToLower(name)
		if key != name && slices.Contains(provedClaims, key) {
			continue // claims have cases, condition keys have none: "SUB" is not the subject
		}
		if values := claimValues(id.claims[name]); len(values) > 0 {
			ask.keys[prefix+key] = values
		}
	}
	if own := ask.keys[prefix+"azp"]; len(own) > 0 { // who it was made for in place of who may read it
		ask.keys[prefix+"oaud"] = ask.keys[prefix+"aud"]
		ask.keys[prefix+"aud"] = own
	}
	for _, name := range []string{"aud", "oaud", "sub", "amr"} {
		for _, value := range ask.keys[prefix+name] {
			ask.session.Claims = append(ask.session.Claims, principal.Tag{Key: prefix + name, Value: value})
		}
	}
	return nil
}

// tags are the session tags and the source identity that the provider gives.
func (id *webIdentity) tags(ask *assumption, c *principal.Caller) error {
	if raw, ok := id.claims[claimSource]; ok {
		if json.Unmarshal(raw, &ask.source) != nil {
			return invalidIdentity("The claim %s is malformed.", claimSource)
		}
		if _, err := sessionName(&ask.source, "sourceIdentity", maxSessionName); err != nil {
			return err
		}
		ask.session.SourceIdentity = ask.source
	}
	raw, ok := id.claims[claimTags]
	if !ok {
		return nil
	}
	var given struct {
		Tags       map[string][]string `json:"principal_tags"`
		Transitive []string            `json:"transitive_tag_keys"`
	}
	if err := json.Unmarshal(raw, &given); err != nil {
		return invalidIdentity("The claim %s is malformed.", claimTags)
	}
	for key, values := range given.Tags {
		if len(values) != 1 {
			return invalidIdentity("The claim %s is malformed: a tag has one value.", claimTags)
		}
		ask.session.Tags = append(ask.session.Tags, principal.Tag{Key: key, Value: values[0]})
	}
	slices.SortFunc(ask.session.Tags, func(a, b principal.Tag) int { return strings.Compare(a.Key, b.Key) })
	if err := checkSessionTags(ask.session.Tags); err != nil {
		return err
	}
	return inherit(&ask.session, c, given.Transitive)
}

// claimValues are a claim's values as conditions compare them; none of what has a structure.
func claimValues(raw json.RawMessage) []string {
	var many []json.RawMessage
	if json.Unmarshal(raw, &many) != nil {
		many = []json.RawMessage{raw}
	}
	var out []string
	for _, one := range many {
		value, err := claimValue(one)
		if err != nil || len(value) > maxClaim {
			return nil
		}
		out = append(out, value)
	}
	return out
}

var errStructure = errors.New("a claim with a structure")

func claimValue(raw json.RawMessage) (string, error) {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case float64:
		return strings.TrimSpace(string(raw)), nil
	}
	return "", errStructure
}
