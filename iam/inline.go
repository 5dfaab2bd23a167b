package iam

import (
	"context"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"

	"hive/fsm"
	"hive/iam/policy"
	"hive/iam/principal"
)

// encodeDocument is a policy document as IAM's answers carry it: URL-encoded as RFC 3986 says.
func encodeDocument(doc string) *string {
	return aws.String(strings.ReplaceAll(url.QueryEscape(doc), "+", "%20"))
}

// putInline writes a policy into an entity, over one of the same name. Errors: MalformedPolicyDocument for what would not be
// enforced as it stands, LimitExceeded, NoSuchEntity, UnmodifiableEntity.
func (s *Service) putInline(ctx context.Context, c *principal.Caller, into named, policyName, document *string) error {
	name, err := requiredName(policyName, "policyName", maxPolicyName)
	if err != nil {
		return err
	}
	doc, err := required(document, "policyDocument", maxDocument)
	if err != nil {
		return err
	}
	if err := checkPolicy(doc, policy.Identity); err != nil {
		return err
	}
	return s.decide(ctx, c, text(into.name), func(v *fsm.View) (fsm.Command, error) {
		owner, err := into.changeable(v, c)
		return &fsm.PutInlinePolicy{Account: owner.Account, Owner: owner.ID, Policy: fsm.InlinePolicy{Name: name, Document: doc}}, err
	})
}

// inline is an entity's inline policy: the entity's name as it is written, the policy's, and the document, URL-encoded.
func (s *Service) inline(ctx context.Context, c *principal.Caller, of named, policyName *string) (owner, name, doc *string, err error) {
	wanted, err := requiredName(policyName, "policyName", maxPolicyName)
	if err != nil {
		return nil, nil, nil, err
	}
	err = s.read(ctx, func(v *fsm.View) error {
		e, err := of.in(v, c)
		if err != nil {
			return err
		}
		found, ok := fsm.InlinePolicyOf(v, e.Account, e.ID, wanted)
		if !ok {
			return fsm.Errorf(fsm.ErrNotFound, string(of.kind)+"-policy/"+wanted)
		}
		owner, name, doc = aws.String(e.Name), aws.String(found.Name), encodeDocument(found.Document)
		return nil
	})
	return owner, name, doc, err
}

