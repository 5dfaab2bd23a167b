package iam_test

import (
	"bytes"
	"errors"
	"image/png"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/pquerna/otp/totp"
)

// These tests read answers as Terraform reads them back: through the SDK.

func TestSDKReadsBackAnOIDCProvider(t *testing.T) {
	w := newWire(t)
	client, ctx := w.iamOf(w.root[home]), t.Context()
	made := ok(client.CreateOpenIDConnectProvider(ctx, &awsiam.CreateOpenIDConnectProviderInput{
		Url: aws.String("https://id.example.com/t"), ClientIDList: []string{"sts.amazonaws.com"}, ThumbprintList: []string{strings.Repeat("a1", 20)},
		Tags: []iamtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
	}))(t)
	for range 3 { // Terraform wants consecutive reads that agree
		got := ok(client.GetOpenIDConnectProvider(ctx, &awsiam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: made.OpenIDConnectProviderArn}))(t)
		if *got.Url != "id.example.com/t" || len(got.ClientIDList) != 1 || len(got.ThumbprintList) != 1 || len(got.Tags) != 1 {
			t.Errorf("%+v", got)
		}
	}
	_, err := w.iamOf(w.root[abroad]).GetOpenIDConnectProvider(ctx, &awsiam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: made.OpenIDConnectProviderArn})
	if err == nil {
		t.Error("another account reads the provider")
	}
	ok(client.DeleteOpenIDConnectProvider(ctx, &awsiam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: made.OpenIDConnectProviderArn}))(t)
	_, err = client.GetOpenIDConnectProvider(ctx, &awsiam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: made.OpenIDConnectProviderArn})
	if gone := (*iamtypes.NoSuchEntityException)(nil); !errors.As(err, &gone) {
		t.Errorf("%v", err)
	}
}

func TestSDKReadsBackPasswordsAndPolicy(t *testing.T) {
	w := newWire(t)
	client, ctx := w.iamOf(w.root[home]), t.Context()
	_, err := client.GetAccountPasswordPolicy(ctx, &awsiam.GetAccountPasswordPolicyInput{})
	if none := (*iamtypes.NoSuchEntityException)(nil); !errors.As(err, &none) || !strings.Contains(err.Error(), "The Password Policy with domain name "+home+" cannot be found.") {
		t.Errorf("%v", err)
	}
	ok(client.UpdateAccountPasswordPolicy(ctx, &awsiam.UpdateAccountPasswordPolicyInput{MinimumPasswordLength: aws.Int32(8), RequireNumbers: true, MaxPasswordAge: aws.Int32(10)}))(t)
	got := ok(client.GetAccountPasswordPolicy(ctx, &awsiam.GetAccountPasswordPolicyInput{}))(t).PasswordPolicy
	if *got.MinimumPasswordLength != 8 || !got.RequireNumbers || got.RequireSymbols || !got.ExpirePasswords || *got.MaxPasswordAge != 10 || got.PasswordReusePrevention != nil {
		t.Errorf("%+v", got)
	}
	user := aws.String("alice")
	ok(client.CreateUser(ctx, &awsiam.CreateUserInput{UserName: user}))(t)
	_, err = client.CreateLoginProfile(ctx, &awsiam.CreateLoginProfileInput{UserName: user, Password: aws.String("no-digits")})
	if weak := (*iamtypes.PasswordPolicyViolationException)(nil); !errors.As(err, &weak) {
		t.Errorf("%v", err)
	}
	ok(client.CreateLoginProfile(ctx, &awsiam.CreateLoginProfileInput{UserName: user, Password: aws.String("digits-1"), PasswordResetRequired: true}))(t)
	if p := ok(client.GetLoginProfile(ctx, &awsiam.GetLoginProfileInput{UserName: user}))(t).LoginProfile; !p.PasswordResetRequired || *p.UserName != "alice" || p.CreateDate == nil {
		t.Errorf("%+v", p)
	}
	_, err = client.DeleteUser(ctx, &awsiam.DeleteUserInput{UserName: user})
	if inUse := (*iamtypes.DeleteConflictException)(nil); !errors.As(err, &inUse) {
		t.Errorf("%v", err)
	}
}

func TestSDKReadsBackAVirtualMFADevice(t *testing.T) {
	w := newWire(t)
	client, ctx := w.iamOf(w.root[home]), t.Context()
	made := ok(client.CreateVirtualMFADevice(ctx, &awsiam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String("phone")}))(t).VirtualMFADevice
	if _, err := png.Decode(bytes.NewReader(made.QRCodePNG)); err != nil || len(made.Base32StringSeed) != 64 {
		t.Errorf("a seed of %d characters; %v", len(made.Base32StringSeed), err)
	}
	ok(client.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("alice")}))(t)
	code := func(steps time.Duration) *string {
		return aws.String(ok(totp.GenerateCode(string(made.Base32StringSeed), w.clock().Add(30*time.Second*steps)))(t))
	}
	_, err := client.EnableMFADevice(ctx, &awsiam.EnableMFADeviceInput{UserName: aws.String("alice"), SerialNumber: made.SerialNumber, AuthenticationCode1: code(0), AuthenticationCode2: code(0)})
	if bad := (*iamtypes.InvalidAuthenticationCodeException)(nil); !errors.As(err, &bad) {
		t.Errorf("%v", err)
	}
	ok(client.EnableMFADevice(ctx, &awsiam.EnableMFADeviceInput{UserName: aws.String("alice"), SerialNumber: made.SerialNumber, AuthenticationCode1: code(-1), AuthenticationCode2: code(0)}))(t)
	pages := awsiam.NewListVirtualMFADevicesPaginator(client, &awsiam.ListVirtualMFADevicesInput{AssignmentStatus: iamtypes.AssignmentStatusTypeAssigned})
	for pages.HasMorePages() {
		for _, d := range ok(pages.NextPage(ctx))(t).VirtualMFADevices {
			if *d.SerialNumber != *made.SerialNumber || *d.User.UserName != "alice" || d.EnableDate == nil || len(d.Base32StringSeed) > 0 {
				t.Errorf("%+v", d)
			}
		}
	}
}

