package iam

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/policy"
)

func TestEveryPolicyOfAWSCanBeReadAndEnforced(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	ids, last := map[string]bool{}, ""
	for _, m := range managedPolicies() {
		arn := m.arn()
		if _, err := policy.Parse([]byte(m.document), policy.Identity); err != nil {
			t.Errorf("%s: %v", arn, err)
		}
		if m.Name <= last || ids[m.ID] || !strings.HasPrefix(m.ID, "ANPA") || len(m.ID) != 21 || m.Description == "" || m.Updated < m.Created || m.Created == 0 {
			t.Errorf("%s after %s: %+v", m.Name, last, m.ID)
		}
		ids[m.ID], last = true, m.Name
		p := must(r.GetPolicy(ctx, r.root, &awsiam.GetPolicyInput{PolicyArn: &arn}))(t).Policy
		if *p.Arn != arn || *p.Path != m.Path || *p.AttachmentCount != 0 || p.Tags == nil || *p.Description != m.Description {
			t.Errorf("%+v", p)
		}
		v := must(r.GetPolicyVersion(ctx, r.root, &awsiam.GetPolicyVersionInput{PolicyArn: &arn, VersionId: p.DefaultVersionId}))(t).PolicyVersion
		if doc, err := url.PathUnescape(*v.Document); err != nil || doc != m.document || !v.IsDefaultVersion || !json.Valid([]byte(doc)) {
			t.Errorf("%s: %v", arn, err)
		}
		versions := must(r.ListPolicyVersions(ctx, r.root, &awsiam.ListPolicyVersionsInput{PolicyArn: &arn}))(t).Versions
		if len(versions) != 1 || *versions[0].VersionId != m.Version || versions[0].Document != nil {
			t.Errorf("%+v", versions)
		}
	}
	for _, name := range strings.Fields("AdministratorAccess PowerUserAccess ReadOnlyAccess SecurityAudit IAMFullAccess IAMUserChangePassword " +
		"AmazonS3FullAccess AmazonEC2FullAccess AmazonVPCFullAccess AmazonSSMManagedInstanceCore CloudWatchAgentServerPolicy " +
		"job-function/ViewOnlyAccess job-function/Billing service-role/AWSLambdaBasicExecutionRole AmazonEKSClusterPolicy AmazonECS_FullAccess") {
		if _, ok := managedPolicy(managedPrefix + name); !ok {
			t.Errorf("no %s", name)
		}
	}
}

func TestDamagedDataOfAWSPoliciesIsRefused(t *testing.T) {
	for _, data := range []string{"{", `{"Name":"x","Document":{]}`, "\n"} {
		if _, err := readManaged([]byte(data)); err == nil {
			t.Errorf("%q is read", data)
		}
	}
}

