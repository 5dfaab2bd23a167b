package awsd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"hive/awsd/protocol"
)

func TestClientsOfEveryServiceShareOnePortInPlainAndTLS(t *testing.T) {
	r := start(t, nil)
	for _, secure := range []bool{false, true} {
		client := r.s3(0, secure)
		data := bytes.Repeat([]byte("x"), 100_000)
		in := &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a/key é+%"), Body: bytes.NewReader(data)}
		put, err := client.PutObject(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if put.ChecksumCRC32 == nil {
			t.Error("the checksum did not reach the handler")
		}
		c := <-r.memory.callers
		if c.Secure != secure || c.SourceIP != "127.0.0.1" || c.Region != testRegion || c.AccessKey != testKey || c.RequestID == "" || c.UserAgent == "" {
			t.Errorf("caller is %+v", c)
		}
		if s := c.Signing; (c.TLS != "") != secure || s.Place != "REST-HEADER" || s.Version != "AWS4-HMAC-SHA256" || s.Time.IsZero() || s.Payload == "" {
			t.Errorf("caller is %+v", c)
		}
		got, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: in.Bucket, Key: in.Key})
		if err != nil {
			t.Fatal(err)
		}
		if back, err := io.ReadAll(got.Body); err != nil || !bytes.Equal(back, data) {
			t.Errorf("%d bytes came back, %v", len(back), err)
		}
		who, err := r.sts(0, secure).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		if err != nil || *who.Arn != "arn:aws:iam::123456789012:user/x" {
			t.Errorf("identity %+v, %v", who, err)
		}
	}
}

func TestOperationWithoutHandlerIsTheServicesOwnError(t *testing.T) {
	r := start(t, nil)
	_, err := r.s3(0, false).ListBuckets(t.Context(), &s3.ListBucketsInput{})
	wantCode(t, err, "NotImplemented")
	_, err = r.ec2(0).DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{})
	wantCode(t, err, "UnsupportedOperation")
	_, err = r.iam(0).ListUsers(t.Context(), &iam.ListUsersInput{})
	wantCode(t, err, "InvalidAction")
}

func TestListenerOffersItsServicesOnly(t *testing.T) {
	r := start(t, nil, []string{"ec2"}, []string{"s3"})
	_, err := r.ec2(0).DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{})
	wantCode(t, err, "UnsupportedOperation")
	_, err = r.sts(0, false).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err == nil || !strings.Contains(err.Error(), "StatusCode: 403") { // in EC2's words, which this client does not read
		t.Errorf("STS at the EC2 port: %v", err)
	}
	_, err = r.s3(1, false).ListBuckets(t.Context(), &s3.ListBucketsInput{})
	wantCode(t, err, "NotImplemented")
	_, err = r.ec2(1).DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{})
	if err == nil || !strings.Contains(err.Error(), "StatusCode: 400") {
		t.Errorf("EC2 at the S3 port: %v", err)
	}
}

func TestKeysThatAreNotKnown(t *testing.T) {
	r := start(t, nil)
	for id, want := range map[string]string{"AKIANOBODY": "InvalidAccessKeyId", "AKIAINACTIVE": "InvalidAccessKeyId", "AKIABROKEN": "InternalError"} {
		_, err := r.s3(0, false).ListBuckets(t.Context(), &s3.ListBucketsInput{}, func(o *s3.Options) {
			o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: id, SecretAccessKey: "x"}, nil
			})
		})
		wantCode(t, err, want)
	}
	_, err := r.s3(0, false).ListBuckets(t.Context(), &s3.ListBucketsInput{}, func(o *s3.Options) {
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret, SessionToken: "made up"}, nil
		})
	})
	wantCode(t, err, "InvalidToken")
}