func TestSDKReadsReportsAndMaps(t *testing.T) {
	w := newWire(t)
	client, ctx := w.iamOf(w.root[home]), t.Context()
	ok(client.CreateAccountAlias(ctx, &awsiam.CreateAccountAliasInput{AccountAlias: aws.String("corp")}))(t)
	if got := ok(client.ListAccountAliases(ctx, &awsiam.ListAccountAliasesInput{}))(t).AccountAliases; !slices.Equal(got, []string{"corp"}) {
		t.Errorf("%v", got)
	}
	_, err := w.iamOf(w.root[abroad]).CreateAccountAlias(ctx, &awsiam.CreateAccountAliasInput{AccountAlias: aws.String("corp")})
	if taken := (*iamtypes.EntityAlreadyExistsException)(nil); !errors.As(err, &taken) {
		t.Errorf("%v", err)
	}
	if got := ok(client.GetAccountSummary(ctx, &awsiam.GetAccountSummaryInput{}))(t).SummaryMap; got["UsersQuota"] != 5000 || got["AccountAccessKeysPresent"] != 1 {
		t.Errorf("%v", got)
	}
	_, err = client.GetCredentialReport(ctx, &awsiam.GetCredentialReportInput{})
	if none := (*iamtypes.CredentialReportNotPresentException)(nil); !errors.As(err, &none) {
		t.Errorf("%v", err)
	}
	ok(client.GenerateCredentialReport(ctx, &awsiam.GenerateCredentialReportInput{}))(t)
	if got := ok(client.GetCredentialReport(ctx, &awsiam.GetCredentialReportInput{}))(t); !bytes.HasPrefix(got.Content, []byte("user,arn,user_creation_time,")) || !bytes.Contains(got.Content, []byte("<root_account>")) {
		t.Errorf("%s", got.Content)
	}
	simulated := ok(client.SimulateCustomPolicy(ctx, &awsiam.SimulateCustomPolicyInput{
		PolicyInputList: []string{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`}, ActionNames: []string{"s3:GetObject", "ec2:RunInstances"},
	}))(t).EvaluationResults
	if len(simulated) != 2 || simulated[0].EvalDecision != iamtypes.PolicyEvaluationDecisionTypeAllowed || simulated[1].EvalDecision != iamtypes.PolicyEvaluationDecisionTypeImplicitDeny ||
		simulated[0].MatchedStatements[0].StartPosition == nil {
		t.Errorf("%+v", simulated)
	}
	role := ok(client.CreateServiceLinkedRole(ctx, &awsiam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("elasticloadbalancing.amazonaws.com")}))(t).Role
	details := ok(client.GetAccountAuthorizationDetails(ctx, &awsiam.GetAccountAuthorizationDetailsInput{}))(t)
	if len(details.RoleDetailList) != 1 || *details.RoleDetailList[0].Arn != *role.Arn || len(details.Policies) != 1 {
		t.Errorf("%+v", details)
	}
	task := ok(client.DeleteServiceLinkedRole(ctx, &awsiam.DeleteServiceLinkedRoleInput{RoleName: role.RoleName}))(t)
	if got := ok(client.GetServiceLinkedRoleDeletionStatus(ctx, &awsiam.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: task.DeletionTaskId}))(t); got.Status != iamtypes.DeletionTaskStatusTypeSucceeded {
		t.Errorf("%+v", got)
	}
}

func TestPasswordPolicyLetsUsersChangeTheirOwnPassword(t *testing.T) {
	w := newWire(t)
	root, ctx := w.iamOf(w.root[home]), t.Context()
	user := aws.String("alice")
	ok(root.CreateUser(ctx, &awsiam.CreateUserInput{UserName: user}))(t)
	ok(root.CreateLoginProfile(ctx, &awsiam.CreateLoginProfileInput{UserName: user, Password: aws.String("first-Pass1")}))(t)
	key := ok(root.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: user}))(t).AccessKey
	alice := w.iamOf(aws.Credentials{AccessKeyID: *key.AccessKeyId, SecretAccessKey: *key.SecretAccessKey})
	change := func(before, after string) error {
		_, err := alice.ChangePassword(ctx, &awsiam.ChangePasswordInput{OldPassword: &before, NewPassword: &after})
		return err
	}
	denied := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
			t.Errorf("%s: %v", what, err)
		}
	}
	denied("without a policy", change("first-Pass1", "second-Pass2"))
	ok(root.UpdateAccountPasswordPolicy(ctx, &awsiam.UpdateAccountPasswordPolicyInput{AllowUsersToChangePassword: true}))(t)
	if err := change("first-Pass1", "second-Pass2"); err != nil {
		t.Error(err)
	}
	ok(alice.GetAccountPasswordPolicy(ctx, &awsiam.GetAccountPasswordPolicyInput{}))(t)
	_, err := alice.GetLoginProfile(ctx, &awsiam.GetLoginProfileInput{})
	denied("another operation", err)
	ok(root.PutUserPolicy(ctx, &awsiam.PutUserPolicyInput{UserName: user, PolicyName: aws.String("no"), PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"iam:ChangePassword","Resource":"*"}]}`)}))(t)
	denied("against a denial", change("second-Pass2", "third-Pass3"))
}
