package sigv4

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"crypto/sha256"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"hive/awsd/protocol"
	"hive/iam/principal"
)

const testRegion = "ap-southeast-2"

func noon() time.Time { return time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC) }

func testVerifier() *Verifier {
	return New(Config{Region: testRegion, Lookup: oneKey(exampleKey, exampleSecret, ""), Clock: noon})
}

// sign signs r with the SDK's signer as a client of service does.
func sign(t testing.TB, r *http.Request, service, region, payloadHash string, when time.Time) {
	t.Helper()
	if payloadHash != "" {
		r.Header.Set("X-Amz-Content-Sha256", payloadHash)
	} else {
		payloadHash = emptyHash
	}
	r.URL.Host = r.Host
	credentials := aws.Credentials{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret}
	err := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" }).
		SignHTTP(t.Context(), credentials, r, payloadHash, service, region, when)
	if err != nil {
		t.Fatal(err)
	}
}

func presign(t testing.TB, method, service, target string, when time.Time) *http.Request {
	t.Helper()
	r := request(t, method, "host.test", target, "", nil)
	r.URL.Host, r.URL.Scheme = r.Host, "http"
	credentials := aws.Credentials{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret}
	hash := emptyHash
	if service == "s3" {
		hash = unsignedPayload
	}
	signed, _, err := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" }).
		PresignHTTP(t.Context(), credentials, r, hash, service, testRegion, when)
	if err != nil {
		t.Fatal(err)
	}
	u := strings.TrimPrefix(signed, "http://host.test")
	return request(t, method, "host.test", u, "", nil)
}

func signed(t testing.TB, service string) *http.Request {
	r := request(t, "GET", "host.test", "/", "", nil)
	hash := ""
	if service == "s3" {
		hash = emptyHash
	}
	sign(t, r, service, testRegion, hash, noon())
	return r
}

