package iam

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
)

func TestRoleIsReadBackAsItWasWritten(t *testing.T) {
	r := newRig(t)
	ctx, name, boundary := t.Context(), aws.String("worker"), aws.String(managedPrefix+"PowerUserAccess")
	made := must(r.CreateRole(ctx, r.root, &awsiam.CreateRoleInput{
		RoleName: name, Path: aws.String("/svc/"), AssumeRolePolicyDocument: aws.String(ec2Trust), Description: aws.String("works"),
		MaxSessionDuration: aws.Int32(7200), PermissionsBoundary: boundary, Tags: tagsOf("team", "blue"),
	}))(t).Role
	// AWS leaves these out of what CreateRole answers.
	if made.MaxSessionDuration != nil || made.Description != nil || made.RoleLastUsed != nil {
		t.Errorf("%+v", made)
	}
	if showTags(made.Tags) != "team=blue" || *made.PermissionsBoundary.PermissionsBoundaryArn != *boundary || made.PermissionsBoundary.PermissionsBoundaryType != "Policy" {
		t.Errorf("%+v", made)
	}
	got := must(r.GetRole(ctx, r.root, &awsiam.GetRoleInput{RoleName: aws.String("WORKER")}))(t).Role
	trust, err := url.PathUnescape(*got.AssumeRolePolicyDocument)
	if err != nil || trust != ec2Trust || *got.Arn != "arn:aws:iam::"+r.root.Account+":role/svc/worker" || *got.RoleId != *made.RoleId ||
		!strings.HasPrefix(*got.RoleId, "AROA") || *got.RoleName != "worker" || *got.Path != "/svc/" || !got.CreateDate.Equal(started) ||
		*got.MaxSessionDuration != 7200 || *got.Description != "works" || showTags(got.Tags) != "team=blue" ||
		*got.PermissionsBoundary.PermissionsBoundaryArn != *boundary || got.RoleLastUsed == nil || got.RoleLastUsed.LastUsedDate != nil {
		t.Errorf("%+v, %q, %v", got, trust, err)
	}
	listed := must(r.ListRoles(ctx, r.root, &awsiam.ListRolesInput{PathPrefix: aws.String("/svc/")}))(t).Roles
	if len(listed) != 1 || listed[0].Tags != nil || listed[0].PermissionsBoundary != nil || listed[0].RoleLastUsed != nil || *listed[0].MaxSessionDuration != 7200 {
		t.Errorf("%+v", listed)
	}
}

func TestRoleChangesAreSeen(t *testing.T) {
	r := newRig(t)
	ctx, name := t.Context(), aws.String("worker")
	r.role("worker")
	get := func() *types.Role {
		return must(r.GetRole(ctx, r.root, &awsiam.GetRoleInput{RoleName: name}))(t).Role
	}
	if got := get(); *got.MaxSessionDuration != 3600 || got.Description != nil || got.Tags != nil || got.PermissionsBoundary != nil {
		t.Errorf("%+v", got)
	}
	must(r.UpdateRole(ctx, r.root, &awsiam.UpdateRoleInput{RoleName: name, MaxSessionDuration: aws.Int32(43200)}))(t)
	out := must(r.UpdateRoleDescription(ctx, r.root, &awsiam.UpdateRoleDescriptionInput{RoleName: name, Description: aws.String("d")}))(t).Role
	if *out.Description != "d" || out.MaxSessionDuration != nil {
		t.Errorf("%+v", out)
	}
	must(r.UpdateRole(ctx, r.root, &awsiam.UpdateRoleInput{RoleName: name}))(t) // what is not given stays
	trust := strings.Replace(ec2Trust, "ec2.", "lambda.", 1)
	must(r.UpdateAssumeRolePolicy(ctx, r.root, &awsiam.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: &trust}))(t)
	must(r.PutRolePermissionsBoundary(ctx, r.root, &awsiam.PutRolePermissionsBoundaryInput{RoleName: name, PermissionsBoundary: aws.String(managedPrefix + "ReadOnlyAccess")}))(t)
	must(r.TagRole(ctx, r.root, &awsiam.TagRoleInput{RoleName: name, Tags: tagsOf("Team", "a", "cost", "1")}))(t)
	must(r.TagRole(ctx, r.root, &awsiam.TagRoleInput{RoleName: name, Tags: tagsOf("TEAM", "b")}))(t)
	got := get()
	if doc, _ := url.PathUnescape(*got.AssumeRolePolicyDocument); doc != trust || *got.MaxSessionDuration != 43200 || *got.Description != "d" ||
		*got.PermissionsBoundary.PermissionsBoundaryArn != managedPrefix+"ReadOnlyAccess" || showTags(got.Tags) != "cost=1 TEAM=b" {
		t.Errorf("%+v %s", got, showTags(got.Tags))
	}
	must(r.UntagRole(ctx, r.root, &awsiam.UntagRoleInput{RoleName: name, TagKeys: []string{"team"}}))(t)
	must(r.DeleteRolePermissionsBoundary(ctx, r.root, &awsiam.DeleteRolePermissionsBoundaryInput{RoleName: name}))(t)
	must(r.UpdateRole(ctx, r.root, &awsiam.UpdateRoleInput{RoleName: name, Description: aws.String("")}))(t)
	if got := get(); got.PermissionsBoundary != nil || showTags(got.Tags) != "cost=1" || got.Description != nil {
		t.Errorf("%+v", got)
	}
	for _, seconds := range []int32{3599, 43201} {
		wantCode(t, failed(r.UpdateRole(ctx, r.root, &awsiam.UpdateRoleInput{RoleName: name, MaxSessionDuration: &seconds})), 400, "ValidationError")
	}
}

