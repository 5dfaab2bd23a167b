package iam

import (
	"fmt"
	"net/url"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
)

// estate makes some of everything that GetAccountAuthorizationDetails lists.
func (r *rig) estate() {
	r.t.Helper()
	limit := "arn:aws:iam::123456789012:policy/limit"
	r.propose(&fsm.CreateManagedPolicy{
		Policy:   fsm.ManagedPolicy{Account: account, ID: "ANPALIMIT", Name: "limit", Path: "/", Description: "what nobody passes", Created: started.Unix(), Updated: started.Unix(), Default: 1},
		Document: statement("Allow", "s3:*", "*"),
	})
	r.propose(&fsm.CreatePolicyVersion{Account: account, Policy: "ANPALIMIT", Version: fsm.PolicyVersion{Number: 2, Document: statement("Allow", "ec2:*", "*"), Created: started.Unix()}})
	for _, name := range []string{"Alice", "bob"} {
		r.propose(&fsm.CreateUser{User: fsm.User{Account: account, ID: fsm.EntityID("AIDA" + name), Name: name, Path: "/", Created: started.Unix(), Boundary: limit, Tags: []fsm.Tag{{Key: "k", Value: "v"}}}})
	}
	r.propose(&fsm.CreateGroup{Group: fsm.IAMGroup{Account: account, ID: "AGPADEVS", Name: "devs", Path: "/", Created: started.Unix()}})
	r.propose(&fsm.AddUserToGroup{Account: account, Group: "AGPADEVS", User: "AIDAAlice"})
	r.propose(&fsm.PutInlinePolicy{Account: account, Owner: "AGPADEVS", Policy: fsm.InlinePolicy{Name: "team", Document: statement("Allow", "ec2:Describe*", "*")}})
	r.propose(&fsm.CreateRole{Role: fsm.Role{Account: account, ID: "AROAAPP", Name: "app", Path: "/", Created: started.Unix(), Trust: `{"Version":"2012-10-17","Statement":[]}`, MaxSession: 3600}})
	r.propose(&fsm.AttachPolicy{Account: account, Owner: "AROAAPP", ARN: "arn:aws:iam::aws:policy/ReadOnlyAccess"})
	r.propose(&fsm.CreateInstanceProfile{Profile: fsm.InstanceProfile{Account: account, ID: "AIPAAPP", Name: "app", Path: "/", Created: started.Unix()}})
	r.propose(&fsm.AddRoleToInstanceProfile{Account: account, Profile: "AIPAAPP", Role: "AROAAPP"})
}

func TestAuthorizationDetailsShowEverythingAndItsRelations(t *testing.T) {
	r := newRig(t)
	r.estate()
	out := must(r.GetAccountAuthorizationDetails(t.Context(), r.root, &awsiam.GetAccountAuthorizationDetailsInput{}))(t)
	if len(out.UserDetailList) != 2 || len(out.GroupDetailList) != 1 || len(out.RoleDetailList) != 1 || len(out.Policies) != 2 || out.IsTruncated {
		t.Fatalf("%+v", out)
	}
	u := out.UserDetailList[0]
	if *u.UserName != "Alice" || !slices.Equal(u.GroupList, []string{"devs"}) || *u.PermissionsBoundary.PermissionsBoundaryArn != "arn:aws:iam::123456789012:policy/limit" || len(u.Tags) != 1 {
		t.Errorf("%+v", u)
	}
	g := out.GroupDetailList[0]
	if doc := must(url.PathUnescape(*g.GroupPolicyList[0].PolicyDocument))(t); *g.GroupName != "devs" || doc != statement("Allow", "ec2:Describe*", "*") {
		t.Errorf("%+v", g)
	}
	role := out.RoleDetailList[0]
	if *role.RoleName != "app" || *role.AttachedManagedPolicies[0].PolicyName != "ReadOnlyAccess" || len(role.InstanceProfileList) != 1 ||
		*role.InstanceProfileList[0].Roles[0].RoleId != "AROAAPP" || role.RoleLastUsed == nil {
		t.Errorf("%+v", role)
	}
	own, aws := out.Policies[0], out.Policies[1]
	if *own.PolicyName != "limit" || *own.Description == "" || *own.PermissionsBoundaryUsageCount != 2 || len(own.PolicyVersionList) != 2 ||
		*own.PolicyVersionList[0].VersionId != "v2" || own.PolicyVersionList[0].IsDefaultVersion || !own.PolicyVersionList[1].IsDefaultVersion {
		t.Errorf("%+v", own)
	}
	if *aws.PolicyName != "ReadOnlyAccess" || *aws.AttachmentCount != 1 || len(aws.PolicyVersionList) != 1 || aws.PolicyVersionList[0].Document == nil {
		t.Errorf("%+v", aws)
	}
}

