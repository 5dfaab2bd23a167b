package sigv4

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"hive/awsd/protocol"
)

// testBucket knows the hosts of the vectors, and of the documentation's examples.
func testBucket(host string) string {
	host, _, _ = strings.Cut(host, ":")
	if host == "static.johnsmith.net" {
		return host
	}
	for _, domain := range []string{".s3.example.test", ".s3.amazonaws.com", ".s3.host.test"} {
		if bucket, ok := strings.CutSuffix(host, domain); ok {
			return bucket
		}
	}
	return ""
}

func testVerifier2() *Verifier {
	return New(Config{Region: testRegion, Lookup: oneKey(exampleKey, exampleSecret, ""), Clock: noon, Bucket: testBucket})
}

// TestS3DocumentationVersion2Examples verifies the examples of "Signing and authenticating REST requests".
func TestS3DocumentationVersion2Examples(t *testing.T) {
	const host = "johnsmith.s3.amazonaws.com"
	header := func(method, host, target, date, signature string, more ...[2]string) *http.Request {
		return request(t, method, host, target, "", append(more, [2]string{"Date", date}, [2]string{"Authorization", "AWS " + docsKey + ":" + signature}))
	}
	for name, c := range map[string]struct {
		r   *http.Request
		now string
	}{
		"object GET": {header("GET", host, "/photos/puppy.jpg", "Tue, 27 Mar 2007 19:36:42 +0000", "bWq2s1WEIj+Ydj0vQ697zp+IXMU="), "20070327T193642Z"},
		"object PUT": {header("PUT", host, "/photos/puppy.jpg", "Tue, 27 Mar 2007 21:15:45 +0000", "MyyxeRY7whkBe+bq8fHCL/2kKUg=",
			[2]string{"Content-Type", "image/jpeg"}, [2]string{"Content-Length", "94328"}), "20070327T211545Z"},
		"list":      {header("GET", host, "/?prefix=photos&max-keys=50&marker=puppy", "Tue, 27 Mar 2007 19:42:41 +0000", "htDYFYduRNen8P9ZfE/s9SuKy0U="), "20070327T194241Z"},
		"fetch ACL": {header("GET", host, "/?acl", "Tue, 27 Mar 2007 19:44:46 +0000", "c2WLPFtWHVgbEmeEG93a4cG37dM="), "20070327T194446Z"},
		"upload": {header("PUT", "static.johnsmith.net:8080", "/db-backup.dat.gz", "Tue, 27 Mar 2007 21:06:08 +0000", "ilyl83RwaSoYIEdixDQcA4OnAnc=",
			[2]string{"x-amz-acl", "public-read"}, [2]string{"content-type", "application/x-download"}, [2]string{"Content-MD5", "4gJE4saaMU4BqNR0kLY+lw=="},
			[2]string{"X-Amz-Meta-ReviewedBy", "joe@johnsmith.net"}, [2]string{"X-Amz-Meta-ReviewedBy", "jane@johnsmith.net"},
			[2]string{"X-Amz-Meta-FileChecksum", "0x02661779"}, [2]string{"X-Amz-Meta-ChecksumAlgorithm", "crc32"},
			[2]string{"Content-Disposition", "attachment; filename=database.dat"}, [2]string{"Content-Encoding", "gzip"}), "20070327T210608Z"},
		"list all my buckets": {header("GET", "s3.amazonaws.com", "/", "Wed, 28 Mar 2007 01:29:59 +0000", "qGdzdERIC03wnaRNKh6OqZehG9s="), "20070328T012959Z"},
		"Unicode keys":        {header("GET", "s3.amazonaws.com", "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re", "Wed, 28 Mar 2007 01:49:49 +0000", "DNEZGsoieTZ92F3bUfSPQcbGmlM="), "20070328T014949Z"},
		"query string":        {request(t, "GET", host, "/photos/puppy.jpg?AWSAccessKeyId="+docsKey+"&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620", "", nil), "20070327T210608Z"},
	} {
		v := New(Config{Region: testRegion, Lookup: oneKey(docsKey, docsSecret, ""), Clock: at(t, c.now), Bucket: testBucket})
		if _, _, err := verify(v, c.r, "s3"); err != nil {
			t.Errorf("%s: %s", name, explain(err))
		}
	}
}

// signed2Header signs a request in the Authorization header with a string to sign written out by the test.
func signed2Header(t testing.TB, text string, r *http.Request) *http.Request {
	t.Helper()
	r.Header.Set("Authorization", "AWS "+exampleKey+":"+hmac1(text))
	return r
}