// TestRefusals holds every refusal against the code and the status that each kind of service gives.
func TestRefusals(t *testing.T) {
	edit := func(service, old, new string) *http.Request {
		r := signed(t, service)
		auth := r.Header.Get("Authorization")
		if !strings.Contains(auth, old) {
			t.Fatalf("%q is not in %q", old, auth)
		}
		r.Header.Set("Authorization", strings.Replace(auth, old, new, 1))
		return r
	}
	when := func(service string, d time.Duration) *http.Request {
		r := request(t, "GET", "host.test", "/", "", nil)
		hash := map[bool]string{true: emptyHash}[service == "s3"]
		sign(t, r, service, testRegion, hash, noon().Add(d))
		return r
	}
	region := func(service, region string) *http.Request {
		r := request(t, "GET", "host.test", "/", "", nil)
		hash := map[bool]string{true: emptyHash}[service == "s3"]
		sign(t, r, service, region, hash, noon())
		return r
	}
	plain := func() *http.Request { return request(t, "GET", "host.test", "/", "", nil) }
	header := func(name, value string) *http.Request {
		r := plain()
		r.Header.Set(name, value)
		return r
	}
	query := func(r *http.Request, old, new string) *http.Request {
		if !strings.Contains(r.URL.RawQuery, old) {
			t.Fatalf("%q is not in %q", old, r.URL.RawQuery)
		}
		r.URL.RawQuery = strings.Replace(r.URL.RawQuery, old, new, 1)
		return r
	}
	both := presign(t, "GET", "s3", "/b/k?X-Amz-Expires=60", noon())
	both.Header.Set("Authorization", "AWS4-HMAC-SHA256 x")
	unsignedACL := presign(t, "PUT", "s3", "/b/k?X-Amz-Expires=60", noon())
	unsignedACL.Header.Set("X-Amz-Acl", "public-read")
	noHash := signed(t, "s3")
	noHash.Header.Del("X-Amz-Content-Sha256")
	noDate := signed(t, "s3")
	noDate.Header.Del("X-Amz-Date")

	for _, c := range []struct {
		name, service string
		r             *http.Request
		status        int
		code          string
	}{
		{"no signature", "ec2", plain(), 403, "MissingAuthenticationToken"},
		{"no signature", "iam", plain(), 403, "MissingAuthenticationToken"},
		{"signature version 4A", "s3", header("Authorization", "AWS4-ECDSA-P256-SHA256 Credential=x"), 400, "InvalidRequest"},
		{"another algorithm", "sts", header("Authorization", "AWS4-HMAC-SHA512 Credential=x"), 400, "IncompleteSignature"},
		{"both forms", "s3", both, 400, "InvalidArgument"},
		{"no signature part", "s3", header("Authorization", "AWS4-HMAC-SHA256 Credential=x"), 400, "AuthorizationHeaderMalformed"},
		{"no signature part", "iam", header("Authorization", "AWS4-HMAC-SHA256 Credential=x"), 400, "IncompleteSignature"},
		{"half a credential", "s3", edit("s3", exampleKey+"/", ""), 400, "AuthorizationHeaderMalformed"},
		{"half a credential", "ec2", edit("ec2", exampleKey+"/", ""), 400, "IncompleteSignature"},
		{"no key", "s3", edit("s3", exampleKey, ""), 400, "AuthorizationHeaderMalformed"},
		{"short signature", "s3", edit("s3", "Signature=", "Signature=00"), 400, "AuthorizationHeaderMalformed"},
		{"host not signed", "s3", edit("s3", "host;", ""), 400, "AuthorizationHeaderMalformed"},
		{"no date", "s3", noDate, 403, "AccessDenied"},
		{"another day in the scope", "s3", edit("s3", "/20260506/", "/20260507/"), 400, "AuthorizationHeaderMalformed"},
		{"another day in the scope", "sts", edit("sts", "/20260506/", "/20260507/"), 403, "SignatureDoesNotMatch"},
		{"no payload hash", "s3", noHash, 400, "InvalidRequest"},
		{"unknown key", "s3", edit("s3", exampleKey, "AKIDOTHER"), 403, "InvalidAccessKeyId"},
		{"unknown key", "iam", edit("iam", exampleKey, "AKIDOTHER"), 403, "InvalidClientTokenId"},
		{"unknown key", "ec2", edit("ec2", exampleKey, "AKIDOTHER"), 401, "AuthFailure"},
		{"wrong signature", "s3", edit("s3", "Signature=", "Signature="+strings.Repeat("0", 64)+",x="), 403, "SignatureDoesNotMatch"},
		{"wrong signature", "iam", edit("iam", "Signature=", "Signature="+strings.Repeat("0", 64)+",x="), 403, "SignatureDoesNotMatch"},
		{"wrong signature", "ec2", edit("ec2", "Signature=", "Signature="+strings.Repeat("0", 64)+",x="), 401, "AuthFailure"},
		{"too old", "s3", when("s3", -MaxSkew-time.Second), 403, "RequestTimeTooSkewed"},
		{"too new", "s3", when("s3", MaxSkew+time.Second), 403, "RequestTimeTooSkewed"},
		{"too old", "ec2", when("ec2", -MaxSkew-time.Second), 400, "RequestExpired"},
		{"too new", "ec2", when("ec2", MaxSkew+time.Second), 400, "RequestExpired"},
		{"too old", "sts", when("sts", -MaxSkew-time.Second), 403, "SignatureDoesNotMatch"},
		{"too new", "sts", when("sts", MaxSkew+time.Second), 403, "SignatureDoesNotMatch"},
		{"another region", "s3", region("s3", "us-east-1"), 400, "AuthorizationHeaderMalformed"},
		{"another region", "ec2", region("ec2", "us-east-1"), 403, "SignatureDoesNotMatch"},
		{"another region", "iam", region("iam", "eu-west-1"), 403, "SignatureDoesNotMatch"},
		{"another service", "s3", region("ec2", testRegion), 400, "AuthorizationHeaderMalformed"},
		{"another service", "ec2", region("sts", testRegion), 403, "SignatureDoesNotMatch"},
		{"a header that S3 obeys, unsigned", "s3", unsignedACL, 403, "AccessDenied"},
		{"presigned, too old", "s3", presign(t, "GET", "s3", "/b/k?X-Amz-Expires=60", noon().Add(-61*time.Second)), 403, "AccessDenied"},
		{"presigned, not yet", "s3", presign(t, "GET", "s3", "/b/k?X-Amz-Expires=60", noon().Add(16*time.Minute)), 403, "AccessDenied"},
		{"presigned, too old", "sts", presign(t, "GET", "sts", "/?X-Amz-Expires=60", noon().Add(-61*time.Second)), 403, "SignatureDoesNotMatch"},
		{"presigned, too old", "ec2", presign(t, "GET", "ec2", "/?X-Amz-Expires=60", noon().Add(-61*time.Second)), 400, "RequestExpired"},
		{"presigned for more than a week", "s3", presign(t, "GET", "s3", "/b/k?X-Amz-Expires=604801", noon()), 400, "AuthorizationQueryParametersError"},
		{"presigned for less than nothing", "s3", presign(t, "GET", "s3", "/b/k?X-Amz-Expires=-1", noon()), 400, "AuthorizationQueryParametersError"},
		{"presigned for no number", "s3", presign(t, "GET", "s3", "/b/k?X-Amz-Expires=x", noon()), 400, "AuthorizationQueryParametersError"},
		{"presigned for ever", "s3", presign(t, "GET", "s3", "/b/k", noon()), 400, "AuthorizationQueryParametersError"},
		{"presigned, no signature", "s3", query(presign(t, "GET", "s3", "/b/k?X-Amz-Expires=60", noon()), "X-Amz-Signature", "x"), 400, "AuthorizationQueryParametersError"},
		{"presigned, longer life than signed", "s3", query(presign(t, "GET", "s3", "/b/k?X-Amz-Expires=60", noon()), "Expires=60", "Expires=600"), 403, "SignatureDoesNotMatch"},
		{"presigned, with an unknown token", "s3", presign(t, "GET", "s3", "/b/k?X-Amz-Expires=60&X-Amz-Security-Token=x", noon()), 400, "InvalidToken"},
		{"presigned, with a token that is over", "s3", presign(t, "GET", "s3", "/b/k?X-Amz-Expires=60&X-Amz-Security-Token=over", noon()), 400, "ExpiredToken"},
		{"presigned, with a token that is over", "sts", presign(t, "GET", "sts", "/?X-Amz-Expires=60&X-Amz-Security-Token=over", noon()), 403, "ExpiredToken"},
		{"presigned, with a token that is over", "ec2", presign(t, "GET", "ec2", "/?X-Amz-Expires=60&X-Amz-Security-Token=over", noon()), 400, "RequestExpired"},
		{"presigned, with a token that is over", "ebs", presign(t, "GET", "ebs", "/?X-Amz-Expires=60&X-Amz-Security-Token=over", noon()), 403, "ExpiredTokenException"},
		{"presigned, with an unknown token", "sts", presign(t, "GET", "sts", "/?X-Amz-Expires=60&X-Amz-Security-Token=x", noon()), 403, "InvalidClientTokenId"},
	} {
		_, _, err := verify(testVerifier(), c.r, c.service)
		var refusal *protocol.Error
		if !errors.As(err, &refusal) || refusal.Code != c.code || refusal.Status != c.status {
			t.Errorf("%s: %s: want %d %s, got %+v", c.service, c.name, c.status, c.code, err)
		}
	}
}

