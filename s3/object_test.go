//lint:file-ignore SA1019 Expires is the member that the wire has; ExpiresString is for clients, who read it.

package s3

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

func TestPutGetHeadDeleteAnObjectWithAllThatIsStored(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		r.bucket("bucket")
		expires := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
		in := &sdk.PutObjectInput{
			Bucket: str("bucket"), Key: str("a/ключ"), Body: &body{Reader: strings.NewReader("hello"), size: 5, sums: map[string]string{"crc32": "NhCmhg=="}},
			ContentType: str("text/plain"), CacheControl: str("no-cache"), ContentDisposition: str("inline"), ContentEncoding: str("aws-chunked,gzip"),
			ContentLanguage: str("mi"), Expires: &expires, Metadata: map[string]string{"Colour": "red"}, Tagging: str("team=blue&x=%20y"),
			ContentMD5: str(base64.StdEncoding.EncodeToString(sum("hello"))),
		}
		put, err := r.PutObject(ctx, alice, in)
		if err != nil {
			t.Fatal(err)
		}
		if want := `"` + hex.EncodeToString(sum("hello")) + `"`; *put.ETag != want || *put.ChecksumCRC32 != "NhCmhg==" {
			t.Errorf("put answered %s, %s", *put.ETag, *put.ChecksumCRC32)
		}
		got, err := r.GetObject(ctx, alice, &sdk.GetObjectInput{Bucket: in.Bucket, Key: in.Key, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatal(err)
		}
		if text := readAll(t, got.Body); text != "hello" {
			t.Errorf("got %q", text)
		}
		head, err := r.HeadObject(ctx, alice, &sdk.HeadObjectInput{Bucket: in.Bucket, Key: in.Key, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatal(err)
		}
		modified := r.clock.now.Add(-time.Millisecond)
		if head.LastModified.After(modified) || head.LastModified.Nanosecond()%1e6 != 0 {
			t.Errorf("modified %v, now %v", head.LastModified, modified)
		}
		want := &sdk.HeadObjectOutput{
			AcceptRanges: str("bytes"), ContentLength: aws.Int64(5), ETag: put.ETag, LastModified: head.LastModified,
			ContentType: str("text/plain"), CacheControl: str("no-cache"), ContentDisposition: str("inline"), ContentEncoding: str("gzip"),
			ContentLanguage: str("mi"), Expires: &expires, Metadata: map[string]string{"colour": "red"},
			TagCount: aws.Int32(2), ChecksumCRC32: str("NhCmhg=="), ChecksumType: types.ChecksumTypeFullObject,
		}
		if !reflect.DeepEqual(head, want) {
			t.Errorf("head\n %+v, want\n %+v", head, want)
		}
		if got.ContentType == nil || *got.ContentType != "text/plain" || !got.Expires.Equal(expires) || *got.ChecksumCRC32 != "NhCmhg==" {
			t.Errorf("get answered other headers than head: %+v", got)
		}
		tags, err := r.GetObjectTagging(ctx, alice, &sdk.GetObjectTaggingInput{Bucket: in.Bucket, Key: in.Key})
		if err != nil || len(tags.TagSet) != 2 || *tags.TagSet[0].Value != "blue" || *tags.TagSet[1].Value != " y" {
			t.Errorf("tags %+v, %v", tags, err)
		}
		for range 2 { // a second time is no error
			if _, err := r.DeleteObject(ctx, alice, &sdk.DeleteObjectInput{Bucket: in.Bucket, Key: in.Key}); err != nil {
				t.Fatal(err)
			}
		}
		_, err = r.GetObject(ctx, alice, &sdk.GetObjectInput{Bucket: in.Bucket, Key: in.Key})
		wantCode(t, err, "NoSuchKey")
		if fieldOf(err, "Key") != *in.Key {
			t.Errorf("error names key %q", fieldOf(err, "Key"))
		}
	})
}

func sum(s string) []byte {
	h := md5.Sum([]byte(s))
	return h[:]
}

func TestReplacedAndDeletedBytesBecomeGarbageAndEmptyObjectsHaveNone(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		r.bucket("bucket")
		r.put("bucket", "k", "one")
		r.put("bucket", "k", "two")
		if n := len(r.garbage()); n != 1 {
			t.Errorf("%d blobs are garbage, want the replaced one", n)
		}
		r.put("bucket", "k", "")
		if n := len(r.garbage()); n != 2 || r.get("bucket", "k") != "" {
			t.Errorf("%d blobs are garbage, want 2", n)
		}
		r.put("bucket", "k", "three")
		if got := r.get("bucket", "k"); got != "three" {
			t.Errorf("got %q", got)
		}
	})
}

