package iam

import (
	"encoding/csv"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
)

func TestAccountSummaryCountsWhatThereIs(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	summary := func() map[string]int32 {
		return must(r.GetAccountSummary(ctx, r.root, &awsiam.GetAccountSummaryInput{}))(t).SummaryMap
	}
	for key, want := range map[string]int32{
		"Users": 0, "UsersQuota": 5000, "AccountAccessKeysPresent": 1, "AccountMFAEnabled": 0, "Providers": 0, "MFADevices": 0,
		"PolicySizeQuota": 6144, "RolesQuota": 1000, "GroupsQuota": 300, "AccessKeysPerUserQuota": 2, "ServerCertificatesQuota": 20,
	} {
		if got, ok := summary()[key]; got != want || !ok {
			t.Errorf("%s is %d, want %d", key, got, want)
		}
	}
	r.user("alice")
	r.provider()
	seed := r.phone()
	if err := r.enable(r.Service, "alice", code(t, seed, started.Add(-later)), code(t, seed, started)); err != nil {
		t.Fatal(err)
	}
	must(r.CreateVirtualMFADevice(ctx, r.root, &awsiam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String("spare")}))(t)
	got := summary()
	if got["Users"] != 1 || got["Providers"] != 1 || got["MFADevices"] != 2 || got["MFADevicesInUse"] != 1 {
		t.Errorf("%v", got)
	}
	for _, key := range types.SummaryKeyType("").Values() {
		if _, ok := got[string(key)]; !ok {
			t.Errorf("%s is missing", key)
		}
	}
	must(r.DeactivateMFADevice(ctx, r.root, &awsiam.DeactivateMFADeviceInput{UserName: aws.String("alice"), SerialNumber: aws.String(phoneSerial)}))(t)
	if n := summary()["MFADevicesInUse"]; n != 0 {
		t.Errorf("%d devices in use", n)
	}
}

func TestCredentialReportHasAWSsColumns(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	_, err := r.GetCredentialReport(ctx, r.root, &awsiam.GetCredentialReportInput{})
	wantCode(t, err, 410, "ReportNotPresent")
	alice := r.user("alice")
	r.passwordPolicy(awsiam.UpdateAccountPasswordPolicyInput{MaxPasswordAge: aws.Int32(90)})
	if err := r.login("alice", goodPassword); err != nil {
		t.Fatal(err)
	}
	must(r.UpdateAccessKey(ctx, r.root, &awsiam.UpdateAccessKeyInput{UserName: aws.String("alice"), AccessKeyId: &alice.AccessKey, Status: types.StatusTypeInactive}))(t)
	r.propose(&fsm.RecordUses{Uses: []fsm.Use{{
		Account: account, Key: fsm.AccessKeyID(alice.AccessKey), Last: fsm.LastUsed{Time: started.Unix() + 60, Region: "ap-southeast-2", Service: "s3"},
	}}})
	must(r.CreateUser(ctx, r.root, &awsiam.CreateUserInput{UserName: aws.String("bob")}))(t)

	first := must(r.GenerateCredentialReport(ctx, r.root, &awsiam.GenerateCredentialReportInput{}))(t)
	again := must(r.GenerateCredentialReport(ctx, r.root, &awsiam.GenerateCredentialReportInput{}))(t)
	if first.State != types.ReportStateTypeStarted || first.Description == nil || again.State != types.ReportStateTypeComplete {
		t.Errorf("%s, %s", first.State, again.State)
	}
	got := must(r.GetCredentialReport(ctx, r.root, &awsiam.GetCredentialReportInput{}))(t)
	if got.ReportFormat != types.ReportFormatTypeTextCsv || !got.GeneratedTime.Equal(started) {
		t.Errorf("%s, %v", got.ReportFormat, got.GeneratedTime)
	}
	rows := must(csv.NewReader(strings.NewReader(string(got.Content))).ReadAll())(t)
	const none, at = "N/A", "2024-05-17T12:30:00+00:00"
	want := [][]string{
		strings.Split("user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,password_next_rotation,mfa_active,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,access_key_1_last_used_region,access_key_1_last_used_service,access_key_2_active,access_key_2_last_rotated,access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,cert_1_last_rotated,cert_2_active,cert_2_last_rotated", ","),
		{"<root_account>", "arn:aws:iam::123456789012:root", at, "not_supported", "no_information", "not_supported", "not_supported", "false", "true", at, none, none, none, "false", none, none, none, none, "false", none, "false", none},
		{"alice", "arn:aws:iam::123456789012:user/alice", at, "true", "no_information", at, "2024-08-15T12:30:00+00:00", "false", "false", at, "2024-05-17T12:31:00+00:00", "ap-southeast-2", "s3", "false", none, none, none, none, "false", none, "false", none},
		{"bob", "arn:aws:iam::123456789012:user/bob", at, "false", none, none, none, "false", "false", none, none, none, none, "false", none, none, none, none, "false", none, "false", none},
	}
	if len(rows) != len(want) {
		t.Fatalf("%d rows:\n%s", len(rows), got.Content)
	}
	for i := range want {
		if !slices.Equal(rows[i], want[i]) {
			t.Errorf("row %d:\n got %v\nwant %v", i, rows[i], want[i])
		}
	}
	late := r.at(started.Add(4 * time.Hour))
	_, err = late.GetCredentialReport(ctx, r.root, &awsiam.GetCredentialReportInput{})
	wantCode(t, err, 410, "ReportExpired")
	if out := must(late.GenerateCredentialReport(ctx, r.root, &awsiam.GenerateCredentialReportInput{}))(t); out.State != types.ReportStateTypeStarted {
		t.Errorf("%s", out.State)
	}
	must(late.GetCredentialReport(ctx, r.root, &awsiam.GetCredentialReportInput{}))(t)
}

// propose records a command that no operation here makes.
func (r *rig) propose(cmd fsm.Command) {
	r.t.Helper()
	if err := r.group.Propose(r.t.Context(), cmd); err != nil {
		r.t.Fatalf("%T: %v", cmd, err)
	}
}
