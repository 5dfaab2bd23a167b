package s3

import (
	"context"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/iam/principal"
)

func TestCopySourcesAreReadAsClientsWriteThem(t *testing.T) {
	cases := []struct{ header, bucket, key, code string }{
		{"b/k", "b", "k", ""},
		{"/b/k/l", "b", "k/l", ""},
		{"b/a%20b%2Bc+d%2Fe", "b", "a b+c+d/e", ""},
		{"b%2Fk", "b", "k", ""},
		{"b/%D0%BA", "b", "к", ""},
		{"b/k?versionId=null", "b", "k", ""},
		{"b/k%3FversionId=x", "b", "k?versionId=x", ""},
		{"b/k?versionId=abc", "b", "k", "InvalidArgument"},
		{"b/k?x=y", "", "", "InvalidArgument"},
		{"b", "", "", "InvalidArgument"},
		{"b/", "", "", "InvalidArgument"},
		{"", "", "", "InvalidArgument"},
		{"b/%zz", "", "", "InvalidArgument"},
		{"arn:aws:s3:r:1:accesspoint/a/object/k", "", "", "InvalidArgument"},
	}
	for _, c := range cases {
		bucket, key, err := copySource(&c.header)
		if bucket != c.bucket || key != c.key || codeOf(err) != c.code {
			t.Errorf("%q: %q, %q, %v", c.header, bucket, key, err)
		}
	}
}

func TestACopyHasTheBytesAndWhatItsDirectivesSay(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		r.bucket("bucket")
		r.bucket("other")
		text := strings.Repeat("x", smallBody+1)
		_, err := r.PutObject(ctx, alice, &sdk.PutObjectInput{
			Bucket: str("bucket"), Key: str("a b"), Body: textBody(text), ContentType: str("text/plain"), Metadata: map[string]string{"a": "1"}, Tagging: str("t=1"),
			WebsiteRedirectLocation: str("/x"),
		})
		if err != nil {
			t.Fatal(err)
		}
		kept, err := r.CopyObject(ctx, alice, &sdk.CopyObjectInput{Bucket: str("other"), Key: str("kept"), CopySource: str("bucket/a%20b"), ContentType: str("passed/over"), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c})
		if err != nil {
			t.Fatal(err)
		}
		if *kept.CopyObjectResult.ETag != `"`+hex.EncodeToString(sum(text))+`"` || kept.CopyObjectResult.ChecksumCRC32C == nil {
			t.Errorf("%+v", kept.CopyObjectResult)
		}
		_, err = r.CopyObject(ctx, alice, &sdk.CopyObjectInput{
			Bucket: str("other"), Key: str("replaced"), CopySource: str("bucket/a%20b"), MetadataDirective: types.MetadataDirectiveReplace,
			ContentType: str("text/html"), TaggingDirective: types.TaggingDirectiveReplace, Tagging: str("u=2&v=3"),
		})
		if err != nil {
			t.Fatal(err)
		}
		head := func(key string) *sdk.HeadObjectOutput {
			out, err := r.HeadObject(ctx, alice, &sdk.HeadObjectInput{Bucket: str("other"), Key: &key})
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		if h := head("kept"); *h.ContentType != "text/plain" || h.Metadata["a"] != "1" || *h.TagCount != 1 || h.WebsiteRedirectLocation != nil {
			t.Errorf("kept: %+v", h)
		}
		if h := head("replaced"); *h.ContentType != "text/html" || len(h.Metadata) != 0 || *h.TagCount != 2 {
			t.Errorf("replaced: %+v", h)
		}
		if r.get("other", "kept") != text {
			t.Error("another text")
		}
		// To itself: only when something changes.
		self := &sdk.CopyObjectInput{Bucket: str("other"), Key: str("kept"), CopySource: str("other/kept")}
		_, err = r.CopyObject(ctx, alice, self)
		wantCode(t, err, "InvalidRequest")
		self.MetadataDirective, self.Metadata = types.MetadataDirectiveReplace, map[string]string{"b": "2"}
		_, err = r.CopyObject(ctx, alice, self)
		wantCode(t, err, "")
		if h := head("kept"); h.Metadata["b"] != "2" || h.Metadata["a"] != "" {
			t.Errorf("copied to itself: %+v", h)
		}
	})
}

