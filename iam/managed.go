package iam

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/policy"
	"hive/iam/principal"
)

// listedPolicy is a managed policy as lists show it, of AWS's or of the account's own.
type listedPolicy struct {
	arn, name, path, id, version string
	created, updated             int64 // Unix seconds
}

func (m managed) listed() listedPolicy {
	return listedPolicy{m.arn(), m.Name, m.Path, m.ID, m.Version, m.Created, m.Updated}
}

func ownListed(p fsm.ManagedPolicy) listedPolicy {
	return listedPolicy{p.ARN(), p.Name, p.Path, string(p.ID), versionID(p.Default), p.Created, p.Updated}
}

func (p listedPolicy) out(use fsm.PolicyUse) types.Policy {
	return types.Policy{
		Arn: aws.String(p.arn), PolicyName: aws.String(p.name), PolicyId: aws.String(p.id), Path: aws.String(p.path),
		DefaultVersionId: aws.String(p.version), IsAttachable: true, CreateDate: date(p.created), UpdateDate: date(p.updated),
		AttachmentCount: aws.Int32(int32(use.Attached)), PermissionsBoundaryUsageCount: aws.Int32(int32(use.Boundaries)),
	}
}

// versionID is what requests and answers call the version of a number.
func versionID(number int) string { return "v" + strconv.Itoa(number) }

// ownPolicyIn is the policy that a request names, if the account manages it itself. Those of AWS are nobody's to change.
func ownPolicyIn(v *fsm.View, c *principal.Caller, op string, policyARN *string) (fsm.ManagedPolicy, error) {
	arn, err := validARN(policyARN)
	if err != nil {
		return fsm.ManagedPolicy{}, err
	}
	if _, ok := managedPolicy(arn); ok {
		return fsm.ManagedPolicy{}, protocol.Errorf(http.StatusForbidden, codeDenied,
			"User: %s is not authorized to perform: iam:%s on resource: policy %s", c.ARN, op, arn)
	}
	p, ok := fsm.ManagedPolicyByARN(v, fsm.AccountID(c.Account), arn)
	if !ok {
		return p, fsm.Errorf(fsm.ErrNotFound, "policy/"+arn)
	}
	return p, nil
}

// CreatePolicy makes a managed policy. Errors: EntityAlreadyExists, LimitExceeded, MalformedPolicyDocument, ValidationError,
// InvalidInput.
func (s *Service) CreatePolicy(ctx context.Context, c *principal.Caller, in *awsiam.CreatePolicyInput) (*awsiam.CreatePolicyOutput, error) {
	p, doc, err := newPolicy(in)
	if err != nil {
		return nil, err
	}
	id, err := s.newID(fsm.PolicyEntity.Prefix(), entityIDLength)
	if err != nil {
		return nil, err
	}
	now := s.cfg.Clock().Unix()
	p.Account, p.ID, p.Created, p.Updated, p.Default = fsm.AccountID(c.Account), fsm.EntityID(id), now, now, 1
	if err := s.propose(ctx, c, &fsm.CreateManagedPolicy{Policy: p, Document: doc}, p.Name); err != nil {
		return nil, err
	}
	out := ownListed(p).out(fsm.PolicyUse{})
	if len(p.Tags) > 0 {
		out.Tags = tagsOut(p.Tags)
	}
	return &awsiam.CreatePolicyOutput{Policy: &out}, nil
}

// newPolicy is the policy that a request describes, and its document.
func newPolicy(in *awsiam.CreatePolicyInput) (p fsm.ManagedPolicy, doc string, err error) {
	if p.Name, err = requiredName(in.PolicyName, "policyName", maxPolicyName); err != nil {
		return p, "", err
	}
	if p.Path, err = validPath(in.Path, "path"); err != nil {
		return p, "", err
	}
	if p.Description, err = validDescription(in.Description); err != nil {
		return p, "", err
	}
	if p.Tags, err = inCase.valid(in.Tags); err != nil {
		return p, "", err
	}
	if doc, err = required(in.PolicyDocument, "policyDocument", maxDocument); err != nil {
		return p, "", err
	}
	return p, doc, checkPolicy(doc, policy.Managed)
}

