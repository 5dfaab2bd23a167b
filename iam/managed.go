package iam

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/principal"
)

// managed is a policy that AWS manages: it is in every account and nobody can change it.
type managed struct {
	name, id, version, description string
	created                        int64 // Unix seconds
	document                       string
}

// managedPolicies are in order of name. Ids, descriptions and documents are those of the AWS managed policy
// reference; ReadOnlyAccess holds the lines for services that Hive has.
var managedPolicies = []managed{
	{
		name: "AdministratorAccess", id: "ANPAIWMBCKSKIEE64ZLYK", version: "v1", created: 1423247986,
		description: "Provides full access to AWS services and resources.",
		document: `{
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "*",
            "Resource": "*"
        }
    ]
}`,
	},
	{
		name: "AmazonEC2FullAccess", id: "ANPAI3VAJF5ZCRZ7MCQE6", version: "v5", created: 1423248015,
		description: "Provides full access to Amazon EC2 via the AWS Management Console.",
		document: `{
    "Version": "2012-10-17",
    "Statement": [
        {
            "Action": "ec2:*",
            "Effect": "Allow",
            "Resource": "*"
        },
        {
            "Effect": "Allow",
            "Action": "elasticloadbalancing:*",
            "Resource": "*"
        },
        {
            "Effect": "Allow",
            "Action": "cloudwatch:*",
            "Resource": "*"
        },
        {
            "Effect": "Allow",
            "Action": "autoscaling:*",
            "Resource": "*"
        },
        {
            "Effect": "Allow",
            "Action": "iam:CreateServiceLinkedRole",
            "Resource": "*",
            "Condition": {
                "StringEquals": {
                    "iam:AWSServiceName": [
                        "autoscaling.amazonaws.com",
                        "ec2scheduled.amazonaws.com",
                        "elasticloadbalancing.amazonaws.com",
                        "spot.amazonaws.com",
                        "spotfleet.amazonaws.com",
                        "transitgateway.amazonaws.com"
                    ]
                }
            }
        }
    ]
}`,
	},
	{
		name: "AmazonS3FullAccess", id: "ANPAIFIR6V6BVTRAHWINE", version: "v2", created: 1423248018,
		description: "Provides full access to all buckets via the AWS Management Console.",
		document: `{
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": [
                "s3:*",
                "s3-object-lambda:*"
            ],
            "Resource": "*"
        }
    ]
}`,
	},
	{
		name: "ReadOnlyAccess", id: "ANPAILL3HVNFSB6DCOWYQ", version: "v1", created: 1423247988,
		description: "Provides read-only access to AWS services and resources.",
		document: `{
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": [
                "autoscaling:Describe*",
                "autoscaling:Get*",
                "cloudwatch:Describe*",
                "cloudwatch:Get*",
                "cloudwatch:List*",
                "ebs:Get*",
                "ebs:List*",
                "ec2:Describe*",
                "ec2:Get*",
                "ec2:List*",
                "ec2:Search*",
                "elasticloadbalancing:Describe*",
                "iam:Generate*",
                "iam:Get*",
                "iam:List*",
                "iam:Simulate*",
                "s3:DescribeJob",
                "s3:Get*",
                "s3:List*",
                "ssm:Describe*",
                "ssm:Get*",
                "ssm:List*",
                "sts:GetAccessKeyInfo",
                "sts:GetCallerIdentity",
                "sts:GetSessionToken"
            ],
            "Resource": "*"
        }
    ]
}`,
	},
}

const managedPrefix = "arn:aws:iam::aws:policy/"

func (m managed) arn() string { return managedPrefix + m.name }

func managedPolicy(arn string) (managed, bool) {
	name, ok := strings.CutPrefix(arn, managedPrefix)
	i := slices.IndexFunc(managedPolicies, func(m managed) bool { return m.name == name })
	if !ok || i < 0 {
		return managed{}, false
	}
	return managedPolicies[i], true
}

// out is the policy as answers show it. Lists leave the description out.
func (m managed) out(attached int, description bool) types.Policy {
	p := types.Policy{
		Arn: aws.String(m.arn()), PolicyName: aws.String(m.name), PolicyId: aws.String(m.id), Path: aws.String("/"),
		DefaultVersionId: aws.String(m.version), AttachmentCount: aws.Int32(int32(attached)),
		PermissionsBoundaryUsageCount: aws.Int32(0), IsAttachable: true,
		CreateDate: date(m.created), UpdateDate: date(m.created),
	}
	if description {
		p.Description, p.Tags = aws.String(m.description), []types.Tag{}
	}
	return p
}

// attachments counts, by ARN, to how many of the account's entities each policy is attached.
func (s *Service) attachments(ctx context.Context, c *principal.Caller) (counts map[string]int, err error) {
	err = s.read(ctx, func(v *fsm.View) error {
		counts = map[string]int{}
		for _, m := range managedPolicies {
			counts[m.arn()] = fsm.PolicyUseOf(v, fsm.AccountID(c.Account), m.arn()).Attached
		}
		return nil
	})
	return counts, err
}

// GetPolicy is a managed policy, without its document.
func (s *Service) GetPolicy(ctx context.Context, c *principal.Caller, in *awsiam.GetPolicyInput) (*awsiam.GetPolicyOutput, error) {
	arn, err := validARN(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	m, ok := managedPolicy(arn)
	if !ok {
		return nil, refusal(fsm.Errorf(fsm.ErrNotFound, "policy/"+arn), "")
	}
	counts, err := s.attachments(ctx, c)
	if err != nil {
		return nil, err
	}
	out := m.out(counts[arn], true)
	return &awsiam.GetPolicyOutput{Policy: &out}, nil
}

// GetPolicyVersion is the document of a managed policy, URL-encoded. Each has one version.
func (s *Service) GetPolicyVersion(_ context.Context, _ *principal.Caller, in *awsiam.GetPolicyVersionInput) (*awsiam.GetPolicyVersionOutput, error) {
	arn, err := validARN(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	version, err := required(in.VersionId, "versionId", maxPolicyName)
	if err != nil {
		return nil, err
	}
	m, ok := managedPolicy(arn)
	if !ok {
		return nil, refusal(fsm.Errorf(fsm.ErrNotFound, "policy/"+arn), "")
	}
	if version != m.version {
		return nil, refusal(fsm.Errorf(fsm.ErrNotFound, "policy-version/"+version), "")
	}
	return &awsiam.GetPolicyVersionOutput{PolicyVersion: &types.PolicyVersion{
		CreateDate: aws.Time(time.Unix(m.created, 0).UTC()), Document: encodeDocument(m.document),
		IsDefaultVersion: true, VersionId: aws.String(m.version),
	}}, nil
}

// ListPolicies lists managed policies in order of name. There are no customer managed ones.
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
	counts, err := s.attachments(ctx, c)
	if err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(slices.Clone(managedPolicies), func(m managed) bool {
		unused := counts[m.arn()] == 0 && (in.OnlyAttached || in.PolicyUsageFilter == types.PolicyUsageTypePermissionsPolicy)
		return unused || in.Scope == types.PolicyScopeTypeLocal || prefix != "/" ||
			in.PolicyUsageFilter == types.PolicyUsageTypePermissionsBoundary
	})
	found, next := cut(p, found, func(m managed) string { return m.name })
	out := &awsiam.ListPoliciesOutput{Policies: []types.Policy{}, IsTruncated: next != nil, Marker: next}
	for _, m := range found {
		out.Policies = append(out.Policies, m.out(counts[m.arn()], false))
	}
	return out, nil
}
