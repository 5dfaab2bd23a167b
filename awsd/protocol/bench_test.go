package protocol_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"hive/awsd/ec2api"
)

// discard is a ResponseWriter that costs nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

// benchmark measures routing and decoding a request and encoding an answer.
func benchmark(b *testing.B, service string, r *http.Request, form url.Values, payload []byte, output any) {
	b.Helper()
	api := apiOf(b, service)
	b.ReportAllocs()
	for b.Loop() {
		op, err := api.Route(r, form)
		must(b, err)
		in, err := api.Decode(op, r, form, body{bytes.NewReader(payload), nil})
		must(b, err)
		must(b, api.Validate(op, in))
		must(b, api.Encode(&discard{http.Header{}}, op, "id", output))
	}
}

func BenchmarkPutObject(b *testing.B) {
	r := request(b, "PUT", "/bucket/some/key?x-id=PutObject", "Content-Type", "text/plain", "X-Amz-Meta-Colour", "red",
		"X-Amz-Checksum-Crc32", "AAAAAA==", "X-Amz-Sdk-Checksum-Algorithm", "CRC32", "Accept-Encoding", "identity")
	benchmark(b, "s3", r, nil, []byte("hello"), &s3.PutObjectOutput{ETag: aws.String(`"e"`), ChecksumCRC32: aws.String("AAAAAA==")})
}

func BenchmarkDescribeInstances(b *testing.B) {
	form := formOf("Action", "DescribeInstances", "Version", "2016-11-15", "Filter.1.Name", "vpc-id", "Filter.1.Value.1", "vpc-1",
		"InstanceId.1", "i-1", "InstanceId.2", "i-2", "MaxResults", "100")
	output := &ec2.DescribeInstancesOutput{}
	(&filler{nesting: map[reflect.Type]int{}}).fill(reflect.ValueOf(output).Elem())
	benchmark(b, "ec2", request(b, "POST", "/"), form, nil, output)
}

func BenchmarkGetCallerIdentity(b *testing.B) {
	output := &sts.GetCallerIdentityOutput{Account: aws.String("123456789012"), Arn: aws.String("arn"), UserId: aws.String("AIDA")}
	benchmark(b, "sts", request(b, "POST", "/"), formOf("Action", "GetCallerIdentity", "Version", "2011-06-15"), nil, output)
}

// benchmarkDecode measures what a request costs up to its handler.
func benchmarkDecode(b *testing.B, service string, form url.Values) {
	b.Helper()
	api, r := apiOf(b, service), request(b, "POST", "/")
	b.ReportAllocs()
	for b.Loop() {
		op, err := api.Route(r, form)
		must(b, err)
		in, err := api.Decode(op, r, form, nil)
		must(b, err)
		must(b, api.Validate(op, in))
	}
}

func BenchmarkDecodeCreateUser(b *testing.B) {
	benchmarkDecode(b, "iam", formOf("Action", "CreateUser", "Version", "2010-05-08", "UserName", "someone@example.com", "Path", "/division/team/",
		"Tags.member.1.Key", "cost-centre", "Tags.member.1.Value", "4711", "Tags.member.2.Key", "owner", "Tags.member.2.Value", "someone else"))
}

func BenchmarkDecodePutRolePolicyOf10KiB(b *testing.B) {
	benchmarkDecode(b, "iam", formOf("Action", "PutRolePolicy", "RoleName", "r", "PolicyName", "p", "PolicyDocument", strings.Repeat("{\"Effect\":\"Allow\"}", 512)))
}

func BenchmarkCompleteMultipartUploadOf10000Parts(b *testing.B) {
	var doc strings.Builder
	doc.WriteString("<CompleteMultipartUpload>")
	for i := range 10_000 {
		fmt.Fprintf(&doc, "<Part><ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag><PartNumber>%d</PartNumber></Part>", i+1)
	}
	doc.WriteString("</CompleteMultipartUpload>")
	benchmark(b, "s3", request(b, "POST", "/b/k?uploadId=u"), nil, []byte(doc.String()), &s3.CompleteMultipartUploadOutput{})
}

func BenchmarkListObjectsV2Of1000Keys(b *testing.B) {
	out := &s3.ListObjectsV2Output{}
	for i := range 1000 {
		out.Contents = append(out.Contents, s3types.Object{
			Key: aws.String(fmt.Sprintf("some/prefix/key-%06d", i)), ETag: aws.String(`"0123456789abcdef0123456789abcdef"`),
			Size: aws.Int64(4096), LastModified: aws.Time(time.Unix(1700000000, 0)), StorageClass: "STANDARD",
		})
	}
	benchmark(b, "s3", request(b, "GET", "/b?list-type=2"), nil, nil, out)
}

// BenchmarkFirstRequest is what start-up and the first use of an operation cost in the largest service.
func BenchmarkFirstRequest(b *testing.B) {
	b.ReportAllocs()
	form := formOf("Action", "DescribeInstances")
	r := request(b, "POST", "/")
	for b.Loop() {
		api := ec2api.API()
		op, err := api.Route(r, form)
		must(b, err)
		_, err = api.Decode(op, r, form, nil)
		must(b, err)
	}
}