func TestTrustPolicyNamesWhoIsThere(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	r.user("alice")
	r.role("worker")
	trust := func(principal string) error {
		doc := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"sts:AssumeRole"}}`
		return failed(r.UpdateAssumeRolePolicy(ctx, r.root, &awsiam.UpdateAssumeRolePolicyInput{RoleName: aws.String("worker"), PolicyDocument: &doc}))
	}
	here := "arn:aws:iam::" + r.root.Account + ":"
	for _, p := range []string{
		"*", r.root.Account, here + "root", here + "user/alice", here + "role/worker", "464622532012", "arn:aws:iam::464622532012:role/theirs",
		"arn:aws:sts::" + r.root.Account + ":assumed-role/worker/s",
	} {
		if err := trust(p); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
	for _, p := range []string{here + "user/nobody", here + "role/nothing", here + "user/x/alice"} {
		wantError(t, trust(p), 400, "MalformedPolicyDocument", `Invalid principal in policy: "AWS":"`+p+`"`)
	}
}

func TestTrustPolicyDoesNotMeanANamesake(t *testing.T) {
	r := newRig(t)
	ctx, alice, role := t.Context(), aws.String("alice"), aws.String("worker")
	id := *must(r.CreateUser(ctx, r.root, &awsiam.CreateUserInput{UserName: alice}))(t).User.UserId
	arn := "arn:aws:iam::" + r.root.Account + ":user/alice"
	doc := func(principal string) string {
		return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"sts:AssumeRole"}}`
	}
	must(r.CreateRole(ctx, r.root, &awsiam.CreateRoleInput{RoleName: role, AssumeRolePolicyDocument: aws.String(doc(arn))}))(t)
	check := func(principal string) {
		t.Helper()
		got := must(r.GetRole(ctx, r.root, &awsiam.GetRoleInput{RoleName: role}))(t).Role
		if text, _ := url.PathUnescape(*got.AssumeRolePolicyDocument); text != doc(principal) {
			t.Errorf("%s, want %s", text, principal)
		}
	}
	check(arn)
	must(r.UpdateUser(ctx, r.root, &awsiam.UpdateUserInput{UserName: alice, NewUserName: aws.String("anna"), NewPath: aws.String("/x/")}))(t)
	check("arn:aws:iam::" + r.root.Account + ":user/x/anna")
	must(r.DeleteUser(ctx, r.root, &awsiam.DeleteUserInput{UserName: aws.String("anna")}))(t)
	must(r.CreateUser(ctx, r.root, &awsiam.CreateUserInput{UserName: alice}))(t)
	check(id)
}

