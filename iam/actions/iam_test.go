package actions

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"hive/iam/principal"
)

// row is a request and what it needs, in the form of check.
type row struct {
	op   string
	in   any
	want []string
}

func one(want string) []string { return []string{want} }

func checkRows(t *testing.T, service string, rows []row) {
	t.Helper()
	n, _ := newRig(t)
	access := n.Access(service)
	for _, x := range rows {
		check(t, service+" "+x.op, access(alice, x.op, x.in), x.want)
	}
}

func TestUsersAreNamedWithTheirPaths(t *testing.T) {
	checkRows(t, "iam", []row{
		{"GetUser", &sdk.GetUserInput{}, one("iam:GetUser IAM:user/alice aws:resourcetag/team=red iam:resourcetag/team=red")},
		{"GetUser", &sdk.GetUserInput{UserName: str("BOB")}, one("iam:GetUser IAM:user/staff/Bob !aws:resourcetag/team !iam:permissionsboundary")},
		{"GetUser", &sdk.GetUserInput{UserName: str("none")}, one("iam:GetUser IAM:user/none")},
		{"GetUser", &sdk.GetUserInput{UserName: str("")}, one("iam:GetUser IAM:user/*")},
		{"DeleteUser", &sdk.DeleteUserInput{UserName: str("bob")}, one("iam:DeleteUser IAM:user/staff/Bob")},
		{"DeleteUser", &sdk.DeleteUserInput{}, one("iam:DeleteUser IAM:user/*")},
		{"CreateUser", &sdk.CreateUserInput{UserName: str("new"), Path: str("/p/")}, one("iam:CreateUser IAM:user/p/new !aws:tagkeys !iam:permissionsboundary")},
		{"CreateUser", &sdk.CreateUserInput{UserName: str("alice")}, one("iam:CreateUser IAM:user/alice !aws:resourcetag/team")},
		{"CreateUser", &sdk.CreateUserInput{}, one("iam:CreateUser IAM:user/*")},
		{"CreateUser", &sdk.CreateUserInput{UserName: str("new"), PermissionsBoundary: str(boundary), Tags: []types.Tag{{Key: str("Team"), Value: str("x")}, {Key: str("b"), Value: str("y")}}}, []string{
			"iam:CreateUser IAM:user/new iam:permissionsboundary=" + boundary + " aws:requesttag/team=x aws:requesttag/b=y aws:tagkeys=Team|b",
			"iam:TagUser IAM:user/new aws:requesttag/team=x aws:tagkeys=Team|b",
		}},
		{"UpdateUser", &sdk.UpdateUserInput{UserName: str("bob"), NewPath: str("/y/")}, []string{"iam:UpdateUser IAM:user/staff/Bob", "iam:UpdateUser IAM:user/y/Bob"}},
		{"UpdateUser", &sdk.UpdateUserInput{UserName: str("bob"), NewUserName: str("rob")}, []string{"iam:UpdateUser IAM:user/staff/Bob", "iam:UpdateUser IAM:user/staff/rob"}},
		{"UpdateUser", &sdk.UpdateUserInput{UserName: str("none"), NewUserName: str("rob")}, []string{"iam:UpdateUser IAM:user/none", "iam:UpdateUser IAM:user/rob"}},
		{"ListUsers", &sdk.ListUsersInput{}, one("iam:ListUsers IAM:user/")},
		{"ListUsers", &sdk.ListUsersInput{PathPrefix: str("/staff/")}, one("iam:ListUsers IAM:user/staff/")},
		{"ListUsers", &sdk.ListUsersInput{PathPrefix: str("staff")}, one("iam:ListUsers IAM:user/")},
		{"TagUser", &sdk.TagUserInput{UserName: str("alice"), Tags: []types.Tag{{Key: str("Team"), Value: str("blue")}}}, one("iam:TagUser IAM:user/alice aws:resourcetag/team=red aws:requesttag/team=blue aws:tagkeys=Team")},
		{"UntagUser", &sdk.UntagUserInput{UserName: str("alice"), TagKeys: []string{"Team", "x"}}, one("iam:UntagUser IAM:user/alice aws:tagkeys=Team|x !aws:requesttag/team")},
		{"CreateAccessKey", &sdk.CreateAccessKeyInput{}, one("iam:CreateAccessKey IAM:user/alice")},
		{"CreateAccessKey", &sdk.CreateAccessKeyInput{UserName: str("bob")}, one("iam:CreateAccessKey IAM:user/staff/Bob")},
		{"DeleteAccessKey", &sdk.DeleteAccessKeyInput{AccessKeyId: str("AKIABOB")}, one("iam:DeleteAccessKey IAM:user/alice")},
		{"GetAccessKeyLastUsed", &sdk.GetAccessKeyLastUsedInput{AccessKeyId: str("AKIABOB")}, one("iam:GetAccessKeyLastUsed IAM:user/staff/Bob")},
		{"GetAccessKeyLastUsed", &sdk.GetAccessKeyLastUsedInput{AccessKeyId: str("AKIAROOT")}, one("iam:GetAccessKeyLastUsed IAM:root")},
		{"GetAccessKeyLastUsed", &sdk.GetAccessKeyLastUsedInput{AccessKeyId: str("AKIANONE")}, one("iam:GetAccessKeyLastUsed IAM:user/*")},
		{"ChangePassword", &sdk.ChangePasswordInput{}, one("iam:ChangePassword IAM:user/alice")},
		{"GetLoginProfile", &sdk.GetLoginProfileInput{UserName: str("bob")}, one("iam:GetLoginProfile IAM:user/staff/Bob")},
		{"ListMFADevices", &sdk.ListMFADevicesInput{}, one("iam:ListMFADevices IAM:user/alice")},
		{"EnableMFADevice", &sdk.EnableMFADeviceInput{UserName: str("bob"), SerialNumber: str("x")}, one("iam:EnableMFADevice IAM:user/staff/Bob")},
		{"AttachUserPolicy", &sdk.AttachUserPolicyInput{UserName: str("bob"), PolicyArn: str("arn:aws:iam::aws:policy/X")}, one("iam:AttachUserPolicy IAM:user/staff/Bob iam:policyarn=arn:aws:iam::aws:policy/X iam:permissionsboundary=" + boundary)},
		{"AttachUserPolicy", &sdk.AttachUserPolicyInput{UserName: str("alice"), PolicyArn: str("a")}, one("iam:AttachUserPolicy IAM:user/alice iam:policyarn=a !iam:permissionsboundary")},
		{"PutUserPermissionsBoundary", &sdk.PutUserPermissionsBoundaryInput{UserName: str("bob"), PermissionsBoundary: str("b")}, one("iam:PutUserPermissionsBoundary IAM:user/staff/Bob iam:permissionsboundary=b")},
		{"DeleteUserPermissionsBoundary", &sdk.DeleteUserPermissionsBoundaryInput{UserName: str("bob")}, one("iam:DeleteUserPermissionsBoundary IAM:user/staff/Bob iam:permissionsboundary=" + boundary)},
		{"PutUserPolicy", &sdk.PutUserPolicyInput{UserName: str("bob")}, one("iam:PutUserPolicy IAM:user/staff/Bob iam:permissionsboundary=" + boundary)},
	})
}

