package s3

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/shard"
)

// faultyGroup answers what it is told to.
type faultyGroup struct {
	Group
	propose func(ctx context.Context, cmd fsm.Command) error // nil: the group's own
	read    error
}

func (g *faultyGroup) Propose(ctx context.Context, cmd fsm.Command) error {
	if g.propose != nil {
		return g.propose(ctx, cmd)
	}
	return g.Group.Propose(ctx, cmd)
}

func (g *faultyGroup) ReadIndex(ctx context.Context) error {
	if g.read != nil {
		return g.read
	}
	return g.Group.ReadIndex(ctx)
}

// over is the same service with another index group in front of the first.
func (r *rig) over(g *faultyGroup) *Service {
	cfg := r.cfg
	g.Group = r.cfg.Index[0]
	cfg.Index = []Group{g}
	return New(cfg)
}

func TestWithoutAQuorumNothingIsAnsweredButTryAgain(t *testing.T) {
	r := newRig(t, 1)
	ctx := context.Background()
	r.bucket("bucket")
	r.put("bucket", "k", "x")
	lost := errors.New("no leader")
	s := r.over(&faultyGroup{read: lost, propose: func(context.Context, fsm.Command) error { return lost }})
	_, err := s.GetObject(ctx, alice, &sdk.GetObjectInput{Bucket: str("bucket"), Key: str("k")})
	wantCode(t, err, "ServiceUnavailable")
	_, err = s.ListObjectsV2(ctx, alice, &sdk.ListObjectsV2Input{Bucket: str("bucket")})
	wantCode(t, err, "ServiceUnavailable")
	_, err = s.DeleteObject(ctx, alice, &sdk.DeleteObjectInput{Bucket: str("bucket"), Key: str("k")})
	wantCode(t, err, "ServiceUnavailable")
	_, err = s.DeleteBucket(ctx, alice, &sdk.DeleteBucketInput{Bucket: str("bucket")})
	wantCode(t, err, "ServiceUnavailable")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = r.GetObject(ended, alice, &sdk.GetObjectInput{Bucket: str("bucket"), Key: str("k")})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a client that has gone away: %v", err)
	}
}

func TestABlobWhoseRecordHasAnUnknownFateIsKept(t *testing.T) {
	r := newRig(t, 1)
	ctx := context.Background()
	r.bucket("bucket")
	lost := errors.New("the outcome is not known")
	s := r.over(&faultyGroup{propose: func(ctx context.Context, cmd fsm.Command) error {
		return errors.Join(r.index[0].Propose(ctx, cmd), lost) // recorded, and the answer lost
	}})
	_, err := s.PutObject(ctx, alice, &sdk.PutObjectInput{Bucket: str("bucket"), Key: str("k"), Body: textBody("kept")})
	wantCode(t, err, "ServiceUnavailable")
	if got := r.get("bucket", "k"); got != "kept" {
		t.Errorf("got %q", got)
	}
}

// A proposal may be recorded, lose its answer, and be proposed again on the way: the second answer is
// about a state that the first has made.
func TestAWriteThatIsProposedTwiceHasHappened(t *testing.T) {
	twice := func(r *rig, between func()) *Service {
		return r.over(&faultyGroup{propose: func(ctx context.Context, cmd fsm.Command) error {
			if err := r.index[0].Propose(ctx, cmd); err != nil {
				return err
			}
			between()
			return r.index[0].Propose(ctx, cmd)
		}})
	}
	ctx := context.Background()
	for _, ifNone := range []*string{nil, str("*")} {
		r := newRig(t, 1)
		r.bucket("bucket")
		in := &sdk.PutObjectInput{Bucket: str("bucket"), Key: str("k"), Body: textBody("x"), IfNoneMatch: ifNone}
		_, err := twice(r, func() {}).PutObject(ctx, alice, in)
		wantCode(t, err, "")
		if r.get("bucket", "k") != "x" {
			t.Error("another object")
		}
		in.Key, in.Body = str("l"), textBody("x")
		_, err = twice(r, func() {
			if ifNone == nil {
				r.put("bucket", "l", "later")
			}
		}).PutObject(ctx, alice, in)
		wantCode(t, err, "")
		if got := r.get("bucket", "l"); ifNone == nil && got != "later" {
			t.Errorf("the first write undid the later: %q", got)
		}
	}
	r := newRig(t, 1)
	r.bucket("bucket")
	m := r.begin(sdk.CreateMultipartUploadInput{})
	r.Service = twice(r, func() {})
	wantCode(t, m.part(1, "x"), "")
	_, err := m.complete(m.parts(1))
	wantCode(t, err, "")
}