// presigned2 makes a presigned request with a string to sign written out by the test, in which EXPIRES is
// an hour from noon.
func presigned2(t testing.TB, method, target, text string) *http.Request {
	t.Helper()
	expires := strconv.FormatInt(noon().Add(time.Hour).Unix(), 10)
	mark := "?"
	if strings.Contains(target, "?") {
		mark = "&"
	}
	return request(t, method, "s3.host.test", target+mark+"AWSAccessKeyId="+exampleKey+"&Expires="+expires+"&Signature="+
		url.QueryEscape(hmac1(strings.Replace(text, "EXPIRES", expires, 1))), "", nil)
}

func TestVersion2Refusals(t *testing.T) {
	date := noon().Format(http.TimeFormat)
	get := func(headers ...[2]string) *http.Request {
		return request(t, "GET", "s3.host.test", "/b/k", "", headers)
	}
	auth := func(value string) *http.Request {
		return get([2]string{"Date", date}, [2]string{"Authorization", value})
	}
	query := func(q string) *http.Request { return request(t, "GET", "s3.host.test", "/b/k?"+q, "", nil) }
	at := func(when time.Time) *http.Request {
		d := when.Format(http.TimeFormat)
		return signed2Header(t, "GET\n\n\n"+d+"\n/b/k", get([2]string{"Date", d}))
	}
	until := func(when time.Time) *http.Request {
		e := strconv.FormatInt(when.Unix(), 10)
		return query("AWSAccessKeyId=" + exampleKey + "&Expires=" + e + "&Signature=" + url.QueryEscape(hmac1("GET\n\n\n"+e+"\n/b/k")))
	}
	const good = "GET\n\n\nEXPIRES\n/b/k"
	with := func(r *http.Request, name, value string) *http.Request {
		r.Header.Set(name, value)
		return r
	}
	for _, c := range []struct {
		name, service string
		r             *http.Request
		status        int
		code, message string
	}{
		{"no colon", "s3", auth("AWS x"), 400, "InvalidArgument", "Expected AwsAccessKeyId:signature"},
		{"no signature", "s3", auth("AWS x:"), 400, "InvalidArgument", "Expected AwsAccessKeyId:signature"},
		{"two colons", "s3", auth("AWS x:a:b"), 400, "InvalidArgument", "Expected AwsAccessKeyId:signature"},
		{"nothing", "s3", auth("AWS"), 400, "InvalidArgument", "Expected AwsAccessKeyId:signature"},
		{"no date", "s3", get([2]string{"Authorization", "AWS x:y"}), 403, "AccessDenied", "valid Date or x-amz-date"},
		{"an empty x-amz-date", "s3", with(auth("AWS x:y"), "X-Amz-Date", ""), 403, "AccessDenied", "valid Date or x-amz-date"},
		{"too old", "s3", at(noon().Add(-MaxSkew - time.Second)), 403, "RequestTimeTooSkewed", ""},
		{"too new", "s3", at(noon().Add(MaxSkew + time.Second)), 403, "RequestTimeTooSkewed", ""},
		{"unknown key", "s3", auth("AWS AKIDOTHER:" + hmac1("GET\n\n\n"+date+"\n/b/k")), 403, "InvalidAccessKeyId", ""},
		{"wrong signature", "s3", auth("AWS " + exampleKey + ":AAAA"), 403, "SignatureDoesNotMatch", ""},
		{"unknown token", "s3", with(at(noon()), "X-Amz-Security-Token", "x"), 400, "InvalidToken", ""},
		{"a header added", "s3", with(at(noon()), "X-Amz-Acl", "public-read"), 403, "SignatureDoesNotMatch", ""},
		{"a content type added", "s3", with(at(noon()), "Content-Type", "a/b"), 403, "SignatureDoesNotMatch", ""},
		{"signed chunks", "s3", signed2Header(t, "GET\n\n\n"+date+"\nx-amz-content-sha256:"+streamingSigned+"\n/b/k",
			get([2]string{"Date", date}, [2]string{"X-Amz-Content-Sha256", streamingSigned})), 400, "InvalidRequest", "AWS4-HMAC-SHA256"},
		{"no query to read", "s3", with(with(query("acl=%zz"), "Date", date), "Authorization", "AWS x:y"), 400, "InvalidURI", ""},
		{"presigned, both versions in the query", "s3", query("AWSAccessKeyId=a&Signature=b&Expires=1&X-Amz-Algorithm=" + algorithm), 400, "InvalidArgument", "Only one auth mechanism"},
		{"presigned, version 4 in the header", "s3", with(until(noon()), "Authorization", algorithm+" x"), 400, "InvalidArgument", "Only one auth mechanism"},
		{"presigned, version 2 in the header", "s3", with(until(noon()), "Authorization", "AWS x:y"), 400, "InvalidArgument", "Only one auth mechanism"},
		{"version 4 presigned, version 2 in the header", "s3", with(presign(t, "GET", "s3", "/b/k?X-Amz-Expires=60", noon()), "Authorization", "AWS x:y"), 400, "InvalidArgument", "Only one auth mechanism"},
		{"presigned, no key", "s3", query("Signature=b&Expires=1"), 403, "AccessDenied", "requires the Signature, Expires and AWSAccessKeyId"},
		{"presigned, no end", "s3", query("AWSAccessKeyId=a&Signature=b"), 403, "AccessDenied", "requires the Signature, Expires and AWSAccessKeyId"},
		{"presigned, no signature", "s3", query("AWSAccessKeyId=a&Signature=&Expires=1"), 403, "AccessDenied", "requires the Signature, Expires and AWSAccessKeyId"},
		{"presigned until no number", "s3", query("AWSAccessKeyId=a&Signature=b&Expires=soon"), 403, "AccessDenied", "Invalid date (should be seconds since epoch): soon"},
		{"presigned until after 2038", "s3", query("AWSAccessKeyId=a&Signature=b&Expires=2147483648"), 403, "AccessDenied", "Invalid date"},
		{"presigned, expired", "s3", until(noon().Add(-time.Second)), 403, "AccessDenied", "Request has expired"},
		{"presigned before 1970", "s3", query("AWSAccessKeyId=a&Signature=b&Expires=-7"), 403, "AccessDenied", "Request has expired"},
		{"presigned, unknown key", "s3", query("AWSAccessKeyId=a&Signature=b&Expires=2147483647"), 403, "InvalidAccessKeyId", ""},
		{"presigned, wrong signature", "s3", query("AWSAccessKeyId=" + exampleKey + "&Signature=b&Expires=2147483647"), 403, "SignatureDoesNotMatch", ""},
		{"presigned, another method", "s3", presigned2(t, "PUT", "/b/k", good), 403, "SignatureDoesNotMatch", ""},
		{"presigned, another key", "s3", presigned2(t, "GET", "/b/k2", good), 403, "SignatureDoesNotMatch", ""},
		{"presigned, a sub-resource added", "s3", presigned2(t, "GET", "/b/k?acl", good), 403, "SignatureDoesNotMatch", ""},
		{"presigned, an escaped sub-resource added", "s3", presigned2(t, "GET", "/b/k?%61cl", good), 403, "SignatureDoesNotMatch", ""},
		{"presigned, an override added", "s3", presigned2(t, "GET", "/b/k?response-content-type=a", good), 403, "SignatureDoesNotMatch", ""},
		{"presigned, an operation added that is never signed", "s3", presigned2(t, "GET", "/b/k?retention", good), 403, "AccessDenied", "retention"},
		{"presigned, a header added", "s3", with(presigned2(t, "GET", "/b/k", good), "X-Amz-Acl", "public-read"), 403, "SignatureDoesNotMatch", ""},
		{"presigned, a header added as a parameter", "s3", presigned2(t, "GET", "/b/k?x-amz-acl=public-read", good), 403, "SignatureDoesNotMatch", ""},
		{"presigned, an unknown token", "s3", presigned2(t, "GET", "/b/k?x-amz-security-token=x", good), 400, "InvalidToken", ""},
		{"presigned, a parameter folded into another", "s3", presigned2(t, "PUT", "/b/k?partNumber=1%26uploadId=u", "PUT\n\n\nEXPIRES\n/b/k?partNumber=1&uploadId=u"), 403, "AccessDenied", "partNumber"},
		{"presigned, a header folded into another", "s3", presigned2(t, "PUT", "/b/k?x-amz-a=1%0Ax-amz-b:2", "PUT\n\n\nEXPIRES\nx-amz-a:1\nx-amz-b:2\n/b/k"), 400, "InvalidURI", ""},
		{"presigned, a header folded into a name", "s3", presigned2(t, "PUT", "/b/k?x-amz-a:1%0Ax-amz-b=2", "PUT\n\n\nEXPIRES\nx-amz-a:1\nx-amz-b:2\n/b/k"), 400, "InvalidURI", ""},
		{"version 2", "ec2", auth("AWS x:y"), 400, "IncompleteSignature", "AWS4-HMAC-SHA256"},
		{"version 2", "iam", auth("AWS x:y"), 400, "IncompleteSignature", "AWS4-HMAC-SHA256"},
		{"presigned", "sts", until(noon()), 400, "IncompleteSignature", "AWS4-HMAC-SHA256"},
	} {
		_, _, err := verify(testVerifier2(), c.r, c.service)
		var refusal *protocol.Error
		if !errors.As(err, &refusal) || refusal.Code != c.code || refusal.Status != c.status || !strings.Contains(refusal.Message, c.message) {
			t.Errorf("%s: %s: want %d %s %q, got %+v", c.service, c.name, c.status, c.code, c.message, err)
		}
	}
}

