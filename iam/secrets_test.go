package iam_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
)

// sink is a raft.SnapshotSink in memory.
type sink struct{ bytes.Buffer }

func (*sink) ID() string    { return "memory" }
func (*sink) Cancel() error { return nil }
func (*sink) Close() error  { return nil }

func TestASnapshotHoldsNoSecretInTheClear(t *testing.T) {
	w := newWire(t)
	ctx := context.WithoutCancel(t.Context())
	user, client := w.user("holder"), w.iamOf(w.root[home])
	const password = "Correct-Horse-9-Battery"
	ok(client.CreateLoginProfile(ctx, &awsiam.CreateLoginProfileInput{UserName: aws.String("holder"), Password: aws.String(password)}))(t)
	mfa := ok(client.CreateVirtualMFADevice(ctx, &awsiam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String("phone")}))(t)
	session := keysOf(ok(w.stsOf(user).GetSessionToken(ctx, nil))(t).Credentials)

	taken, err := w.group.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Release()
	var dump sink
	if err := taken.Persist(&dump); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(dump.Bytes(), []byte("holder")) || !bytes.Contains(dump.Bytes(), []byte(user.AccessKeyID)) {
		t.Fatalf("%d bytes of snapshot do not have the user and its key: the test shows nothing", dump.Len())
	}
	for what, secret := range map[string]string{
		"the root user's secret key": w.root[home].SecretAccessKey, "a user's secret key": user.SecretAccessKey, "a password": password,
		"an MFA seed": string(mfa.VirtualMFADevice.Base32StringSeed), "a session's secret key": session.SecretAccessKey, "a session token": session.SessionToken,
	} {
		if secret == "" || bytes.Contains(dump.Bytes(), []byte(secret)) {
			t.Errorf("the snapshot holds %s, or there is none", what)
		}
	}
}
