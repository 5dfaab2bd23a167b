package iam

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/awsd/protocol"
	"hive/fsm"
)

// entityOperations are those on users, groups, roles, instance profiles, policies and access keys.
var entityOperations = strings.Fields(`
	CreateUser GetUser ListUsers UpdateUser DeleteUser TagUser UntagUser ListUserTags
	PutUserPermissionsBoundary DeleteUserPermissionsBoundary
	CreateAccessKey ListAccessKeys UpdateAccessKey DeleteAccessKey GetAccessKeyLastUsed
	PutUserPolicy GetUserPolicy ListUserPolicies DeleteUserPolicy
	AttachUserPolicy DetachUserPolicy ListAttachedUserPolicies
	CreateGroup GetGroup ListGroups UpdateGroup DeleteGroup AddUserToGroup RemoveUserFromGroup ListGroupsForUser
	PutGroupPolicy GetGroupPolicy ListGroupPolicies DeleteGroupPolicy
	AttachGroupPolicy DetachGroupPolicy ListAttachedGroupPolicies
	CreateRole GetRole ListRoles UpdateRole UpdateRoleDescription UpdateAssumeRolePolicy DeleteRole
	TagRole UntagRole ListRoleTags PutRolePermissionsBoundary DeleteRolePermissionsBoundary
	PutRolePolicy GetRolePolicy ListRolePolicies DeleteRolePolicy
	AttachRolePolicy DetachRolePolicy ListAttachedRolePolicies
	CreateInstanceProfile GetInstanceProfile ListInstanceProfiles ListInstanceProfilesForRole DeleteInstanceProfile
	AddRoleToInstanceProfile RemoveRoleFromInstanceProfile
	TagInstanceProfile UntagInstanceProfile ListInstanceProfileTags
	CreatePolicy GetPolicy ListPolicies DeletePolicy TagPolicy UntagPolicy ListPolicyTags
	CreatePolicyVersion GetPolicyVersion ListPolicyVersions DeletePolicyVersion SetDefaultPolicyVersion ListEntitiesForPolicy
`)

// ec2Trust is a trust policy with text that URL-encoding changes.
const ec2Trust = "{\n \"Version\": \"2012-10-17\", \"Statement\": {\"Sid\":\"x\",\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"ec2.amazonaws.com\"},\"Action\":\"sts:AssumeRole\"}}"

// wantError checks that err is AWS's error of that code, status and message.
func wantError(t *testing.T, err error, status int, code, message string) {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != code || e.Status != status || e.Message != message {
		t.Errorf("%#v\nwant %d %s: %s", err, status, code, message)
	}
}

// failed is the error of a call that answers nothing that matters.
func failed[T any](_ T, err error) error { return err }

func (r *rig) role(name string) *types.Role {
	r.t.Helper()
	return must(r.CreateRole(r.t.Context(), r.root, &awsiam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(ec2Trust)}))(r.t).Role
}

func (r *rig) newGroup(name string) *types.Group {
	r.t.Helper()
	return must(r.CreateGroup(r.t.Context(), r.root, &awsiam.CreateGroupInput{GroupName: &name}))(r.t).Group
}

func (r *rig) policy(name string) string {
	r.t.Helper()
	doc := allow("s3:*", "*")
	return *must(r.CreatePolicy(r.t.Context(), r.root, &awsiam.CreatePolicyInput{PolicyName: &name, PolicyDocument: &doc}))(r.t).Policy.Arn
}

func (r *rig) profile(name string) *types.InstanceProfile {
	r.t.Helper()
	return must(r.CreateInstanceProfile(r.t.Context(), r.root, &awsiam.CreateInstanceProfileInput{InstanceProfileName: &name}))(r.t).InstanceProfile
}

func tagsOf(pairs ...string) []types.Tag {
	var out []types.Tag
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return out
}