func TestBodiesOfEverySizeComeBackAndHaveTheirMD5(t *testing.T) {
	r := newRig(t, 1)
	r.bucket("bucket")
	for _, size := range []int{0, 1, smallBody - 1, smallBody, smallBody + 1, 1<<20 + 7} {
		text := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		etag := r.put("bucket", "k", text)
		if etag != `"`+hex.EncodeToString(sum(text))+`"` || r.get("bucket", "k") != text {
			t.Errorf("%d bytes: etag %s", size, etag)
		}
	}
}

func TestBadBodiesStoreNothing(t *testing.T) {
	failing := protocol.Errorf(400, "XAmzContentSHA256Mismatch", "as the signature's reader says")
	for _, size := range []int{5, smallBody + 5} {
		text := strings.Repeat("x", size)
		other := base64.StdEncoding.EncodeToString(sum("other"))
		cases := []struct {
			name string
			in   sdk.PutObjectInput
			code string
		}{
			{"shorter than its length", sdk.PutObjectInput{Body: &body{Reader: strings.NewReader(text[1:]), size: int64(size)}}, "IncompleteBody"},
			{"longer than its length", sdk.PutObjectInput{Body: &body{Reader: strings.NewReader(text + "y"), size: int64(size)}}, "InvalidRequest"},
			{"fails its own verification", sdk.PutObjectInput{Body: &body{Reader: io.MultiReader(strings.NewReader(text), errReader{failing}), size: int64(size)}}, failing.Code},
			{"another Content-MD5", sdk.PutObjectInput{Body: textBody(text), ContentMD5: &other}, "BadDigest"},
			{"a Content-MD5 that is none", sdk.PutObjectInput{Body: textBody(text), ContentMD5: str("bm9uZQ==")}, "InvalidDigest"},
			{"no length", sdk.PutObjectInput{Body: &body{Reader: strings.NewReader(text), size: -1}}, "MissingContentLength"},
			{"too large", sdk.PutObjectInput{Body: &body{Reader: strings.NewReader(text), size: 5<<30 + 1}}, "EntityTooLarge"},
		}
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				r := newRig(t, 1)
				r.bucket("bucket")
				c.in.Bucket, c.in.Key = str("bucket"), str("k")
				_, err := r.PutObject(context.Background(), alice, &c.in)
				wantCode(t, err, c.code)
				if n := len(r.blobs.ids()); n != 0 {
					t.Errorf("%d blobs are left", n)
				}
			})
		}
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestRangesAnswerTheirBytes(t *testing.T) {
	r := newRig(t, 1)
	r.bucket("bucket")
	r.put("bucket", "k", "0123456789")
	r.put("bucket", "empty", "")
	cases := []struct {
		header, want, contentRange, code string
	}{
		{"bytes=0-0", "0", "bytes 0-0/10", ""},
		{"bytes=2-4", "234", "bytes 2-4/10", ""},
		{"bytes=7-", "789", "bytes 7-9/10", ""},
		{"bytes=-3", "789", "bytes 7-9/10", ""},
		{"bytes=-30", "0123456789", "bytes 0-9/10", ""},
		{"bytes=5-99999999999999999999", "56789", "bytes 5-9/10", ""},
		{"bytes=0-1,3-4", "0123456789", "", ""},
		{"bytes=4-2", "0123456789", "", ""},
		{"bytes=x-y", "0123456789", "", ""},
		{"bytes=", "0123456789", "", ""},
		{"bytes=-", "0123456789", "", ""},
		{"lines=1-2", "0123456789", "", ""},
		{"bytes=10-", "", "", "InvalidRange"},
		{"bytes=-0", "", "", "InvalidRange"},
	}
	for _, c := range cases {
		out, err := r.GetObject(context.Background(), alice, &sdk.GetObjectInput{Bucket: str("bucket"), Key: str("k"), Range: &c.header})
		wantCode(t, err, c.code)
		if err != nil {
			if fieldOf(err, "ActualObjectSize") != "10" || fieldOf(err, "RangeRequested") != c.header {
				t.Errorf("%s: fields of %v", c.header, err)
			}
			continue
		}
		if got := readAll(t, out.Body); got != c.want || aws.ToString(out.ContentRange) != c.contentRange || *out.ContentLength != int64(len(c.want)) {
			t.Errorf("%s: %q, %q, length %d", c.header, got, aws.ToString(out.ContentRange), *out.ContentLength)
		}
	}
	_, err := r.GetObject(context.Background(), alice, &sdk.GetObjectInput{Bucket: str("bucket"), Key: str("empty"), Range: str("bytes=0-")})
	wantCode(t, err, "InvalidRange")
}

