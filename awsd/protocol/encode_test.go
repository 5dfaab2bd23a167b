package protocol_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"hive/awsd/protocol"
	"hive/awsd/s3api"
	"hive/iam/principal"
)

func encode(t testing.TB, service, op string, output any) *httptest.ResponseRecorder {
	t.Helper()
	api := apiOf(t, service)
	w := httptest.NewRecorder()
	must(t, api.Encode(w, api.Operation(op), "id-1", output))
	return w
}

const declaration = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

func TestAnswersAreWhatAWSWrites(t *testing.T) {
	when := time.Date(2024, 2, 3, 4, 5, 6, 7_000_000, time.UTC)
	for _, c := range []struct {
		service, op string
		output      any
		want        string
	}{
		{"s3", "GetBucketLocation", &s3.GetBucketLocationOutput{LocationConstraint: "us-west-2"},
			`<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">us-west-2</LocationConstraint>`},
		{"s3", "GetBucketLocation", &s3.GetBucketLocationOutput{},
			`<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>`},
		{"s3", "ListBuckets", &s3.ListBucketsOutput{Buckets: []s3types.Bucket{}, Owner: &s3types.Owner{ID: aws.String("o")}},
			`<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Buckets></Buckets><Owner><ID>o</ID></Owner></ListAllMyBucketsResult>`},
		{"s3", "ListObjectsV2", &s3.ListObjectsV2Output{
			IsTruncated: aws.Bool(false), Name: aws.String("b"), Prefix: aws.String(""), KeyCount: aws.Int32(1),
			Contents: []s3types.Object{{Key: aws.String("a\x02\r\n\t<&>\"€\uffff\xff"), LastModified: &when, Size: aws.Int64(5)}},
		}, `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>` +
			"<Contents><Key>a&#x2;&#xD;\n&#x9;&lt;&amp;&gt;&quot;€&#xFFFF;\uFFFD</Key><LastModified>2024-02-03T04:05:06.007Z</LastModified><Size>5</Size></Contents>" +
			`<Name>b</Name><Prefix></Prefix><KeyCount>1</KeyCount></ListBucketResult>`},
		{"s3", "CompleteMultipartUpload", &s3.CompleteMultipartUploadOutput{Bucket: aws.String("b"), ETag: aws.String(`"e-2"`)},
			`<CompleteMultipartUploadResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>b</Bucket><ETag>&quot;e-2&quot;</ETag></CompleteMultipartUploadResult>`},
		{"s3", "GetBucketAcl", &s3.GetBucketAclOutput{Grants: []s3types.Grant{{Grantee: &s3types.Grantee{Type: "CanonicalUser", ID: aws.String("i")}, Permission: "READ"}}},
			`<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><AccessControlList><Grant>` +
				`<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>i</ID></Grantee>` +
				`<Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>`},
		{"s3", "CopyObject", &s3.CopyObjectOutput{CopyObjectResult: &s3types.CopyObjectResult{ETag: aws.String("e")}},
			`<CopyObjectResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><ETag>e</ETag></CopyObjectResult>`},
		{"ec2", "DescribeInstances", &ec2.DescribeInstancesOutput{Reservations: []ec2types.Reservation{}},
			`<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>id-1</requestId><reservationSet></reservationSet></DescribeInstancesResponse>`},
		{"ec2", "DeleteVpc", &ec2.DeleteVpcOutput{},
			`<DeleteVpcResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>id-1</requestId><return>true</return></DeleteVpcResponse>`},
		{"iam", "ListUsers", &iam.ListUsersOutput{},
			`<ListUsersResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ListUsersResult><Users></Users><IsTruncated>false</IsTruncated></ListUsersResult>` +
				`<ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></ListUsersResponse>`},
		{"iam", "DeleteUser", &iam.DeleteUserOutput{},
			`<DeleteUserResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></DeleteUserResponse>`},
		{"sts", "GetCallerIdentity", &sts.GetCallerIdentityOutput{Account: aws.String("123456789012"), Arn: aws.String("a"), UserId: aws.String("u")},
			`<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><UserId>u</UserId><Account>123456789012</Account><Arn>a</Arn></GetCallerIdentityResult>` +
				`<ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></GetCallerIdentityResponse>`},
	} {
		if got := encode(t, c.service, c.op, c.output).Body.String(); got != declaration+c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.op, got, c.want)
		}
	}
}

func TestAnObjectIsStreamedWithItsHeaders(t *testing.T) {
	when := time.Date(2024, 2, 3, 4, 5, 6, 7_000_000, time.UTC)
	closed := false
	w := encode(t, "s3", "GetObject", &s3.GetObjectOutput{
		Body: &stream{Reader: strings.NewReader("hello"), closed: &closed}, ContentLength: aws.Int64(5), ETag: aws.String(`"e"`),
		LastModified: &when, Metadata: map[string]string{"colour": "red"}, ObjectLockRetainUntilDate: &when,
	})
	want := http.Header{
		"Content-Length": {"5"}, "Content-Type": {"binary/octet-stream"}, "Etag": {`"e"`},
		"Last-Modified": {"Sat, 03 Feb 2024 04:05:06 GMT"}, "x-amz-meta-colour": {"red"},
		"X-Amz-Object-Lock-Retain-Until-Date": {"2024-02-03T04:05:06.007Z"},
		"X-Amz-Request-Id":                    {"id-1"}, "X-Amz-Id-2": {"id-1"},
	}
	if w.Code != 200 || w.Body.String() != "hello" || !closed {
		t.Errorf("got %d %q, closed %v", w.Code, w.Body, closed)
	}
	for name, values := range want {
		if got := w.Header()[name]; len(got) != 1 || got[0] != values[0] {
			t.Errorf("%s: got %q, want %q", name, got, values)
		}
	}
	if len(w.Header()) != len(want) {
		t.Errorf("got %v", w.Header())
	}
}

