package iam

import (
	"context"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"hive/fsm"
	"hive/iam/policy"
	"hive/iam/principal"
)

// maxExternalID is the longest external id.
const maxExternalID = 1224

// AssumeRole makes temporary credentials of a role, of the caller's account or another one. The caller's policies must allow
// it and the role's trust policy must, or within one account the trust policy alone when it names the caller.
// Errors: AccessDenied, ValidationError, MalformedPolicyDocument, PackedPolicyTooLarge, InvalidParameterValue.
func (s *STS) AssumeRole(ctx context.Context, c *principal.Caller, in *sts.AssumeRoleInput) (*sts.AssumeRoleOutput, error) {
	ask, err := newAssumption(in)
	if err != nil {
		return nil, err
	}
	if c.Root {
		return nil, accessDenied("Roles may not be assumed by root accounts.")
	}
	if c.Session != nil && c.Session.Kind == principal.FederatedSession {
		return nil, accessDenied("Cannot call AssumeRole with session credentials")
	}
	if err := ask.inherit(c, in); err != nil {
		return nil, err
	}
	if ask.shown, err = s.secondFactor(ctx, c, in.SerialNumber, in.TokenCode); err != nil {
		return nil, err
	}
	role, err := s.assume(ctx, c, ask)
	if err != nil {
		return nil, err
	}
	if c.Session != nil && c.Session.Kind == principal.RoleSession && ask.seconds > maxChainLife {
		return nil, invalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	if err := s.narrow(ctx, &ask.session, string(role.Account), in.Policy, in.PolicyArns); err != nil {
		return nil, err
	}
	out, user, err := s.become(ctx, role, ask, in.MinimumSessionTokenSize)
	if err != nil {
		return nil, err
	}
	return &sts.AssumeRoleOutput{
		//lint:ignore SA1019 clients made before SessionTokenUtilization read it
		PackedPolicySize: out.packed,
		Credentials:      out.credentials, AssumedRoleUser: user, SourceIdentity: sourceOut(&ask.session),
		SessionTokenSize: out.size, SessionTokenUtilization: out.utilization,
	}, nil
}

// newAssumption reads what does not depend on the caller.
func newAssumption(in *sts.AssumeRoleInput) (*assumption, error) {
	ask := &assumption{action: actionAssumeRole, externalID: in.ExternalId}
	var err error
	if ask.arn, err = roleARN(in.RoleArn); err != nil {
		return nil, err
	}
	if ask.session.Name, err = sessionName(in.RoleSessionName, "roleSessionName", maxSessionName); err != nil {
		return nil, err
	}
	if ask.seconds, err = life(in.DurationSeconds, defaultRoleLife, maxRoleLife); err != nil {
		return nil, err
	}
	ask.asked = in.DurationSeconds != nil
	if err := checkLeast(in.MinimumSessionTokenSize); err != nil {
		return nil, err
	}
	if id := in.ExternalId; id != nil {
		bad := func(r rune) bool { return !nameRune(r) && !strings.ContainsRune(`:\/`, r) }
		if n := utf8.RuneCountInString(*id); n < 2 || n > maxExternalID || strings.ContainsFunc(*id, bad) {
			return nil, constraint(quoted(*id), "externalId", `Member must satisfy regular expression pattern: [\w+=,.@:\/-]*`)
		}
	}
	if in.SourceIdentity != nil {
		if ask.source, err = sessionName(in.SourceIdentity, "sourceIdentity", maxSessionName); err != nil {
			return nil, err
		}
	}
	if ask.session.Tags, err = sessionTags(in.Tags); err != nil {
		return nil, err
	}
	return ask, nil
}

// assumption is what a request for a role's session asks for.
type assumption struct {
	action     string
	arn        string // of the role
	externalID *string
	source     string // source identity that is asked for, "" none
	seconds    int32
	asked      bool // seconds were given
	session    principal.Session
	shown      time.Time           // when the caller showed a second factor with this request; zero: it did not
	keys       map[string][]string // condition keys of an identity token
	provider   string              // ARN of the identity provider whose token is shown; "" where a caller signs
	service    string              // "ec2.amazonaws.com" when the cluster itself asks
}

// inherit takes over what roles that are assumed one after the other pass on.
func (ask *assumption) inherit(c *principal.Caller, in *sts.AssumeRoleInput) error {
	if err := inherit(&ask.session, c, in.TransitiveTagKeys); err != nil {
		return err
	}
	if c.Session != nil && c.Session.SourceIdentity != "" {
		if ask.source != "" && ask.source != c.Session.SourceIdentity {
			return unauthorized(c, actionSetSource, ask.arn)
		}
		ask.source = c.Session.SourceIdentity
	}
	ask.session.SourceIdentity = ask.source
	return nil
}

// roleARN is the value of a RoleArn: arn:aws:iam::ACCOUNT:role/PATH/NAME.
func roleARN(value *string) (string, error) {
	arn, err := required(value, "roleArn", maxARN)
	if err != nil {
		return "", err
	}
	if len(arn) < minARN {
		return "", constraint(quoted(arn), "roleArn", "Member must have length greater than or equal to 20")
	}
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 || parts[0] != "arn" {
		return "", invalid("%s is invalid", arn)
	}
	if parts[1] != "aws" || parts[2] != "iam" || parts[3] != "" || !fsm.AccountID(parts[4]).Valid() || !strings.HasPrefix(parts[5], "role/") ||
		strings.HasSuffix(arn, "/") {
		return "", invalid("Request ARN is invalid")
	}
	return arn, nil
}

// assume decides whether a session of a role may be had, on a state that has every acknowledged write, and answers with the
// role. Errors: AccessDenied, which does not tell whether there is such a role; ValidationError for its longest session.
func (s *STS) assume(ctx context.Context, c *principal.Caller, ask *assumption) (role fsm.Role, err error) {
	var have standing
	err = s.read(ctx, func(v *fsm.View) error {
		var ok bool
		account := fsm.AccountID(accountOf(ask.arn))
		if role, ok = fsm.RoleByARN(v, account, ask.arn); !ok || suspended(v, account) {
			return ask.denied(c, ask.action)
		}
		role.Trust = role.TrustNow(v)
		if !c.Anonymous {
			have, err = s.cfg.Authorizer.standingIn(v, c)
		}
		return err
	})
	if err != nil {
		return role, err
	}
	if err := s.trusted(c, ask, &role, &have); err != nil {
		return role, err
	}
	if ask.asked && ask.seconds > role.MaxSession {
		return role, invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	ask.seconds = min(ask.seconds, role.MaxSession)
	ask.session.Kind, ask.session.Issuer, ask.session.IssuerARN = principal.RoleSession, string(role.ID), role.ARN()
	return role, nil
}

// trusted asks the role's trust policy, and the caller's own policies, for everything that the session needs.
func (s *STS) trusted(c *principal.Caller, ask *assumption, role *fsm.Role, have *standing) error {
	trust, err := s.cfg.Authorizer.docs.parse(role.Trust, policy.Trust)
	if err != nil {
		return err
	}
	have.policies.Resource, have.policies.ResourceAccount = []*policy.Document{trust}, string(role.Account)
	request := policy.Request{
		Resource: ask.arn, Caller: withFactor(c, ask.shown), Now: s.cfg.Clock(), Context: have.context(ask.conditions(role)),
		Service: ask.service, Provider: ask.provider,
	}
	for _, action := range ask.actions() {
		request.Action = action
		if policy.Decide(&have.policies, &request).Effect != policy.Allow {
			return ask.denied(c, action)
		}
	}
	return nil
}

// withFactor is a caller as it is when it shows a second factor with its request.
func withFactor(c *principal.Caller, shown time.Time) *principal.Caller {
	if shown.IsZero() {
		return c
	}
	proved := *c
	proved.Session = &principal.Session{Kind: principal.UserSession, Issuer: c.UserID, IssuerARN: c.ARN, Issued: shown, MFA: shown}
	return &proved
}

// actions are what must be allowed.
func (ask *assumption) actions() []string {
	actions := []string{ask.action}
	if len(ask.session.Tags) > 0 {
		actions = append(actions, actionTagSession)
	}
	if ask.source != "" {
		actions = append(actions, actionSetSource)
	}
	return actions
}

// conditions are the condition keys of the request.
func (ask *assumption) conditions(role *fsm.Role) map[string][]string {
	keys := tagKeys(ask.session.Tags, ask.session.Transitive)
	for key, values := range ask.keys {
		keys[key] = values
	}
	for _, t := range role.Tags {
		keys["aws:resourcetag/"+strings.ToLower(t.Key)] = []string{t.Value}
		keys["iam:resourcetag/"+strings.ToLower(t.Key)] = []string{t.Value}
	}
	if ask.session.Name != "" {
		keys["sts:rolesessionname"] = []string{ask.session.Name}
	}
	if ask.externalID != nil {
		keys["sts:externalid"] = []string{*ask.externalID}
	}
	if ask.source != "" {
		keys["sts:sourceidentity"] = []string{ask.source}
	}
	if ask.asked {
		keys["sts:durationseconds"] = []string{strconv.Itoa(int(ask.seconds))}
	}
	return keys
}

// denied words a denial.
func (ask *assumption) denied(c *principal.Caller, action string) error {
	if ask.provider != "" {
		return accessDenied("Not authorized to perform %s", action)
	}
	return unauthorized(c, action, ask.arn)
}

// become issues the credentials of a role's session.
func (s *STS) become(ctx context.Context, role fsm.Role, ask *assumption, least *int32) (*issued, *types.AssumedRoleUser, error) {
	out, err := s.issue(string(role.Account), &ask.session, ask.seconds, least)
	if err != nil {
		return nil, nil, err
	}
	user := &types.AssumedRoleUser{
		Arn:           aws.String(roleSessionARN(string(role.Account), role.Name, ask.session.Name)),
		AssumedRoleId: aws.String(string(role.ID) + ":" + ask.session.Name),
	}
	s.cfg.Log.InfoContext(ctx, "session", "kind", "role", "as", *user.Arn, "key", *out.credentials.AccessKeyId, "seconds", ask.seconds)
	return out, user, nil
}

func sourceOut(sess *principal.Session) *string {
	if sess.SourceIdentity == "" {
		return nil
	}
	return aws.String(sess.SourceIdentity)
}