func TestConditionsOfReadsPutEntityTagsBeforeDates(t *testing.T) {
	r := newRig(t, 1)
	r.bucket("bucket")
	etag := r.put("bucket", "k", "x")
	now := r.clock.read()
	before, later := now.Add(-time.Hour), now.Add(time.Minute)
	bad := str(`"00"`)
	cases := []struct {
		name string
		in   sdk.GetObjectInput
		code string
	}{
		{"match", sdk.GetObjectInput{IfMatch: &etag}, ""},
		{"match any", sdk.GetObjectInput{IfMatch: str("*")}, ""},
		{"match in a list", sdk.GetObjectInput{IfMatch: str(`"00", ` + etag)}, ""},
		{"no match", sdk.GetObjectInput{IfMatch: bad}, "PreconditionFailed"},
		{"match and modified since", sdk.GetObjectInput{IfMatch: &etag, IfUnmodifiedSince: &before}, ""},
		{"unmodified", sdk.GetObjectInput{IfUnmodifiedSince: &now}, ""},
		{"modified after all", sdk.GetObjectInput{IfUnmodifiedSince: &before}, "PreconditionFailed"},
		{"none match", sdk.GetObjectInput{IfNoneMatch: bad}, ""},
		{"one matches", sdk.GetObjectInput{IfNoneMatch: &etag}, "NotModified"},
		{"one matches, modified since", sdk.GetObjectInput{IfNoneMatch: &etag, IfModifiedSince: &before}, "NotModified"},
		{"none match, not modified since", sdk.GetObjectInput{IfNoneMatch: bad, IfModifiedSince: &now}, ""},
		{"modified since", sdk.GetObjectInput{IfModifiedSince: &before}, ""},
		{"not modified since", sdk.GetObjectInput{IfModifiedSince: &now}, "NotModified"},
		{"since a date to come", sdk.GetObjectInput{IfModifiedSince: &later}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.in.Bucket, c.in.Key = str("bucket"), str("k")
			out, err := r.GetObject(context.Background(), alice, &c.in)
			wantCode(t, err, c.code)
			if err == nil {
				readAll(t, out.Body)
			}
			var answer *protocol.Error
			if c.code == "NotModified" && (!errors.As(err, &answer) || answer.Header.Get("ETag") != etag) {
				t.Errorf("304 without its entity tag: %+v", answer)
			}
		})
	}
}

func TestConditionalWritesAreDecidedByTheObjectThatIsThere(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		r.bucket("bucket")
		put := func(text string, ifMatch, ifNone *string) error {
			_, err := r.PutObject(ctx, alice, &sdk.PutObjectInput{Bucket: str("bucket"), Key: str("k"), Body: textBody(text), IfMatch: ifMatch, IfNoneMatch: ifNone})
			return err
		}
		wantCode(t, put("a", str("*"), nil), "NoSuchKey")
		wantCode(t, put("a", nil, str("*")), "")
		wantCode(t, put("b", nil, str("*")), "PreconditionFailed")
		wantCode(t, put("b", str(`"00"`), nil), "PreconditionFailed")
		wantCode(t, put("b", str(hex.EncodeToString(sum("a"))), nil), "")
		wantCode(t, put("c", nil, str(`"x"`)), "NotImplemented")
		del := func(ifMatch string) error {
			_, err := r.DeleteObject(ctx, alice, &sdk.DeleteObjectInput{Bucket: str("bucket"), Key: str("k"), IfMatch: &ifMatch})
			return err
		}
		wantCode(t, del(`"00"`), "PreconditionFailed")
		wantCode(t, del(hex.EncodeToString(sum("b"))), "")
		wantCode(t, del("*"), "NoSuchKey")
	})
}

func TestResponseHeadersCanBeOverridden(t *testing.T) {
	r := newRig(t, 1)
	r.bucket("bucket")
	r.put("bucket", "k", "x")
	out, err := r.GetObject(context.Background(), alice, &sdk.GetObjectInput{
		Bucket: str("bucket"), Key: str("k"), ResponseContentType: str("text/html"), ResponseCacheControl: str("no-store"),
		ResponseContentDisposition: str("attachment"), ResponseContentEncoding: str("br"), ResponseContentLanguage: str("en"),
		ResponseExpires: aws.Time(time.Unix(0, 0)),
	})
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, out.Body)
	got := []string{*out.ContentType, *out.CacheControl, *out.ContentDisposition, *out.ContentEncoding, *out.ContentLanguage}
	want := []string{"text/html", "no-store", "attachment", "br", "en"}
	if !reflect.DeepEqual(got, want) || out.Expires.Unix() != 0 {
		t.Errorf("got %q, %v", got, out.Expires)
	}
}