func showTags(tags []types.Tag) string {
	var out []string
	for _, t := range tags {
		out = append(out, *t.Key+"="+*t.Value)
	}
	return strings.Join(out, " ")
}

func TestMissingEntitiesAreToldInAWSsWords(t *testing.T) {
	r := newRig(t)
	ctx, x := t.Context(), aws.String("x")
	r.user("alice")
	r.role("worker")
	r.profile("web")
	alice, worker, web := aws.String("alice"), aws.String("worker"), aws.String("web")
	arn := "arn:aws:iam::" + r.root.Account + ":policy/x"
	doc := aws.String(allow("s3:*", "*"))
	const user, group, role, profile = "The user with name x cannot be found.", "The group with name x cannot be found.",
		"The role with name x cannot be found.", "Instance Profile x cannot be found."
	for i, c := range []struct {
		err     error
		message string
	}{
		{failed(r.GetUser(ctx, r.root, &awsiam.GetUserInput{UserName: x})), user},
		{failed(r.UpdateUser(ctx, r.root, &awsiam.UpdateUserInput{UserName: x})), user},
		{failed(r.DeleteUser(ctx, r.root, &awsiam.DeleteUserInput{UserName: x})), user},
		{failed(r.TagUser(ctx, r.root, &awsiam.TagUserInput{UserName: x, Tags: tagsOf("k", "v")})), user},
		{failed(r.ListGroupsForUser(ctx, r.root, &awsiam.ListGroupsForUserInput{UserName: x})), user},
		{failed(r.PutUserPermissionsBoundary(ctx, r.root, &awsiam.PutUserPermissionsBoundaryInput{UserName: x, PermissionsBoundary: &arn})), user},
		{failed(r.DeleteUserPermissionsBoundary(ctx, r.root, &awsiam.DeleteUserPermissionsBoundaryInput{UserName: x})), user},
		{failed(r.GetGroup(ctx, r.root, &awsiam.GetGroupInput{GroupName: x})), group},
		{failed(r.UpdateGroup(ctx, r.root, &awsiam.UpdateGroupInput{GroupName: x})), group},
		{failed(r.DeleteGroup(ctx, r.root, &awsiam.DeleteGroupInput{GroupName: x})), group},
		{failed(r.AddUserToGroup(ctx, r.root, &awsiam.AddUserToGroupInput{GroupName: x, UserName: alice})), group},
		{failed(r.AddUserToGroup(ctx, r.root, &awsiam.AddUserToGroupInput{GroupName: x, UserName: x})), user},
		{failed(r.RemoveUserFromGroup(ctx, r.root, &awsiam.RemoveUserFromGroupInput{GroupName: x, UserName: x})), user},
		{failed(r.ListGroupPolicies(ctx, r.root, &awsiam.ListGroupPoliciesInput{GroupName: x})), group},
		{failed(r.ListAttachedGroupPolicies(ctx, r.root, &awsiam.ListAttachedGroupPoliciesInput{GroupName: x})), group},
		{failed(r.PutGroupPolicy(ctx, r.root, &awsiam.PutGroupPolicyInput{GroupName: x, PolicyName: x, PolicyDocument: doc})), group},
		{failed(r.GetRole(ctx, r.root, &awsiam.GetRoleInput{RoleName: x})), role},
		{failed(r.UpdateRole(ctx, r.root, &awsiam.UpdateRoleInput{RoleName: x})), role},
		{failed(r.UpdateAssumeRolePolicy(ctx, r.root, &awsiam.UpdateAssumeRolePolicyInput{RoleName: x, PolicyDocument: aws.String(ec2Trust)})), role},
		{failed(r.DeleteRole(ctx, r.root, &awsiam.DeleteRoleInput{RoleName: x})), role},
		{failed(r.ListRoleTags(ctx, r.root, &awsiam.ListRoleTagsInput{RoleName: x})), role},
		{failed(r.ListInstanceProfilesForRole(ctx, r.root, &awsiam.ListInstanceProfilesForRoleInput{RoleName: x})), role},
		{failed(r.GetInstanceProfile(ctx, r.root, &awsiam.GetInstanceProfileInput{InstanceProfileName: x})), profile},
		{failed(r.DeleteInstanceProfile(ctx, r.root, &awsiam.DeleteInstanceProfileInput{InstanceProfileName: x})), profile},
		{failed(r.AddRoleToInstanceProfile(ctx, r.root, &awsiam.AddRoleToInstanceProfileInput{InstanceProfileName: x, RoleName: x})), profile},
		{failed(r.AddRoleToInstanceProfile(ctx, r.root, &awsiam.AddRoleToInstanceProfileInput{InstanceProfileName: web, RoleName: x})), role},
		{failed(r.RemoveRoleFromInstanceProfile(ctx, r.root, &awsiam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: web, RoleName: worker})), "Role worker in Instance Profile web cannot be found."},
		{failed(r.GetUserPolicy(ctx, r.root, &awsiam.GetUserPolicyInput{UserName: alice, PolicyName: x})), "The user policy with name x cannot be found."},
		{failed(r.DeleteRolePolicy(ctx, r.root, &awsiam.DeleteRolePolicyInput{RoleName: worker, PolicyName: x})), "The role policy with name x cannot be found."},
		{failed(r.AttachRolePolicy(ctx, r.root, &awsiam.AttachRolePolicyInput{RoleName: worker, PolicyArn: &arn})), "Policy " + arn + " does not exist or is not attachable."},
		{failed(r.DetachRolePolicy(ctx, r.root, &awsiam.DetachRolePolicyInput{RoleName: worker, PolicyArn: &arn})), "Policy " + arn + " was not found."},
		{failed(r.PutRolePermissionsBoundary(ctx, r.root, &awsiam.PutRolePermissionsBoundaryInput{RoleName: worker, PermissionsBoundary: &arn})), "Scope ARN: " + arn + " does not exist or is not attachable."},
		{failed(r.CreateUser(ctx, r.root, &awsiam.CreateUserInput{UserName: x, PermissionsBoundary: &arn})), "Scope ARN: " + arn + " does not exist or is not attachable."},
		{failed(r.GetPolicy(ctx, r.root, &awsiam.GetPolicyInput{PolicyArn: &arn})), "Policy " + arn + " was not found."},
		{failed(r.DeletePolicy(ctx, r.root, &awsiam.DeletePolicyInput{PolicyArn: &arn})), "Policy " + arn + " was not found."},
		{failed(r.TagPolicy(ctx, r.root, &awsiam.TagPolicyInput{PolicyArn: &arn, Tags: tagsOf("k", "v")})), "Policy " + arn + " was not found."},
		{failed(r.ListPolicyVersions(ctx, r.root, &awsiam.ListPolicyVersionsInput{PolicyArn: &arn})), "Policy " + arn + " was not found."},
		{failed(r.ListEntitiesForPolicy(ctx, r.root, &awsiam.ListEntitiesForPolicyInput{PolicyArn: &arn})), "Policy " + arn + " was not found."},
		{failed(r.GetPolicyVersion(ctx, r.root, &awsiam.GetPolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v1")})), "Policy " + arn + " version v1 does not exist or is not attachable."},
		{failed(r.SetDefaultPolicyVersion(ctx, r.root, &awsiam.SetDefaultPolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v1")})), "Policy " + arn + " version v1 does not exist or is not attachable."},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) { wantError(t, c.err, 404, "NoSuchEntity", c.message) })
	}
}

func TestNamesThatAreTakenAreToldInAWSsWords(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	r.newGroup("Admins")
	r.role("Worker")
	r.profile("Web")
	r.policy("Read")
	doc := allow("s3:*", "*")
	wantError(t, failed(r.CreateGroup(ctx, r.root, &awsiam.CreateGroupInput{GroupName: aws.String("admins")})),
		409, "EntityAlreadyExists", "Group with name admins already exists.")
	wantError(t, failed(r.CreateRole(ctx, r.root, &awsiam.CreateRoleInput{RoleName: aws.String("WORKER"), AssumeRolePolicyDocument: aws.String(ec2Trust)})),
		409, "EntityAlreadyExists", "Role with name WORKER already exists.")
	wantError(t, failed(r.CreateInstanceProfile(ctx, r.root, &awsiam.CreateInstanceProfileInput{InstanceProfileName: aws.String("Web")})),
		409, "EntityAlreadyExists", "Instance Profile Web already exists.")
	wantError(t, failed(r.CreatePolicy(ctx, r.root, &awsiam.CreatePolicyInput{PolicyName: aws.String("Read"), PolicyDocument: &doc})),
		409, "EntityAlreadyExists", "A policy called Read already exists. Duplicate names are not allowed.")
	r.newGroup("Others")
	wantError(t, failed(r.UpdateGroup(ctx, r.root, &awsiam.UpdateGroupInput{GroupName: aws.String("Others"), NewGroupName: aws.String("Admins")})),
		409, "EntityAlreadyExists", "Group with name Admins already exists.")
}

func TestGroupIsReadBackAsItWasWritten(t *testing.T) {
	r := newRig(t)
	ctx, name := t.Context(), aws.String("devs")
	made := must(r.CreateGroup(ctx, r.root, &awsiam.CreateGroupInput{GroupName: name, Path: aws.String("/team/")}))(t).Group
	if !strings.HasPrefix(*made.GroupId, "AGPA") || len(*made.GroupId) != 21 || *made.Arn != "arn:aws:iam::"+r.root.Account+":group/team/devs" {
		t.Errorf("%+v", made)
	}
	for i := range 5 {
		r.user(fmt.Sprint("u", i))
		must(r.AddUserToGroup(ctx, r.root, &awsiam.AddUserToGroupInput{GroupName: name, UserName: aws.String(fmt.Sprint("u", i))}))(t)
	}
	seen := map[string]bool{}
	in := &awsiam.GetGroupInput{GroupName: name, MaxItems: aws.Int32(2)}
	for pages := 0; ; pages++ {
		out := must(r.GetGroup(ctx, r.root, in))(t)
		if *out.Group.GroupId != *made.GroupId || out.Group.CreateDate.Unix() != started.Unix() {
			t.Errorf("%+v", out.Group)
		}
		for _, u := range out.Users {
			if u.Tags != nil || seen[*u.UserName] {
				t.Errorf("%+v", u)
			}
			seen[*u.UserName] = true
		}
		if in.Marker = out.Marker; !out.IsTruncated {
			break
		}
	}
	if len(seen) != 5 {
		t.Errorf("pages hold %v", seen)
	}
	groups := must(r.ListGroupsForUser(ctx, r.root, &awsiam.ListGroupsForUserInput{UserName: aws.String("u0")}))(t)
	if len(groups.Groups) != 1 || groups.IsTruncated || *groups.Groups[0].GroupName != "devs" {
		t.Errorf("%+v", groups)
	}
	wantError(t, failed(r.DeleteGroup(ctx, r.root, &awsiam.DeleteGroupInput{GroupName: name})),
		409, "DeleteConflict", "Cannot delete entity, must remove users from group first.")
	for i := range 5 {
		must(r.RemoveUserFromGroup(ctx, r.root, &awsiam.RemoveUserFromGroupInput{GroupName: name, UserName: aws.String(fmt.Sprint("u", i))}))(t)
	}
	must(r.UpdateGroup(ctx, r.root, &awsiam.UpdateGroupInput{GroupName: name, NewGroupName: aws.String("ops"), NewPath: aws.String("/")}))(t)
	out := must(r.GetGroup(ctx, r.root, &awsiam.GetGroupInput{GroupName: aws.String("ops")}))(t)
	if out.Users == nil || len(out.Users) != 0 || *out.Group.Arn != "arn:aws:iam::"+r.root.Account+":group/ops" || *out.Group.GroupId != *made.GroupId {
		t.Errorf("%+v", out)
	}
	if got := must(r.ListGroups(ctx, r.root, &awsiam.ListGroupsInput{PathPrefix: aws.String("/team/")}))(t).Groups; got == nil || len(got) != 0 {
		t.Errorf("%+v", got)
	}
	must(r.DeleteGroup(ctx, r.root, &awsiam.DeleteGroupInput{GroupName: aws.String("ops")}))(t)
}

func TestListingGoesOnWhereItStoodWhenEntitiesComeAndGo(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	for i := range 9 {
		r.role(fmt.Sprintf("r%d", i))
	}
	page := func(marker *string) *awsiam.ListRolesOutput {
		return must(r.ListRoles(ctx, r.root, &awsiam.ListRolesInput{MaxItems: aws.Int32(3), Marker: marker}))(t)
	}
	first := page(nil)
	must(r.DeleteRole(ctx, r.root, &awsiam.DeleteRoleInput{RoleName: aws.String("r2")}))(t) // the marker's own
	r.role("a-new-one-before")
	second := page(first.Marker)
	if len(first.Roles) != 3 || len(second.Roles) != 3 || *second.Roles[0].RoleName != "r3" || !second.IsTruncated {
		t.Errorf("%+v", second)
	}
	if last := page(second.Marker); len(last.Roles) != 3 || last.IsTruncated || last.Marker != nil {
		t.Errorf("%+v", last)
	}
}

func TestPageIsMadeFromABoundedNumberOfRecords(t *testing.T) {
	yields := 0
	items, next := listed(page{max: 10}, func(start string, yield func(int) bool) {
		for i := range 3 * lookedAt {
			yields++
			if !yield(i) {
				return
			}
		}
	}, func(i int) string { return fmt.Sprintf("%09d", i) }, func(i int) (int, bool) { return i, false })
	if len(items) != 0 || next == nil || yields != lookedAt+1 {
		t.Errorf("%d items from %d records, %v", len(items), yields, next)
	}
	if p, err := newPage(next, nil); err != nil || p.after != fmt.Sprintf("%09d", lookedAt-1) {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestOperationsOfOneAccountDoNotFindAnothersEntities(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	r.newGroup("g")
	r.role("r")
	r.profile("p")
	arn := r.policy("x")
	stranger := *r.root
	stranger.Account = "999999999999"
	if err := r.group.Propose(ctx, &fsm.CreateAccount{Account: fsm.Account{ID: "999999999999", Created: 1}}); err != nil {
		t.Fatal(err)
	}
	for i, err := range []error{
		failed(r.GetGroup(ctx, &stranger, &awsiam.GetGroupInput{GroupName: aws.String("g")})),
		failed(r.GetRole(ctx, &stranger, &awsiam.GetRoleInput{RoleName: aws.String("r")})),
		failed(r.GetInstanceProfile(ctx, &stranger, &awsiam.GetInstanceProfileInput{InstanceProfileName: aws.String("p")})),
		failed(r.GetPolicy(ctx, &stranger, &awsiam.GetPolicyInput{PolicyArn: &arn})),
		failed(r.GetPolicyVersion(ctx, &stranger, &awsiam.GetPolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v1")})),
		failed(r.DeletePolicy(ctx, &stranger, &awsiam.DeletePolicyInput{PolicyArn: &arn})),
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) { wantCode(t, err, 404, "NoSuchEntity") })
	}
	if got := must(r.ListPolicies(ctx, &stranger, &awsiam.ListPoliciesInput{Scope: types.PolicyScopeTypeLocal}))(t); len(got.Policies) != 0 {
		t.Errorf("%+v", got.Policies)
	}
}
