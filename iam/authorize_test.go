package iam

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/awsd/protocol"
	"hive/iam/policy"
	"hive/iam/principal"
)

func allow(action, resource string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":%q,"Resource":%q}]}`, action, resource)
}

func deny(action, resource string) string {
	return strings.Replace(allow(action, resource), "Allow", "Deny", 1)
}

func (r *rig) put(user, name, doc string) {
	r.t.Helper()
	must(r.PutUserPolicy(r.t.Context(), r.root, &awsiam.PutUserPolicyInput{UserName: &user, PolicyName: &name, PolicyDocument: &doc}))(r.t)
}

func TestAuthorizerFollowsPolicies(t *testing.T) {
	r := newRig(t)
	alice := r.user("alice")
	ctx := t.Context()
	get := protocol.Access{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k"}
	err := r.auth.Authorize(ctx, alice, []protocol.Access{get})
	wantCode(t, err, 403, "AccessDenied")
	const implicit = `AccessDenied: User: arn:aws:iam::123456789012:user/alice is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::b/k" because no identity-based policy allows the s3:GetObject action`
	if err.Error() != implicit {
		t.Errorf("%v", err)
	}
	r.put("alice", "read", allow("s3:Get*", "arn:aws:s3:::b/*"))
	if err := r.auth.Authorize(ctx, alice, []protocol.Access{get}); err != nil {
		t.Error(err)
	}
	wantCode(t, r.auth.Authorize(ctx, alice, []protocol.Access{get, {Action: "s3:PutObject", Resource: "arn:aws:s3:::b/k"}}), 403, "AccessDenied")
	r.put("alice", "no", deny("s3:*", "arn:aws:s3:::b/k"))
	err = r.auth.Authorize(ctx, alice, []protocol.Access{get})
	if err == nil || !strings.HasSuffix(err.Error(), `s3:GetObject on resource: "arn:aws:s3:::b/k" with an explicit deny in an identity-based policy`) {
		t.Errorf("%v", err)
	}
	err = r.auth.Authorize(ctx, alice, []protocol.Access{{Action: "ec2:RunInstances", Resource: "arn:aws:ec2:r:123456789012:instance/*"}})
	wantCode(t, err, 403, "UnauthorizedOperation")
	if err := r.auth.Authorize(ctx, alice, nil); err != nil {
		t.Errorf("no permission is needed: %v", err)
	}
}

func TestAuthorizerOfManagedPolicies(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	need := map[string]protocol.Access{
		"s3 read":  {Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k"},
		"s3 write": {Action: "s3:PutObject", Resource: "arn:aws:s3:::b/k"},
		"ec2":      {Action: "ec2:RunInstances", Resource: "*"},
		"iam":      {Action: "iam:CreateUser", Resource: "arn:aws:iam::123456789012:user/x"},
		"iam read": {Action: "iam:ListUsers", Resource: "arn:aws:iam::123456789012:user/"},
	}
	for policy, allowed := range map[string][]string{
		"AdministratorAccess": {"s3 read", "s3 write", "ec2", "iam", "iam read"},
		"ReadOnlyAccess":      {"s3 read", "iam read"},
		"AmazonS3FullAccess":  {"s3 read", "s3 write"},
		"AmazonEC2FullAccess": {"ec2"},
	} {
		c := r.user(policy)
		must(r.AttachUserPolicy(ctx, r.root, &awsiam.AttachUserPolicyInput{UserName: &policy, PolicyArn: aws.String(managedPrefix + policy)}))(t)
		for what, n := range need {
			if err := r.auth.Authorize(ctx, c, []protocol.Access{n}); (err == nil) != slices.Contains(allowed, what) {
				t.Errorf("%s, %s: %v", policy, what, err)
			}
		}
	}
}

func TestAuthorizerOfRootAnonymousAndStrangers(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	own := protocol.Access{Action: "iam:CreateUser", Resource: "arn:aws:iam::123456789012:user/x"}
	foreign := protocol.Access{Action: "iam:CreateUser", Resource: "arn:aws:iam::999999999999:user/x"}
	if err := r.auth.Authorize(ctx, r.root, []protocol.Access{own, {Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k"}}); err != nil {
		t.Error(err)
	}
	wantCode(t, r.auth.Authorize(ctx, r.root, []protocol.Access{own, foreign}), 403, "AccessDenied")
	wantCode(t, r.auth.Authorize(ctx, &principal.Caller{Anonymous: true}, []protocol.Access{own}), 403, "AccessDenied")
	wantCode(t, r.auth.Authorize(ctx, &principal.Caller{Anonymous: true}, nil), 403, "AccessDenied")
	admin := r.user("admin")
	r.put("admin", "all", allow("*", "*"))
	if err := r.auth.Authorize(ctx, admin, []protocol.Access{own}); err != nil {
		t.Error(err)
	}
	wantCode(t, r.auth.Authorize(ctx, admin, []protocol.Access{foreign}), 403, "AccessDenied")
}

func TestAuthorizerKnowsTheCallersTagsAndTheRequestsKeys(t *testing.T) {
	r := newRig(t)
	ctx, alice := t.Context(), r.user("alice")
	must(r.TagUser(ctx, r.root, &awsiam.TagUserInput{UserName: aws.String("alice"), Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("blue")}}}))(t)
	r.put("alice", "p", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b",
		"Condition":{"StringLike":{"s3:prefix":"${aws:PrincipalTag/team}/*"}}}]}`)
	list := func(prefix string) error {
		return r.auth.Authorize(ctx, alice, []protocol.Access{{
			Action: "s3:ListBucket", Resource: "arn:aws:s3:::b", Context: map[string][]string{"s3:prefix": {prefix}},
		}})
	}
	if err := list("blue/x"); err != nil {
		t.Error(err)
	}
	wantCode(t, list("red/x"), 403, "AccessDenied")
}

func TestDocumentCacheIsBounded(t *testing.T) {
	var d documents
	for i := range 5 * generation {
		if _, err := d.parse(allow("s3:*", fmt.Sprint("arn:aws:s3:::b", i)), policy.Identity); err != nil {
			t.Fatal(err)
		}
		if len(d.young)+len(d.old) > 2*generation {
			t.Fatal("the cache grows without end")
		}
	}
	one, err1 := d.parse(allow("s3:*", "*"), policy.Identity)
	two, err2 := d.parse(allow("s3:*", "*"), policy.Identity)
	if one != two || err1 != nil || err2 != nil {
		t.Errorf("%p, %p, %v, %v", one, two, err1, err2)
	}
}
