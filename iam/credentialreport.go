package iam

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// reportLife is how long a credential report is given out before another must be generated, as in AWS.
const reportLife = 4 * 60 * 60 // seconds

// reportColumns are AWS's, from "Understanding the report format" in the IAM user guide.
var reportColumns = []string{
	"user", "arn", "user_creation_time", "password_enabled", "password_last_used", "password_last_changed", "password_next_rotation",
	"mfa_active", "access_key_1_active", "access_key_1_last_rotated", "access_key_1_last_used_date", "access_key_1_last_used_region",
	"access_key_1_last_used_service", "access_key_2_active", "access_key_2_last_rotated", "access_key_2_last_used_date",
	"access_key_2_last_used_region", "access_key_2_last_used_service", "cert_1_active", "cert_1_last_rotated", "cert_2_active",
	"cert_2_last_rotated",
}

const (
	noValue      = "N/A"
	notSupported = "not_supported"
	// noInformation is of a password that was never used: there is no console to use one at.
	noInformation = "no_information"
)

// GenerateCredentialReport makes the account's report unless there is one of the last four hours. The first answer says
// STARTED, as AWS's, but the report is there already.
func (s *Service) GenerateCredentialReport(ctx context.Context, c *principal.Caller, _ *awsiam.GenerateCredentialReportInput) (*awsiam.GenerateCredentialReportOutput, error) {
	now := s.cfg.Clock()
	out := &awsiam.GenerateCredentialReportOutput{State: types.ReportStateTypeComplete}
	err := s.decide(ctx, c, "credential report", func(v *fsm.View) (fsm.Command, error) {
		job, ok := fsm.JobOf(v, fsm.AccountID(c.Account), fsm.CredentialReport, string(fsm.CredentialReport))
		if ok && now.Unix() < job.Created+reportLife {
			return nil, nil
		}
		out.State, out.Description = types.ReportStateTypeStarted, aws.String("No report exists. Starting a new report generation task")
		text, err := credentialReport(v, fsm.AccountID(c.Account), now)
		if err != nil {
			return nil, err
		}
		return &fsm.PutJob{Job: fsm.Job{
			Account: fsm.AccountID(c.Account), Type: fsm.CredentialReport, ID: string(fsm.CredentialReport), Created: now.Unix(), Result: text,
		}}, nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GetCredentialReport is the account's report. Errors: ReportNotPresent, ReportExpired.
func (s *Service) GetCredentialReport(ctx context.Context, c *principal.Caller, _ *awsiam.GetCredentialReportInput) (*awsiam.GetCredentialReportOutput, error) {
	var job fsm.Job
	err := s.read(ctx, func(v *fsm.View) error {
		var ok bool
		if job, ok = fsm.JobOf(v, fsm.AccountID(c.Account), fsm.CredentialReport, string(fsm.CredentialReport)); !ok {
			return protocol.Errorf(http.StatusGone, "ReportNotPresent", "Credential report is not present. Generate one with GenerateCredentialReport.")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s.cfg.Clock().Unix() >= job.Created+reportLife {
		return nil, protocol.Errorf(http.StatusGone, "ReportExpired", "Credential report is expired. Generate a new one with GenerateCredentialReport.")
	}
	content, err := unpack(job.Result)
	if err != nil {
		return nil, err
	}
	return &awsiam.GetCredentialReportOutput{Content: content, ReportFormat: types.ReportFormatTypeTextCsv, GeneratedTime: date(job.Created)}, nil
}

// pack makes the result of a job, unpack gives it back.
func pack(plain []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("pack a report: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack a report: %w", err)
	}
	return out.Bytes(), nil
}

func unpack(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack a report: %w", err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("unpack a report: %w", err)
	}
	return plain, nil
}

// credentialReport is the report as CSV, packed: the root user, then all users in order of name.
func credentialReport(v *fsm.View, account fsm.AccountID, now time.Time) ([]byte, error) {
	var plain bytes.Buffer
	w := csv.NewWriter(&plain)
	rows := [][]string{reportColumns, rootRow(v, account)}
	settings := fsm.SettingsOf(v, account)
	fsm.UsersFrom(v, account, "", func(u fsm.User) bool {
		rows = append(rows, userRow(v, u, settings.Password))
		return true
	})
	if err := w.WriteAll(rows); err != nil {
		return nil, fmt.Errorf("write a credential report: %w", err)
	}
	return pack(bytes.TrimSuffix(plain.Bytes(), []byte("\n")))
}

// reportTime is a time as reports show it.
func reportTime(unix int64) string {
	return time.Unix(unix, 0).UTC().Format("2006-01-02T15:04:05-07:00")
}

func rootRow(v *fsm.View, id fsm.AccountID) []string {
	account, _ := fsm.AccountOf(v, id)
	row := []string{
		"<root_account>", rootARN(string(id)), reportTime(account.Created), notSupported, noInformation, notSupported, notSupported, "false",
	}
	row = append(row, keyColumns(v, id, "")...)
	return append(row, "false", noValue, "false", noValue)
}

func userRow(v *fsm.View, u fsm.User, policy *fsm.PasswordPolicy) []string {
	row := []string{u.Name, u.ARN(), reportTime(u.Created)}
	row = append(row, passwordColumns(v, u, policy)...)
	row = append(row, strconv.FormatBool(len(fsm.MFADevicesOf(v, u.Account, u.ID)) > 0))
	row = append(row, keyColumns(v, u.Account, u.ID)...)
	return append(row, certColumns(v, u)...)
}

// passwordColumns: enabled, last used, last changed, next rotation.
func passwordColumns(v *fsm.View, u fsm.User, policy *fsm.PasswordPolicy) []string {
	p, ok := fsm.LoginProfileOf(v, u.Account, u.ID)
	if !ok {
		return []string{"false", noValue, noValue, noValue}
	}
	rotation := noValue
	if at := passwordExpires(p, policy); at != 0 {
		rotation = reportTime(at)
	}
	return []string{"true", noInformation, reportTime(p.Changed), rotation}
}

// keyColumns: of two access keys, the older first: active, last rotated, and when, where and for what last used.
func keyColumns(v *fsm.View, account fsm.AccountID, user fsm.EntityID) []string {
	keys := fsm.AccessKeysOf(v, account, user)
	if len(keys) == 2 && keys[1].Created < keys[0].Created {
		keys[0], keys[1] = keys[1], keys[0]
	}
	var out []string
	for i := range fsm.MaxAccessKeysPerOwner {
		if i >= len(keys) {
			out = append(out, "false", noValue, noValue, noValue, noValue)
			continue
		}
		out = append(out, strconv.FormatBool(!keys[i].Inactive), reportTime(keys[i].Created))
		used, ok := fsm.KeyLastUsed(v, account, keys[i].ID)
		if !ok {
			out = append(out, noValue, noValue, noValue)
			continue
		}
		out = append(out, reportTime(used.Time), orNoValue(used.Region), orNoValue(used.Service))
	}
	return out
}

func orNoValue(s string) string {
	if s == "" {
		return noValue
	}
	return s
}

// certColumns: of two signing certificates, active and last rotated.
func certColumns(v *fsm.View, u fsm.User) []string {
	var out []string
	for _, c := range fsm.CredentialsOf(v, u.Account, u.ID) {
		if c.Type == fsm.SigningCertificate {
			out = append(out, strconv.FormatBool(!c.Inactive), reportTime(c.Created))
		}
	}
	for len(out) < 2*fsm.MaxSigningCertificatesPerUser {
		out = append(out, "false", noValue)
	}
	return out
}