func TestPoliciesOfAWSAreNobodysToChange(t *testing.T) {
	r := newRig(t)
	ctx, arn := t.Context(), aws.String(managedPrefix+"ReadOnlyAccess")
	doc := allow("s3:*", "*")
	for i, err := range []error{
		failed(r.DeletePolicy(ctx, r.root, &awsiam.DeletePolicyInput{PolicyArn: arn})),
		failed(r.TagPolicy(ctx, r.root, &awsiam.TagPolicyInput{PolicyArn: arn, Tags: tagsOf("k", "v")})),
		failed(r.UntagPolicy(ctx, r.root, &awsiam.UntagPolicyInput{PolicyArn: arn, TagKeys: []string{"k"}})),
		failed(r.CreatePolicyVersion(ctx, r.root, &awsiam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: &doc})),
		failed(r.DeletePolicyVersion(ctx, r.root, &awsiam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v1")})),
		failed(r.SetDefaultPolicyVersion(ctx, r.root, &awsiam.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v1")})),
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) { wantCode(t, err, 403, "AccessDenied") })
	}
	if tags := must(r.ListPolicyTags(ctx, r.root, &awsiam.ListPolicyTagsInput{PolicyArn: arn}))(t).Tags; tags == nil || len(tags) != 0 {
		t.Errorf("%+v", tags)
	}
	r.role("worker")
	wantError(t, failed(r.AttachRolePolicy(ctx, r.root, &awsiam.AttachRolePolicyInput{
		RoleName: aws.String("worker"), PolicyArn: aws.String(managedPrefix + "aws-service-role/AmazonECSServiceRolePolicy"),
	})), 400, "PolicyNotAttachable", "Cannot attach a Service Role Policy to a Customer Role.")
}

func TestOwnPolicyIsReadBackAsItWasWritten(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	doc := "{\"Version\":\"2012-10-17\",\n\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"s3:Get*\",\"Resource\":\"*\"}]}"
	made := must(r.CreatePolicy(ctx, r.root, &awsiam.CreatePolicyInput{
		PolicyName: aws.String("Read"), Path: aws.String("/team/"), Description: aws.String("reads"), PolicyDocument: &doc, Tags: tagsOf("a", "1", "A", "2"),
	}))(t).Policy
	if made.Description != nil || showTags(made.Tags) != "a=1 A=2" || *made.DefaultVersionId != "v1" || !strings.HasPrefix(*made.PolicyId, "ANPA") {
		t.Errorf("%+v", made)
	}
	got := must(r.GetPolicy(ctx, r.root, &awsiam.GetPolicyInput{PolicyArn: made.Arn}))(t).Policy
	if *got.Description != "reads" || *got.Arn != "arn:aws:iam::"+r.root.Account+":policy/team/Read" || *got.Path != "/team/" ||
		!got.CreateDate.Equal(started) || !got.UpdateDate.Equal(started) || *got.AttachmentCount != 0 || *got.PermissionsBoundaryUsageCount != 0 || !got.IsAttachable {
		t.Errorf("%+v", got)
	}
	v := must(r.GetPolicyVersion(ctx, r.root, &awsiam.GetPolicyVersionInput{PolicyArn: made.Arn, VersionId: aws.String("v1")}))(t).PolicyVersion
	if text, err := url.PathUnescape(*v.Document); err != nil || text != doc || !v.IsDefaultVersion {
		t.Errorf("%q, %v", text, err)
	}
	must(r.TagPolicy(ctx, r.root, &awsiam.TagPolicyInput{PolicyArn: made.Arn, Tags: tagsOf("A", "3", "b", "")}))(t)
	must(r.UntagPolicy(ctx, r.root, &awsiam.UntagPolicyInput{PolicyArn: made.Arn, TagKeys: []string{"a", "B"}}))(t)
	if tags := must(r.ListPolicyTags(ctx, r.root, &awsiam.ListPolicyTagsInput{PolicyArn: made.Arn}))(t).Tags; showTags(tags) != "A=3 b=" {
		t.Errorf("%s", showTags(tags))
	}
	listed := must(r.ListPolicies(ctx, r.root, &awsiam.ListPoliciesInput{Scope: types.PolicyScopeTypeLocal, PathPrefix: aws.String("/team")}))(t).Policies
	if len(listed) != 1 || listed[0].Tags != nil || listed[0].Description != nil || *listed[0].Arn != *made.Arn {
		t.Errorf("%+v", listed)
	}
	all := must(r.ListPolicies(ctx, r.root, &awsiam.ListPoliciesInput{MaxItems: aws.Int32(1000)}))(t).Policies
	if len(all) != 1+len(managedPolicies()) || *all[0].Arn != *made.Arn {
		t.Errorf("%d policies", len(all))
	}
	if jobs := must(r.ListPolicies(ctx, r.root, &awsiam.ListPoliciesInput{Scope: types.PolicyScopeTypeAws, PathPrefix: aws.String("/job-function/")}))(t).Policies; len(jobs) < 7 {
		t.Errorf("%d policies of job functions", len(jobs))
	}
	must(r.DeletePolicy(ctx, r.root, &awsiam.DeletePolicyInput{PolicyArn: made.Arn}))(t)
}

func TestPolicyVersionsComeAndGoAsInAWS(t *testing.T) {
	r := newRig(t)
	ctx, arn := t.Context(), r.policy("Read")
	add := func(counts bool) *types.PolicyVersion {
		t.Helper()
		doc := allow("s3:Get*", "*")
		return must(r.CreatePolicyVersion(ctx, r.root, &awsiam.CreatePolicyVersionInput{PolicyArn: &arn, PolicyDocument: &doc, SetAsDefault: counts}))(t).PolicyVersion
	}
	if v := add(true); *v.VersionId != "v2" || !v.IsDefaultVersion || v.Document != nil {
		t.Errorf("%+v", v)
	}
	for range 3 {
		add(false)
	}
	doc := allow("s3:Get*", "*")
	wantError(t, failed(r.CreatePolicyVersion(ctx, r.root, &awsiam.CreatePolicyVersionInput{PolicyArn: &arn, PolicyDocument: &doc})), 409, "LimitExceeded",
		"A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.")
	names := func(marker *string, items int32) (out []string, next *string) {
		page := must(r.ListPolicyVersions(ctx, r.root, &awsiam.ListPolicyVersionsInput{PolicyArn: &arn, Marker: marker, MaxItems: &items}))(t)
		for _, v := range page.Versions {
			name := *v.VersionId
			if v.IsDefaultVersion {
				name += "*"
			}
			out = append(out, name)
		}
		return out, page.Marker
	}
	first, next := names(nil, 2)
	rest, _ := names(next, 10)
	if got := append(first, rest...); !slices.Equal(got, []string{"v5", "v4", "v3", "v2*", "v1"}) {
		t.Errorf("%v", got)
	}
	remove := func(id string) error {
		return failed(r.DeletePolicyVersion(ctx, r.root, &awsiam.DeletePolicyVersionInput{PolicyArn: &arn, VersionId: &id}))
	}
	wantError(t, remove("v2"), 409, "DeleteConflict", "Cannot delete the default version of a policy.")
	wantError(t, remove("v9"), 404, "NoSuchEntity", "Policy "+arn+" version v9 does not exist or is not attachable.")
	for _, id := range []string{"x", "v0", "v", "1", "vx"} {
		wantCode(t, remove(id), 400, "ValidationError")
	}
	must(r.SetDefaultPolicyVersion(ctx, r.root, &awsiam.SetDefaultPolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v1")}))(t)
	wantError(t, failed(r.DeletePolicy(ctx, r.root, &awsiam.DeletePolicyInput{PolicyArn: &arn})), 409, "DeleteConflict",
		"This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
	for _, id := range []string{"v2", "v3", "v4", "v5"} {
		if err := remove(id); err != nil {
			t.Error(err)
		}
	}
	if v := add(false); *v.VersionId != "v6" {
		t.Errorf("%+v", v)
	}
	if err := remove("v6"); err != nil {
		t.Error(err)
	}
	must(r.DeletePolicy(ctx, r.root, &awsiam.DeletePolicyInput{PolicyArn: &arn}))(t)
}

func TestDocumentsThatWouldNotBeEnforcedAreRefused(t *testing.T) {
	r := newRig(t)
	ctx, arn := t.Context(), r.policy("Read")
	old := `{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`
	for i, doc := range []string{"x", "{}", old} {
		for j, err := range []error{
			failed(r.CreatePolicy(ctx, r.root, &awsiam.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: &doc})),
			failed(r.CreatePolicyVersion(ctx, r.root, &awsiam.CreatePolicyVersionInput{PolicyArn: &arn, PolicyDocument: &doc})),
			failed(r.CreateRole(ctx, r.root, &awsiam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: &doc})),
		} {
			t.Run(fmt.Sprint(i, j), func(t *testing.T) { wantCode(t, err, 400, "MalformedPolicyDocument") })
		}
	}
	r.role("worker")
	doc := allow("s3:*", "*")
	wantCode(t, failed(r.UpdateAssumeRolePolicy(ctx, r.root, &awsiam.UpdateAssumeRolePolicyInput{RoleName: aws.String("worker"), PolicyDocument: &doc})),
		400, "MalformedPolicyDocument")
	long := strings.Replace(ec2Trust, `"x"`, `"`+strings.Repeat("x", 2048)+`"`, 1)
	wantError(t, failed(r.UpdateAssumeRolePolicy(ctx, r.root, &awsiam.UpdateAssumeRolePolicyInput{RoleName: aws.String("worker"), PolicyDocument: &long})),
		409, "LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048")
	big := allow("s3:*", "arn:aws:s3:::"+strings.Repeat("x", 6144))
	wantError(t, failed(r.CreatePolicy(ctx, r.root, &awsiam.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: &big})),
		409, "LimitExceeded", "Cannot exceed quota for PolicySize: 6144")
}

func TestEntitiesOfAPolicyAreListedByUseAndKind(t *testing.T) {
	r := newRig(t)
	ctx, arn := t.Context(), r.policy("Read")
	for i := range 4 {
		name := aws.String(fmt.Sprint("u", i))
		r.user(*name)
		must(r.AttachUserPolicy(ctx, r.root, &awsiam.AttachUserPolicyInput{UserName: name, PolicyArn: &arn}))(t)
	}
	r.newGroup("g")
	must(r.AttachGroupPolicy(ctx, r.root, &awsiam.AttachGroupPolicyInput{GroupName: aws.String("g"), PolicyArn: &arn}))(t)
	r.role("r")
	must(r.AttachRolePolicy(ctx, r.root, &awsiam.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: &arn}))(t)
	must(r.PutRolePermissionsBoundary(ctx, r.root, &awsiam.PutRolePermissionsBoundaryInput{RoleName: aws.String("r"), PermissionsBoundary: &arn}))(t)
	must(r.PutUserPermissionsBoundary(ctx, r.root, &awsiam.PutUserPermissionsBoundaryInput{UserName: aws.String("u1"), PermissionsBoundary: &arn}))(t)
	r.user("bounded")
	must(r.PutUserPermissionsBoundary(ctx, r.root, &awsiam.PutUserPermissionsBoundaryInput{UserName: aws.String("bounded"), PermissionsBoundary: &arn}))(t)

	count := func(in awsiam.ListEntitiesForPolicyInput) (groups, users, roles int) {
		t.Helper()
		in.PolicyArn, in.MaxItems = &arn, aws.Int32(2)
		for {
			out := must(r.ListEntitiesForPolicy(ctx, r.root, &in))(t)
			groups, users, roles = groups+len(out.PolicyGroups), users+len(out.PolicyUsers), roles+len(out.PolicyRoles)
			if in.Marker = out.Marker; !out.IsTruncated {
				return groups, users, roles
			}
		}
	}
	for i, c := range []struct {
		in                   awsiam.ListEntitiesForPolicyInput
		groups, users, roles int
	}{
		{awsiam.ListEntitiesForPolicyInput{}, 1, 5, 1},
		{awsiam.ListEntitiesForPolicyInput{PolicyUsageFilter: types.PolicyUsageTypePermissionsPolicy}, 1, 4, 1},
		{awsiam.ListEntitiesForPolicyInput{PolicyUsageFilter: types.PolicyUsageTypePermissionsBoundary}, 0, 2, 1},
		{awsiam.ListEntitiesForPolicyInput{EntityFilter: types.EntityTypeUser}, 0, 5, 0},
		{awsiam.ListEntitiesForPolicyInput{EntityFilter: types.EntityTypeRole}, 0, 0, 1},
		{awsiam.ListEntitiesForPolicyInput{PathPrefix: aws.String("/x/")}, 0, 0, 0},
	} {
		if g, u, ro := count(c.in); g != c.groups || u != c.users || ro != c.roles {
			t.Errorf("case %d: %d groups, %d users, %d roles", i, g, u, ro)
		}
	}
	p := must(r.GetPolicy(ctx, r.root, &awsiam.GetPolicyInput{PolicyArn: &arn}))(t).Policy
	if *p.AttachmentCount != 6 || *p.PermissionsBoundaryUsageCount != 3 {
		t.Errorf("%d, %d", *p.AttachmentCount, *p.PermissionsBoundaryUsageCount)
	}
	wantError(t, failed(r.DeletePolicy(ctx, r.root, &awsiam.DeletePolicyInput{PolicyArn: &arn})), 409, "DeleteConflict", "Cannot delete a policy attached to entities.")
	for _, filter := range types.PolicyUsageType("").Values() {
		out := must(r.ListPolicies(ctx, r.root, &awsiam.ListPoliciesInput{PolicyUsageFilter: filter}))(t).Policies
		if len(out) != 1 || *out[0].Arn != arn {
			t.Errorf("%s: %d policies", filter, len(out))
		}
	}
}