func TestInstanceProfileCarriesOneRole(t *testing.T) {
	r := newRig(t)
	ctx, name, role := t.Context(), aws.String("web"), aws.String("worker")
	made := must(r.CreateInstanceProfile(ctx, r.root, &awsiam.CreateInstanceProfileInput{InstanceProfileName: name, Path: aws.String("/p/"), Tags: tagsOf("k", "1", "K", "2")}))(t).InstanceProfile
	if made.Roles == nil || len(made.Roles) != 0 || !strings.HasPrefix(*made.InstanceProfileId, "AIPA") || showTags(made.Tags) != "k=1 K=2" {
		t.Errorf("%+v", made)
	}
	r.role("worker")
	r.role("other")
	add := func(role string) error {
		return failed(r.AddRoleToInstanceProfile(ctx, r.root, &awsiam.AddRoleToInstanceProfileInput{InstanceProfileName: name, RoleName: &role}))
	}
	if err := add("worker"); err != nil {
		t.Fatal(err)
	}
	wantError(t, add("other"), 409, "LimitExceeded", "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
	for range 3 { // Terraform wants three answers in a row
		got := must(r.GetInstanceProfile(ctx, r.root, &awsiam.GetInstanceProfileInput{InstanceProfileName: name}))(t).InstanceProfile
		if len(got.Roles) != 1 || *got.Roles[0].RoleName != "worker" || got.Roles[0].MaxSessionDuration != nil || showTags(got.Tags) != "k=1 K=2" ||
			*got.Arn != "arn:aws:iam::"+r.root.Account+":instance-profile/p/web" || !got.CreateDate.Equal(started) {
			t.Errorf("%+v", got)
		}
	}
	must(r.TagInstanceProfile(ctx, r.root, &awsiam.TagInstanceProfileInput{InstanceProfileName: name, Tags: tagsOf("z", "3")}))(t)
	must(r.UntagInstanceProfile(ctx, r.root, &awsiam.UntagInstanceProfileInput{InstanceProfileName: name, TagKeys: []string{"k"}}))(t)
	if tags := must(r.ListInstanceProfileTags(ctx, r.root, &awsiam.ListInstanceProfileTagsInput{InstanceProfileName: name}))(t).Tags; showTags(tags) != "K=2 z=3" {
		t.Errorf("%s", showTags(tags))
	}
	listed := must(r.ListInstanceProfiles(ctx, r.root, &awsiam.ListInstanceProfilesInput{}))(t).InstanceProfiles
	ofRole := must(r.ListInstanceProfilesForRole(ctx, r.root, &awsiam.ListInstanceProfilesForRoleInput{RoleName: role}))(t).InstanceProfiles
	if len(listed) != 1 || listed[0].Tags != nil || len(listed[0].Roles) != 1 || len(ofRole) != 1 {
		t.Errorf("%+v %+v", listed, ofRole)
	}
	none := must(r.ListInstanceProfilesForRole(ctx, r.root, &awsiam.ListInstanceProfilesForRoleInput{RoleName: aws.String("other")}))(t).InstanceProfiles
	if none == nil || len(none) != 0 {
		t.Errorf("%+v", none)
	}
	const first = "Cannot delete entity, must remove roles from instance profile first."
	wantError(t, failed(r.DeleteRole(ctx, r.root, &awsiam.DeleteRoleInput{RoleName: role})), 409, "DeleteConflict", first)
	wantError(t, failed(r.DeleteInstanceProfile(ctx, r.root, &awsiam.DeleteInstanceProfileInput{InstanceProfileName: name})), 409, "DeleteConflict", first)
	must(r.RemoveRoleFromInstanceProfile(ctx, r.root, &awsiam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: name, RoleName: role}))(t)
	must(r.DeleteInstanceProfile(ctx, r.root, &awsiam.DeleteInstanceProfileInput{InstanceProfileName: name}))(t)
	must(r.DeleteRole(ctx, r.root, &awsiam.DeleteRoleInput{RoleName: role}))(t)
}

