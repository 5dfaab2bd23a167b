package iam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"

	"hive/fsm"
	"hive/iam/principal"
)

func TestLastUseOfAKeyIsToldOnceItIsRecorded(t *testing.T) {
	r := newRig(t)
	alice := r.user("alice")
	behind := newFollower(t, r.group)
	now := started
	uses := NewUses(UsesConfig{Group: r.group, Region: "eu-north-1", Clock: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)})
	ask := func() (date *time.Time, region, service string) {
		t.Helper()
		got := must(r.GetAccessKeyLastUsed(t.Context(), r.root, &awsiam.GetAccessKeyLastUsedInput{AccessKeyId: &alice.AccessKey}))(t)
		if aws.ToString(got.UserName) != "alice" {
			t.Errorf("user %v", got.UserName)
		}
		u := got.AccessKeyLastUsed
		return u.LastUsedDate, *u.Region, *u.ServiceName
	}
	if date, region, service := ask(); date != nil || region != "N/A" || service != "N/A" {
		t.Errorf("never used: %v %s %s", date, region, service)
	}
	uses.Note(alice, "s3")
	now = now.Add(time.Minute)
	uses.Note(alice, "ec2")
	if date, _, _ := ask(); date != nil {
		t.Error("a request has cost a write")
	}
	uses.Tell(t.Context())
	if date, region, service := ask(); !date.Equal(now) || region != "eu-north-1" || service != "ec2" {
		t.Errorf("%v %s %s", date, region, service)
	}
	// What cannot be recorded is kept.
	behind.down = errors.New("no leader")
	lost := NewUses(UsesConfig{Group: unreachable{behind}, Region: "r", Clock: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)})
	lost.Note(alice, "s3")
	lost.Tell(t.Context())
	if len(lost.seen) != 1 {
		t.Errorf("%d are kept", len(lost.seen))
	}
	_, err := r.GetAccessKeyLastUsed(t.Context(), r.root, &awsiam.GetAccessKeyLastUsedInput{AccessKeyId: aws.String("AKIANOSUCHKEY0000000")})
	wantCode(t, err, 404, "NoSuchEntity")
}

// unreachable is a group that records nothing.
type unreachable struct{ *follower }

func (u unreachable) Propose(context.Context, fsm.Command) error { return u.down }

func TestUsesAreOfLastingKeysAndRolesAndBounded(t *testing.T) {
	r := newRig(t)
	uses := NewUses(UsesConfig{Group: r.group, Clock: func() time.Time { return started }, Log: slog.New(slog.DiscardHandler)})
	for _, c := range []*principal.Caller{
		{Anonymous: true}, {Account: account, Root: true},
		{Account: account, AccessKey: "ASIA1", Session: &principal.Session{Kind: principal.UserSession, Issuer: "AIDA1"}},
		{Account: account, AccessKey: "ASIA2", Session: &principal.Session{Kind: principal.FederatedSession, Issuer: "AIDA1"}},
	} {
		uses.Note(c, "s3")
	}
	if len(uses.seen) != 0 {
		t.Errorf("%v", uses.seen)
	}
	uses.Note(&principal.Caller{Account: account, AccessKey: "ASIA3", Session: &principal.Session{Kind: principal.RoleSession, Issuer: "AROA1"}}, "s3")
	if _, ok := uses.seen[usedThing{account: account, role: "AROA1"}]; !ok {
		t.Errorf("%v", uses.seen)
	}
	for i := range usesAtMost + 10 {
		uses.Note(&principal.Caller{Account: account, AccessKey: fmt.Sprint("AKIA", i)}, "s3")
	}
	if len(uses.seen) != usesAtMost {
		t.Errorf("%d are remembered", len(uses.seen))
	}
	uses.Tell(t.Context()) // of keys that are none, too
	if len(uses.seen) != 0 {
		t.Errorf("%d are kept", len(uses.seen))
	}
}
