package trail

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
	"hive/internal/fsmtest"
)

const account = "123456789012"

var alice = &principal.Caller{Account: account, ARN: "arn:aws:iam::123456789012:user/alice", UserID: "AIDAALICE", UserName: "alice",
	AccessKey: "AKIAALICE", SourceIP: "192.0.2.7", UserAgent: "aws-cli/2", RequestID: "req-1"}

type rig struct {
	*Trail
	group *fsmtest.Group
	down  sync.Mutex // held while the group takes nothing
}

// Propose waits while the group is down.
func (r *rig) Propose(ctx context.Context, cmd fsm.Command) error {
	r.down.Lock()
	defer r.down.Unlock()
	return r.group.Propose(ctx, cmd)
}

func (r *rig) ReadIndex(ctx context.Context) error { return r.group.ReadIndex(ctx) }
func (r *rig) View(fn func(*fsm.View) error) error { return r.group.View(fn) }

func newRig(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{group: fsmtest.New(t, fsm.Control)}
	for _, id := range []fsm.AccountID{account, "999999999999"} {
		if err := r.group.Propose(t.Context(), &fsm.CreateAccount{Account: fsm.Account{ID: id}}); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Unix(1_700_000_000, 0)
	var mu sync.Mutex
	cfg := Config{Group: r, Node: "n-a", Region: "us-test-1", Leader: func() bool { return true }, Kept: func() (time.Duration, int64) { return 0, 0 }, Rand: rand.Reader, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Clock: func() time.Time { mu.Lock(); defer mu.Unlock(); now = now.Add(time.Second); return now }}
	for _, f := range change {
		f(&cfg)
	}
	r.Trail = New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) events(t *testing.T, c *principal.Caller, in *cloudtrail.LookupEventsInput) []types.Event {
	t.Helper()
	out, err := r.LookupEvents(t.Context(), c, in)
	if err != nil {
		t.Fatal(err)
	}
	return out.Events
}

func createUser(name string) *protocol.Call {
	return &protocol.Call{
		Service: "iam", Op: "CreateUser", Caller: alice, Input: &awsiam.CreateUserInput{UserName: aws.String(name)},
		Output: &awsiam.CreateUserOutput{User: &iamtypes.User{UserName: aws.String(name)}},
		Access: []protocol.Access{{Action: "iam:CreateUser", Resource: "arn:aws:iam::123456789012:user/" + name}},
	}
}

func TestAChangeIsOnTheTrailWhenItIsAnswered(t *testing.T) {
	r := newRig(t)
	r.Record(t.Context(), createUser("bob"))
	got := r.events(t, alice, &cloudtrail.LookupEventsInput{})
	if len(got) != 1 {
		t.Fatalf("%d events", len(got))
	}
	e := got[0]
	if *e.EventName != "CreateUser" || *e.Username != "alice" || *e.EventSource != "iam.amazonaws.com" || *e.AccessKeyId != "AKIAALICE" {
		t.Errorf("%+v", e)
	}
	if len(e.Resources) != 1 || *e.Resources[0].ResourceType != "AWS::IAM::User" || *e.Resources[0].ResourceName != "bob" {
		t.Errorf("resources %+v", e.Resources)
	}
	for _, want := range []string{`"requestParameters":{"userName":"bob"}`, `"sourceIPAddress":"192.0.2.7"`, `"requestID":"req-1"`, `"raftIndex":2`, `"node":"n-a"`, `"awsRegion":"us-test-1"`} {
		if !strings.Contains(*e.CloudTrailEvent, want) {
			t.Errorf("no %s in %s", want, *e.CloudTrailEvent)
		}
	}
	if other := r.events(t, &principal.Caller{Account: "999999999999"}, &cloudtrail.LookupEventsInput{}); len(other) != 0 {
		t.Errorf("another account sees %+v", other)
	}
}

func TestWhatReadsOrTouchesDataOrRunsDryIsNotKept(t *testing.T) {
	r := newRig(t)
	for _, c := range []*protocol.Call{
		{Service: "iam", Op: "ListUsers", Caller: alice}, {Service: "s3", Op: "PutObject", Caller: alice}, {Service: "sts", Op: "GetCallerIdentity", Caller: alice},
		{Service: "ec2", Op: "DescribeInstances", Caller: alice}, {Service: "iam", Op: "CreateUser", Caller: &principal.Caller{Anonymous: true}},
		{Service: "ec2", Op: "StopInstances", Caller: alice, Err: protocol.Errorf(412, "DryRunOperation", "would")},
		{Service: "ebs", Op: "PutSnapshotBlock", Caller: alice},
	} {
		r.Record(t.Context(), c)
	}
	for _, c := range []*protocol.Call{
		{Service: "s3", Op: "CreateBucket", Caller: alice, Input: &s3.CreateBucketInput{Bucket: aws.String("b")}},
		{Service: "sts", Op: "AssumeRole", Caller: alice}, {Service: "ec2", Op: "StopInstances", Caller: alice},
	} {
		r.Record(t.Context(), c)
	}
	if got := r.events(t, alice, &cloudtrail.LookupEventsInput{}); len(got) != 3 {
		t.Errorf("%d events are kept, want 3", len(got))
	}
}

func TestARefusalIsKeptWithItsCode(t *testing.T) {
	r := newRig(t)
	c := createUser("bob")
	c.Output, c.Err = nil, protocol.Errorf(http.StatusForbidden, "AccessDenied", "no")
	r.Record(t.Context(), c)
	r.Record(t.Context(), createUser("carol")) // is answered after it, so the refusal is recorded too
	got := r.events(t, alice, &cloudtrail.LookupEventsInput{})
	if len(got) != 2 || !strings.Contains(*got[1].CloudTrailEvent, `"errorCode":"AccessDenied"`) || !strings.Contains(*got[1].CloudTrailEvent, `"raftIndex":0`) {
		t.Errorf("%+v", got)
	}
}

func TestNoSecretIsKept(t *testing.T) {
	r := newRig(t)
	for _, c := range []*protocol.Call{
		{Service: "iam", Op: "CreateAccessKey", Caller: alice, Output: &awsiam.CreateAccessKeyOutput{AccessKey: &iamtypes.AccessKey{AccessKeyId: aws.String("AKIANEW"), SecretAccessKey: aws.String("s3cr3t")}}},
		{Service: "iam", Op: "CreateLoginProfile", Caller: alice, Input: &awsiam.CreateLoginProfileInput{Password: aws.String("s3cr3t")}},
		{Service: "iam", Op: "ChangePassword", Caller: alice, Input: &awsiam.ChangePasswordInput{OldPassword: aws.String("s3cr3t"), NewPassword: aws.String("s3cr3t")}},
		{Service: "iam", Op: "EnableMFADevice", Caller: alice, Input: &awsiam.EnableMFADeviceInput{AuthenticationCode1: aws.String("s3cr3t"), AuthenticationCode2: aws.String("s3cr3t")}},
		{Service: "iam", Op: "CreateVirtualMFADevice", Caller: alice, Output: &awsiam.CreateVirtualMFADeviceOutput{VirtualMFADevice: &iamtypes.VirtualMFADevice{Base32StringSeed: []byte("s3cr3t"), QRCodePNG: []byte("s3cr3t")}}},
		{Service: "iam", Op: "UploadServerCertificate", Caller: alice, Input: &awsiam.UploadServerCertificateInput{PrivateKey: aws.String("s3cr3t")}},
		{Service: "sts", Op: "AssumeRoleWithWebIdentity", Caller: alice, Input: &sts.AssumeRoleWithWebIdentityInput{WebIdentityToken: aws.String("s3cr3t")}},
		{Service: "ec2", Op: "RunInstances", Caller: alice, Input: &ec2.RunInstancesInput{UserData: aws.String("s3cr3t")}},
		{Service: "ec2", Op: "ModifyInstanceAttribute", Caller: alice, Input: &ec2.ModifyInstanceAttributeInput{Attribute: "userData", Value: aws.String("s3cr3t")}},
		{Service: "ec2", Op: "CreateKeyPair", Caller: alice, Output: &ec2.CreateKeyPairOutput{KeyName: aws.String("k"), KeyMaterial: aws.String("s3cr3t")}},
	} {
		r.Record(t.Context(), c)
	}
	got := r.events(t, alice, &cloudtrail.LookupEventsInput{})
	if len(got) != 10 {
		t.Fatalf("%d events", len(got))
	}
	for _, e := range got {
		if strings.Contains(*e.CloudTrailEvent, "s3cr3t") {
			t.Errorf("%s", *e.CloudTrailEvent)
		}
		if !strings.Contains(*e.CloudTrailEvent, hidden) {
			t.Errorf("%s does not say that something is hidden: %s", *e.EventName, *e.CloudTrailEvent)
		}
	}
}

func TestEventsAreFoundByAttributeAndTimeAndPage(t *testing.T) {
	r := newRig(t)
	for i := range 7 {
		r.Record(t.Context(), createUser(fmt.Sprint("u", i)))
	}
	r.Record(t.Context(), &protocol.Call{Service: "ec2", Op: "StopInstances", Caller: alice, Input: &ec2.StopInstancesInput{InstanceIds: []string{"i-0123456789abcdef0"}}})
	by := func(key types.LookupAttributeKey, value string) int {
		return len(r.events(t, alice, &cloudtrail.LookupEventsInput{LookupAttributes: []types.LookupAttribute{{AttributeKey: key, AttributeValue: &value}}}))
	}
	for _, c := range []struct {
		key   types.LookupAttributeKey
		value string
		want  int
	}{
		{types.LookupAttributeKeyEventName, "CreateUser", 7}, {types.LookupAttributeKeyEventName, "createuser", 0},
		{types.LookupAttributeKeyResourceName, "u3", 1}, {types.LookupAttributeKeyResourceName, "i-0123456789abcdef0", 1},
		{types.LookupAttributeKeyResourceType, "AWS::EC2::Instance", 1}, {types.LookupAttributeKeyUsername, "alice", 8},
		{types.LookupAttributeKeyEventSource, "ec2.amazonaws.com", 1}, {types.LookupAttributeKeyReadOnly, "true", 0}, {types.LookupAttributeKeyAccessKeyId, "AKIAALICE", 8},
	} {
		if got := by(c.key, c.value); got != c.want {
			t.Errorf("%s=%s: %d events, want %d", c.key, c.value, got, c.want)
		}
	}
	var names []string
	in := &cloudtrail.LookupEventsInput{MaxResults: aws.Int32(3)}
	for pages := 1; ; pages++ {
		out, err := r.LookupEvents(t.Context(), alice, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range out.Events {
			names = append(names, *e.EventName)
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			if pages != 3 {
				t.Errorf("%d pages", pages)
			}
			break
		}
		r.Record(t.Context(), createUser(fmt.Sprint("later", pages))) // what comes meanwhile is not on the later pages
	}
	if len(names) != 8 || names[0] != "StopInstances" {
		t.Errorf("%v", names)
	}
	middle := time.Unix(1_700_000_000, 0).Add(4 * time.Second)
	if got := r.events(t, alice, &cloudtrail.LookupEventsInput{EndTime: &middle}); len(got) == 0 || len(got) == 8 {
		t.Errorf("%d events until then", len(got))
	}
	for _, bad := range []*cloudtrail.LookupEventsInput{
		{MaxResults: aws.Int32(0)}, {MaxResults: aws.Int32(51)}, {StartTime: aws.Time(middle.Add(1)), EndTime: &middle},
		{LookupAttributes: []types.LookupAttribute{{AttributeKey: "Nonsense", AttributeValue: aws.String("x")}}},
		{LookupAttributes: make([]types.LookupAttribute, 2)},
	} {
		refusal := (*protocol.Error)(nil)
		if _, err := r.LookupEvents(t.Context(), alice, bad); !errors.As(err, &refusal) || refusal.Status != http.StatusBadRequest {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestAnAnswerWaitsForTheGroupAndALostOneIsRecordedLater(t *testing.T) {
	r := newRig(t)
	r.down.Lock()
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan struct{})
	go func() { r.Record(ctx, createUser("bob")); close(answered) }()
	select {
	case <-answered:
		t.Error("answered before the event was recorded")
	case <-time.After(100 * time.Millisecond):
	}
	cancel() // the client goes
	<-answered
	r.down.Unlock()
	r.Record(t.Context(), createUser("carol"))
	if got := r.events(t, alice, &cloudtrail.LookupEventsInput{}); len(got) != 2 {
		t.Errorf("%d events", len(got))
	}
}

func TestOldEventsArePruned(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Kept = func() (time.Duration, int64) { return 0, 3 } })
	for i := range 5 {
		r.Record(t.Context(), createUser(fmt.Sprint("u", i)))
	}
	if err := r.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.events(t, alice, &cloudtrail.LookupEventsInput{}); len(got) != 3 {
		t.Errorf("%d events are left", len(got))
	}
}

func BenchmarkRedacted(b *testing.B) {
	in := createUser("bob").Input
	b.ReportAllocs()
	for b.Loop() {
		redacted(in)
	}
}

// lossy applies each first proposal of a kind and says that it is not known.
type lossy struct {
	*fsmtest.Group
	told atomic.Bool
}

func (l *lossy) Propose(ctx context.Context, cmd fsm.Command) error {
	err := l.Group.Propose(ctx, cmd)
	if err == nil && l.told.CompareAndSwap(false, true) {
		return errors.New("the outcome is not known")
	}
	return err
}

func TestAnEventWhoseRecordWasInDoubtIsRecordedOnce(t *testing.T) {
	group := &lossy{}
	r := newRig(t, func(c *Config) {
		real, ok := c.Group.(*rig)
		if !ok {
			t.Fatalf("%T", c.Group)
		}
		group.Group = real.group
		c.Group = group
	})
	r.Record(t.Context(), createUser("bob"))
	r.Record(t.Context(), createUser("carol"))
	if got := r.events(t, alice, &cloudtrail.LookupEventsInput{}); len(got) != 2 {
		t.Errorf("%d events, want each once", len(got))
	}
}
