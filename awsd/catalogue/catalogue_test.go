package catalogue

import (
	"slices"
	"testing"
)

func TestAnErrorIsFoundWithItsStatusAndFault(t *testing.T) {
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		service, code string
		status        int
		receiver      bool
	}{
		{"ec2", "InvalidInstanceID.NotFound", 400, false}, {"ec2", "AuthFailure", 401, false}, {"ec2", "DryRunOperation", 412, false},
		{"ec2", "InsufficientInstanceCapacity", 500, true}, {"ec2", "RequestLimitExceeded", 503, true},
		{"s3", "NoSuchKey", 404, false}, {"s3", "SlowDown", 503, true}, {"s3", "NotModified", 304, false},
		{"iam", "NoSuchEntity", 404, false}, {"iam", "LimitExceeded", 409, false}, {"iam", "ServiceFailure", 500, true},
		{"sts", "ExpiredTokenException", 400, false}, {"sts", "RegionDisabledException", 403, false},
		{"ebs", "ValidationException", 400, false}, {"cloudtrail", "InvalidTimeRangeException", 400, false}, {"tagging", "ThrottledException", 400, false},
	} {
		e, ok := c.Lookup(want.service, want.code)
		if !ok || e.Status != want.status || e.Receiver() != want.receiver || e.Code != want.code {
			t.Errorf("%s %s: %+v", want.service, want.code, e)
		}
	}
	if _, ok := c.Lookup("ec2", "NoSuchKey"); ok {
		t.Error("EC2 has an error of S3")
	}
	if got := c.Services(); !slices.Equal(got, []string{"cloudtrail", "ebs", "ec2", "iam", "s3", "sts", "tagging"}) {
		t.Errorf("services %v", got)
	}
	if all := c.Of("ec2"); len(all) < 300 || all[0].Code != "AccessDenied" {
		t.Errorf("%d errors of EC2, %v first", len(all), all[0])
	}
}

func TestALineOutOfFormOrPlaceIsRefused(t *testing.T) {
	for _, text := range []string{"A\n", "A\tx\n", "A\t999\n", "B\t400\nA\t400\n", "A\t400\nA\t400\n", "\t400\n"} {
		if _, err := parse(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
	if all, err := parse("# of what\nA\t400\tMessage\twith a tab\n"); err != nil || all["A"].Message != "Message\twith a tab" {
		t.Errorf("%v, %v", all, err)
	}
}