// GetPolicy is a managed policy, without its document.
func (s *Service) GetPolicy(ctx context.Context, c *principal.Caller, in *awsiam.GetPolicyInput) (*awsiam.GetPolicyOutput, error) {
	arn, err := validARN(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	var out types.Policy
	err = s.read(ctx, func(v *fsm.View) error {
		use := fsm.PolicyUseOf(v, fsm.AccountID(c.Account), arn)
		if m, ok := managedPolicy(arn); ok {
			out = m.listed().out(use)
			out.Description, out.Tags = optional(m.Description), []types.Tag{}
			return nil
		}
		p, ok := fsm.ManagedPolicyByARN(v, fsm.AccountID(c.Account), arn)
		if !ok {
			return fsm.Errorf(fsm.ErrNotFound, "policy/"+arn)
		}
		out = ownListed(p).out(use)
		out.Description, out.Tags = optional(p.Description), tagsOut(p.Tags)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.GetPolicyOutput{Policy: &out}, nil
}

// ListPolicies lists managed policies: the account's own in order of name, and then AWS's. As in AWS the answers have no
// descriptions and no tags.
func (s *Service) ListPolicies(ctx context.Context, c *principal.Caller, in *awsiam.ListPoliciesInput) (*awsiam.ListPoliciesOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	prefix, err := validPrefix(in.PathPrefix)
	if err != nil {
		return nil, err
	}
	if in.Scope != "" && !slices.Contains(in.Scope.Values(), in.Scope) {
		return nil, constraint(quoted(string(in.Scope)), "scope", "Member must satisfy enum value set: [All, AWS, Local]")
	}
	if in.PolicyUsageFilter != "" && !slices.Contains(in.PolicyUsageFilter.Values(), in.PolicyUsageFilter) {
		return nil, constraint(quoted(string(in.PolicyUsageFilter)), "policyUsageFilter",
			"Member must satisfy enum value set: [PermissionsPolicy, PermissionsBoundary]")
	}
	out := &awsiam.ListPoliciesOutput{}
	err = s.read(ctx, func(v *fsm.View) error {
		account := fsm.AccountID(c.Account)
		out.Policies, out.Marker = listed(p, func(start string, yield func(listedPolicy) bool) {
			policiesFrom(v, account, in.Scope, start, yield)
		}, listedPolicy.key, func(l listedPolicy) (types.Policy, bool) {
			use := fsm.PolicyUseOf(v, account, l.arn)
			wanted := strings.HasPrefix(l.path, prefix) && (!in.OnlyAttached || use.Attached > 0)
			switch in.PolicyUsageFilter {
			case types.PolicyUsageTypePermissionsPolicy:
				wanted = wanted && use.Attached > 0
			case types.PolicyUsageTypePermissionsBoundary:
				wanted = wanted && use.Boundaries > 0
			}
			return l.out(use), wanted
		})
		out.IsTruncated = out.Marker != nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Keys of the listing of managed policies begin with whose they are.
const (
	ownKey = "0/"
	awsKey = "1/"
)

func (p listedPolicy) key() string {
	if strings.HasPrefix(p.arn, managedPrefix) {
		return awsKey + p.name
	}
	return ownKey + strings.ToLower(p.name)
}

// policiesFrom yields the managed policies of a scope in order of key, from the first that is not before start.
func policiesFrom(v *fsm.View, account fsm.AccountID, scope types.PolicyScopeType, start string, yield func(listedPolicy) bool) {
	if own, ok := strings.CutPrefix(start, ownKey); (ok || start == "") && scope != types.PolicyScopeTypeAws {
		more := true
		fsm.ManagedPoliciesFrom(v, account, own, func(p fsm.ManagedPolicy) bool {
			more = yield(ownListed(p))
			return more
		})
		if !more {
			return
		}
	}
	if scope == types.PolicyScopeTypeLocal {
		return
	}
	for _, m := range managedPolicies() {
		if l := m.listed(); l.key() >= start && !yield(l) {
			return
		}
	}
}

// DeletePolicy removes a managed policy with its last version. Errors: NoSuchEntity; DeleteConflict while it is attached, a
// boundary, or has several versions.
func (s *Service) DeletePolicy(ctx context.Context, c *principal.Caller, in *awsiam.DeletePolicyInput) (*awsiam.DeletePolicyOutput, error) {
	return done[awsiam.DeletePolicyOutput](s.decide(ctx, c, text(in.PolicyArn), func(v *fsm.View) (fsm.Command, error) {
		p, err := ownPolicyIn(v, c, "DeletePolicy", in.PolicyArn)
		return &fsm.DeleteManagedPolicy{Account: p.Account, ID: p.ID}, err
	}))
}
