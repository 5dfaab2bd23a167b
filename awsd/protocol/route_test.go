package protocol_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hive/awsd/protocol"
)

// request is a request as net/http's server makes it: the target is parsed as it came.
func request(t testing.TB, method, target string, headers ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestS3RequestsAreRoutedByMethodPathQueryAndHeader(t *testing.T) {
	api := apiOf(t, "s3")
	copies := []string{"x-amz-copy-source", "/b/other"}
	for _, c := range []struct {
		method, target, want string
		headers              []string
	}{
		{"GET", "/", "ListBuckets", nil},
		{"GET", "/?x-id=ListBuckets&max-buckets=3", "ListBuckets", nil},
		{"GET", "/?x-id=ListDirectoryBuckets", "ListDirectoryBuckets", nil},
		{"GET", "/?max-directory-buckets=3", "ListDirectoryBuckets", nil},
		{"GET", "/?continuation-token=t", "ListBuckets", nil},
		{"PUT", "/b", "CreateBucket", nil},
		{"PUT", "/b/", "CreateBucket", nil},
		{"HEAD", "/b", "HeadBucket", nil},
		{"DELETE", "/b", "DeleteBucket", nil},
		{"GET", "/b", "ListObjects", nil},
		{"GET", "/b?prefix=x&delimiter=%2F", "ListObjects", nil},
		{"GET", "/b?list-type=2&prefix=x", "ListObjectsV2", nil},
		{"GET", "/b?versions", "ListObjectVersions", nil},
		{"GET", "/b?uploads", "ListMultipartUploads", nil},
		{"GET", "/b?location", "GetBucketLocation", nil},
		{"GET", "/b?location=", "GetBucketLocation", nil},
		{"POST", "/b?delete", "DeleteObjects", nil},
		{"GET", "/b?analytics", "ListBucketAnalyticsConfigurations", nil},
		{"GET", "/b?analytics&id=1", "GetBucketAnalyticsConfiguration", nil},
		{"PUT", "/b/k", "PutObject", nil},
		{"PUT", "/b/k?x-id=GetObject", "PutObject", nil},
		{"PUT", "/b/k", "CopyObject", copies},
		{"PUT", "/b/k?partNumber=1&uploadId=u", "UploadPart", nil},
		{"PUT", "/b/k?partNumber=1&uploadId=u", "UploadPartCopy", copies},
		{"PUT", "/b/k?acl", "PutObjectAcl", copies},
		{"GET", "/b/k", "GetObject", nil},
		{"GET", "/b/k?versionId=3&response-content-type=a%2Fb", "GetObject", nil},
		{"GET", "/b/k?partNumber=3", "GetObject", nil},
		{"GET", "/b/k?uploadId=u", "ListParts", nil},
		{"GET", "/b/k?attributes", "GetObjectAttributes", nil},
		{"HEAD", "/b/k", "HeadObject", nil},
		{"DELETE", "/b/k", "DeleteObject", nil},
		{"DELETE", "/b/k?uploadId=u", "AbortMultipartUpload", nil},
		{"POST", "/b/k?uploads", "CreateMultipartUpload", nil},
		{"POST", "/b/k?uploadId=u", "CompleteMultipartUpload", nil},
		{"POST", "/b/k?select&select-type=2", "SelectObjectContent", nil},
		{"POST", "/WriteGetObjectResponse", "WriteGetObjectResponse", nil},
		{"GET", "/b/k?X-Amz-Algorithm=A&X-Amz-Credential=C&X-Amz-Date=D&X-Amz-Expires=1&X-Amz-SignedHeaders=h&X-Amz-Signature=S&X-Amz-Security-Token=T", "GetObject", nil},
		{"GET", "/b/k?AWSAccessKeyId=A&Signature=S&Expires=1", "GetObject", nil},
	} {
		op, err := api.Route(request(t, c.method, c.target, c.headers...), nil)
		if err != nil || op.Name != c.want {
			t.Errorf("%s %s: got %v, %v, want %s", c.method, c.target, op, err, c.want)
		}
	}
}

func TestAQueryThatAnOperationDoesNotHaveIsRefusedNotOverlooked(t *testing.T) {
	api := apiOf(t, "s3")
	for _, c := range []struct {
		method, target string
		status         int
		code, fragment string
	}{
		{"PUT", "/b/k?foo", 501, "NotImplemented", `"foo"`},
		{"DELETE", "/b?policies", 501, "NotImplemented", `"policies"`},
		{"DELETE", "/b/k?acl", 501, "NotImplemented", `"acl"`},
		{"GET", "/b?acl&versions", 501, "NotImplemented", "not supported"},
		{"PUT", "/b/k?uploadId=u", 400, "InvalidArgument", "partNumber"},
		{"PUT", "/b/k?partNumber=1", 400, "InvalidArgument", "uploadId"},
		{"GET", "/b/k?uploads", 501, "NotImplemented", `"uploads"`},
		{"HEAD", "/b/k?uploadId=u", 501, "NotImplemented", `"uploadId"`},
		{"GET", "/b?list-type=1", 501, "NotImplemented", `"list-type"`},
		{"POST", "/b/k?select", 501, "NotImplemented", `"select"`},
		{"GET", "/b?=x", 501, "NotImplemented", ""},
		{"POST", "/b/k?foo=1", 501, "NotImplemented", `"foo"`},
		{"PUT", "/b?analytics", 400, "InvalidArgument", "id"},
		{"POST", "/b/k", 405, "MethodNotAllowed", ""},
		{"POST", "/", 405, "MethodNotAllowed", ""},
		{"PATCH", "/b/k", 405, "MethodNotAllowed", ""},
		{"GET", "/b?prefix=a&prefix=b", 400, "InvalidArgument", "prefix"},
		{"GET", "/b?prefix=%zz", 400, "InvalidURI", ""},
		{"GET", "/b/%FF", 400, "InvalidURI", "UTF-8"},
		{"GET", "//k", 400, "InvalidURI", "bucket"},
	} {
		r := request(t, c.method, "/", nil...)
		target, err := r.URL.Parse("http://h/")
		must(t, err)
		path, query, _ := strings.Cut(c.target, "?")
		target.RawQuery = query
		target.Path, target.RawPath = unescape(t, path), path
		r.URL = target
		op, err := api.Route(r, nil)
		if d := wantError(err, c.status, c.code, c.fragment); d != "" {
			t.Errorf("%s %s: %s (routed to %v)", c.method, c.target, d, op)
		}
	}
}

func unescape(t testing.TB, path string) string {
	t.Helper()
	u := request(t, "GET", "http://h"+path).URL
	return u.Path
}

func TestAKeyIsTheBytesThatWereSent(t *testing.T) {
	api := apiOf(t, "s3")
	for target, want := range map[string]string{
		"/b/k":                       "k",
		"/b/a/b/c":                   "a/b/c",
		"/b//k":                      "/k",
		"/b///":                      "//",
		"/b/a//b/":                   "a//b/",
		"/b/a%2Fb":                   "a/b",
		"/b/%2Fa":                    "/a",
		"/b/a+b":                     "a+b",
		"/b/a%20b%2Bc":               "a b+c",
		"/b/%E2%82%AC%F0%9F%90%9D/ü": "€🐝/ü",
		"/b/../x/./y":                "../x/./y",
		"/b/%00%01%0A":               "\x00\x01\n",
		"/b/a%25b%3Fc%23":            "a%b?c#",
		"/b/?":                       "",
	} {
		r := request(t, "GET", target)
		op, err := api.Route(r, nil)
		must(t, err)
		in, err := api.Decode(op, r, nil, nil)
		must(t, err)
		if want == "" {
			if op.Name != "ListObjects" {
				t.Errorf("%s: routed to %s", target, op.Name)
			}
			continue
		}
		if got := in.(*s3.GetObjectInput); *got.Key != want || *got.Bucket != "b" {
			t.Errorf("%s: got bucket %q key %q, want key %q", target, *got.Bucket, *got.Key, want)
		}
	}
}

func TestQueryRequestsAreRoutedByAction(t *testing.T) {
	for _, c := range []struct {
		service, action, version string
		status                   int
		code                     string
	}{
		{"ec2", "DescribeInstances", "2016-11-15", 0, ""},
		{"ec2", "DescribeInstances", "", 0, ""},
		{"ec2", "describeinstances", "2016-11-15", 400, "InvalidAction"},
		{"ec2", "", "2016-11-15", 400, "MissingAction"},
		{"ec2", "DescribeInstances", "2010-01-01", 400, "NoSuchVersion"},
		{"iam", "CreateUser", "2010-05-08", 0, ""},
		{"iam", "RunInstances", "2010-05-08", 400, "InvalidAction"},
		{"iam", "", "", 400, "MissingAction"},
		{"sts", "GetCallerIdentity", "2011-06-15", 0, ""},
		{"sts", "GetCallerIdentity", "2012-06-15", 400, "InvalidAction"},
	} {
		form := formOf("Action", c.action, "Version", c.version)
		op, err := apiOf(t, c.service).Route(request(t, "POST", "/"), form)
		if c.code == "" {
			if err != nil || op.Name != c.action {
				t.Errorf("%s %s: got %v, %v", c.service, c.action, op, err)
			}
			continue
		}
		if d := wantError(err, c.status, c.code, ""); d != "" {
			t.Errorf("%s %s: %s", c.service, c.action, d)
		}
	}
	if op := apiOf(t, "s3").Operation("NoSuchOperation"); op != (*protocol.Operation)(nil) {
		t.Errorf("got %v", op)
	}
}
