package iam

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"hive/fsm"
	"hive/iam/policy"
	"hive/iam/principal"
)

// GetSessionToken makes temporary credentials of a user, or of the root user. With a code of the user's MFA device they
// say that a second factor was shown. Errors: AccessDenied.
func (s *STS) GetSessionToken(ctx context.Context, c *principal.Caller, in *sts.GetSessionTokenInput) (*sts.GetSessionTokenOutput, error) {
	if err := sessionsMayNot(c, "GetSessionToken"); err != nil {
		return nil, err
	}
	seconds, err := userLife(c, in.DurationSeconds)
	if err != nil {
		return nil, err
	}
	if err := checkLeast(in.MinimumSessionTokenSize); err != nil {
		return nil, err
	}
	shown, err := s.secondFactor(ctx, c, in.SerialNumber, in.TokenCode)
	if err != nil {
		return nil, err
	}
	out, err := s.issue(c.Account, &principal.Session{Kind: principal.UserSession, Issuer: userOrRoot(c), IssuerARN: c.ARN, MFA: shown},
		seconds, in.MinimumSessionTokenSize)
	if err != nil {
		return nil, err
	}
	s.cfg.Log.InfoContext(ctx, "session", "kind", "user", "by", c.ARN, "key", *out.credentials.AccessKeyId, "seconds", seconds)
	return &sts.GetSessionTokenOutput{Credentials: out.credentials, SessionTokenSize: out.size, SessionTokenUtilization: out.utilization}, nil
}

// userOrRoot is the id of the user that a caller with long-term credentials is, "" of the root user.
func userOrRoot(c *principal.Caller) string {
	if c.Root {
		return ""
	}
	return c.UserID
}

// secondFactor proves a code of a device of the caller's, and says when; the zero time where none was given.
func (s *STS) secondFactor(ctx context.Context, c *principal.Caller, serial, code *string) (time.Time, error) {
	if serial == nil && code == nil {
		return time.Time{}, nil
	}
	if serial == nil || code == nil {
		return time.Time{}, accessDenied("MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code.")
	}
	if c.Session != nil {
		return time.Time{}, errCode()
	}
	err := s.cfg.MFA(ctx, fsm.AccountID(c.Account), fsm.EntityID(userOrRoot(c)), *serial, *code)
	if errors.Is(err, ErrMFA) {
		return time.Time{}, accessDenied("MultiFactorAuthentication failed with invalid MFA one time pass code. ")
	}
	if err != nil {
		return time.Time{}, err
	}
	return s.cfg.Clock().UTC().Truncate(time.Second), nil
}

func errCode() error {
	return accessDenied("MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user.")
}

// GetFederationToken makes temporary credentials of a name that the caller vouches for: they may what both the caller and
// the session's policies allow. Errors: AccessDenied, MalformedPolicyDocument, PackedPolicyTooLarge.
func (s *STS) GetFederationToken(ctx context.Context, c *principal.Caller, in *sts.GetFederationTokenInput) (*sts.GetFederationTokenOutput, error) {
	if err := sessionsMayNot(c, "GetFederationToken"); err != nil {
		return nil, err
	}
	name, err := sessionName(in.Name, "name", maxFederatedName)
	if err != nil {
		return nil, err
	}
	seconds, err := userLife(c, in.DurationSeconds)
	if err != nil {
		return nil, err
	}
	if err := checkLeast(in.MinimumSessionTokenSize); err != nil {
		return nil, err
	}
	sess := &principal.Session{Kind: principal.FederatedSession, Name: name, Issuer: userOrRoot(c), IssuerARN: c.ARN}
	if err := s.narrow(ctx, sess, c.Account, in.Policy, in.PolicyArns); err != nil {
		return nil, err
	}
	sess.Restricted = true // by nothing at all when no policy is given
	if sess.Tags, err = sessionTags(in.Tags); err != nil {
		return nil, err
	}
	if err := s.mayTag(c, sess); err != nil {
		return nil, err
	}
	out, err := s.issue(c.Account, sess, seconds, in.MinimumSessionTokenSize)
	if err != nil {
		return nil, err
	}
	arn := federatedARN(c.Account, name)
	s.cfg.Log.InfoContext(ctx, "session", "kind", "federated", "as", arn, "by", c.ARN, "key", *out.credentials.AccessKeyId, "seconds", seconds)
	return &sts.GetFederationTokenOutput{
		//lint:ignore SA1019 clients made before SessionTokenUtilization read it
		PackedPolicySize: out.packed,
		Credentials:      out.credentials, FederatedUser: &types.FederatedUser{Arn: &arn, FederatedUserId: aws.String(c.Account + ":" + name)},
		SessionTokenSize: out.size, SessionTokenUtilization: out.utilization,
	}, nil
}

// maxFederatedName is the longest name of a federated user.
const maxFederatedName = 32

// mayTag asks the caller's policies whether it may give a federated user its session tags.
func (s *STS) mayTag(c *principal.Caller, sess *principal.Session) error {
	if len(sess.Tags) == 0 || c.Root {
		return nil
	}
	a := s.cfg.Authorizer
	have, err := a.standing(c)
	if err != nil {
		return err
	}
	resource := federatedARN(c.Account, sess.Name)
	decision := policy.Decide(&have.policies, &policy.Request{
		Action: actionTagSession, Resource: resource, Caller: c, Now: s.cfg.Clock(), Context: have.context(tagKeys(sess.Tags, nil)),
	})
	if decision.Effect != policy.Allow {
		return unauthorized(c, actionTagSession, resource)
	}
	return nil
}