// faultyBlobs fails to write or read.
type faultyBlobs struct {
	*memBlobs
	err error
}

func (b *faultyBlobs) Write(context.Context, string, io.Reader, int64) (fsm.BlobRef, []fsm.Owed, error) {
	return fsm.BlobRef{}, nil, b.err
}

func (b *faultyBlobs) Read(context.Context, fsm.BlobRef, int64, int64) (io.ReadCloser, error) {
	return nil, b.err
}

func TestFaultsOfTheBlobStoreTellWhatToDo(t *testing.T) {
	cases := []struct {
		err  error
		code string
		says string
	}{
		{shard.ErrDiskFull, "ServiceUnavailable", "delete objects or add room"},
		{shard.ErrUnavailable, "SlowDown", "try again"},
		{shard.ErrNoTable, "ServiceUnavailable", "not formed"},
		{shard.ErrLost, "InternalError", ""},
		{errors.New("anything"), "InternalError", ""},
	}
	for _, c := range cases {
		r := newRig(t, 1)
		ctx := context.Background()
		r.bucket("bucket")
		r.put("bucket", "k", "x")
		cfg := r.cfg
		cfg.Blobs = &faultyBlobs{r.blobs, c.err}
		s := New(cfg)
		_, put := s.PutObject(ctx, alice, &sdk.PutObjectInput{Bucket: str("bucket"), Key: str("k"), Body: textBody("y")})
		_, get := s.GetObject(ctx, alice, &sdk.GetObjectInput{Bucket: str("bucket"), Key: str("k")})
		for _, err := range []error{put, get} {
			wantCode(t, err, c.code)
			var answer *protocol.Error
			if errors.As(err, &answer) && !strings.Contains(answer.Message, c.says) {
				t.Errorf("%v says %q", c.err, answer.Message)
			}
		}
		if r.get("bucket", "k") != "x" {
			t.Error("the object changed")
		}
	}
}