func TestAuthorizationDetailsAreFilteredAndPaged(t *testing.T) {
	r := newRig(t)
	r.estate()
	list := func(size int32, filter ...types.EntityType) (names []string) {
		in := &awsiam.GetAccountAuthorizationDetailsInput{MaxItems: &size, Filter: filter}
		for {
			out := must(r.GetAccountAuthorizationDetails(t.Context(), r.root, in))(t)
			var page []string
			for _, u := range out.UserDetailList {
				page = append(page, "user "+*u.UserName)
			}
			for _, g := range out.GroupDetailList {
				page = append(page, "group "+*g.GroupName)
			}
			for _, x := range out.RoleDetailList {
				page = append(page, "role "+*x.RoleName)
			}
			for _, p := range out.Policies {
				page = append(page, "policy "+*p.PolicyName)
			}
			if len(page) > int(size) || out.IsTruncated != (out.Marker != nil) {
				t.Fatalf("a page of %d: %v", size, page)
			}
			names = append(names, page...)
			if in.Marker = out.Marker; !out.IsTruncated {
				return names
			}
		}
	}
	all := []string{"user Alice", "user bob", "group devs", "role app", "policy limit", "policy ReadOnlyAccess"}
	for size := int32(1); size <= 7; size++ {
		if got := list(size); !slices.Equal(got, all) {
			t.Errorf("pages of %d: %v", size, got)
		}
	}
	if got := list(1, types.EntityTypeLocalManagedPolicy, types.EntityTypeUser); !slices.Equal(got, []string{"user Alice", "user bob", "policy limit"}) {
		t.Errorf("%v", got)
	}
	if got := list(1, types.EntityTypeAWSManagedPolicy); !slices.Equal(got, []string{"policy ReadOnlyAccess"}) {
		t.Errorf("%v", got)
	}
	_, err := r.GetAccountAuthorizationDetails(t.Context(), r.root, &awsiam.GetAccountAuthorizationDetailsInput{Filter: []types.EntityType{"Thing"}})
	wantCode(t, err, 400, "ValidationError")
}

func TestServiceLinkedRoleGoesThroughItsLife(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	create := func(in awsiam.CreateServiceLinkedRoleInput) (*types.Role, error) {
		out, err := r.CreateServiceLinkedRole(ctx, r.root, &in)
		if err != nil {
			return nil, err
		}
		return out.Role, nil
	}
	service := aws.String("autoscaling.amazonaws.com")
	role := must(create(awsiam.CreateServiceLinkedRoleInput{AWSServiceName: service, Description: aws.String("scales")}))(t)
	if *role.RoleName != "AWSServiceRoleForAutoScaling" || *role.Path != "/aws-service-role/autoscaling.amazonaws.com/" || *role.Description != "scales" ||
		*role.Arn != "arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling" {
		t.Errorf("%+v", role)
	}
	_, err := create(awsiam.CreateServiceLinkedRoleInput{AWSServiceName: service})
	wantCode(t, err, 400, "InvalidInput")
	second := must(create(awsiam.CreateServiceLinkedRoleInput{AWSServiceName: service, CustomSuffix: aws.String("2")}))(t)
	if *second.RoleName != "AWSServiceRoleForAutoScaling_2" {
		t.Errorf("%s", *second.RoleName)
	}
	for _, in := range []awsiam.CreateServiceLinkedRoleInput{
		{AWSServiceName: aws.String("nosuch.amazonaws.com")}, {AWSServiceName: aws.String("ecs.amazonaws.com"), CustomSuffix: aws.String("x")},
	} {
		_, err := create(in)
		wantCode(t, err, 400, "InvalidInput")
	}
	_, err = create(awsiam.CreateServiceLinkedRoleInput{})
	wantCode(t, err, 400, "ValidationError")
	attached := must(r.ListAttachedRolePolicies(ctx, r.root, &awsiam.ListAttachedRolePoliciesInput{RoleName: role.RoleName}))(t).AttachedPolicies
	if len(attached) != 1 || *attached[0].PolicyArn != "arn:aws:iam::aws:policy/aws-service-role/AutoScalingServiceRolePolicy" {
		t.Errorf("%+v", attached)
	}
	_, err = r.DeleteRole(ctx, r.root, &awsiam.DeleteRoleInput{RoleName: role.RoleName})
	wantCode(t, err, 400, "UnmodifiableEntity")

	task := must(r.DeleteServiceLinkedRole(ctx, r.root, &awsiam.DeleteServiceLinkedRoleInput{RoleName: role.RoleName}))(t).DeletionTaskId
	status := must(r.GetServiceLinkedRoleDeletionStatus(ctx, r.root, &awsiam.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: task}))(t)
	if status.Status != types.DeletionTaskStatusTypeSucceeded {
		t.Errorf("%s of %s", status.Status, *task)
	}
	_, err = r.GetRole(ctx, r.root, &awsiam.GetRoleInput{RoleName: role.RoleName})
	wantCode(t, err, 404, "NoSuchEntity")
	_, err = r.DeleteServiceLinkedRole(ctx, r.root, &awsiam.DeleteServiceLinkedRoleInput{RoleName: role.RoleName})
	wantCode(t, err, 404, "NoSuchEntity")
	_, err = r.GetServiceLinkedRoleDeletionStatus(ctx, r.root, &awsiam.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: aws.String("task/x")})
	wantCode(t, err, 404, "NoSuchEntity")
	must(create(awsiam.CreateServiceLinkedRoleInput{AWSServiceName: service}))(t)
	r.estate()
	_, err = r.DeleteServiceLinkedRole(ctx, r.root, &awsiam.DeleteServiceLinkedRoleInput{RoleName: aws.String("app")})
	wantCode(t, err, 404, "NoSuchEntity")
}

func TestServicesWithLinkedRolesAreInOrderAndTheirNamesFit(t *testing.T) {
	before := ""
	for _, l := range linkedServices() {
		if l.name <= before || l.role == "" || l.policy == "" || len(linkedPrefix+l.role) > maxLinkedName {
			t.Error(fmt.Sprint(l))
		}
		before = l.name
	}
}
