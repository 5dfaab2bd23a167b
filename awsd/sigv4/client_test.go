package sigv4

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/awsd/protocol"
)

// seen is what the server under test made of a request.
type seen struct {
	Mode      string // x-amz-content-sha256
	Length    int
	Checksums map[string]string
	Header    http.Header
}

// newServer answers every request with what it verified of it.
func newServer(t *testing.T, secure bool) (*httptest.Server, *s3.Client) {
	v := New(Config{Region: testRegion, Lookup: oneKey(exampleKey, exampleSecret, ""), Clock: time.Now})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, body, err := verify(v, r, "s3")
		if err != nil {
			var refusal *protocol.Error
			if !errors.As(err, &refusal) {
				refusal = protocol.Errorf(500, "InternalError", "%v", err)
			}
			w.WriteHeader(refusal.Status)
			io.WriteString(w, "<Error><Code>"+refusal.Code+"</Code><Message>"+explain(refusal)+"</Message></Error>")
			return
		}
		answer, err := json.Marshal(seen{r.Header.Get("X-Amz-Content-Sha256"), len(got), body.Checksums(), r.Header})
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Amz-Version-Id", string(answer))
	})
	server := httptest.NewUnstartedServer(handler)
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	client := s3.New(s3.Options{Region: testRegion, BaseEndpoint: aws.String(server.URL), UsePathStyle: true, HTTPClient: server.Client(), RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		Credentials: credentials.NewStaticCredentialsProvider(exampleKey, exampleSecret, ""), RetryMaxAttempts: 1})
	return server, client
}

func decodeSeen(t *testing.T, s string) seen {
	t.Helper()
	var got seen
	if err := json.Unmarshal([]byte(s), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

// onlyReader hides that a reader can seek, so that the client must send its checksum behind the payload.
type onlyReader struct{ io.Reader }

func TestSDKClientPutsObjectsInEveryForm(t *testing.T) {
	data := bytes.Repeat([]byte("hive"), 100_000)
	for _, secure := range []bool{false, true} {
		_, client := newServer(t, secure)
		for _, algorithm := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c,
			types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256} {
			for _, body := range []io.Reader{bytes.NewReader(data), onlyReader{bytes.NewReader(data)}} {
				_, streamed := body.(onlyReader)
				if streamed && !secure {
					continue // the client refuses: it cannot hash what it cannot read twice
				}
				out, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a key/é+%"),
					Body: body, ContentLength: aws.Int64(int64(len(data))), ChecksumAlgorithm: algorithm, ContentEncoding: aws.String("identity")})
				if err != nil {
					t.Fatalf("secure %v, %q, streamed %v: %v", secure, algorithm, streamed, err)
				}
				got := decodeSeen(t, *out.VersionId)
				name := strings.ToLower(string(algorithm))
				if name == "" {
					name = "crc32"
				}
				if got.Length != len(data) || got.Checksums[name] != sum64(name, string(data)) || got.Header.Get("Content-Encoding") != "identity" {
					t.Errorf("secure %v, %q: got %+v", secure, algorithm, got)
				}
				if secure != (got.Mode == unsignedTrailer) {
					t.Errorf("secure %v: the client sent %s", secure, got.Mode)
				}
			}
		}
	}
}

func TestSDKClientPresigns(t *testing.T) {
	for _, secure := range []bool{false, true} {
		server, client := newServer(t, secure)
		p := s3.NewPresignClient(client)
		in := &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a key/é+%"), Metadata: map[string]string{"a": "b"}}
		url, err := p.PresignPutObject(t.Context(), in, s3.WithPresignExpires(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if got := do(t, server.Client(), url, "some bytes"); got.Length != 10 || got.Header.Get("X-Amz-Meta-A") != "b" {
			t.Errorf("got %+v", got)
		}
		url, err = p.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: in.Bucket, Key: in.Key, ResponseContentType: aws.String("text/plain")})
		if err != nil {
			t.Fatal(err)
		}
		do(t, server.Client(), url, "")
	}
}

func do(t *testing.T, client *http.Client, url *v4.PresignedHTTPRequest, body string) seen {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), url.Method, url.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range url.SignedHeader {
		if name != "Host" && name != "Content-Length" {
			req.Header[name] = values
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(resp.Body)
		t.Fatalf("%s %s: %d %s %v", url.Method, url.URL, resp.StatusCode, text, err)
	}
	return decodeSeen(t, resp.Header.Get("X-Amz-Version-Id"))
}