func TestVersion2RefusalsTellWhatAWSTells(t *testing.T) {
	expired := request(t, "GET", "s3.host.test", "/b/k?AWSAccessKeyId="+exampleKey+"&Signature=x&Expires=1", "", nil)
	wrong := request(t, "GET", "b.s3.host.test", "/k?AWSAccessKeyId="+exampleKey+"&Signature=x&Expires=2147483647", "", nil)
	for want, r := range map[string]*http.Request{
		"Expires=1970-01-01T00:00:01Z|ServerTime=2026-05-06T12:00:00Z": expired,
		"AWSAccessKeyId=" + exampleKey + "|StringToSign=GET\n\n\n2147483647\n/b/k|SignatureProvided=x|StringToSignBytes=47 45 54 0a 0a 0a 32 31 34 37 34 38 33 36 34 37 0a 2f 62 2f 6b": wrong,
	} {
		_, _, err := verify(testVerifier2(), r, "s3")
		var refusal *protocol.Error
		if !errors.As(err, &refusal) {
			t.Fatal(err)
		}
		var got []string
		for _, f := range refusal.Fields {
			got = append(got, f.Name+"="+f.Value)
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%s: %q, want %q", refusal.Message, got, want)
		}
	}
}

func TestVersion2PresignedParametersAreTakenOut(t *testing.T) {
	r := presigned2(t, "PUT", "/b/k?x-amz-meta-a=b&content-type=text%2Fplain&versionId=1&x-id=PutObject;", "PUT\n\ntext/plain\nEXPIRES\nx-amz-meta-a:b\n/b/k?versionId=1")
	if _, _, err := verify(testVerifier2(), r, "s3"); err != nil {
		t.Fatal(explain(err))
	}
	if r.URL.RawQuery != "versionId=1&x-id=PutObject%3B" || r.Header.Get("X-Amz-Meta-A") != "b" || r.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("query %q, headers %v", r.URL.RawQuery, r.Header)
	}
}

