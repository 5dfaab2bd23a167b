package awsd

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hive/awsd/protocol"
	"hive/awsd/s3api"
	"hive/iam/principal"
)

// fixed is an S3 whose every object is the same 4 KiB, so that a benchmark sees the front door alone.
type fixed struct{ data []byte }

// reading is a body that is written in one piece, as the shard store's are.
type reading struct{ *bytes.Reader }

func (reading) Close() error { return nil }

func (f fixed) GetObject(context.Context, *principal.Caller, *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
	return &s3.GetObjectOutput{Body: reading{bytes.NewReader(f.data)}, ContentLength: aws.Int64(int64(len(f.data)))}, nil
}

func (f fixed) PutObject(_ context.Context, _ *principal.Caller, in *s3.PutObjectInput) (*s3.PutObjectOutput, error) {
	_, err := io.Copy(io.Discard, in.Body)
	return &s3.PutObjectOutput{}, err
}

type everybody struct{}

func (everybody) Authorize(context.Context, *principal.Caller, []protocol.Access) error { return nil }

// sink is a ResponseWriter that drops what it gets.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header               { return s.header }
func (s *sink) WriteHeader(int)                   {}
func (s *sink) Write(p []byte) (int, error)       { return len(p), nil }
func (s *sink) SetReadDeadline(t time.Time) error { return nil }

func benchServer() *Server {
	return New(Config{Region: testRegion, Keys: oneUser{}, Authorizer: everybody{}, Log: slog.New(slog.NewJSONHandler(io.Discard, nil)),
		Services: []Service{{API: s3api.API(), Handlers: s3api.Bind(fixed{make([]byte, 4096)}), Access: memoryAccess}}})
}

// benchRequest is what the SDK's client sends for a GET or PUT of 4 KiB.
func benchRequest(b *testing.B, method, url string) *http.Request {
	r, err := http.NewRequestWithContext(b.Context(), method, url+"/bucket/some/key/of/usual/length.bin", nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, value := range map[string]string{"Accept-Encoding": "identity", "Amz-Sdk-Invocation-Id": "5e2f3c5e-7d8a-4c57-a0b8-9be3f3b7f0a1",
		"Amz-Sdk-Request": "attempt=1; max=3", "User-Agent": "aws-sdk-go-v2/1.47.7 ua/2.1 os/linux", "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"} {
		r.Header.Set(name, value)
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err := signer.SignHTTP(b.Context(), aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}, r, "UNSIGNED-PAYLOAD", "s3", testRegion, time.Now()); err != nil {
		b.Fatal(err)
	}
	return r
}

// BenchmarkGet4K is the whole way of a request but net/http's: verify, route, decode, authorise, encode, log.
func BenchmarkGet4K(b *testing.B) {
	s := benchServer()
	r := benchRequest(b, "GET", "http://127.0.0.1:9999")
	r.Body, r.Host, r.RemoteAddr = http.NoBody, r.URL.Host, "127.0.0.1:1234"
	b.ReportAllocs()
	for b.Loop() {
		s.ServeHTTP(&sink{http.Header{}}, r)
	}
}

// BenchmarkPut4K is the same for an upload.
func BenchmarkPut4K(b *testing.B) {
	s := benchServer()
	r := benchRequest(b, "PUT", "http://127.0.0.1:9999")
	r.Host, r.RemoteAddr, r.ContentLength = r.URL.Host, "127.0.0.1:1234", 4096
	data := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		r.Body = io.NopCloser(bytes.NewReader(data))
		s.ServeHTTP(&sink{http.Header{}}, r)
	}
}

// BenchmarkGet4KOverLoopback is client and server together over one connection; the second half has a
// handler that answers at once in place of ours, for what net/http and the kernel cost.
func BenchmarkGet4KOverLoopback(b *testing.B) {
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "4096")
		_, _ = w.Write(make([]byte, 4096))
	})
	for name, handler := range map[string]http.Handler{"awsd": nil, "net-http": bare} {
		b.Run(name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			stopped := make(chan error, 1)
			if handler == nil {
				go func() { stopped <- benchServer().Run(ctx, []Listener{{Net: l, TLS: &tls.Config{}}}) }()
			} else {
				server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
				go func() { stopped <- server.Serve(l) }()
				context.AfterFunc(ctx, func() { server.Close() })
			}
			r := benchRequest(b, "GET", "http://"+l.Addr().String())
			client := &http.Client{Transport: &http.Transport{}}
			b.ReportAllocs()
			for b.Loop() {
				resp, err := client.Do(r)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != 4096 {
					b.Fatal(resp.Status, n, err)
				}
				resp.Body.Close()
			}
			client.CloseIdleConnections()
			stop()
			<-stopped
		})
	}
}