func TestDeleteObjectsTellsOfEachKey(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		r.bucket("bucket")
		for _, k := range []string{"a", "b", "c", "d"} {
			r.put("bucket", k, k)
		}
		item := func(key string) types.ObjectIdentifier { return types.ObjectIdentifier{Key: str(key)} }
		long := item(strings.Repeat("k", 1025))
		wrong := types.ObjectIdentifier{Key: str("d"), ETag: str("00")}
		in := &sdk.DeleteObjectsInput{Bucket: str("bucket"), Delete: &types.Delete{Objects: []types.ObjectIdentifier{item("a"), item("b"), item("none"), long, wrong}}}
		out, err := r.DeleteObjects(ctx, alice, in)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Deleted) != 3 || len(out.Errors) != 2 || *out.Errors[0].Code != "KeyTooLongError" || *out.Errors[1].Code != "PreconditionFailed" {
			t.Errorf("deleted %+v, errors %+v", out.Deleted, out.Errors)
		}
		out, err = r.DeleteObjects(ctx, alice, &sdk.DeleteObjectsInput{Bucket: str("bucket"), Delete: &types.Delete{Objects: []types.ObjectIdentifier{item("c")}, Quiet: aws.Bool(true)}})
		if err != nil || len(out.Deleted) != 0 {
			t.Errorf("quiet: %+v, %v", out, err)
		}
		if got := r.names("bucket"); !reflect.DeepEqual(got, []string{"d"}) {
			t.Errorf("left %q", got)
		}
		many := &types.Delete{Objects: bytesToItems(1001)}
		_, err = r.DeleteObjects(ctx, alice, &sdk.DeleteObjectsInput{Bucket: str("bucket"), Delete: many})
		wantCode(t, err, "MalformedXML")
		many.Objects = many.Objects[:1000]
		_, err = r.DeleteObjects(ctx, alice, &sdk.DeleteObjectsInput{Bucket: str("bucket"), Delete: many})
		wantCode(t, err, "")
		_, err = r.DeleteObjects(ctx, alice, &sdk.DeleteObjectsInput{Bucket: str("other"), Delete: many})
		wantCode(t, err, "NoSuchBucket")
	})
}

func bytesToItems(n int) (out []types.ObjectIdentifier) {
	for i := range n {
		out = append(out, types.ObjectIdentifier{Key: str("k" + decimal(int64(i)))})
	}
	return out
}

func (r *rig) names(bucket string) (out []string) {
	r.t.Helper()
	page, err := r.ListObjectsV2(context.Background(), alice, &sdk.ListObjectsV2Input{Bucket: &bucket})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, o := range page.Contents {
		out = append(out, *o.Key)
	}
	return out
}

