package sigv4

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"hive/awsd/protocol"
	"hive/iam/principal"
)

const (
	exampleKey    = "AKIDEXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

// oneKey is a Lookup that knows one key, and one token for it.
func oneKey(id, secret, token string) Lookup {
	return func(_ context.Context, key, claimed string) (string, principal.Caller, error) {
		if key != id {
			return "", principal.Caller{}, ErrUnknownKey
		}
		if claimed == "over" {
			return "", principal.Caller{}, ErrExpiredToken
		}
		if claimed != token {
			return "", principal.Caller{}, ErrBadToken
		}
		return secret, principal.Caller{Account: "123456789012", UserName: "x"}, nil
	}
}

func at(t testing.TB, stamp string) func() time.Time {
	t.Helper()
	now, err := time.Parse(stampForm, stamp)
	if err != nil {
		t.Fatal(err)
	}
	return func() time.Time { return now }
}

// verify runs Read and Verify, and reads the payload to its end.
func verify(v *Verifier, r *http.Request, service string) ([]byte, *Body, error) {
	_, body, err := v.Verify(r, Read(r), service)
	if err != nil {
		return nil, nil, err
	}
	got, err := io.ReadAll(body)
	return got, body, err
}

// request makes a request as a server reads it.
func request(t testing.TB, method, host, target, body string, headers [][2]string) *http.Request {
	t.Helper()
	path, query, _ := strings.Cut(target, "?")
	decoded, err := url.PathUnescape(path)
	if err != nil {
		t.Fatal(err)
	}
	r := &http.Request{Method: method, Host: host, Header: http.Header{}, Body: http.NoBody,
		URL: &url.URL{Path: decoded, RawPath: path, RawQuery: query}}
	if body != "" {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	for _, h := range headers {
		r.Header.Add(h[0], h[1])
	}
	return r.WithContext(t.Context())
}

// TestAWSSuite holds the canonical request against the vectors that AWS publishes.
func TestAWSSuite(t *testing.T) {
	const stamp = "20150830T123600Z"
	for _, vec := range suite {
		t.Run(vec.name, func(t *testing.T) {
			key := deriveKey(keyScope{exampleKey, "20150830", "us-east-1", "service"}, exampleSecret)
			c := &Claim{Form: Header, KeyID: exampleKey, Date: "20150830", Region: "us-east-1", Service: "service",
				signedHeaders: vec.signedHeaders, stamp: stamp}
			payload := emptyHash
			r := request(t, vec.method, "example.amazonaws.com", vec.target, vec.body, nil)
			r.Header.Set("X-Amz-Date", stamp)
			for line := range strings.SplitSeq(vec.headers, "\n") {
				if name, value, ok := strings.Cut(line, ":"); ok {
					r.Header.Add(name, value)
				}
			}
			if vec.body != "" {
				plan, err := (&Verifier{}).payload(r, c, dialectQuery)
				if err != nil {
					t.Fatal(err)
				}
				payload = plan.hash
				r.Header.Set("X-Amz-Content-Sha256", payload)
			}
			if vec.token != "" {
				r.Header.Set("X-Amz-Security-Token", vec.token)
			}
			check(t, r, c, vec.normalize, payload, key, vec.header)

			// The same request, presigned. The suite hashes no body there but that of the form.
			c.Form = Query
			var signed []string
			for name := range strings.SplitSeq(vec.signedHeaders, ";") {
				if !strings.HasPrefix(name, "x-amz-") {
					signed = append(signed, name)
				}
			}
			c.signedHeaders = strings.Join(signed, ";")
			q := "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request&X-Amz-Date=" +
				stamp + "&X-Amz-Expires=3600&X-Amz-SignedHeaders=" + url.QueryEscape(c.signedHeaders) + "&X-Amz-Signature=" + vec.query
			if vec.token != "" {
				q += "&X-Amz-Security-Token=" + url.QueryEscape(vec.token)
			}
			r.URL.RawQuery = strings.TrimPrefix(r.URL.RawQuery+"&"+q, "&")
			check(t, r, c, vec.normalize, payload, key, vec.query)
		})
	}
}

func check(t *testing.T, r *http.Request, c *Claim, normalize bool, payload string, key signingKey, want string) {
	t.Helper()
	var s scratch
	s.canonicalRequest(r, c, rules{normalize: normalize}, payload)
	n := len(s.text)
	s.stringToSign(c)
	if !key.signed(s.text[n:], want) {
		t.Errorf("signature differs from the suite's for\n%s", s.text[:n])
	}
}

// TestBotocoreVectors verifies requests that botocore has signed, as testdata/make_vectors.py tells.
func TestBotocoreVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/botocore.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Key, Secret, Region, Time string
		Vectors                   []struct {
			Name, Service, Method, Target, Host, Body, Token string
			Headers                                          [][2]string
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) < 140 {
		t.Fatalf("only %d vectors", len(file.Vectors))
	}
	for _, vec := range file.Vectors {
		t.Run(vec.Name, func(t *testing.T) {
			v := New(Config{Region: file.Region, Lookup: oneKey(file.Key, file.Secret, vec.Token), Clock: at(t, file.Time), Bucket: testBucket})
			got, _, err := verify(v, request(t, vec.Method, vec.Host, vec.Target, vec.Body, vec.Headers), vec.Service)
			if err != nil {
				t.Fatal(explain(err))
			}
			if string(got) != vec.Body {
				t.Errorf("payload is %q, was %q", got, vec.Body)
			}
			// One other byte of the target is another request.
			r := request(t, vec.Method, vec.Host, vec.Target, vec.Body, vec.Headers)
			r.URL.Path, r.URL.RawPath = r.URL.Path+"x", ""
			if _, _, err := verify(v, r, vec.Service); err == nil {
				t.Error("another path passes with the same signature")
			}
		})
	}
}

// explain shows what a refusal computed.
func explain(err error) string {
	var b bytes.Buffer
	b.WriteString(err.Error())
	if e, ok := err.(*protocol.Error); ok {
		for _, f := range e.Fields {
			b.WriteString("\n" + f.Name + ": " + f.Value)
		}
	}
	return b.String()
}

// The examples of the S3 API Reference, "Authenticating Requests: Using the Authorization Header", "Using
// Query Parameters", "Transferring Payload in Multiple Chunks" and "Including Trailing Headers".
const (
	docsKey    = "AKIAIOSFODNN7EXAMPLE"
	docsSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	docsStamp  = "20130524T000000Z"
	docsScope  = docsKey + "/20130524/us-east-1/s3/aws4_request"
	docsHost   = "examplebucket.s3.amazonaws.com"
)

func docsVerifier(t testing.TB) *Verifier {
	return New(Config{Region: "us-east-1", Lookup: oneKey(docsKey, docsSecret, ""), Clock: at(t, docsStamp)})
}

func docsAuth(signed, signature string) [2]string {
	return [2]string{"Authorization", "AWS4-HMAC-SHA256 Credential=" + docsScope + ",SignedHeaders=" + signed + ",Signature=" + signature}
}

func TestS3DocumentationHeaderExamples(t *testing.T) {
	date := [2]string{"x-amz-date", docsStamp}
	empty := [2]string{"x-amz-content-sha256", emptyHash}
	for name, r := range map[string]*http.Request{
		"GET object": request(t, "GET", docsHost, "/test.txt", "", [][2]string{{"Range", "bytes=0-9"}, empty, date,
			docsAuth("host;range;x-amz-content-sha256;x-amz-date", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")}),
		"PUT object": request(t, "PUT", docsHost, "/test%24file.text", "Welcome to Amazon S3.", [][2]string{
			{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, date, {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
			{"x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
			docsAuth("date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd")}),
		"GET bucket lifecycle": request(t, "GET", docsHost, "/?lifecycle", "", [][2]string{date, empty,
			docsAuth("host;x-amz-content-sha256;x-amz-date", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")}),
		"list objects": request(t, "GET", docsHost, "/?max-keys=2&prefix=J", "", [][2]string{date, empty,
			docsAuth("host;x-amz-content-sha256;x-amz-date", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")}),
		"presigned GET": request(t, "GET", docsHost, "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="+
			url.QueryEscape(docsScope)+"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="+
			"aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404", "", nil),
	} {
		if _, _, err := verify(docsVerifier(t), r, "s3"); err != nil {
			t.Errorf("%s: %s", name, explain(err))
		}
	}
}

// docsChunked is the documentation's upload of 65 KiB of "a" in two chunks.
func docsChunked(t testing.TB, trailer bool) (*http.Request, string) {
	sums := []string{"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
		"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"}
	seed, mode, tail := "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9", streamingSigned, "\r\n"
	signed := "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class"
	headers := [][2]string{{"x-amz-date", docsStamp}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
		{"Content-Encoding", "aws-chunked"}, {"x-amz-decoded-content-length", "66560"}, {"Content-Length", "66824"}}
	if trailer {
		sums = []string{"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
			"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7", "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"}
		seed, mode = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e", streamingTrailers
		tail = "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n"
		signed = "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer"
		headers = append(headers, [2]string{"x-amz-trailer", "x-amz-checksum-crc32c"})
	}
	body := "10000;chunk-signature=" + sums[0] + "\r\n" + strings.Repeat("a", 65536) + "\r\n" +
		"400;chunk-signature=" + sums[1] + "\r\n" + strings.Repeat("a", 1024) + "\r\n" +
		"0;chunk-signature=" + sums[2] + "\r\n" + tail
	headers = append(headers, [2]string{"x-amz-content-sha256", mode}, docsAuth(signed, seed))
	return request(t, "PUT", "s3.amazonaws.com", "/examplebucket/chunkObject.txt", body, headers), body
}

func TestS3DocumentationChunkedExamples(t *testing.T) {
	for _, trailer := range []bool{false, true} {
		r, _ := docsChunked(t, trailer)
		got, body, err := verify(docsVerifier(t), r, "s3")
		if err != nil {
			t.Fatal(explain(err))
		}
		if string(got) != strings.Repeat("a", 66560) || body.Size() != 66560 {
			t.Errorf("decoded %d bytes of %d", len(got), body.Size())
		}
		if sum := body.Checksums()["crc32c"]; trailer != (sum == "sOO8/Q==") {
			t.Errorf("checksum %q", sum)
		}
		if r.Header.Get("Content-Encoding") != "" || r.ContentLength != 66560 {
			t.Errorf("headers still speak of the encoded payload: %v", r.Header)
		}
	}
}
