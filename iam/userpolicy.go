package iam

import (
	"context"
	"errors"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/policy"
	"hive/iam/principal"
)

// encodeDocument is a policy document as IAM's answers carry it: URL-encoded as RFC 3986 says.
func encodeDocument(doc string) *string {
	return aws.String(strings.ReplaceAll(url.QueryEscape(doc), "+", "%20"))
}

// PutUserPolicy writes a policy into a user, over one of the same name. Errors: MalformedPolicyDocument
// for what would not be enforced as it stands, LimitExceeded, NoSuchEntity.
func (s *Service) PutUserPolicy(ctx context.Context, c *principal.Caller, in *awsiam.PutUserPolicyInput) (*awsiam.PutUserPolicyOutput, error) {
	name, err := requiredName(in.PolicyName, "policyName", maxPolicyName)
	if err != nil {
		return nil, err
	}
	doc, err := required(in.PolicyDocument, "policyDocument", maxDocument)
	if err != nil {
		return nil, err
	}
	if err := checkDocument(doc); err != nil {
		return nil, err
	}
	user, err := s.user(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	err = s.propose(ctx, c, &fsm.PutInlinePolicy{
		Account: user.Account, Owner: user.ID, Policy: fsm.InlinePolicy{Name: name, Document: doc},
	}, user.Name)
	if err != nil {
		return nil, err
	}
	return &awsiam.PutUserPolicyOutput{}, nil
}

func checkDocument(doc string) error {
	_, err := policy.Parse([]byte(doc), policy.Identity)
	var bad *policy.MalformedError
	if errors.As(err, &bad) {
		return malformedPolicy(bad.Message)
	}
	return err
}

// GetUserPolicy is a user's inline policy, URL-encoded.
func (s *Service) GetUserPolicy(ctx context.Context, c *principal.Caller, in *awsiam.GetUserPolicyInput) (*awsiam.GetUserPolicyOutput, error) {
	name, err := requiredName(in.PolicyName, "policyName", maxPolicyName)
	if err != nil {
		return nil, err
	}
	user, err := s.user(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	var found fsm.InlinePolicy
	err = s.read(ctx, func(v *fsm.View) error {
		var ok bool
		if found, ok = fsm.InlinePolicyOf(v, user.Account, user.ID, name); !ok {
			return fsm.Errorf(fsm.ErrNotFound, "user-policy/"+name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.GetUserPolicyOutput{
		UserName: aws.String(user.Name), PolicyName: aws.String(found.Name), PolicyDocument: encodeDocument(found.Document),
	}, nil
}

// ListUserPolicies lists the names of a user's inline policies, in order.
func (s *Service) ListUserPolicies(ctx context.Context, c *principal.Caller, in *awsiam.ListUserPoliciesInput) (*awsiam.ListUserPoliciesOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	user, err := s.user(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	names := []string{}
	err = s.read(ctx, func(v *fsm.View) error {
		for _, found := range fsm.InlinePoliciesOf(v, user.Account, user.ID) {
			names = append(names, found.Name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	names, next := cut(p, names, func(name string) string { return name })
	return &awsiam.ListUserPoliciesOutput{PolicyNames: names, IsTruncated: next != nil, Marker: next}, nil
}

// DeleteUserPolicy removes an inline policy from a user.
func (s *Service) DeleteUserPolicy(ctx context.Context, c *principal.Caller, in *awsiam.DeleteUserPolicyInput) (*awsiam.DeleteUserPolicyOutput, error) {
	name, err := requiredName(in.PolicyName, "policyName", maxPolicyName)
	if err != nil {
		return nil, err
	}
	user, err := s.user(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	err = s.propose(ctx, c, &fsm.DeleteInlinePolicy{Account: user.Account, Owner: user.ID, Name: name}, user.Name)
	if err != nil {
		return nil, err
	}
	return &awsiam.DeleteUserPolicyOutput{}, nil
}

// AttachUserPolicy attaches a managed policy to a user; again, it changes nothing. Errors: NoSuchEntity,
// LimitExceeded.
func (s *Service) AttachUserPolicy(ctx context.Context, c *principal.Caller, in *awsiam.AttachUserPolicyInput) (*awsiam.AttachUserPolicyOutput, error) {
	arn, err := validARN(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	user, err := s.user(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	if _, ok := managedPolicy(arn); !ok {
		return nil, refusal(fsm.Errorf(fsm.ErrNotFound, "attachable/"+arn), "")
	}
	err = s.propose(ctx, c, &fsm.AttachPolicy{Account: user.Account, Owner: user.ID, ARN: arn}, user.Name)
	if err != nil {
		return nil, err
	}
	return &awsiam.AttachUserPolicyOutput{}, nil
}

// DetachUserPolicy takes a managed policy from a user.
func (s *Service) DetachUserPolicy(ctx context.Context, c *principal.Caller, in *awsiam.DetachUserPolicyInput) (*awsiam.DetachUserPolicyOutput, error) {
	arn, err := validARN(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	user, err := s.user(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	err = s.propose(ctx, c, &fsm.DetachPolicy{Account: user.Account, Owner: user.ID, ARN: arn}, user.Name)
	if err != nil {
		return nil, err
	}
	return &awsiam.DetachUserPolicyOutput{}, nil
}

// ListAttachedUserPolicies lists the managed policies attached to a user, in order of ARN.
func (s *Service) ListAttachedUserPolicies(ctx context.Context, c *principal.Caller, in *awsiam.ListAttachedUserPoliciesInput) (*awsiam.ListAttachedUserPoliciesOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	prefix, err := validPrefix(in.PathPrefix)
	if err != nil {
		return nil, err
	}
	user, err := s.user(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	var attached []fsm.PolicyAttachment
	err = s.read(ctx, func(v *fsm.View) error {
		attached = fsm.AttachedPoliciesOf(v, user.Account, user.ID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	attached = slices.DeleteFunc(attached, func(a fsm.PolicyAttachment) bool { return !strings.HasPrefix(policyPath(a.ARN), prefix) })
	attached, next := cut(p, attached, func(a fsm.PolicyAttachment) string { return a.ARN })
	out := &awsiam.ListAttachedUserPoliciesOutput{AttachedPolicies: []types.AttachedPolicy{}, IsTruncated: next != nil, Marker: next}
	for _, a := range attached {
		out.AttachedPolicies = append(out.AttachedPolicies, types.AttachedPolicy{
			PolicyArn: aws.String(a.ARN), PolicyName: aws.String(path.Base(a.ARN)),
		})
	}
	return out, nil
}

// policyPath is the path in a policy's ARN: arn:aws:iam::aws:policy/PATH/NAME.
func policyPath(arn string) string {
	_, rest, _ := strings.Cut(arn, ":policy")
	return rest[:strings.LastIndexByte(rest, '/')+1]
}