func TestSkewIsAllowedUpToFifteenMinutes(t *testing.T) {
	for _, service := range []string{"s3", "ec2", "iam"} {
		for _, d := range []time.Duration{-MaxSkew, MaxSkew} {
			r := request(t, "GET", "host.test", "/", "", nil)
			sign(t, r, service, testRegion, emptyHash, noon().Add(d))
			if _, _, err := verify(testVerifier(), r, service); err != nil {
				t.Errorf("%s at %v: %v", service, d, explain(err))
			}
		}
	}
}

func TestGlobalServicesMaySignForTheirHome(t *testing.T) {
	for _, service := range []string{"iam", "sts"} {
		r := request(t, "GET", "host.test", "/", "", nil)
		sign(t, r, service, "us-east-1", "", noon())
		if _, _, err := verify(testVerifier(), r, service); err != nil {
			t.Errorf("%s: %v", service, err)
		}
	}
}

func TestWrongRegionTellsS3ClientsTheRightOne(t *testing.T) {
	r := request(t, "GET", "host.test", "/", "", nil)
	sign(t, r, "s3", "us-east-1", emptyHash, noon())
	_, _, err := verify(testVerifier(), r, "s3")
	var refusal *protocol.Error
	if !errors.As(err, &refusal) {
		t.Fatal(err)
	}
	want := protocol.Field{Name: "Region", Value: testRegion}
	if len(refusal.Fields) != 1 || refusal.Fields[0] != want || refusal.Header.Get("X-Amz-Bucket-Region") != testRegion {
		t.Errorf("refusal does not name the region: %+v", refusal)
	}
}

func TestLookupFailureIsNotARefusal(t *testing.T) {
	lost := errors.New("no leader")
	v := New(Config{Region: testRegion, Clock: noon, Lookup: func(context.Context, string, string) (string, principal.Caller, error) {
		return "", principal.Caller{}, lost
	}})
	_, _, err := verify(v, signed(t, "s3"), "s3")
	var refusal *protocol.Error
	if !errors.Is(err, lost) || errors.As(err, &refusal) {
		t.Errorf("got %v", err)
	}
}