func TestBadInputIsRefusedAndChangesNothing(t *testing.T) {
	r := newRig(t, 1)
	ctx := context.Background()
	r.bucket("bucket")
	put := func(in sdk.PutObjectInput) func() error {
		return func() error {
			if in.Bucket == nil {
				in.Bucket = str("bucket")
			}
			if in.Key == nil {
				in.Key = str("k")
			}
			in.Body = textBody("x")
			_, err := r.PutObject(ctx, alice, &in)
			return err
		}
	}
	create := func(in sdk.CreateMultipartUploadInput) func() error {
		return func() error {
			in.Bucket, in.Key = str("bucket"), str("k")
			_, err := r.CreateMultipartUpload(ctx, alice, &in)
			return err
		}
	}
	get := func(in sdk.GetObjectInput) func() error {
		return func() error {
			in.Bucket, in.Key = str("bucket"), str("k")
			_, err := r.GetObject(ctx, alice, &in)
			return err
		}
	}
	cases := []struct {
		name string
		do   func() error
		code string
	}{
		{"bucket name", put(sdk.PutObjectInput{Bucket: str("No")}), "InvalidBucketName"},
		{"no such bucket", put(sdk.PutObjectInput{Bucket: str("nothing")}), "NoSuchBucket"},
		{"empty key", put(sdk.PutObjectInput{Key: str("")}), "InvalidArgument"},
		{"key of 1025 bytes", put(sdk.PutObjectInput{Key: str(strings.Repeat("é", 512) + "x")}), "KeyTooLongError"},
		{"key that is no text", put(sdk.PutObjectInput{Key: str("a\xff")}), "InvalidArgument"},
		{"key with a zero byte", put(sdk.PutObjectInput{Key: str("a\x00b")}), "InvalidArgument"},
		{"ACL", put(sdk.PutObjectInput{ACL: types.ObjectCannedACLPublicRead}), "AccessControlListNotSupported"},
		{"grant", put(sdk.PutObjectInput{GrantRead: str("id=x")}), "AccessControlListNotSupported"},
		{"storage class", put(sdk.PutObjectInput{StorageClass: types.StorageClassGlacier}), "InvalidStorageClass"},
		{"encryption", put(sdk.PutObjectInput{ServerSideEncryption: types.ServerSideEncryptionAes256}), "NotImplemented"},
		{"client's key", put(sdk.PutObjectInput{SSECustomerKey: str("x")}), "NotImplemented"},
		{"lock", put(sdk.PutObjectInput{ObjectLockMode: types.ObjectLockModeGovernance}), "InvalidRequest"},
		{"append", put(sdk.PutObjectInput{WriteOffsetBytes: aws.Int64(1)}), "NotImplemented"},
		{"metadata of 2049 bytes", put(sdk.PutObjectInput{Metadata: map[string]string{"a": strings.Repeat("x", 2048)}}), "MetadataTooLarge"},
		{"eleven tags", put(sdk.PutObjectInput{Tagging: str("a=&b=&c=&d=&e=&f=&g=&h=&i=&j=&k=")}), "BadRequest"},
		{"tag twice", put(sdk.PutObjectInput{Tagging: str("a=1&a=2")}), "InvalidTag"},
		{"long tag", put(sdk.PutObjectInput{Tagging: str(strings.Repeat("a", 129) + "=1")}), "InvalidTag"},
		{"long tag value", put(sdk.PutObjectInput{Tagging: str("a=" + strings.Repeat("a", 257))}), "InvalidTag"},
		{"Amazon's tag", put(sdk.PutObjectInput{Tagging: str("aws:x=1")}), "InvalidTag"},
		{"tags that are none", put(sdk.PutObjectInput{Tagging: str("%zz")}), "InvalidArgument"},
		{"both conditions", put(sdk.PutObjectInput{IfMatch: str("x"), IfNoneMatch: str("*")}), "InvalidRequest"},
		{"owner", put(sdk.PutObjectInput{ExpectedBucketOwner: str("999999999999")}), "AccessDenied"},
		{"upload's storage class", create(sdk.CreateMultipartUploadInput{StorageClass: types.StorageClassGlacier}), "InvalidStorageClass"},
		{"upload's metadata", create(sdk.CreateMultipartUploadInput{Metadata: map[string]string{"a": strings.Repeat("x", 2048)}}), "MetadataTooLarge"},
		{"version", get(sdk.GetObjectInput{VersionId: str("x")}), "NoSuchVersion"},
		{"range and part", get(sdk.GetObjectInput{Range: str("bytes=0-1"), PartNumber: aws.Int32(1)}), "InvalidRequest"},
		{"part 0", get(sdk.GetObjectInput{PartNumber: aws.Int32(0)}), "InvalidArgument"},
		{"client's key to read", get(sdk.GetObjectInput{SSECustomerKey: str("x")}), "InvalidRequest"},
		{"delete of a version", func() error {
			_, err := r.DeleteObject(ctx, alice, &sdk.DeleteObjectInput{Bucket: str("bucket"), Key: str("k"), VersionId: str("x")})
			return err
		}, "InvalidArgument"},
		{"nothing to delete", func() error {
			_, err := r.DeleteObjects(ctx, alice, &sdk.DeleteObjectsInput{Bucket: str("bucket"), Delete: &types.Delete{}})
			return err
		}, "MalformedXML"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { wantCode(t, c.do(), c.code) })
	}
	if got := r.names("bucket"); len(got) != 0 || len(r.blobs.ids()) != 0 {
		t.Errorf("%q and %d blobs are there", got, len(r.blobs.ids()))
	}
	wantCode(t, remove(r, "bucket"), "")
}