func TestTagsAreReplacedAndRemoved(t *testing.T) {
	r := newRig(t, 1)
	ctx := context.Background()
	r.bucket("bucket")
	r.put("bucket", "k", "x")
	set := func(key string, tags ...types.Tag) error {
		_, err := r.PutObjectTagging(ctx, alice, &sdk.PutObjectTaggingInput{Bucket: str("bucket"), Key: &key, Tagging: &types.Tagging{TagSet: tags}})
		return err
	}
	tag := types.Tag{Key: str("a"), Value: str("1")}
	wantCode(t, set("k", tag), "")
	wantCode(t, set("none", tag), "NoSuchKey")
	wantCode(t, set("k", tag, tag), "InvalidTag")
	wantCode(t, set("k", make([]types.Tag, 11)...), "BadRequest")
	head, err := r.HeadObject(ctx, alice, &sdk.HeadObjectInput{Bucket: str("bucket"), Key: str("k")})
	if err != nil || aws.ToInt32(head.TagCount) != 1 {
		t.Errorf("%+v, %v", head, err)
	}
	if _, err := r.DeleteObjectTagging(ctx, alice, &sdk.DeleteObjectTaggingInput{Bucket: str("bucket"), Key: str("k")}); err != nil {
		t.Fatal(err)
	}
	out, err := r.GetObjectTagging(ctx, alice, &sdk.GetObjectTaggingInput{Bucket: str("bucket"), Key: str("k")})
	if err != nil || len(out.TagSet) != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestAnotherAccountIsDeniedEverywhere(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		r.bucket("bucket")
		r.put("bucket", "k", "secret")
		mallory := &principal.Caller{Account: "999999999999"}
		nobody := &principal.Caller{Anonymous: true}
		for _, c := range []*principal.Caller{mallory, nobody} {
			_, err := r.GetObject(ctx, c, &sdk.GetObjectInput{Bucket: str("bucket"), Key: str("k")})
			wantCode(t, err, "AccessDenied")
			_, err = r.PutObject(ctx, c, &sdk.PutObjectInput{Bucket: str("bucket"), Key: str("k"), Body: textBody("x")})
			wantCode(t, err, "AccessDenied")
			_, err = r.DeleteObject(ctx, c, &sdk.DeleteObjectInput{Bucket: str("bucket"), Key: str("k")})
			wantCode(t, err, "AccessDenied")
			_, err = r.ListObjectsV2(ctx, c, &sdk.ListObjectsV2Input{Bucket: str("bucket")})
			wantCode(t, err, "AccessDenied")
			_, err = r.HeadBucket(ctx, c, &sdk.HeadBucketInput{Bucket: str("bucket")})
			wantCode(t, err, "AccessDenied")
			_, err = r.DeleteBucket(ctx, c, &sdk.DeleteBucketInput{Bucket: str("bucket")})
			wantCode(t, err, "AccessDenied")
			_, err = r.CreateMultipartUpload(ctx, c, &sdk.CreateMultipartUploadInput{Bucket: str("bucket"), Key: str("k")})
			wantCode(t, err, "AccessDenied")
		}
		_, err := r.GetObject(ctx, alice, &sdk.GetObjectInput{Bucket: str("bucket"), Key: str("k"), ExpectedBucketOwner: str("999999999999")})
		wantCode(t, err, "AccessDenied")
		if r.get("bucket", "k") != "secret" {
			t.Error("the object was changed")
		}
	})
}

func TestAReadOfAnObjectReplacedAfterItsRecordWasReadFindsTheNewOne(t *testing.T) {
	r := newRig(t, 1)
	r.bucket("bucket")
	r.put("bucket", "k", "old")
	store := &replacingBlobs{memBlobs: r.blobs}
	store.replace = func() { r.put("bucket", "k", "new") }
	r.cfg.Blobs = store
	out, err := r.GetObject(context.Background(), alice, &sdk.GetObjectInput{Bucket: str("bucket"), Key: str("k")})
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, out.Body); got != "new" {
		t.Errorf("got %q", got)
	}
}

// replacingBlobs loses the first blob that is read, after the object was replaced.
type replacingBlobs struct {
	*memBlobs
	replace func()
}

func (b *replacingBlobs) Read(ctx context.Context, ref fsm.BlobRef, off, n int64) (io.ReadCloser, error) {
	if replace := b.replace; replace != nil {
		b.replace = nil
		replace()
		if _, err := b.Delete(ctx, ref); err != nil {
			return nil, err
		}
	}
	return b.memBlobs.Read(ctx, ref, off, n)
}

func TestDeletingManyPartsIsSplitIntoCommands(t *testing.T) {
	r := newRig(t, 1)
	ctx := context.Background()
	r.bucket("bucket")
	var born uint64
	if err := r.index[0].View(func(v *fsm.View) error { g, _ := fsm.Gates.Get(v, "bucket"); born = g.Born; return nil }); err != nil {
		t.Fatal(err)
	}
	var items []types.ObjectIdentifier
	for _, key := range []string{"a", "b", "c", "d"} {
		o := fsm.Object{ObjectHead: fsm.ObjectHead{Parts: 1500, Modified: 1}}
		if err := r.index[0].Propose(ctx, &fsm.PutObject{Bucket: "bucket", Born: born, Key: key, Object: o}); err != nil {
			t.Fatal(err)
		}
		items = append(items, types.ObjectIdentifier{Key: &key})
	}
	var sizes []int
	s := r.over(&faultyGroup{propose: func(ctx context.Context, cmd fsm.Command) error {
		sizes = append(sizes, len(cmd.(*fsm.DeleteObjects).Keys))
		return r.index[0].Propose(ctx, cmd)
	}})
	out, err := s.DeleteObjects(ctx, alice, &sdk.DeleteObjectsInput{Bucket: str("bucket"), Delete: &types.Delete{Objects: items}})
	if err != nil || len(out.Deleted) != 4 || !reflect.DeepEqual(sizes, []int{2, 2}) || len(r.names("bucket")) != 0 {
		t.Errorf("%d deleted by commands of %v, %v", len(out.Deleted), sizes, err)
	}
}