func TestServiceLinkedRoleIsItsServices(t *testing.T) {
	r := newRig(t)
	ctx, name, arn := t.Context(), aws.String("AWSServiceRoleForAutoScaling"), r.policy("Read")
	r.profile("web")
	err := r.group.Propose(ctx, &fsm.CreateRole{Role: fsm.Role{
		Account: fsm.AccountID(r.root.Account), ID: "AROA1", Name: *name, Path: "/aws-service-role/autoscaling.amazonaws.com/", Created: 1,
		Trust: ec2Trust, MaxSession: 3600, ServiceLinked: "autoscaling.amazonaws.com",
	}})
	if err != nil {
		t.Fatal(err)
	}
	doc, x := aws.String(allow("s3:*", "*")), aws.String("x")
	for i, err := range []error{
		failed(r.DeleteRole(ctx, r.root, &awsiam.DeleteRoleInput{RoleName: name})),
		failed(r.PutRolePolicy(ctx, r.root, &awsiam.PutRolePolicyInput{RoleName: name, PolicyName: x, PolicyDocument: doc})),
		failed(r.DeleteRolePolicy(ctx, r.root, &awsiam.DeleteRolePolicyInput{RoleName: name, PolicyName: x})),
		failed(r.AttachRolePolicy(ctx, r.root, &awsiam.AttachRolePolicyInput{RoleName: name, PolicyArn: &arn})),
		failed(r.DetachRolePolicy(ctx, r.root, &awsiam.DetachRolePolicyInput{RoleName: name, PolicyArn: &arn})),
		failed(r.PutRolePermissionsBoundary(ctx, r.root, &awsiam.PutRolePermissionsBoundaryInput{RoleName: name, PermissionsBoundary: &arn})),
		failed(r.DeleteRolePermissionsBoundary(ctx, r.root, &awsiam.DeleteRolePermissionsBoundaryInput{RoleName: name})),
		failed(r.UpdateAssumeRolePolicy(ctx, r.root, &awsiam.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: aws.String(ec2Trust)})),
		failed(r.UpdateRole(ctx, r.root, &awsiam.UpdateRoleInput{RoleName: name, MaxSessionDuration: aws.Int32(7200)})),
		failed(r.AddRoleToInstanceProfile(ctx, r.root, &awsiam.AddRoleToInstanceProfileInput{InstanceProfileName: aws.String("web"), RoleName: name})),
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			wantError(t, err, 400, "UnmodifiableEntity",
				"Cannot perform the operation on the protected role 'AWSServiceRoleForAutoScaling' - this role is only modifiable by AWS")
		})
	}
	must(r.TagRole(ctx, r.root, &awsiam.TagRoleInput{RoleName: name, Tags: tagsOf("k", "v")}))(t)
	must(r.UpdateRoleDescription(ctx, r.root, &awsiam.UpdateRoleDescriptionInput{RoleName: name, Description: x}))(t)
}

