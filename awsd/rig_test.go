package awsd

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"hive/awsd/ec2api"
	"hive/awsd/iamapi"
	"hive/awsd/protocol"
	"hive/awsd/s3api"
	"hive/awsd/stsapi"
	hiveiam "hive/iam"
	"hive/iam/principal"
)

const (
	testRegion = "ap-southeast-2"
	testKey    = "AKIAIOSFODNN7EXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

// oneUser is Keys that knows one user, with one key.
type oneUser struct{}

func (oneUser) Lookup(_ context.Context, id, token string) (string, principal.Caller, error) {
	switch {
	case token == "over":
		return "", principal.Caller{}, hiveiam.ErrExpiredToken
	case token != "":
		return "", principal.Caller{}, hiveiam.ErrBadToken
	}
	switch id {
	case testKey:
		return testSecret, principal.Caller{Account: "123456789012", ARN: "arn:aws:iam::123456789012:user/x", UserID: "AIDAX", UserName: "x"}, nil
	case "AKIAINACTIVE":
		return "", principal.Caller{}, hiveiam.ErrInactiveKey
	case "AKIABROKEN":
		return "", principal.Caller{}, errors.New("the state is not at hand")
	}
	return "", principal.Caller{}, hiveiam.ErrNoSuchKey
}

// guard is an Authorizer that keeps everybody out of the bucket "forbidden", and the anonymous out of all
// but "public".
type guard struct{}

func (guard) Authorize(_ context.Context, c *principal.Caller, need []protocol.Access) error {
	for _, a := range need {
		if strings.HasPrefix(a.Resource, "arn:aws:s3:::forbidden") || c.Anonymous && !strings.HasPrefix(a.Resource, "arn:aws:s3:::public") {
			return protocol.Errorf(http.StatusForbidden, "AccessDenied", "Access Denied")
		}
	}
	return nil
}

// memory is a small S3 in memory.
type memory struct {
	mu      sync.Mutex // guards objects
	objects map[string][]byte
	started chan struct{} // told when a GET of "slow" has begun
	release chan struct{} // what that GET waits for
	callers chan principal.Caller
}

func newMemory() *memory {
	return &memory{objects: map[string][]byte{}, started: make(chan struct{}, 1), release: make(chan struct{}), callers: make(chan principal.Caller, 100)}
}

func memoryAccess(_ *principal.Caller, op string, input any) []protocol.Access {
	bucket := "*"
	switch in := input.(type) {
	case *s3.PutObjectInput:
		bucket = *in.Bucket
	case *s3.GetObjectInput:
		bucket = *in.Bucket
	}
	return []protocol.Access{{Action: "s3:" + op, Resource: "arn:aws:s3:::" + bucket}}
}

func (m *memory) PutObject(_ context.Context, c *principal.Caller, in *s3.PutObjectInput) (*s3.PutObjectOutput, error) {
	select {
	case m.callers <- *c:
	default: // nobody asks
	}
	if *in.Bucket == "missing" {
		return nil, protocol.Errorf(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
	}
	data, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects[*in.Bucket+"/"+*in.Key] = data
	out := &s3.PutObjectOutput{}
	if body, ok := in.Body.(protocol.Body); ok {
		if sum := body.Checksums()["crc32"]; sum != "" {
			out.ChecksumCRC32 = &sum
		}
	}
	return out, nil
}

// brokenStream fails in the middle.
type brokenStream struct{ sent bool }

func (b *brokenStream) Read(p []byte) (int, error) {
	if b.sent {
		return 0, errors.New("the disk is gone")
	}
	b.sent = true
	return copy(p, "half"), nil
}

func (b *brokenStream) Close() error { return nil }

func (m *memory) GetObject(ctx context.Context, _ *principal.Caller, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
	switch *in.Key {
	case "panic":
		panic("at the handler")
	case "broken":
		return &s3.GetObjectOutput{Body: &brokenStream{}, ContentLength: aws.Int64(8)}, nil
	case "fault":
		return nil, errors.New("a fault with secrets in it")
	case "slow":
		m.started <- struct{}{}
		select {
		case <-m.release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	m.mu.Lock()
	data, ok := m.objects[*in.Bucket+"/"+*in.Key]
	m.mu.Unlock()
	if !ok {
		return nil, &protocol.Error{Status: http.StatusNotFound, Code: "NoSuchKey", Message: "The specified key does not exist.",
			Fields: []protocol.Field{{Name: "Key", Value: *in.Key}}}
	}
	return &s3.GetObjectOutput{Body: io.NopCloser(bytes.NewReader(data)), ContentLength: aws.Int64(int64(len(data)))}, nil
}

func (m *memory) DeleteObjects(context.Context, *principal.Caller, *s3.DeleteObjectsInput) (*s3.DeleteObjectsOutput, error) {
	return &s3.DeleteObjectsOutput{}, nil
}

// identity is STS for GetCallerIdentity.
type identity struct{}

func (identity) GetCallerIdentity(_ context.Context, c *principal.Caller, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	return &sts.GetCallerIdentityOutput{Account: &c.Account, Arn: &c.ARN, UserId: &c.UserID}, nil
}

// logs keeps what was logged.
type logs struct {
	mu   sync.Mutex // guards buf and more
	buf  bytes.Buffer
	more chan struct{} // closed at the next line, when somebody waits for one
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
	return l.buf.Write(p)
}

// await waits until the log tells text.
func (l *logs) await(text string) {
	for {
		l.mu.Lock()
		if bytes.Contains(l.buf.Bytes(), []byte(text)) {
			l.mu.Unlock()
			return
		}
		if l.more == nil {
			l.more = make(chan struct{})
		}
		more := l.more
		l.mu.Unlock()
		<-more
	}
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// rig is a running server.
type rig struct {
	t       *testing.T
	memory  *memory
	logs    *logs
	addrs   []string // of the listeners
	roots   *x509.CertPool
	stop    context.CancelFunc
	stopped chan error
}

func testConfig(m *memory, l *logs) Config {
	return Config{
		Region: testRegion,
		Services: []Service{
			{API: s3api.API(), Handlers: s3api.Bind(m), Access: memoryAccess},
			{API: ec2api.API(), Handlers: ec2api.Bind(nil)},
			{API: iamapi.API(), Handlers: iamapi.Bind(nil)},
			{API: stsapi.API(), Handlers: stsapi.Bind(identity{})},
		},
		Keys: oneUser{}, Authorizer: guard{},
		Log:     slog.New(slog.NewJSONHandler(l, nil)),
		Domains: []string{"s3.localhost"},
	}
}

// start runs a server with one listener for each set of services.
func start(t *testing.T, edit func(*Config), offers ...[]string) *rig {
	t.Helper()
	r := &rig{t: t, memory: newMemory(), logs: &logs{}, stopped: make(chan error, 1)}
	config := testConfig(r.memory, r.logs)
	if edit != nil {
		edit(&config)
	}
	certificate, roots := selfSigned(t)
	r.roots = roots
	if offers == nil {
		offers = [][]string{nil}
	}
	var listeners []Listener
	for _, services := range offers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		r.addrs = append(r.addrs, l.Addr().String())
		listeners = append(listeners, Listener{Net: l, Services: services, TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}})
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	go func() { r.stopped <- New(config).Run(ctx, listeners) }()
	t.Cleanup(func() {
		cancel()
		<-r.stopped
	})
	return r
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hive"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"s3.localhost", "*.s3.localhost"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// http is a client that trusts the rig, and finds it under any name.
func (r *rig) http(i int) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: r.roots},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", r.addrs[i])
		},
	}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (r *rig) endpoint(i int, secure bool) *string {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	return aws.String(scheme + "://" + r.addrs[i])
}

func testCredentials() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(testKey, testSecret, "")
}

func (r *rig) s3(i int, secure bool) *s3.Client {
	return s3.New(s3.Options{Region: testRegion, BaseEndpoint: r.endpoint(i, secure), UsePathStyle: true, HTTPClient: r.http(i), RetryMaxAttempts: 1,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported, Credentials: testCredentials()})
}

func (r *rig) sts(i int, secure bool) *sts.Client {
	return sts.New(sts.Options{Region: testRegion, BaseEndpoint: r.endpoint(i, secure), HTTPClient: r.http(i), RetryMaxAttempts: 1, Credentials: testCredentials()})
}

func (r *rig) iam(i int) *iam.Client {
	return iam.New(iam.Options{Region: "us-east-1", BaseEndpoint: r.endpoint(i, false), HTTPClient: r.http(i), RetryMaxAttempts: 1, Credentials: testCredentials()})
}

func (r *rig) ec2(i int) *ec2.Client {
	return ec2.New(ec2.Options{Region: testRegion, BaseEndpoint: r.endpoint(i, false), HTTPClient: r.http(i), RetryMaxAttempts: 1, Credentials: testCredentials()})
}

// wantCode fails unless err is the AWS error of this code.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code {
		t.Errorf("want %s, got %v", code, err)
	}
}

// raw sends bytes to the rig and returns the connection.
func (r *rig) raw(text string) net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addrs[0])
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		r.t.Fatal(err)
	}
	return c
}