func TestGroupsRolesAndProfilesAreNamedWithTheirPaths(t *testing.T) {
	checkRows(t, "iam", []row{
		{"GetGroup", &sdk.GetGroupInput{GroupName: str("DEV")}, one("iam:GetGroup IAM:group/eng/dev")},
		{"CreateGroup", &sdk.CreateGroupInput{GroupName: str("ops"), Path: str("/eng/")}, one("iam:CreateGroup IAM:group/eng/ops")},
		{"UpdateGroup", &sdk.UpdateGroupInput{GroupName: str("dev"), NewGroupName: str("dev2")}, []string{"iam:UpdateGroup IAM:group/eng/dev", "iam:UpdateGroup IAM:group/eng/dev2"}},
		{"AddUserToGroup", &sdk.AddUserToGroupInput{GroupName: str("dev"), UserName: str("bob")}, one("iam:AddUserToGroup IAM:group/eng/dev")},
		{"ListGroupsForUser", &sdk.ListGroupsForUserInput{UserName: str("bob")}, one("iam:ListGroupsForUser IAM:user/staff/Bob")},
		{"ListGroups", &sdk.ListGroupsInput{}, one("iam:ListGroups IAM:group/")},
		{"AttachGroupPolicy", &sdk.AttachGroupPolicyInput{GroupName: str("dev"), PolicyArn: str("p")}, one("iam:AttachGroupPolicy IAM:group/eng/dev iam:policyarn=p")},
		{"GetRole", &sdk.GetRoleInput{RoleName: str("Web")}, one("iam:GetRole IAM:role/svc/web aws:resourcetag/team=blue iam:resourcetag/team=blue iam:permissionsboundary=" + boundary)},
		{"CreateRole", &sdk.CreateRoleInput{RoleName: str("r"), Path: str("/a/"), PermissionsBoundary: str("b"), Tags: []types.Tag{{Key: str("k"), Value: str("v")}}}, []string{
			"iam:CreateRole IAM:role/a/r iam:permissionsboundary=b aws:tagkeys=k", "iam:TagRole IAM:role/a/r aws:requesttag/k=v",
		}},
		{"UpdateAssumeRolePolicy", &sdk.UpdateAssumeRolePolicyInput{RoleName: str("web")}, one("iam:UpdateAssumeRolePolicy IAM:role/svc/web iam:permissionsboundary=" + boundary)},
		{"AttachRolePolicy", &sdk.AttachRolePolicyInput{RoleName: str("web"), PolicyArn: str("p")}, one("iam:AttachRolePolicy IAM:role/svc/web iam:policyarn=p iam:permissionsboundary=" + boundary)},
		{"ListRoles", &sdk.ListRolesInput{PathPrefix: str("/svc/")}, one("iam:ListRoles IAM:role/svc/")},
		{"ListInstanceProfilesForRole", &sdk.ListInstanceProfilesForRoleInput{RoleName: str("web")}, one("iam:ListInstanceProfilesForRole IAM:role/svc/web")},
		{"GetInstanceProfile", &sdk.GetInstanceProfileInput{InstanceProfileName: str("web-profile")}, one("iam:GetInstanceProfile IAM:instance-profile/svc/web-profile aws:resourcetag/team=blue !iam:resourcetag/team")},
		{"CreateInstanceProfile", &sdk.CreateInstanceProfileInput{InstanceProfileName: str("p")}, one("iam:CreateInstanceProfile IAM:instance-profile/p")},
		{"AddRoleToInstanceProfile", &sdk.AddRoleToInstanceProfileInput{InstanceProfileName: str("bare"), RoleName: str("web")}, []string{
			"iam:AddRoleToInstanceProfile IAM:instance-profile/bare", "iam:PassRole IAM:role/svc/web iam:passedtoservice=ec2.amazonaws.com iam:resourcetag/team=blue",
		}},
		{"RemoveRoleFromInstanceProfile", &sdk.RemoveRoleFromInstanceProfileInput{InstanceProfileName: str("bare"), RoleName: str("web")}, one("iam:RemoveRoleFromInstanceProfile IAM:instance-profile/bare")},
		{"CreateServiceLinkedRole", &sdk.CreateServiceLinkedRoleInput{AWSServiceName: str("x.amazonaws.com")}, one("iam:CreateServiceLinkedRole IAM:role/aws-service-role/x.amazonaws.com/* iam:awsservicename=x.amazonaws.com")},
		{"GetServiceLinkedRoleDeletionStatus", &sdk.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: str("task/aws-service-role/x.amazonaws.com/R/1-2")}, one("iam:GetServiceLinkedRoleDeletionStatus IAM:role/aws-service-role/x.amazonaws.com/R")},
		{"GetServiceLinkedRoleDeletionStatus", &sdk.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: str("x")}, one("iam:GetServiceLinkedRoleDeletionStatus IAM:role/*")},
	})
}