func TestCopiesRefuseBadSources(t *testing.T) {
	r := newRig(t, 1)
	ctx := context.Background()
	r.bucket("bucket")
	etag := r.put("bucket", "k", "x")
	bob := &principal.Caller{Account: "999999999999"}
	wantCode(t, create(r, bob, "bobs", testRegion), "")
	hour := r.clock.read().Add(-time.Hour)
	cases := []struct {
		name string
		in   sdk.CopyObjectInput
		code string
	}{
		{"no such key", sdk.CopyObjectInput{CopySource: str("bucket/none")}, "NoSuchKey"},
		{"no such bucket", sdk.CopyObjectInput{CopySource: str("nothing/k")}, "NoSuchBucket"},
		{"another's bucket", sdk.CopyObjectInput{CopySource: str("bobs/k")}, "AccessDenied"},
		{"match", sdk.CopyObjectInput{CopySourceIfMatch: &etag}, ""},
		{"no match", sdk.CopyObjectInput{CopySourceIfMatch: str(`"00"`)}, "PreconditionFailed"},
		{"one matches", sdk.CopyObjectInput{CopySourceIfNoneMatch: &etag}, "PreconditionFailed"},
		{"not modified", sdk.CopyObjectInput{CopySourceIfModifiedSince: aws.Time(r.clock.read())}, "PreconditionFailed"},
		{"modified", sdk.CopyObjectInput{CopySourceIfUnmodifiedSince: &hour}, "PreconditionFailed"},
		{"expected owner", sdk.CopyObjectInput{ExpectedSourceBucketOwner: str("999999999999")}, "AccessDenied"},
		{"unknown directive", sdk.CopyObjectInput{MetadataDirective: "MERGE"}, "InvalidArgument"},
		{"there already", sdk.CopyObjectInput{Key: str("k"), MetadataDirective: types.MetadataDirectiveReplace, IfNoneMatch: str("*")}, "PreconditionFailed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.in.Bucket = str("bucket")
			if c.in.Key == nil {
				c.in.Key = str("copy")
			}
			if c.in.CopySource == nil {
				c.in.CopySource = str("bucket/k")
			}
			_, err := r.CopyObject(ctx, alice, &c.in)
			wantCode(t, err, c.code)
		})
	}
}

func TestPartsCanBeCopiedFromRanges(t *testing.T) {
	r := newRig(t, 1)
	ctx := context.Background()
	r.bucket("bucket")
	r.put("bucket", "source", large("a")+"0123456789")
	m := r.begin(sdk.CreateMultipartUploadInput{ChecksumAlgorithm: types.ChecksumAlgorithmSha256})
	copyPart := func(n int32, cut *string) error {
		out, err := r.UploadPartCopy(ctx, alice, &sdk.UploadPartCopyInput{
			Bucket: str("bucket"), Key: str("k"), UploadId: m.id, PartNumber: &n, CopySource: str("bucket/source"), CopySourceRange: cut,
		})
		if err == nil {
			m.etag[n] = *out.CopyPartResult.ETag
			if out.CopyPartResult.ChecksumSHA256 == nil {
				t.Error("no checksum")
			}
		}
		return err
	}
	for _, bad := range []string{"bytes=0-99999999", "bytes=5-", "bytes=-5", "bytes=5-4", "0-5", "bytes=0-1,3-4"} {
		wantCode(t, copyPart(1, &bad), "InvalidArgument")
	}
	wantCode(t, copyPart(1, nil), "")
	wantCode(t, copyPart(2, str("bytes=5242882-5242884")), "")
	_, err := m.complete(m.parts(1, 2))
	wantCode(t, err, "")
	if got := r.get("bucket", "k"); got != large("a")+"0123456789234" {
		t.Errorf("%d bytes, ending in %q", len(got), got[max(0, len(got)-20):])
	}
}