func TestUnsignedRequests(t *testing.T) {
	r := start(t, nil)
	for _, c := range []struct {
		method, target, contentType, body string
		status                            int
		want                              string
	}{
		{"GET", "/bucket/key", "", "", 403, "AccessDenied"},
		{"GET", "/public/key", "", "", 404, "NoSuchKey"},
		{"GET", "/?Action=GetUser&Version=2010-05-08", "", "", 403, "MissingAuthenticationToken"},
		{"POST", "/", "application/x-www-form-urlencoded", "Action=RunInstances&Version=2016-11-15", 403, "MissingAuthenticationToken"},
		{"POST", "/", "application/x-www-form-urlencoded; charset=utf-8", "Action=GetCallerIdentity&Version=2011-06-15", 403, "MissingAuthenticationToken"},
		{"POST", "/bucket", "multipart/form-data; boundary=x", "--x--", 501, "POST policy"},
		{"GET", "/-/healthz", "", "", 200, `{"status":"ok"}`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, *r.endpoint(0, false)+c.target, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", c.contentType)
		resp, err := r.http(0).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || !strings.Contains(string(text), c.want) {
			t.Errorf("%s %s: %d %s %v", c.method, c.target, resp.StatusCode, text, err)
		}
	}
}

func TestRequestIDsAreTheServicesOwn(t *testing.T) {
	r := start(t, nil)
	for path, header := range map[string]string{"/bucket": "X-Amz-Request-Id", "/?Action=GetUser&Version=2010-05-08": "X-Amzn-Requestid"} {
		resp, err := r.http(0).Get(*r.endpoint(0, false) + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		id := resp.Header.Get(header)
		if err != nil || len(id) < 16 || !strings.Contains(string(text), ">"+id+"<") || !strings.Contains(r.logs.String(), id) {
			t.Errorf("%s: %s %q, body %s, %v", path, header, id, text, err)
		}
	}
}

func TestVirtualHostStyle(t *testing.T) {
	r := start(t, nil)
	for _, secure := range []bool{false, true} {
		scheme := map[bool]string{false: "http", true: "https"}[secure]
		client := s3.New(s3.Options{Region: testRegion, BaseEndpoint: aws.String(scheme + "://s3.localhost"), HTTPClient: r.http(0), RetryMaxAttempts: 1,
			Credentials: testCredentials()})
		in := &s3.PutObjectInput{Bucket: aws.String("my.bucket"), Key: aws.String("a//key +é"), Body: strings.NewReader("data")}
		if secure {
			in.Bucket = aws.String("mybucket") // a certificate's wildcard covers one label
		}
		if _, err := client.PutObject(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		r.memory.mu.Lock()
		if got := r.memory.objects[*in.Bucket+"/a//key +é"]; string(got) != "data" {
			t.Errorf("stored %v", r.memory.objects)
		}
		r.memory.mu.Unlock()
	}
}

func TestBucketOfHost(t *testing.T) {
	domains := []string{"s3.localhost", "s3.ap-southeast-2.hive"}
	for host, want := range map[string]string{"b.s3.localhost": "b", "b.s3.localhost:9999": "b", "a.b.S3.LOCALHOST": "a.b", "s3.localhost": "",
		"127.0.0.1:9999": "", "[::1]:9999": "", "[::1]": "", "xs3.localhost": "", "b.s3.ap-southeast-2.hive": "b", "": ""} {
		if got := bucketOf(host, domains); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}

func TestPanicIsAnInternalErrorAndTheConnectionLives(t *testing.T) {
	told := make(chan error, 2)
	r := start(t, func(c *Config) { c.Audit = func(_ context.Context, call *protocol.Call) { told <- call.Err } })
	client := r.s3(0, false)
	for range 2 {
		_, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("panic")})
		wantCode(t, err, "InternalError")
		select {
		case err := <-told:
			if err == nil {
				t.Error("the call is on record as one that went well")
			}
		default:
			t.Error("the call is not on record")
		}
	}
	if text := r.logs.String(); !strings.Contains(text, "at the handler") || !strings.Contains(text, "goroutine") {
		t.Errorf("the log tells no stack: %s", text)
	}
	if n := strings.Count(r.logs.String(), `"status":500`); n != 2 {
		t.Errorf("%d lines of the access log", n)
	}
}

func TestFaultsAreLoggedAndNotTold(t *testing.T) {
	r := start(t, nil)
	_, err := r.s3(0, false).GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("fault")})
	wantCode(t, err, "InternalError")
	if strings.Contains(err.Error(), "secrets") || !strings.Contains(r.logs.String(), "a fault with secrets") {
		t.Errorf("the client is told %v; the log %s", err, r.logs)
	}
}

func TestStreamThatFailsCutsTheConnection(t *testing.T) {
	r := start(t, nil)
	out, err := r.s3(0, false).GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("broken")})
	if err != nil {
		return // cut before its first byte had left
	}
	if text, err := io.ReadAll(out.Body); err == nil {
		t.Errorf("a broken stream ends cleanly with %q", text)
	}
}

// signedPut is the head of a PUT of length bytes with Expect: 100-continue, signed.
func signedPut(t *testing.T, host, path string, length int) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "PUT", "http://"+host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	err = signer.SignHTTP(t.Context(), aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}, req, "UNSIGNED-PAYLOAD", "s3", testRegion, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n", path, host, length)
	if err := req.Header.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\r\n"
}