func TestPoliciesProvidersAndDevicesAreNamedByTheirARNs(t *testing.T) {
	oidc, phone := "arn:aws:iam::"+mine+":oidc-provider/id.example/x", "arn:aws:iam::"+mine+":mfa/p/phone"
	checkRows(t, "iam", []row{
		{"GetPolicy", &sdk.GetPolicyInput{PolicyArn: str(boundary)}, one("iam:GetPolicy IAM:policy/limits/edge aws:resourcetag/team=sec !iam:resourcetag/team")},
		{"GetPolicy", &sdk.GetPolicyInput{PolicyArn: str("arn:aws:iam::aws:policy/ReadOnlyAccess")}, one("iam:GetPolicy arn:aws:iam::aws:policy/ReadOnlyAccess")},
		{"GetPolicy", &sdk.GetPolicyInput{PolicyArn: str("arn:aws:iam::" + mine + ":policy/edge")}, one("iam:GetPolicy IAM:policy/edge !aws:resourcetag/team")},
		{"GetPolicy", &sdk.GetPolicyInput{}, one("iam:GetPolicy IAM:policy/*")},
		{"CreatePolicy", &sdk.CreatePolicyInput{PolicyName: str("n"), Path: str("/limits/"), Tags: []types.Tag{{Key: str("k")}}}, []string{
			"iam:CreatePolicy IAM:policy/limits/n aws:requesttag/k= aws:tagkeys=k", "iam:TagPolicy IAM:policy/limits/n aws:tagkeys=k",
		}},
		{"CreatePolicyVersion", &sdk.CreatePolicyVersionInput{PolicyArn: str(boundary)}, one("iam:CreatePolicyVersion IAM:policy/limits/edge")},
		{"ListPolicies", &sdk.ListPoliciesInput{}, one("iam:ListPolicies IAM:policy/")},
		{"ListEntitiesForPolicy", &sdk.ListEntitiesForPolicyInput{PolicyArn: str(boundary)}, one("iam:ListEntitiesForPolicy IAM:policy/limits/edge")},
		{"GetOpenIDConnectProvider", &sdk.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &oidc}, one("iam:GetOpenIDConnectProvider " + oidc + " aws:resourcetag/team=sso")},
		{"CreateOpenIDConnectProvider", &sdk.CreateOpenIDConnectProviderInput{Url: str("https://a.example/b")}, one("iam:CreateOpenIDConnectProvider IAM:oidc-provider/a.example/b")},
		{"CreateOpenIDConnectProvider", &sdk.CreateOpenIDConnectProviderInput{}, one("iam:CreateOpenIDConnectProvider IAM:oidc-provider/*")},
		{"CreateSAMLProvider", &sdk.CreateSAMLProviderInput{Name: str("idp")}, one("iam:CreateSAMLProvider IAM:saml-provider/idp")},
		{"CreateVirtualMFADevice", &sdk.CreateVirtualMFADeviceInput{VirtualMFADeviceName: str("d")}, one("iam:CreateVirtualMFADevice IAM:mfa/d")},
		{"DeleteVirtualMFADevice", &sdk.DeleteVirtualMFADeviceInput{SerialNumber: &phone}, one("iam:DeleteVirtualMFADevice " + phone + " aws:resourcetag/team=mfa")},
		{"UploadServerCertificate", &sdk.UploadServerCertificateInput{ServerCertificateName: str("c"), Path: str("/cf/")}, one("iam:UploadServerCertificate IAM:server-certificate/cf/c")},
		{"SimulatePrincipalPolicy", &sdk.SimulatePrincipalPolicyInput{PolicySourceArn: str("arn:aws:iam::" + mine + ":role/svc/web")}, one("iam:SimulatePrincipalPolicy IAM:role/svc/web aws:resourcetag/team=blue")},
		{"SimulatePrincipalPolicy", &sdk.SimulatePrincipalPolicyInput{PolicySourceArn: str("arn:aws:iam::" + mine + ":user/alice")}, one("iam:SimulatePrincipalPolicy IAM:user/alice aws:resourcetag/team=red")},
		{"SimulatePrincipalPolicy", &sdk.SimulatePrincipalPolicyInput{PolicySourceArn: str("arn:aws:iam::" + mine + ":user/p/alice")}, one("iam:SimulatePrincipalPolicy IAM:user/p/alice !aws:resourcetag/team")},
		{"SimulateCustomPolicy", &sdk.SimulateCustomPolicyInput{}, one("iam:SimulateCustomPolicy *")},
		{"GetAccountSummary", &sdk.GetAccountSummaryInput{}, one("iam:GetAccountSummary *")},
		{"CreateAccountAlias", &sdk.CreateAccountAliasInput{AccountAlias: str("x")}, one("iam:CreateAccountAlias *")},
		{"GenerateCredentialReport", &sdk.GenerateCredentialReportInput{}, one("iam:GenerateCredentialReport *")},
		{"NoSuchOperation", &sdk.GetUserInput{}, one("iam:NoSuchOperation *")},
		{"GetUser", nil, one("iam:GetUser *")},
		{"GetUser", &sdk.GetPolicyInput{}, one("iam:GetUser *")},
		{"GetUser", &sdk.GetUserInput{}, one("iam:GetUser IAM:user/alice")},
	})
}

