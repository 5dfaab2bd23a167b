package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"hive/awsd"
	"hive/awsd/protocol"
	"hive/awsd/s3api"
	"hive/fsm"
	"hive/iam"
	"hive/iam/actions"
	"hive/iam/principal"
	"hive/internal/fsmtest"
)

// twoUsers are keys of two accounts; everything is permitted to them.
type twoUsers struct{}

func (twoUsers) Lookup(_ context.Context, id, _ string) (string, principal.Caller, error) {
	switch id {
	case "AKIAALICE":
		return "secret", *alice, nil
	case "AKIABOB":
		return "secret", principal.Caller{Account: "999999999999", ARN: "arn:aws:iam::999999999999:root"}, nil
	}
	return "", principal.Caller{}, iam.ErrNoSuchKey
}

func (twoUsers) Authorize(context.Context, *principal.Caller, []protocol.Access) error { return nil }

// wire is the service behind the front door, over shards of three nodes.
type wire struct {
	url    string
	client *sdk.Client // alice's
	bob    *sdk.Client
}

func newWire(t testing.TB, groups int) *wire {
	cfg := Config{
		Region: testRegion, Control: fsmtest.New(t, fsm.Control), Blobs: newShards(t), Clock: time.Now, Rand: rand.Reader,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for range groups {
		cfg.Index = append(cfg.Index, fsmtest.New(t, fsm.Index))
	}
	door := awsd.New(awsd.Config{
		Region: testRegion, Keys: twoUsers{}, Authorizer: twoUsers{},
		Services: []awsd.Service{{API: s3api.API(), Handlers: s3api.Bind(New(cfg)), Access: actions.New(testRegion, cfg.Control.View).Access("s3")}},
	})
	srv := httptest.NewServer(door)
	t.Cleanup(srv.Close)
	w := &wire{url: srv.URL}
	w.client, w.bob = w.as("AKIAALICE"), w.as("AKIABOB")
	return w
}

func (w *wire) as(key string) *sdk.Client {
	return sdk.New(sdk.Options{
		Region: testRegion, BaseEndpoint: &w.url, UsePathStyle: true, RetryMaxAttempts: 1, RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported, ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
		Credentials: credentials.NewStaticCredentialsProvider(key, "secret", ""),
	})
}

func (w *wire) bucket(t testing.TB) {
	t.Helper()
	_, err := w.client.CreateBucket(context.Background(), &sdk.CreateBucketInput{
		Bucket: str("bucket"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: testRegion},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wantWire fails unless the SDK sees the code, or no error for "".
func wantWire(t testing.TB, err error, code string) {
	t.Helper()
	var answer smithy.APIError
	got := ""
	if errors.As(err, &answer) {
		got = answer.ErrorCode()
	}
	if got != code || err != nil && code == "" {
		t.Errorf("answered %v, want code %q", err, code)
	}
}

func TestTheSDKStoresAndReadsObjects(t *testing.T) {
	w, ctx := newWire(t, 2), context.Background()
	w.bucket(t)
	for _, size := range []int{0, 5, 70_000, 3 << 20} {
		data := make([]byte, size)
		rand.Read(data)
		key := fmt.Sprintf("dir/日 %d+?&%%", size)
		put, err := w.client.PutObject(ctx, &sdk.PutObjectInput{
			Bucket: str("bucket"), Key: &key, Body: bytes.NewReader(data), ContentType: str("text/plain"), CacheControl: str("no-cache"),
			Metadata: map[string]string{"colour": "red"}, Tagging: str("a=b"), Expires: aws.Time(time.Unix(2e9, 0)),
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.client.GetObject(ctx, &sdk.GetObjectInput{Bucket: str("bucket"), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatal(err)
		}
		if text := readAll(t, got.Body); text != string(data) {
			t.Errorf("%d bytes came back as %d others", size, len(text))
		}
		if *got.ETag != *put.ETag || *got.ChecksumCRC32 != *put.ChecksumCRC32 || *got.ContentType != "text/plain" || *got.CacheControl != "no-cache" ||
			got.Metadata["colour"] != "red" || *got.TagCount != 1 || *got.ExpiresString != "Wed, 18 May 2033 03:33:20 GMT" || got.LastModified.IsZero() {
			t.Errorf("headers %+v", got)
		}
		head, err := w.client.HeadObject(ctx, &sdk.HeadObjectInput{Bucket: str("bucket"), Key: &key})
		if err != nil || *head.ContentLength != int64(size) {
			t.Errorf("head %+v, %v", head, err)
		}
		if size > 10 {
			part, err := w.client.GetObject(ctx, &sdk.GetObjectInput{Bucket: str("bucket"), Key: &key, Range: str("bytes=-7")})
			if err != nil || readAll(t, part.Body) != string(data[size-7:]) {
				t.Errorf("range: %v", err)
			}
		}
	}
	list, err := w.client.ListObjectsV2(ctx, &sdk.ListObjectsV2Input{Bucket: str("bucket"), Delimiter: str("/")})
	if err != nil || len(list.CommonPrefixes) != 1 || *list.CommonPrefixes[0].Prefix != "dir/" {
		t.Errorf("list %+v, %v", list, err)
	}
	var keys []types.ObjectIdentifier
	pages := sdk.NewListObjectsV2Paginator(w.client, &sdk.ListObjectsV2Input{Bucket: str("bucket"), MaxKeys: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			keys = append(keys, types.ObjectIdentifier{Key: o.Key})
		}
	}
	deleted, err := w.client.DeleteObjects(ctx, &sdk.DeleteObjectsInput{Bucket: str("bucket"), Delete: &types.Delete{Objects: keys}})
	if err != nil || len(deleted.Deleted) != 4 {
		t.Errorf("deleted %+v, %v", deleted, err)
	}
	_, err = w.client.DeleteBucket(ctx, &sdk.DeleteBucketInput{Bucket: str("bucket")})
	wantWire(t, err, "")
	buckets, err := w.client.ListBuckets(ctx, &sdk.ListBucketsInput{})
	if err != nil || len(buckets.Buckets) != 0 {
		t.Errorf("buckets %+v, %v", buckets, err)
	}
}

func TestTheSDKUploadsInPartsAndCopies(t *testing.T) {
	w, ctx := newWire(t, 1), context.Background()
	w.bucket(t)
	up, err := w.client.CreateMultipartUpload(ctx, &sdk.CreateMultipartUploadInput{Bucket: str("bucket"), Key: str("k"), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32})
	if err != nil {
		t.Fatal(err)
	}
	var parts []types.CompletedPart
	for n, text := range []string{large("a"), "tail"} {
		part, err := w.client.UploadPart(ctx, &sdk.UploadPartInput{
			Bucket: str("bucket"), Key: str("k"), UploadId: up.UploadId, PartNumber: aws.Int32(int32(n + 1)), Body: strings.NewReader(text), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
		})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, types.CompletedPart{PartNumber: aws.Int32(int32(n + 1)), ETag: part.ETag, ChecksumCRC32: part.ChecksumCRC32})
	}
	listed, err := w.client.ListParts(ctx, &sdk.ListPartsInput{Bucket: str("bucket"), Key: str("k"), UploadId: up.UploadId})
	if err != nil || len(listed.Parts) != 2 || *listed.Parts[1].Size != 4 {
		t.Errorf("parts %+v, %v", listed, err)
	}
	uploads, err := w.client.ListMultipartUploads(ctx, &sdk.ListMultipartUploadsInput{Bucket: str("bucket")})
	if err != nil || len(uploads.Uploads) != 1 || *uploads.Uploads[0].UploadId != *up.UploadId {
		t.Errorf("uploads %+v, %v", uploads, err)
	}
	_, err = w.client.DeleteBucket(ctx, &sdk.DeleteBucketInput{Bucket: str("bucket")})
	wantWire(t, err, "BucketNotEmpty")
	done, err := w.client.CompleteMultipartUpload(ctx, &sdk.CompleteMultipartUploadInput{
		Bucket: str("bucket"), Key: str("k"), UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	if err != nil || !strings.HasSuffix(*done.ETag, `-2"`) || done.ChecksumType != types.ChecksumTypeComposite {
		t.Fatalf("%+v, %v", done, err)
	}
	_, err = w.client.CopyObject(ctx, &sdk.CopyObjectInput{Bucket: str("bucket"), Key: str("copy"), CopySource: str("bucket/k")})
	wantWire(t, err, "")
	for _, key := range []string{"k", "copy"} {
		got, err := w.client.GetObject(ctx, &sdk.GetObjectInput{Bucket: str("bucket"), Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatal(err)
		}
		if text := readAll(t, got.Body); text != large("a")+"tail" {
			t.Errorf("%s has %d bytes", key, len(text))
		}
	}
}

func TestTheSDKSeesAmazonsErrors(t *testing.T) {
	w, ctx := newWire(t, 1), context.Background()
	w.bucket(t)
	put := func(in sdk.PutObjectInput) error {
		in.Bucket = str("bucket")
		if in.Key == nil {
			in.Key = str("k")
		}
		if in.Body == nil {
			in.Body = strings.NewReader("hello")
		}
		_, err := w.client.PutObject(ctx, &in)
		return err
	}
	wantWire(t, put(sdk.PutObjectInput{}), "")
	wantWire(t, put(sdk.PutObjectInput{IfNoneMatch: str("*")}), "PreconditionFailed")
	wantWire(t, put(sdk.PutObjectInput{ContentMD5: str("XrY7u+Ae7tCTyyK7j1rNww==")}), "BadDigest")
	wantWire(t, put(sdk.PutObjectInput{Key: str(strings.Repeat("k", 1025))}), "KeyTooLongError")
	wantWire(t, put(sdk.PutObjectInput{ACL: types.ObjectCannedACLPublicRead}), "AccessControlListNotSupported")
	wantWire(t, put(sdk.PutObjectInput{ServerSideEncryption: types.ServerSideEncryptionAwsKms}), "NotImplemented")
	wantWire(t, put(sdk.PutObjectInput{Metadata: map[string]string{"a": strings.Repeat("x", 2049)}}), "MetadataTooLarge")
	_, err := w.client.GetObject(ctx, &sdk.GetObjectInput{Bucket: str("bucket"), Key: str("none")})
	wantWire(t, err, "NoSuchKey")
	_, err = w.client.GetObject(ctx, &sdk.GetObjectInput{Bucket: str("bucket"), Key: str("k"), Range: str("bytes=9-")})
	wantWire(t, err, "InvalidRange")
	_, err = w.client.GetObject(ctx, &sdk.GetObjectInput{Bucket: str("bucket"), Key: str("k"), IfModifiedSince: aws.Time(time.Now())})
	var response interface{ HTTPStatusCode() int }
	if !errors.As(err, &response) || response.HTTPStatusCode() != http.StatusNotModified {
		t.Errorf("not modified: %v", err)
	}
	_, err = w.client.HeadObject(ctx, &sdk.HeadObjectInput{Bucket: str("bucket"), Key: str("none")})
	wantWire(t, err, "NotFound")
	_, err = w.client.HeadBucket(ctx, &sdk.HeadBucketInput{Bucket: str("none")})
	wantWire(t, err, "NotFound")
	_, err = w.client.ListObjectsV2(ctx, &sdk.ListObjectsV2Input{Bucket: str("none")})
	wantWire(t, err, "NoSuchBucket")
	_, err = w.bob.ListObjectsV2(ctx, &sdk.ListObjectsV2Input{Bucket: str("bucket")})
	wantWire(t, err, "AccessDenied")
	_, err = w.bob.CreateBucket(ctx, &sdk.CreateBucketInput{Bucket: str("bucket"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: testRegion}})
	wantWire(t, err, "BucketAlreadyExists")
	_, err = w.client.GetBucketPolicy(ctx, &sdk.GetBucketPolicyInput{Bucket: str("bucket")})
	wantWire(t, err, "NotImplemented")
	_, err = w.client.GetBucketVersioning(ctx, &sdk.GetBucketVersioningInput{Bucket: str("bucket")})
	wantWire(t, err, "")
	location, err := w.client.GetBucketLocation(ctx, &sdk.GetBucketLocationInput{Bucket: str("bucket")})
	if err != nil || location.LocationConstraint != testRegion {
		t.Errorf("location %+v, %v", location, err)
	}
}

func TestAPresignedURLIsReadByAPlainClient(t *testing.T) {
	w, ctx := newWire(t, 1), context.Background()
	w.bucket(t)
	signed, err := sdk.NewPresignClient(w.client).PresignPutObject(ctx, &sdk.PutObjectInput{Bucket: str("bucket"), Key: str("a b/ç"), ContentLength: aws.Int64(5)})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, signed.Method, signed.URL, strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("put: %v, %v", resp, err)
	}
	signed, err = sdk.NewPresignClient(w.client).PresignGetObject(ctx, &sdk.GetObjectInput{Bucket: str("bucket"), Key: str("a b/ç"), ResponseContentType: str("text/x")})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(signed.URL)
	if err != nil {
		t.Fatal(err)
	}
	if text := readAll(t, resp.Body); text != "hello" || !slices.Equal(resp.Header["Content-Type"], []string{"text/x"}) {
		t.Errorf("%q, %v", text, resp.Header)
	}
}