func TestRefusedPutDoesNotAskForItsBody(t *testing.T) {
	r := start(t, nil)
	for path, status := range map[string]string{"/forbidden/key": "403", "/missing/key": "404", "/bucket/key?logging": "501"} {
		c := r.raw(signedPut(t, r.addrs[0], path, 1<<30))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if !strings.HasPrefix(resp.Status, status) || !resp.Close {
			t.Errorf("%s: %s, close %v", path, resp.Status, resp.Close)
		}
	}
}

func TestAcceptedPutIsAskedForItsBody(t *testing.T) {
	r := start(t, nil)
	c := r.raw(signedPut(t, r.addrs[0], "/bucket/key", 5))
	br := bufio.NewReader(c)
	line, err := br.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := br.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
}

// TestEmptyPutIsAskedForItsBodyToo: botocore sends the header with every body, also an empty one, and reads the next
// answer on the connection wrongly when the 100 does not come.
func TestEmptyPutIsAskedForItsBodyToo(t *testing.T) {
	r := start(t, nil)
	c := r.raw(signedPut(t, r.addrs[0], "/bucket/key", 0))
	br := bufio.NewReader(c)
	line, err := br.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := br.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 200 || resp.Close {
		t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
}

func TestTrickleIsEnded(t *testing.T) {
	r := start(t, func(c *Config) { c.Progress = 100 * time.Millisecond })
	c := r.raw(signedPut(t, r.addrs[0], "/bucket/key", 1<<20))
	br := bufio.NewReader(c)
	for range 2 { // the 100 and its empty line
		if _, err := br.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 400 || !strings.Contains(string(text), "RequestTimeout") {
		t.Errorf("%s %s %v", resp.Status, text, err)
	}
}

func TestClientThatTakesNothingIsEnded(t *testing.T) {
	r := start(t, func(c *Config) { c.Progress = 100 * time.Millisecond })
	r.memory.objects["public/big"] = make([]byte, 64<<20)
	c := r.raw("GET /public/big HTTP/1.1\r\nHost: x\r\n\r\n")
	r.logs.await(`"path":"/public/big"`)
	n, err := io.Copy(io.Discard, c)
	if n >= 64<<20 {
		t.Errorf("got all of %d bytes, %v", n, err)
	}
}

func TestManyHeadersAreRefusedCheaply(t *testing.T) {
	r := start(t, nil)
	c := r.raw("GET /b HTTP/1.1\r\nHost: x\r\n")
	go func() {
		for i := range 100_000 { // ends early, when the server closes
			if _, err := fmt.Fprintf(c, "x-h%d: y\r\n", i); err != nil {
				return
			}
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Fatalf("%v, %v", resp, err)
	}
	var some strings.Builder
	for i := range maxHeaders + 1 {
		fmt.Fprintf(&some, "x-h%d: y\r\n", i)
	}
	resp, err = http.ReadResponse(bufio.NewReader(r.raw("GET /b HTTP/1.1\r\nHost: x\r\n"+some.String()+"\r\n")), nil)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Fatalf("%v, %v", resp, err)
	}
}

func TestRandomBytesDoNotHarm(t *testing.T) {
	r := start(t, nil)
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 200 {
		junk := make([]byte, 1+rng.IntN(2000))
		for j := range junk {
			junk[j] = byte(rng.Uint32())
		}
		if i%2 == 0 {
			junk[0] = firstOfTLS
		}
		c := r.raw(string(junk))
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, c) // ends, in whatever way
	}
	if _, err := r.sts(0, true).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
		t.Error(err)
	}
}

func TestAccessLogTellsWhoAndWhatButNoSecret(t *testing.T) {
	r := start(t, nil)
	url, err := s3.NewPresignClient(r.s3(0, false)).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.http(0).Get(url.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	signature := url.URL[strings.Index(url.URL, "X-Amz-Signature=")+16:][:64]
	text := r.logs.String()
	for _, want := range []string{`"service":"s3"`, `"op":"GetObject"`, `"account":"123456789012"`, `"principal":"arn:aws:iam::123456789012:user/x"`,
		`"status":404`, `"code":"NoSuchKey"`, `"took":`, `"out":`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(text, signature) || strings.Contains(text, "X-Amz-") || strings.Contains(text, testSecret) {
		t.Errorf("the log tells a secret: %s", text)
	}
}

func TestWrongContentMD5IsRefusedWhereNoHandlerLooks(t *testing.T) {
	r := start(t, nil)
	body := "<Delete><Object><Key>k</Key></Object></Delete>"
	req, err := http.NewRequestWithContext(t.Context(), "POST", *r.endpoint(0, false)+"/b?delete", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	req.Header.Set("Content-Md5", "AAAAAAAAAAAAAAAAAAAAAA==")
	if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}, req, "UNSIGNED-PAYLOAD", "s3", testRegion, time.Now()); err != nil {
		t.Fatal(err)
	}
	resp, err := r.http(0).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(text), "BadDigest") {
		t.Errorf("%s %s %v", resp.Status, text, err)
	}
	_, err = r.s3(0, false).DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: aws.String("b"),
		Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: aws.String("k")}}}})
	if err != nil {
		t.Error(err)
	}
}