func TestACallerWhoIsNoUserIsNamedByItsARN(t *testing.T) {
	n, _ := newRig(t)
	root := &principal.Caller{Account: mine, ARN: "arn:aws:iam::" + mine + ":root", UserID: mine, Root: true}
	check(t, "root", n.Of("iam", "GetUser")(root, &sdk.GetUserInput{}), one("iam:GetUser IAM:root"))
	role := &principal.Caller{Account: mine, ARN: "arn:aws:sts::" + mine + ":assumed-role/web/s", UserID: "AROAWEB:s"}
	check(t, "role", n.Of("iam", "ListAccessKeys")(role, &sdk.ListAccessKeysInput{}), one("iam:ListAccessKeys "+role.ARN))
}

func TestWhatSTSNeeds(t *testing.T) {
	web, theirs := "arn:aws:iam::"+mine+":role/svc/web", "arn:aws:iam::"+another+":role/theirs"
	checkRows(t, "sts", []row{
		{"GetCallerIdentity", &sts.GetCallerIdentityInput{}, nil},
		{"GetSessionToken", &sts.GetSessionTokenInput{}, nil},
		{"GetAccessKeyInfo", &sts.GetAccessKeyInfoInput{AccessKeyId: str("AKIA")}, one("sts:GetAccessKeyInfo *")},
		{"DecodeAuthorizationMessage", &sts.DecodeAuthorizationMessageInput{}, one("sts:DecodeAuthorizationMessage *")},
		{"AssumeRole", &sts.AssumeRoleInput{RoleArn: &web, RoleSessionName: str("s"), ExternalId: str("x"), DurationSeconds: aws.Int32(900)}, one(
			"sts:AssumeRole " + web + " sts:rolesessionname=s sts:externalid=x !sts:durationseconds iam:resourcetag/team=blue aws:resourcetag/team=blue !aws:tagkeys !sts:sourceidentity")},
		{"AssumeRole", &sts.AssumeRoleInput{RoleArn: &theirs, RoleSessionName: str("s")}, one("sts:AssumeRole " + theirs + " iam:resourcetag/team=green !sts:externalid")},
		{"AssumeRole", &sts.AssumeRoleInput{RoleArn: &web, RoleSessionName: str("s"), SourceIdentity: str("me"), TransitiveTagKeys: []string{"a", "b"}, Tags: []ststypes.Tag{{Key: str("a"), Value: str("1")}}}, []string{
			"sts:AssumeRole " + web + " sts:sourceidentity=me sts:transitivetagkeys=a|b aws:requesttag/a=1 aws:tagkeys=a",
			"sts:TagSession " + web + " sts:transitivetagkeys=a|b aws:requesttag/a=1 aws:tagkeys=a", "sts:SetSourceIdentity " + web + " sts:sourceidentity=me",
		}},
		{"AssumeRoleWithWebIdentity", &sts.AssumeRoleWithWebIdentityInput{RoleArn: &web, RoleSessionName: str("s")}, one("sts:AssumeRoleWithWebIdentity " + web + " sts:rolesessionname=s")},
		{"GetFederationToken", &sts.GetFederationTokenInput{Name: str("fred")}, one("sts:GetFederationToken arn:aws:sts::" + mine + ":federated-user/fred")},
		{"GetFederationToken", &sts.GetFederationTokenInput{Name: str("fred"), Tags: []ststypes.Tag{{Key: str("a"), Value: str("1")}}}, []string{
			"sts:GetFederationToken arn:aws:sts::" + mine + ":federated-user/fred aws:requesttag/a=1", "sts:TagSession arn:aws:sts::" + mine + ":federated-user/fred aws:tagkeys=a",
		}},
	})
}