func TestAttachingAgainChangesNothingAndTheTenthIsTheLast(t *testing.T) {
	r := newRig(t)
	ctx, name := t.Context(), aws.String("worker")
	r.role("worker")
	attach := func(m managed) error {
		arn := m.arn()
		return failed(r.AttachRolePolicy(ctx, r.root, &awsiam.AttachRolePolicyInput{RoleName: name, PolicyArn: &arn}))
	}
	usual := slices.DeleteFunc(slices.Clone(managedPolicies()), func(m managed) bool { return m.Path != "/" })
	for range 2 {
		for _, m := range usual[:fsm.MaxAttachedPolicies] {
			if err := attach(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantError(t, attach(usual[fsm.MaxAttachedPolicies]), 409, "LimitExceeded", "Cannot exceed quota for PoliciesPerRole: 10")
	in := &awsiam.ListAttachedRolePoliciesInput{RoleName: name, MaxItems: aws.Int32(4)}
	var got []string
	for {
		out := must(r.ListAttachedRolePolicies(ctx, r.root, in))(t)
		for _, a := range out.AttachedPolicies {
			got = append(got, *a.PolicyName)
		}
		if in.Marker = out.Marker; !out.IsTruncated {
			break
		}
	}
	if len(got) != fsm.MaxAttachedPolicies || !slices.IsSorted(got) {
		t.Errorf("%v", got)
	}
	wantError(t, failed(r.DeleteRole(ctx, r.root, &awsiam.DeleteRoleInput{RoleName: name})), 409, "DeleteConflict", "Cannot delete entity, must detach all policies first.")
}