func TestDrainLetsRequestsEnd(t *testing.T) {
	r := start(t, nil)
	r.memory.objects["public/slow"] = []byte("done")
	busy := r.raw("GET /public/slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-r.memory.started
	r.stop()
	for { // until the port is closed
		c, err := net.Dial("tcp", r.addrs[0])
		if err != nil {
			break
		}
		c.Close()
	}
	select {
	case err := <-r.stopped:
		t.Fatalf("Run has returned %v with a request under way", err)
	default:
	}
	close(r.memory.release)
	resp, err := http.ReadResponse(bufio.NewReader(busy), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil || string(text) != "done" || !resp.Close {
		t.Errorf("%q, close %v, %v", text, resp.Close, err)
	}
	err = <-r.stopped
	r.stopped <- err
	if err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestDrainCutsWhatDoesNotEnd(t *testing.T) {
	r := start(t, func(c *Config) { c.Drain = 50 * time.Millisecond })
	busy := r.raw("GET /public/slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-r.memory.started
	r.stop()
	err := <-r.stopped
	r.stopped <- err
	if err == nil {
		t.Error("Run does not tell that it has cut a request")
	}
	if resp, err := http.ReadResponse(bufio.NewReader(busy), nil); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Errorf("answered %s", resp.Status)
		}
	}
}

func TestListenerWithoutServiceIsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := New(testConfig(newMemory(), &logs{})).Run(t.Context(), []Listener{{Net: l, Services: []string{"lambda"}}}); err == nil {
		t.Error("Run serves nothing")
	}
}

func TestPlainListenerRefusesTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- New(testConfig(newMemory(), &logs{})).Run(ctx, []Listener{{Net: l}}) }()
	if c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true}); err == nil {
		c.Close()
		t.Error("a plain port speaks TLS")
	}
	stop()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func FuzzServeHTTP(f *testing.F) {
	s := New(testConfig(newMemory(), &logs{}))
	f.Add([]byte("GET /public/key?x=y HTTP/1.1\r\nHost: b.s3.localhost\r\nRange: bytes=0-\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\nAction=%z"))
	f.Add([]byte("PUT /public/k HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nX-Amz-Content-Sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nX-Amz-Trailer: x-amz-checksum-crc32\r\nX-Amz-Decoded-Content-Length: 1\r\n\r\n1\r\na\r\n0\r\n"))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: AWS4-HMAC-SHA256 Credential=a/20260101/r/sts/aws4_request,SignedHeaders=host,Signature=0\r\n\r\n"))
	f.Add([]byte("GET /k?AWSAccessKeyId=" + testKey + "&Signature=c2ln&Expires=2147483647&x-amz-acl=a HTTP/1.1\r\nHost: b.s3.localhost\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != http.StatusNotImplemented {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// A client that is still sending when it is refused finds the answer, on a connection that lives.
func TestARefusalReachesAClientThatIsStillSending(t *testing.T) {
	r := start(t, nil)
	conn, err := net.Dial("tcp", r.addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	body := make([]byte, 3<<20)
	for _, expect := range []string{"", "Expect: 100-continue\r\n", ""} {
		sent := make(chan error, 1)
		go func() {
			_, err := fmt.Fprintf(conn, "PUT /bucket/key HTTP/1.1\r\nHost: s3.localhost\r\n%sContent-Length: %d\r\n\r\n", expect, len(body))
			if err == nil {
				_, err = conn.Write(body)
			}
			sent <- err
		}()
		answer, err := http.ReadResponse(answers, nil)
		if err == nil && answer.StatusCode == http.StatusContinue && expect != "" {
			answer, err = http.ReadResponse(answers, nil)
		}
		if err != nil || answer.StatusCode != http.StatusForbidden || answer.Close {
			t.Fatalf("%+v, %v", answer, err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Fatal(err)
		}
		if err := <-sent; err != nil {
			t.Fatalf("the body could not be sent: %v", err)
		}
	}
}