func TestAnonymousReachesS3Only(t *testing.T) {
	r := request(t, "PUT", "host.test", "/b/k", "hello", nil)
	c := Read(r)
	caller, body, err := testVerifier().Verify(r, c, "s3")
	if err != nil || !caller.Anonymous || caller.AccessKey != "" {
		t.Fatalf("caller %+v, %v", caller, err)
	}
	if got, err := io.ReadAll(body); err != nil || string(got) != "hello" {
		t.Errorf("payload %q, %v", got, err)
	}
}

func TestReplacedSecretIsNotAnsweredFromTheCache(t *testing.T) {
	secret := exampleSecret
	v := New(Config{Region: testRegion, Clock: noon, Lookup: func(context.Context, string, string) (string, principal.Caller, error) {
		return secret, principal.Caller{}, nil
	}})
	for range 2 {
		if _, _, err := verify(v, signed(t, "s3"), "s3"); err != nil {
			t.Fatal(err)
		}
	}
	secret = "another"
	if _, _, err := verify(v, signed(t, "s3"), "s3"); err == nil {
		t.Error("a signature under the old secret passes")
	}
}

func TestKeyCacheIsBounded(t *testing.T) {
	var c keyCache
	for i := range 5 * maxKeys {
		scope := keyScope{date: "20260506", region: testRegion, service: "s3", id: hex.EncodeToString([]byte{byte(i >> 8), byte(i)})}
		if got := c.get(scope, exampleSecret); got != deriveKey(scope, exampleSecret) {
			t.Fatal("another key")
		}
		if len(c.young) > maxKeys || len(c.old) > maxKeys {
			t.Fatalf("%d and %d keys are kept", len(c.young), len(c.old))
		}
	}
}

func TestQueryServiceHashesItsForm(t *testing.T) {
	const form = "Action=ListUsers&Version=2010-05-08"
	sum := sha256.Sum256([]byte(form))
	r := request(t, "POST", "host.test", "/", form, nil)
	sign(t, r, "iam", testRegion, hex.EncodeToString(sum[:]), noon())
	_, body, err := testVerifier().Verify(r, Read(r), "iam")
	if err != nil {
		t.Fatal(explain(err))
	}
	if got, ok := body.Buffered(); !ok || string(got) != form || body.Size() != int64(len(form)) {
		t.Fatalf("form %q, %v", got, ok)
	}
	r.Body = io.NopCloser(strings.NewReader(strings.Replace(form, "List", "Dele", 1)))
	if _, _, err := testVerifier().Verify(r, Read(r), "iam"); err == nil {
		t.Error("another form passes with the same signature")
	}
}

func TestQueryServiceRefusesAHugeForm(t *testing.T) {
	for _, declared := range []int64{maxForm + 1, -1} {
		r := signed(t, "iam")
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("a", maxForm+1))), declared
		_, _, err := testVerifier().Verify(r, Read(r), "iam")
		var refusal *protocol.Error
		if !errors.As(err, &refusal) || refusal.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("got %v", err)
		}
	}
}

func TestPresignedParametersAreTakenOut(t *testing.T) {
	r := presign(t, "PUT", "s3", "/b/k?X-Amz-Expires=60&x-id=PutObject&x-amz-meta-a=b&partNumber=1", noon())
	if _, _, err := verify(testVerifier(), r, "s3"); err != nil {
		t.Fatal(explain(err))
	}
	if r.URL.RawQuery != "partNumber=1&x-id=PutObject" || r.Header.Get("X-Amz-Meta-A") != "b" {
		t.Errorf("query %q, headers %v", r.URL.RawQuery, r.Header)
	}
}

func BenchmarkVerifyHeader(b *testing.B) {
	v := testVerifier()
	r := request(b, "GET", "host.test", "/bucket/some/key/of/usual/length.bin?x-id=GetObject", "", [][2]string{
		{"Accept-Encoding", "identity"}, {"Amz-Sdk-Invocation-Id", "0"}, {"Amz-Sdk-Request", "attempt=1; max=3"}, {"X-Amz-Checksum-Mode", "ENABLED"}})
	sign(b, r, "s3", testRegion, emptyHash, noon())
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := v.Verify(r, Read(r), "s3"); err != nil {
			b.Fatal(err)
		}
	}
}