func TestInlinePoliciesOfGroupsAndRolesAreKeptApart(t *testing.T) {
	r := newRig(t)
	ctx, x := t.Context(), aws.String("x")
	r.user("x")
	r.newGroup("x")
	r.role("x")
	doc := func(action string) *string { return aws.String(allow(action, "*")) }
	must(r.PutUserPolicy(ctx, r.root, &awsiam.PutUserPolicyInput{UserName: x, PolicyName: aws.String("p"), PolicyDocument: doc("s3:GetObject")}))(t)
	must(r.PutGroupPolicy(ctx, r.root, &awsiam.PutGroupPolicyInput{GroupName: x, PolicyName: aws.String("p"), PolicyDocument: doc("s3:PutObject")}))(t)
	for _, name := range []string{"p", "q", "o"} {
		must(r.PutRolePolicy(ctx, r.root, &awsiam.PutRolePolicyInput{RoleName: x, PolicyName: &name, PolicyDocument: doc("s3:ListBucket")}))(t)
	}
	user := must(r.GetUserPolicy(ctx, r.root, &awsiam.GetUserPolicyInput{UserName: x, PolicyName: aws.String("p")}))(t)
	group := must(r.GetGroupPolicy(ctx, r.root, &awsiam.GetGroupPolicyInput{GroupName: x, PolicyName: aws.String("p")}))(t)
	role := must(r.GetRolePolicy(ctx, r.root, &awsiam.GetRolePolicyInput{RoleName: x, PolicyName: aws.String("p")}))(t)
	for got, want := range map[string]string{
		*user.PolicyDocument: "s3:GetObject", *group.PolicyDocument: "s3:PutObject", *role.PolicyDocument: "s3:ListBucket",
	} {
		if plain, err := url.PathUnescape(got); err != nil || plain != allow(want, "*") {
			t.Errorf("%s, want %s", got, want)
		}
	}
	page := must(r.ListRolePolicies(ctx, r.root, &awsiam.ListRolePoliciesInput{RoleName: x, MaxItems: aws.Int32(2)}))(t)
	rest := must(r.ListRolePolicies(ctx, r.root, &awsiam.ListRolePoliciesInput{RoleName: x, Marker: page.Marker}))(t)
	if fmt.Sprint(page.PolicyNames, rest.PolicyNames) != "[o p] [q]" || !page.IsTruncated || rest.IsTruncated {
		t.Errorf("%v %v", page.PolicyNames, rest.PolicyNames)
	}
	names := must(r.ListGroupPolicies(ctx, r.root, &awsiam.ListGroupPoliciesInput{GroupName: x}))(t).PolicyNames
	if fmt.Sprint(names) != "[p]" {
		t.Errorf("%v", names)
	}
	wantError(t, failed(r.DeleteGroup(ctx, r.root, &awsiam.DeleteGroupInput{GroupName: x})), 409, "DeleteConflict", "Cannot delete entity, must delete policies first.")
	must(r.DeleteGroupPolicy(ctx, r.root, &awsiam.DeleteGroupPolicyInput{GroupName: x, PolicyName: aws.String("p")}))(t)
	must(r.DeleteGroup(ctx, r.root, &awsiam.DeleteGroupInput{GroupName: x}))(t)
	big := aws.String(allow("s3:*", "arn:aws:s3:::"+strings.Repeat("x", 10240)))
	wantError(t, failed(r.PutRolePolicy(ctx, r.root, &awsiam.PutRolePolicyInput{RoleName: x, PolicyName: x, PolicyDocument: big})),
		409, "LimitExceeded", "Maximum policy size of 10240 bytes exceeded for role x")
}

func TestUserIsMadeAndReadWithItsBoundary(t *testing.T) {
	r := newRig(t)
	ctx, name, arn := t.Context(), aws.String("alice"), r.policy("Edge")
	made := must(r.CreateUser(ctx, r.root, &awsiam.CreateUserInput{UserName: name, PermissionsBoundary: &arn, Tags: tagsOf("k", "v")}))(t).User
	got := must(r.GetUser(ctx, r.root, &awsiam.GetUserInput{UserName: name}))(t).User
	if *made.PermissionsBoundary.PermissionsBoundaryArn != arn || *got.PermissionsBoundary.PermissionsBoundaryArn != arn || showTags(got.Tags) != "k=v" {
		t.Errorf("%+v %+v", made, got)
	}
	if u := must(r.ListUsers(ctx, r.root, &awsiam.ListUsersInput{}))(t).Users[0]; u.PermissionsBoundary != nil || u.Tags != nil {
		t.Errorf("%+v", u)
	}
	must(r.UpdateUser(ctx, r.root, &awsiam.UpdateUserInput{UserName: name, NewUserName: aws.String("anna")}))(t)
	name = aws.String("anna")
	if got := must(r.GetUser(ctx, r.root, &awsiam.GetUserInput{UserName: name}))(t).User; *got.PermissionsBoundary.PermissionsBoundaryArn != arn {
		t.Errorf("%+v", got)
	}
	must(r.DeleteUserPermissionsBoundary(ctx, r.root, &awsiam.DeleteUserPermissionsBoundaryInput{UserName: name}))(t)
	must(r.DeletePolicy(ctx, r.root, &awsiam.DeletePolicyInput{PolicyArn: &arn}))(t)
	for _, bad := range []*string{nil, aws.String("not-an-arn-but-long-enough"), aws.String("")} {
		wantCode(t, failed(r.PutUserPermissionsBoundary(ctx, r.root, &awsiam.PutUserPermissionsBoundaryInput{UserName: name, PermissionsBoundary: bad})), 400, "ValidationError")
	}
	role := *r.root
	role.Root, role.UserName = false, ""
	wantError(t, failed(r.GetUser(ctx, &role, &awsiam.GetUserInput{})), 400, "ValidationError", "Must specify userName when calling with non-User credentials")
}
