package awsd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"hive/awsd/ebsapi"
	"hive/awsd/protocol"
	"hive/iam/principal"
)

// blocks keeps the last block that was put.
type blocks struct{ last []byte }

func (b *blocks) PutSnapshotBlock(_ context.Context, _ *principal.Caller, in *ebs.PutSnapshotBlockInput) (*ebs.PutSnapshotBlockOutput, error) {
	data, err := io.ReadAll(in.BlockData)
	b.last = data
	return &ebs.PutSnapshotBlockOutput{Checksum: in.Checksum, ChecksumAlgorithm: in.ChecksumAlgorithm}, err
}

func (b *blocks) GetSnapshotBlock(context.Context, *principal.Caller, *ebs.GetSnapshotBlockInput) (*ebs.GetSnapshotBlockOutput, error) {
	return &ebs.GetSnapshotBlockOutput{BlockData: io.NopCloser(bytes.NewReader(b.last)), DataLength: aws.Int32(int32(len(b.last)))}, nil
}

func (r *rig) ebs(secure bool, secret string) *ebs.Client {
	return ebs.New(ebs.Options{Region: testRegion, BaseEndpoint: r.endpoint(0, secure), HTTPClient: r.http(0), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(testKey, secret, "")})
}

func withBlocks(b *blocks) func(*Config) {
	return func(c *Config) {
		c.Services = append(c.Services, Service{API: ebsapi.API(), Handlers: ebsapi.Bind(b)})
	}
}

func TestBlocksOfSnapshotsArriveWholeOverHTTPAndHTTPS(t *testing.T) {
	b := &blocks{}
	r, ctx := start(t, withBlocks(b)), context.Background()
	for _, secure := range []bool{false, true} {
		data := bytes.Repeat([]byte("&=%\x00"), 1<<17)
		sum := sha256.Sum256(data)
		client := r.ebs(secure, testSecret)
		out, err := client.PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{
			SnapshotId: aws.String("snap-0"), BlockIndex: aws.Int32(3), BlockData: bytes.NewReader(data), DataLength: aws.Int32(int32(len(data))),
			Checksum: aws.String(base64.StdEncoding.EncodeToString(sum[:])), ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256,
		})
		if err != nil || !bytes.Equal(b.last, data) || out.ChecksumAlgorithm != "SHA256" {
			t.Fatalf("%v, %d bytes, %v", out, len(b.last), err)
		}
		got, err := client.GetSnapshotBlock(ctx, &ebs.GetSnapshotBlockInput{SnapshotId: aws.String("snap-0"), BlockIndex: aws.Int32(3), BlockToken: aws.String("t")})
		if err != nil {
			t.Fatal(err)
		}
		if back, err := io.ReadAll(got.BlockData); err != nil || !bytes.Equal(back, data) {
			t.Errorf("%d bytes came back, %v", len(back), err)
		}
		_, err = client.StartSnapshot(ctx, &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
		wantCode(t, err, "UnknownOperationException")
		_, err = r.ebs(secure, "wrong").GetSnapshotBlock(ctx, &ebs.GetSnapshotBlockInput{SnapshotId: aws.String("snap-0"), BlockIndex: aws.Int32(3), BlockToken: aws.String("t")})
		wantCode(t, err, "InvalidSignatureException")
	}
}

func TestAPayloadThatNoSignatureCoversNeedsASignedChecksum(t *testing.T) {
	b := &blocks{}
	r := start(t, withBlocks(b))
	send := func(method, path string, headers ...string) int {
		req, err := http.NewRequest(method, *r.endpoint(0, false)+path, strings.NewReader("block"))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		now := New(testConfig(nil, r.logs)).Clock()
		if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}, req, "UNSIGNED-PAYLOAD", "ebs", testRegion, now); err != nil {
			t.Fatal(err)
		}
		resp, err := r.http(0).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	rest := []string{"x-amz-Data-Length", "5", "x-amz-Checksum-Algorithm", "SHA256"}
	if status := send("PUT", "/snapshots/snap-0/blocks/1", append(rest, "x-amz-Checksum", "c")...); status != http.StatusCreated {
		t.Errorf("with a checksum: %d", status)
	}
	if status := send("PUT", "/snapshots/snap-0/blocks/1", rest...); status != http.StatusForbidden {
		t.Errorf("without: %d", status)
	}
	if status := send("POST", "/snapshots", "x-amz-Checksum", "c"); status != http.StatusForbidden {
		t.Errorf("another operation: %d", status)
	}
}

func TestARequestIsServedAsACallerThatIsKnown(t *testing.T) {
	var config Config
	m, l := newMemory(), &logs{}
	config = testConfig(m, l)
	as := func(context.Context) (principal.Caller, error) {
		return principal.Caller{Account: "210987654321", ARN: "arn:aws:iam::210987654321:root", Root: true}, nil
	}
	door := New(config)
	for _, c := range []struct {
		service, method, path, body string
		status                      int
		want                        string
	}{
		{"sts", "POST", "/", "Action=GetCallerIdentity&Version=2011-06-15", 200, "<Account>210987654321</Account>"},
		{"s3", "PUT", "/b/k", "hello", 200, ""},
		{"s3", "GET", "/b/k", "", 200, "hello"},
		{"s3", "PUT", "/forbidden/k", "hello", 403, "AccessDenied"},
		{"ec2", "POST", "/", "Action=DescribeVpcs&Version=2016-11-15", 400, "UnsupportedOperation"},
	} {
		req := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		w := httptest.NewRecorder()
		door.ServeAs(c.service, as).ServeHTTP(w, req)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s: %d %s", c.service, c.path, w.Code, w.Body)
		}
	}
	if caller := <-m.callers; caller.Account != "210987654321" || !caller.Root {
		t.Errorf("caller %+v", caller)
	}
	failing := func(context.Context) (principal.Caller, error) {
		return principal.Caller{}, protocol.Errorf(http.StatusServiceUnavailable, "ServiceUnavailable", "none yet")
	}
	w := httptest.NewRecorder()
	door.ServeAs("sts", failing).ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader("Action=GetCallerIdentity&Version=2011-06-15")))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