// inlineNames is a page of the names of an entity's inline policies, in order.
func (s *Service) inlineNames(ctx context.Context, c *principal.Caller, of named, after *string, items *int32) (names []string, next *string, err error) {
	p, err := newPage(after, items)
	if err != nil {
		return nil, nil, err
	}
	names = []string{}
	err = s.read(ctx, func(v *fsm.View) error {
		e, err := of.in(v, c)
		if err != nil {
			return err
		}
		for _, found := range fsm.InlinePoliciesOf(v, e.Account, e.ID) {
			names = append(names, found.Name)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	names, next = cut(p, names, func(name string) string { return name })
	return names, next, nil
}

// deleteInline removes an inline policy from an entity. Errors: NoSuchEntity, UnmodifiableEntity.
func (s *Service) deleteInline(ctx context.Context, c *principal.Caller, from named, policyName *string) error {
	name, err := requiredName(policyName, "policyName", maxPolicyName)
	if err != nil {
		return err
	}
	return s.decide(ctx, c, text(from.name), func(v *fsm.View) (fsm.Command, error) {
		owner, err := from.changeable(v, c)
		if _, ok := fsm.InlinePolicyOf(v, owner.Account, owner.ID, name); err == nil && !ok {
			err = fsm.Errorf(fsm.ErrNotFound, string(from.kind)+"-policy/"+name)
		}
		return &fsm.DeleteInlinePolicy{Account: owner.Account, Owner: owner.ID, Name: name}, err
	})
}

// PutUserPolicy is putInline for a user.
func (s *Service) PutUserPolicy(ctx context.Context, c *principal.Caller, in *awsiam.PutUserPolicyInput) (*awsiam.PutUserPolicyOutput, error) {
	return done[awsiam.PutUserPolicyOutput](s.putInline(ctx, c, aUser(in.UserName), in.PolicyName, in.PolicyDocument))
}

// PutGroupPolicy is putInline for a group.
func (s *Service) PutGroupPolicy(ctx context.Context, c *principal.Caller, in *awsiam.PutGroupPolicyInput) (*awsiam.PutGroupPolicyOutput, error) {
	return done[awsiam.PutGroupPolicyOutput](s.putInline(ctx, c, aGroup(in.GroupName), in.PolicyName, in.PolicyDocument))
}

// PutRolePolicy is putInline for a role.
func (s *Service) PutRolePolicy(ctx context.Context, c *principal.Caller, in *awsiam.PutRolePolicyInput) (*awsiam.PutRolePolicyOutput, error) {
	return done[awsiam.PutRolePolicyOutput](s.putInline(ctx, c, aRole(in.RoleName), in.PolicyName, in.PolicyDocument))
}

// GetUserPolicy is inline of a user.
func (s *Service) GetUserPolicy(ctx context.Context, c *principal.Caller, in *awsiam.GetUserPolicyInput) (*awsiam.GetUserPolicyOutput, error) {
	owner, name, doc, err := s.inline(ctx, c, aUser(in.UserName), in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &awsiam.GetUserPolicyOutput{UserName: owner, PolicyName: name, PolicyDocument: doc}, nil
}

// GetGroupPolicy is inline of a group.
func (s *Service) GetGroupPolicy(ctx context.Context, c *principal.Caller, in *awsiam.GetGroupPolicyInput) (*awsiam.GetGroupPolicyOutput, error) {
	owner, name, doc, err := s.inline(ctx, c, aGroup(in.GroupName), in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &awsiam.GetGroupPolicyOutput{GroupName: owner, PolicyName: name, PolicyDocument: doc}, nil
}

// GetRolePolicy is inline of a role.
func (s *Service) GetRolePolicy(ctx context.Context, c *principal.Caller, in *awsiam.GetRolePolicyInput) (*awsiam.GetRolePolicyOutput, error) {
	owner, name, doc, err := s.inline(ctx, c, aRole(in.RoleName), in.PolicyName)
	if err != nil {
		return nil, err
	}
	return &awsiam.GetRolePolicyOutput{RoleName: owner, PolicyName: name, PolicyDocument: doc}, nil
}

// ListUserPolicies is inlineNames of a user.
func (s *Service) ListUserPolicies(ctx context.Context, c *principal.Caller, in *awsiam.ListUserPoliciesInput) (*awsiam.ListUserPoliciesOutput, error) {
	names, next, err := s.inlineNames(ctx, c, aUser(in.UserName), in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &awsiam.ListUserPoliciesOutput{PolicyNames: names, IsTruncated: next != nil, Marker: next}, nil
}

// ListGroupPolicies is inlineNames of a group.
func (s *Service) ListGroupPolicies(ctx context.Context, c *principal.Caller, in *awsiam.ListGroupPoliciesInput) (*awsiam.ListGroupPoliciesOutput, error) {
	names, next, err := s.inlineNames(ctx, c, aGroup(in.GroupName), in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &awsiam.ListGroupPoliciesOutput{PolicyNames: names, IsTruncated: next != nil, Marker: next}, nil
}

// ListRolePolicies is inlineNames of a role.
func (s *Service) ListRolePolicies(ctx context.Context, c *principal.Caller, in *awsiam.ListRolePoliciesInput) (*awsiam.ListRolePoliciesOutput, error) {
	names, next, err := s.inlineNames(ctx, c, aRole(in.RoleName), in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &awsiam.ListRolePoliciesOutput{PolicyNames: names, IsTruncated: next != nil, Marker: next}, nil
}

// DeleteUserPolicy is deleteInline from a user.
func (s *Service) DeleteUserPolicy(ctx context.Context, c *principal.Caller, in *awsiam.DeleteUserPolicyInput) (*awsiam.DeleteUserPolicyOutput, error) {
	return done[awsiam.DeleteUserPolicyOutput](s.deleteInline(ctx, c, aUser(in.UserName), in.PolicyName))
}

// DeleteGroupPolicy is deleteInline from a group.
func (s *Service) DeleteGroupPolicy(ctx context.Context, c *principal.Caller, in *awsiam.DeleteGroupPolicyInput) (*awsiam.DeleteGroupPolicyOutput, error) {
	return done[awsiam.DeleteGroupPolicyOutput](s.deleteInline(ctx, c, aGroup(in.GroupName), in.PolicyName))
}

// DeleteRolePolicy is deleteInline from a role.
func (s *Service) DeleteRolePolicy(ctx context.Context, c *principal.Caller, in *awsiam.DeleteRolePolicyInput) (*awsiam.DeleteRolePolicyOutput, error) {
	return done[awsiam.DeleteRolePolicyOutput](s.deleteInline(ctx, c, aRole(in.RoleName), in.PolicyName))
}