type stream struct {
	io.Reader
	closed *bool
}

func (s *stream) Close() error { *s.closed = true; return nil }

func TestARangeIsPartialContent(t *testing.T) {
	w := encode(t, "s3", "GetObject", &s3.GetObjectOutput{
		Body: io.NopCloser(bytes.NewReader([]byte("el"))), ContentLength: aws.Int64(2), ContentRange: aws.String("bytes 1-2/5"),
	})
	if w.Code != http.StatusPartialContent || w.Header().Get("Content-Range") != "bytes 1-2/5" || w.Body.String() != "el" {
		t.Errorf("got %d %v %q", w.Code, w.Header(), w.Body)
	}
}

func TestABodyThatFailsWhileItIsSentIsTold(t *testing.T) {
	api := apiOf(t, "s3")
	bad := errors.New("a shard is gone")
	err := api.Encode(httptest.NewRecorder(), api.Operation("GetObject"), "id", &s3.GetObjectOutput{
		Body: io.NopCloser(io.MultiReader(strings.NewReader("he"), errReader{bad})),
	})
	if !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestABodyThatWritesItselfIsLetTo(t *testing.T) {
	body := &writerTo{}
	w := encode(t, "s3", "GetObject", &s3.GetObjectOutput{Body: body})
	if !body.wrote || w.Body.String() != "direct" {
		t.Errorf("got %q", w.Body)
	}
}

type writerTo struct{ wrote bool }

func (*writerTo) Read([]byte) (int, error) { return 0, errors.New("read instead of written") }
func (*writerTo) Close() error             { return nil }
func (b *writerTo) WriteTo(w io.Writer) (int64, error) {
	b.wrote = true
	n, err := io.WriteString(w, "direct")
	return int64(n), err
}

func TestAPolicyIsTheDocumentItself(t *testing.T) {
	w := encode(t, "s3", "GetBucketPolicy", &s3.GetBucketPolicyOutput{Policy: aws.String(`{"a":"<b>"}`)})
	if w.Body.String() != `{"a":"<b>"}` || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %v %q", w.Header(), w.Body)
	}
}

func TestAStatusIsTheModels(t *testing.T) {
	if w := encode(t, "s3", "DeleteObject", &s3.DeleteObjectOutput{}); w.Code != http.StatusNoContent || w.Body.Len() != 0 {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
}

func TestAnEventStreamAndAForeignOutputAreRefused(t *testing.T) {
	api := apiOf(t, "s3")
	err := api.Encode(httptest.NewRecorder(), api.Operation("SelectObjectContent"), "id", &s3.SelectObjectContentOutput{})
	if d := wantError(err, 501, "NotImplemented", "event stream"); d != "" {
		t.Error(d)
	}
	for _, output := range []any{nil, &s3.GetObjectOutput{}, s3.PutObjectOutput{}, (*s3.PutObjectOutput)(nil)} {
		if err := api.Encode(httptest.NewRecorder(), api.Operation("PutObject"), "id", output); err == nil {
			t.Errorf("%T was encoded", output)
		}
	}
}

// service has one operation and one method that only looks like one.
type service struct{}

func (service) HeadBucket(_ context.Context, c *principal.Caller, in *s3.HeadBucketInput) (*s3.HeadBucketOutput, error) {
	if *in.Bucket == "gone" {
		return nil, protocol.Errorf(404, "NoSuchBucket", "for %s", c.UserName)
	}
	return &s3.HeadBucketOutput{BucketRegion: in.Bucket}, nil
}

func (service) DeleteBucket(context.Context, *s3.DeleteBucketInput) error { return nil }

func TestBindMakesHandlersOfOperationsAlone(t *testing.T) {
	h := s3api.Bind(service{})
	if len(h) != 1 {
		t.Fatalf("got %d handlers", len(h))
	}
	out, err := h["HeadBucket"](t.Context(), &principal.Caller{}, &s3.HeadBucketInput{Bucket: aws.String("b")})
	if err != nil || *out.(*s3.HeadBucketOutput).BucketRegion != "b" {
		t.Errorf("got %v, %v", out, err)
	}
	out, err = h["HeadBucket"](t.Context(), &principal.Caller{UserName: "ann"}, &s3.HeadBucketInput{Bucket: aws.String("gone")})
	if d := wantError(err, 404, "NoSuchBucket", "ann"); d != "" || out != nil {
		t.Errorf("%s, output %v", d, out)
	}
	if _, err := h["HeadBucket"](t.Context(), &principal.Caller{}, &s3.GetObjectInput{}); err == nil {
		t.Error("a foreign input was taken")
	}
}
