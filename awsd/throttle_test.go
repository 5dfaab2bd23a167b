package awsd

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"hive/awsd/cloudtrailapi"
	"hive/awsd/ebsapi"
	"hive/awsd/ec2api"
	"hive/awsd/iamapi"
	"hive/awsd/protocol"
	"hive/awsd/s3api"
	"hive/awsd/stsapi"
	"hive/awsd/taggingapi"
)

// handTime is a clock that only the test moves.
type handTime struct{ at atomic.Int64 }

func (h *handTime) now() time.Time       { return time.Unix(1_700_000_000, h.at.Load()) }
func (h *handTime) pass(d time.Duration) { h.at.Add(int64(d)) }

func always(perSecond float64, burst int) func(string, string) (float64, int) {
	return func(string, string) (float64, int) { return perSecond, burst }
}

func TestABucketEmptiesByItsBurstAndFillsAtItsRate(t *testing.T) {
	h := &handTime{}
	th := newThrottle(always(2, 3), h.now)
	pass := func(account, op string) bool { return th.allow(ec2api.API(), account, op) == nil }
	for i := range 3 {
		if !pass("1", "RunInstances") {
			t.Fatalf("request %d was refused", i)
		}
	}
	if pass("1", "RunInstances") {
		t.Error("the fourth passed")
	}
	if !pass("2", "RunInstances") || !pass("1", "StopInstances") {
		t.Error("another account or another action was refused")
	}
	h.pass(500 * time.Millisecond)
	if !pass("1", "RunInstances") || pass("1", "RunInstances") {
		t.Error("half a second is not one request")
	}
}

func TestChangedLimitsCountAtOnceAndWithoutOnesEverythingPasses(t *testing.T) {
	h, perSecond := &handTime{}, 1.0
	th := newThrottle(func(string, string) (float64, int) { return perSecond, 1 }, h.now)
	pass := func() bool { return th.allow(s3api.API(), "1", "GetObject") == nil }
	if !pass() || pass() {
		t.Fatal("one request a second")
	}
	if perSecond = 0; !pass() {
		t.Error("refused without a limit")
	}
	if perSecond = 100; pass() {
		t.Error("a new rate is no token")
	}
	h.pass(10 * time.Millisecond)
	if !pass() {
		t.Error("the new rate does not count")
	}
	if newThrottle(nil, h.now).allow(s3api.API(), "1", "GetObject") != nil {
		t.Error("refused though it is off")
	}
}

func TestFullBucketsAreForgotten(t *testing.T) {
	h := &handTime{}
	th := newThrottle(always(1, 1), h.now)
	for i := range 10 * fewBuckets {
		h.pass(time.Second)
		if err := th.allow(iamapi.API(), fmt.Sprint(i), "GetUser"); err != nil {
			t.Fatal(err)
		}
	}
	if len(th.buckets) > fewBuckets {
		t.Errorf("%d buckets are kept", len(th.buckets))
	}
}

func TestEachServiceRefusesWhatComesTooFastInItsWords(t *testing.T) {
	for _, c := range []struct {
		api    *protocol.API
		status int
		code   string
	}{
		{ec2api.API(), 503, "RequestLimitExceeded"}, {s3api.API(), 503, "SlowDown"}, {iamapi.API(), 400, "Throttling"}, {stsapi.API(), 400, "Throttling"},
		{ebsapi.API(), 400, "RequestThrottledException"}, {cloudtrailapi.API(), 400, "ThrottlingException"}, {taggingapi.API(), 400, "ThrottledException"},
	} {
		th := newThrottle(always(1, 1), (&handTime{}).now)
		if err := th.allow(c.api, "1", "X"); err != nil {
			t.Error(err)
		}
		var e *protocol.Error
		if err := th.allow(c.api, "1", "X"); !errors.As(err, &e) || e.Status != c.status || e.Code != c.code {
			t.Errorf("%s: %v", c.api.Service, err)
		}
	}
}

func TestAThrottledRequestReachesNoHandler(t *testing.T) {
	r := start(t, func(c *Config) {
		c.Limits = func(service, op string) (float64, int) {
			if service == "sts" && op == "GetCallerIdentity" || op == "GetObject" {
				return 0.001, 2
			}
			return 0, 0
		}
	})
	ctx := context.Background()
	for range 2 {
		if _, err := r.sts(0, false).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}); err != nil {
			t.Fatal(err)
		}
		_, err := r.s3(0, false).GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
		wantCode(t, err, "NoSuchKey")
	}
	_, err := r.sts(0, false).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	wantCode(t, err, "Throttling")
	_, err = r.s3(0, false).GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
	wantCode(t, err, "SlowDown")
	_, err = r.iam(0).ListUsers(ctx, &iam.ListUsersInput{})
	wantCode(t, err, "InvalidAction")
}