func TestVersion2HeaderSentGoesBeforeItsParameter(t *testing.T) {
	r := presigned2(t, "PUT", "/b/k?x-amz-acl=private", "PUT\n\n\nEXPIRES\nx-amz-acl:private\n/b/k")
	r.Header.Set("X-Amz-Acl", "public-read")
	if _, _, err := verify(testVerifier2(), r, "s3"); err == nil {
		t.Error("a header that the URL does not sign is taken")
	}
}

func TestVersion2DateMayBeInXAmzDate(t *testing.T) {
	for _, date := range []string{noon().Format(http.TimeFormat), noon().Format(time.RFC1123Z), noon().Format(stampForm)} {
		r := request(t, "GET", "s3.host.test", "/b/k", "", [][2]string{{"Date", "whenever"}, {"X-Amz-Date", date}})
		if _, _, err := verify(testVerifier2(), signed2Header(t, "GET\n\n\n\nx-amz-date:"+date+"\n/b/k", r), "s3"); err != nil {
			t.Errorf("%s: %s", date, explain(err))
		}
	}
}

func TestVersion2PayloadIsHeldAgainstItsChecksum(t *testing.T) {
	for body, good := range map[string]bool{"hello": true, "hullo": false} {
		r := presigned2(t, "PUT", "/b/k", "PUT\n\n\nEXPIRES\nx-amz-checksum-crc32:NhCmhg==\n/b/k")
		signed := request(t, "PUT", r.Host, "/b/k?"+r.URL.RawQuery, body, [][2]string{{"X-Amz-Checksum-Crc32", "NhCmhg=="}})
		_, _, err := verify(testVerifier2(), signed, "s3")
		if good && err != nil || !good && codeOf(err) != "BadDigest" {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// TestEveryOperationOfTheModelIsKnownToVersion2 fails when a new sub-resource comes into the model that is
// neither signed nor refused.
func TestEveryOperationOfTheModelIsKnownToVersion2(t *testing.T) {
	model, err := os.ReadFile("../s3api/s3api_gen.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.SplitSeq(string(model), "\n") {
		fields := strings.Split(line, "\t")
		if fields[0] != "op" || fields[6] == "" {
			continue
		}
		for literal := range strings.SplitSeq(fields[6], "&") {
			seen++
			name, _, _ := strings.Cut(literal, "=")
			if !subresource(name) && !unsignedOperation(name) && name != "list-type" {
				t.Errorf("%s: %s is not known", fields[1], name)
			}
		}
	}
	if seen < 50 {
		t.Errorf("the model has only %d sub-resources", seen)
	}
}

// hmac1 signs as a client does.
func hmac1(text string) string {
	mac := hmac.New(sha1.New, []byte(exampleSecret))
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
