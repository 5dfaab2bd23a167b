package iam

import (
	"context"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// usable refuses a managed policy that no entity of the caller's account can use: one that there is not (kind says which
// refusal that is) and one of a service's own.
func usable(v *fsm.View, c *principal.Caller, arn, kind string) error {
	if strings.HasPrefix(policyPath(arn), "/aws-service-role/") && strings.HasPrefix(arn, managedPrefix) {
		return protocol.Errorf(http.StatusBadRequest, "PolicyNotAttachable", "Cannot attach a Service Role Policy to a Customer Role.")
	}
	if _, ok := managedPolicy(arn); ok {
		return nil
	}
	if _, ok := fsm.ManagedPolicyByARN(v, fsm.AccountID(c.Account), arn); !ok {
		return fsm.Errorf(fsm.ErrNotFound, kind+"/"+arn)
	}
	return nil
}

// attach attaches a managed policy to an entity; again, it changes nothing. Errors: NoSuchEntity, PolicyNotAttachable,
// LimitExceeded, UnmodifiableEntity.
func (s *Service) attach(ctx context.Context, c *principal.Caller, to named, policyARN *string) error {
	arn, err := validARN(policyARN)
	if err != nil {
		return err
	}
	return s.decide(ctx, c, text(to.name), func(v *fsm.View) (fsm.Command, error) {
		owner, err := to.changeable(v, c)
		if err == nil {
			err = usable(v, c, arn, "attachable")
		}
		return &fsm.AttachPolicy{Account: owner.Account, Owner: owner.ID, ARN: arn}, err
	})
}

// detach takes a managed policy from an entity. Errors: NoSuchEntity, UnmodifiableEntity.
func (s *Service) detach(ctx context.Context, c *principal.Caller, from named, policyARN *string) error {
	arn, err := validARN(policyARN)
	if err != nil {
		return err
	}
	return s.decide(ctx, c, text(from.name), func(v *fsm.View) (fsm.Command, error) {
		owner, err := from.changeable(v, c)
		attached := fsm.AttachedPoliciesOf(v, owner.Account, owner.ID)
		if err == nil && !slices.ContainsFunc(attached, func(a fsm.PolicyAttachment) bool { return a.ARN == arn }) {
			err = fsm.Errorf(fsm.ErrNotFound, "attachment/"+arn)
		}
		return &fsm.DetachPolicy{Account: owner.Account, Owner: owner.ID, ARN: arn}, err
	})
}

// attached is a page of the managed policies attached to an entity, in order of ARN.
func (s *Service) attached(ctx context.Context, c *principal.Caller, to named, pathPrefix, after *string, items *int32) ([]types.AttachedPolicy, *string, error) {
	p, err := newPage(after, items)
	if err != nil {
		return nil, nil, err
	}
	prefix, err := validPrefix(pathPrefix)
	if err != nil {
		return nil, nil, err
	}
	var found []fsm.PolicyAttachment
	err = s.read(ctx, func(v *fsm.View) error {
		e, err := to.in(v, c)
		found = fsm.AttachedPoliciesOf(v, e.Account, e.ID)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	found = slices.DeleteFunc(found, func(a fsm.PolicyAttachment) bool { return !strings.HasPrefix(policyPath(a.ARN), prefix) })
	found, next := cut(p, found, func(a fsm.PolicyAttachment) string { return a.ARN })
	out := make([]types.AttachedPolicy, len(found))
	for i, a := range found {
		out[i] = types.AttachedPolicy{PolicyArn: aws.String(a.ARN), PolicyName: aws.String(path.Base(a.ARN))}
	}
	return out, next, nil
}

// policyPath is the path in a policy's ARN, arn:aws:iam::ACCOUNT:policy/PATH/NAME; "" where there is none.
func policyPath(arn string) string {
	_, rest, _ := strings.Cut(arn, ":policy")
	return rest[:strings.LastIndexByte(rest, '/')+1]
}

// AttachUserPolicy is attach to a user.
func (s *Service) AttachUserPolicy(ctx context.Context, c *principal.Caller, in *awsiam.AttachUserPolicyInput) (*awsiam.AttachUserPolicyOutput, error) {
	return done[awsiam.AttachUserPolicyOutput](s.attach(ctx, c, aUser(in.UserName), in.PolicyArn))
}

// AttachGroupPolicy is attach to a group.
func (s *Service) AttachGroupPolicy(ctx context.Context, c *principal.Caller, in *awsiam.AttachGroupPolicyInput) (*awsiam.AttachGroupPolicyOutput, error) {
	return done[awsiam.AttachGroupPolicyOutput](s.attach(ctx, c, aGroup(in.GroupName), in.PolicyArn))
}

// AttachRolePolicy is attach to a role.
func (s *Service) AttachRolePolicy(ctx context.Context, c *principal.Caller, in *awsiam.AttachRolePolicyInput) (*awsiam.AttachRolePolicyOutput, error) {
	return done[awsiam.AttachRolePolicyOutput](s.attach(ctx, c, aRole(in.RoleName), in.PolicyArn))
}

// DetachUserPolicy is detach from a user.
func (s *Service) DetachUserPolicy(ctx context.Context, c *principal.Caller, in *awsiam.DetachUserPolicyInput) (*awsiam.DetachUserPolicyOutput, error) {
	return done[awsiam.DetachUserPolicyOutput](s.detach(ctx, c, aUser(in.UserName), in.PolicyArn))
}

// DetachGroupPolicy is detach from a group.
func (s *Service) DetachGroupPolicy(ctx context.Context, c *principal.Caller, in *awsiam.DetachGroupPolicyInput) (*awsiam.DetachGroupPolicyOutput, error) {
	return done[awsiam.DetachGroupPolicyOutput](s.detach(ctx, c, aGroup(in.GroupName), in.PolicyArn))
}

// DetachRolePolicy is detach from a role.
func (s *Service) DetachRolePolicy(ctx context.Context, c *principal.Caller, in *awsiam.DetachRolePolicyInput) (*awsiam.DetachRolePolicyOutput, error) {
	return done[awsiam.DetachRolePolicyOutput](s.detach(ctx, c, aRole(in.RoleName), in.PolicyArn))
}

// ListAttachedUserPolicies is attached of a user.
func (s *Service) ListAttachedUserPolicies(ctx context.Context, c *principal.Caller, in *awsiam.ListAttachedUserPoliciesInput) (*awsiam.ListAttachedUserPoliciesOutput, error) {
	found, next, err := s.attached(ctx, c, aUser(in.UserName), in.PathPrefix, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &awsiam.ListAttachedUserPoliciesOutput{AttachedPolicies: found, IsTruncated: next != nil, Marker: next}, nil
}

// ListAttachedGroupPolicies is attached of a group.
func (s *Service) ListAttachedGroupPolicies(ctx context.Context, c *principal.Caller, in *awsiam.ListAttachedGroupPoliciesInput) (*awsiam.ListAttachedGroupPoliciesOutput, error) {
	found, next, err := s.attached(ctx, c, aGroup(in.GroupName), in.PathPrefix, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &awsiam.ListAttachedGroupPoliciesOutput{AttachedPolicies: found, IsTruncated: next != nil, Marker: next}, nil
}

// ListAttachedRolePolicies is attached of a role.
func (s *Service) ListAttachedRolePolicies(ctx context.Context, c *principal.Caller, in *awsiam.ListAttachedRolePoliciesInput) (*awsiam.ListAttachedRolePoliciesOutput, error) {
	found, next, err := s.attached(ctx, c, aRole(in.RoleName), in.PathPrefix, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &awsiam.ListAttachedRolePoliciesOutput{AttachedPolicies: found, IsTruncated: next != nil, Marker: next}, nil
}
