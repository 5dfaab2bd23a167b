package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"hive/awsd/protocol"
)

// failing is a client of the service whose every request fails with e.
func failing(t *testing.T, service string, e *protocol.Error) any {
	t.Helper()
	for _, r := range rigs {
		if r.name == service {
			api := r.api()
			return r.client(clientOptions{transport: serve(t, func(w http.ResponseWriter, req *http.Request) {
				api.EncodeError(w, req, "request-1", e)
			})})
		}
	}
	t.Fatalf("no service %s", service)
	return nil
}

func TestErrorsReachTheSDKsClientWithCodeMessageAndType(t *testing.T) {
	ctx := context.Background()
	bucket, key := aws.String("bucket"), aws.String("key")
	get := &s3.GetObjectInput{Bucket: bucket, Key: key}
	for _, c := range []struct {
		service, code string
		status        int
		call          func(client any) error
		typed         any
	}{
		{"s3", "NoSuchKey", 404, func(c any) error { _, err := c.(*s3.Client).GetObject(ctx, get); return err }, new(*s3types.NoSuchKey)},
		{"s3", "NoSuchBucket", 404, func(c any) error {
			_, err := c.(*s3.Client).ListObjects(ctx, &s3.ListObjectsInput{Bucket: bucket})
			return err
		}, new(*s3types.NoSuchBucket)},
		{"s3", "BucketAlreadyOwnedByYou", 409, func(c any) error {
			_, err := c.(*s3.Client).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket})
			return err
		}, new(*s3types.BucketAlreadyOwnedByYou)},
		{"s3", "PreconditionFailed", 412, func(c any) error { _, err := c.(*s3.Client).GetObject(ctx, get); return err }, nil},
		{"iam", "NoSuchEntity", 404, func(c any) error { _, err := c.(*iam.Client).GetUser(ctx, &iam.GetUserInput{}); return err }, new(*iamtypes.NoSuchEntityException)},
		{"iam", "EntityAlreadyExists", 409, func(c any) error {
			_, err := c.(*iam.Client).CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("u")})
			return err
		}, new(*iamtypes.EntityAlreadyExistsException)},
		{"sts", "RegionDisabledException", 403, func(c any) error {
			_, err := c.(*sts.Client).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("r"), RoleSessionName: aws.String("s")})
			return err
		}, new(*ststypes.RegionDisabledException)},
		{"ebs", "ResourceNotFoundException", 404, func(c any) error {
			_, err := c.(*ebs.Client).ListSnapshotBlocks(ctx, &ebs.ListSnapshotBlocksInput{SnapshotId: aws.String("snap-0")})
			return err
		}, new(*ebstypes.ResourceNotFoundException)},
		{"ec2", "InvalidVpcID.NotFound", 400, func(c any) error {
			_, err := c.(*ec2.Client).DescribeVpcs(ctx, &ec2.DescribeVpcsInput{})
			return err
		}, nil},
	} {
		t.Run(c.service+"/"+c.code, func(t *testing.T) {
			message := `what <went> "wrong" & how to mend it`
			err := c.call(failing(t, c.service, protocol.Errorf(c.status, c.code, "%s", message)))
			var api smithy.APIError
			if !errors.As(err, &api) || api.ErrorCode() != c.code || api.ErrorMessage() != message {
				t.Errorf("got %v, want %s: %s", err, c.code, message)
			}
			if c.typed != nil && !errors.As(err, c.typed) {
				t.Errorf("got a %T, want a %T", err, c.typed)
			}
			var response *awshttp.ResponseError
			if !errors.As(err, &response) || response.ServiceRequestID() != "request-1" || response.HTTPStatusCode() != c.status {
				t.Errorf("the request id or the status did not arrive: %v", err)
			}
		})
	}
}

func TestAHeadRequestsErrorHasNoBodyAndIsNotFound(t *testing.T) {
	client := failing(t, "s3", protocol.Errorf(404, "NoSuchKey", "gone")).(*s3.Client)
	_, err := client.HeadObject(context.Background(), &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key")})
	var notFound *s3types.NotFound
	if !errors.As(err, &notFound) {
		t.Errorf("got %v, want NotFound", err)
	}
}

func TestAnErrorsBodyIsWhatItsServiceWrites(t *testing.T) {
	e := protocol.Errorf(404, "NoSuchKey", "The specified key does not exist.")
	e.Fields = []protocol.Field{{Name: "Key", Value: "a\x01b"}}
	e.Header = http.Header{"X-Amz-Delete-Marker": {"true"}}
	for service, want := range map[string]string{
		"s3": `<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>a&#x1;b</Key>` +
			`<Resource>/b/a</Resource><RequestId>id-1</RequestId><HostId>id-1</HostId></Error>`,
		"ec2": `<Response><Errors><Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message>` +
			`<Key>a&#x1;b</Key></Error></Errors><RequestID>id-1</RequestID></Response>`,
		"iam": `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>NoSuchKey</Code>` +
			`<Message>The specified key does not exist.</Message><Key>a&#x1;b</Key></Error><RequestId>id-1</RequestId></ErrorResponse>`,
	} {
		w := httptest.NewRecorder()
		apiOf(t, service).EncodeError(w, httptest.NewRequest("GET", "/b/a", nil), "id-1", e)
		if got := w.Body.String(); got != `<?xml version="1.0" encoding="UTF-8"?>`+"\n"+want {
			t.Errorf("%s:\ngot  %s\nwant %s", service, got, want)
		}
		if w.Code != 404 || w.Header().Get("X-Amz-Delete-Marker") != "true" {
			t.Errorf("%s: status %d, header %v", service, w.Code, w.Header())
		}
	}
}

func TestNotModifiedHasNoBody(t *testing.T) {
	w := httptest.NewRecorder()
	e := protocol.Errorf(http.StatusNotModified, "NotModified", "not modified")
	e.Header = http.Header{"Etag": {`"abc"`}}
	apiOf(t, "s3").EncodeError(w, httptest.NewRequest("GET", "/b/k", nil), "id", e)
	if w.Code != 304 || w.Body.Len() != 0 || w.Header().Get("ETag") != `"abc"` {
		t.Errorf("got %d %q %v", w.Code, w.Body, w.Header())
	}
}

func apiOf(t testing.TB, service string) *protocol.API {
	t.Helper()
	for _, r := range rigs {
		if r.name == service {
			return r.api()
		}
	}
	t.Fatalf("no service %s", service)
	return nil
}

// wantError says in what err is not an *Error of the code, status and message fragment.
func wantError(err error, status int, code, fragment string) string {
	var e *protocol.Error
	if !errors.As(err, &e) {
		return fmt.Sprintf("got %v, want %s", err, code)
	}
	if e.Code != code || e.Status != status || !strings.Contains(e.Message, fragment) {
		return fmt.Sprintf("got %d %v, want %d %s with %q", e.Status, e, status, code, fragment)
	}
	return ""
}
