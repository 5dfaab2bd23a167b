package s3

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/fsm"
	"hive/iam/principal"
)

func TestBucketNamesFollowTheRules(t *testing.T) {
	good := []string{"abc", "a-b", "a.b", "0a1", "a.b-c.d", strings.Repeat("a", 63), "1.2.3", "192.168.5.256"}
	bad := []string{
		"", "ab", strings.Repeat("a", 64), "Abc", "a_b", "-ab", "ab-", ".ab", "ab.", "a..b", "192.168.5.4", "xn--abc", "sthree-x",
		"abc-s3alias", "abc--ol-s3", "abc.mrap", "abc--x-s3", "abc--table-s3", "a b", "a/b", "ключ", "a\x00b",
	}
	for _, name := range good {
		if !validBucketName(name) {
			t.Errorf("%q is refused", name)
		}
	}
	for _, name := range bad {
		if validBucketName(name) {
			t.Errorf("%q is accepted", name)
		}
	}
}

func create(r *rig, c *principal.Caller, name, location string) error {
	in := &sdk.CreateBucketInput{Bucket: &name}
	if location != "" {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(location)}
	}
	_, err := r.CreateBucket(context.Background(), c, in)
	return err
}

func TestCreateBucketAnswersAsTheRegionDoes(t *testing.T) {
	bob := &principal.Caller{Account: "999999999999"}
	t.Run(testRegion, func(t *testing.T) {
		r := newRig(t, 1)
		wantCode(t, create(r, alice, "Bad", testRegion), "InvalidBucketName")
		wantCode(t, create(r, alice, "one", ""), "IllegalLocationConstraintException")
		wantCode(t, create(r, alice, "one", "eu-west-1"), "IllegalLocationConstraintException")
		wantCode(t, create(r, alice, "one", testRegion), "")
		wantCode(t, create(r, alice, "one", testRegion), "BucketAlreadyOwnedByYou")
		wantCode(t, create(r, bob, "one", testRegion), "BucketAlreadyExists")
		out, err := r.GetBucketLocation(context.Background(), alice, &sdk.GetBucketLocationInput{Bucket: str("one")})
		if err != nil || out.LocationConstraint != testRegion {
			t.Errorf("location %+v, %v", out, err)
		}
	})
	t.Run(oldRegion, func(t *testing.T) {
		r := newRig(t, 1)
		r.cfg.Region = oldRegion
		wantCode(t, create(r, alice, "one", oldRegion), "InvalidLocationConstraint")
		wantCode(t, create(r, alice, "one", "eu-west-1"), "IllegalLocationConstraintException")
		wantCode(t, create(r, alice, "one", ""), "")
		wantCode(t, create(r, alice, "one", ""), "")
		wantCode(t, create(r, bob, "one", ""), "BucketAlreadyExists")
		out, err := r.GetBucketLocation(context.Background(), alice, &sdk.GetBucketLocationInput{Bucket: str("one")})
		if err != nil || out.LocationConstraint != "" {
			t.Errorf("location %+v, %v", out, err)
		}
	})
}

func TestCreateBucketRefusesWhatItCannotGive(t *testing.T) {
	cases := []struct {
		name string
		in   sdk.CreateBucketInput
		code string
	}{
		{"a public ACL", sdk.CreateBucketInput{ACL: types.BucketCannedACLPublicRead}, "AccessControlListNotSupported"},
		{"a grant", sdk.CreateBucketInput{GrantRead: str("id=x")}, "AccessControlListNotSupported"},
		{"Object Lock", sdk.CreateBucketInput{ObjectLockEnabledForBucket: aws.Bool(true)}, "NotImplemented"},
		{"ACLs by ownership", sdk.CreateBucketInput{ObjectOwnership: types.ObjectOwnershipObjectWriter}, "NotImplemented"},
		{"a directory bucket", sdk.CreateBucketInput{CreateBucketConfiguration: &types.CreateBucketConfiguration{Bucket: &types.BucketInfo{}}}, "NotImplemented"},
	}
	for _, c := range cases {
		r := newRig(t, 1)
		c.in.Bucket = str("bucket")
		_, err := r.CreateBucket(context.Background(), alice, &c.in)
		if codeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
		_, err = r.HeadBucket(context.Background(), alice, &sdk.HeadBucketInput{Bucket: str("bucket")})
		wantCode(t, err, "NoSuchBucket")
	}
}

func TestListBucketsListsTheCallersOwnInPages(t *testing.T) {
	r := newRig(t, 1)
	bob := &principal.Caller{Account: "999999999999"}
	for _, name := range []string{"b-1", "a-2", "b-3", "a-1", "b-2"} {
		r.bucket(name)
	}
	wantCode(t, create(r, bob, "b-bob", testRegion), "")
	list := func(c *principal.Caller, in *sdk.ListBucketsInput) (names []string) {
		for {
			out, err := r.ListBuckets(context.Background(), c, in)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range out.Buckets {
				names = append(names, *b.Name)
			}
			if in.ContinuationToken = out.ContinuationToken; in.ContinuationToken == nil {
				return names
			}
		}
	}
	cases := []struct {
		in   sdk.ListBucketsInput
		want []string
	}{
		{sdk.ListBucketsInput{}, []string{"a-1", "a-2", "b-1", "b-2", "b-3"}},
		{sdk.ListBucketsInput{MaxBuckets: aws.Int32(2)}, []string{"a-1", "a-2", "b-1", "b-2", "b-3"}},
		{sdk.ListBucketsInput{MaxBuckets: aws.Int32(1), Prefix: str("b-")}, []string{"b-1", "b-2", "b-3"}},
		{sdk.ListBucketsInput{BucketRegion: str("eu-west-1")}, nil},
	}
	for _, c := range cases {
		if got := list(alice, &c.in); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q", c.in, got)
		}
	}
	if got := list(bob, &sdk.ListBucketsInput{}); !slices.Equal(got, []string{"b-bob"}) {
		t.Errorf("another account sees %q", got)
	}
	for _, in := range []*sdk.ListBucketsInput{{MaxBuckets: aws.Int32(0)}, {MaxBuckets: aws.Int32(10001)}, {ContinuationToken: str("!")}} {
		_, err := r.ListBuckets(context.Background(), alice, in)
		wantCode(t, err, "InvalidArgument")
	}
}

func remove(r *rig, name string) error {
	_, err := r.DeleteBucket(context.Background(), alice, &sdk.DeleteBucketInput{Bucket: &name})
	return err
}

func TestDeleteBucketRefusesWhatIsNotEmpty(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		wantCode(t, remove(r, "bucket"), "NoSuchBucket")
		r.bucket("bucket")
		r.put("bucket", "k", "x")
		wantCode(t, remove(r, "bucket"), "BucketNotEmpty")
		r.put("bucket", "other", "x")
		for _, k := range []string{"k", "other"} {
			if _, err := r.DeleteObject(ctx, alice, &sdk.DeleteObjectInput{Bucket: str("bucket"), Key: &k}); err != nil {
				t.Fatal(err)
			}
		}
		up, err := r.CreateMultipartUpload(ctx, alice, &sdk.CreateMultipartUploadInput{Bucket: str("bucket"), Key: str("k")})
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, remove(r, "bucket"), "BucketNotEmpty")
		if _, err := r.AbortMultipartUpload(ctx, alice, &sdk.AbortMultipartUploadInput{Bucket: str("bucket"), Key: str("k"), UploadId: up.UploadId}); err != nil {
			t.Fatal(err)
		}
		wantCode(t, remove(r, "bucket"), "")
		wantCode(t, remove(r, "bucket"), "NoSuchBucket")
		_, err = r.PutObject(ctx, alice, &sdk.PutObjectInput{Bucket: str("bucket"), Key: str("k"), Body: textBody("x")})
		wantCode(t, err, "NoSuchBucket")
		_, err = r.ListObjectsV2(ctx, alice, &sdk.ListObjectsV2Input{Bucket: str("bucket")})
		wantCode(t, err, "NoSuchBucket")
		for i, g := range r.index {
			if n := countGates(t, g); n != 0 {
				t.Errorf("index-%d keeps %d gates", i, n)
			}
		}
	})
}

func countGates(t *testing.T, g Group) (n int) {
	t.Helper()
	err := g.View(func(v *fsm.View) error {
		for range fsm.Gates.Scan(v, "") {
			n++
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return n
}

// errCrash is a node that dies.
var errCrash = errors.New("crash")

// crashing loses power before or after its nth proposal, counted over all groups.
type crashing struct {
	Group
	left  *atomic.Int64
	after bool
}

func (c *crashing) Propose(ctx context.Context, cmd fsm.Command) error {
	left := c.left.Add(-1)
	switch {
	case left > 0:
		return c.Group.Propose(ctx, cmd)
	case left == 0 && c.after:
		return errors.Join(c.Group.Propose(ctx, cmd), errCrash)
	}
	return errCrash
}

// dying is the same service on a node that dies at its nth proposal.
func (r *rig) dying(n int, after bool) *Service {
	left, cfg := new(atomic.Int64), r.cfg
	left.Store(int64(n))
	cfg.Control = &crashing{r.cfg.Control, left, after}
	cfg.Index = nil
	for _, g := range r.cfg.Index {
		cfg.Index = append(cfg.Index, &crashing{g, left, after})
	}
	return New(cfg)
}

func eachCrash(t *testing.T, fn func(t *testing.T, r *rig, dying *Service)) {
	for _, groups := range []int{1, 3} {
		for n := 1; n <= 2+2*groups; n++ {
			for _, after := range []bool{false, true} {
				r := newRig(t, groups)
				fn(t, r, r.dying(n, after))
			}
		}
	}
}

func TestABucketWhoseCreationWasCutOffWorksAfterRepeatingIt(t *testing.T) {
	eachCrash(t, func(t *testing.T, r *rig, dying *Service) {
		in := &sdk.CreateBucketInput{Bucket: str("bucket"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: testRegion}}
		_, first := dying.CreateBucket(context.Background(), alice, in)
		_, err := r.CreateBucket(context.Background(), alice, in)
		if code := codeOf(err); err != nil && code != "BucketAlreadyOwnedByYou" {
			t.Fatalf("after %v: %v", first, err)
		}
		for _, k := range []string{"a", "b", "c", "d"} {
			r.put("bucket", k, k)
		}
		if got := r.names("bucket"); len(got) != 4 {
			t.Errorf("listed %q", got)
		}
	})
}

func TestABucketWhoseCreationWasCutOffCanBeUsedOrDeletedAtOnce(t *testing.T) {
	eachCrash(t, func(t *testing.T, r *rig, dying *Service) {
		in := &sdk.CreateBucketInput{Bucket: str("bucket"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: testRegion}}
		_, _ = dying.CreateBucket(context.Background(), alice, in) // dies somewhere, or not
		_, err := r.HeadBucket(context.Background(), alice, &sdk.HeadBucketInput{Bucket: str("bucket")})
		if codeOf(err) == "NoSuchBucket" {
			return
		}
		r.put("bucket", "k", "x")
		if r.get("bucket", "k") != "x" {
			t.Error("another object")
		}
		if _, err := r.DeleteObject(context.Background(), alice, &sdk.DeleteObjectInput{Bucket: str("bucket"), Key: str("k")}); err != nil {
			t.Fatal(err)
		}
		wantCode(t, remove(r, "bucket"), "")
		r.bucket("bucket")
	})
}

func TestABucketWhoseDeletionWasCutOffIsDeletedByRepeatingOrTakenBackByWriting(t *testing.T) {
	for _, then := range []string{"delete", "create", "write"} {
		t.Run(then, func(t *testing.T) {
			eachCrash(t, func(t *testing.T, r *rig, dying *Service) {
				r.bucket("bucket")
				_, first := dying.DeleteBucket(context.Background(), alice, &sdk.DeleteBucketInput{Bucket: str("bucket")})
				_, err := r.HeadBucket(context.Background(), alice, &sdk.HeadBucketInput{Bucket: str("bucket")})
				gone := codeOf(err) == "NoSuchBucket"
				if first == nil && !gone {
					t.Fatal("the deletion was acknowledged, and the bucket is there")
				}
				switch then {
				case "delete":
					if err := remove(r, "bucket"); err != nil && (!gone || codeOf(err) != "NoSuchBucket") {
						t.Fatal(err)
					}
					r.bucket("bucket")
				case "create":
					if err := create(r, alice, "bucket", testRegion); err != nil && (gone || codeOf(err) != "BucketAlreadyOwnedByYou") {
						t.Fatal(err)
					}
				case "write":
					if gone {
						_, err := r.PutObject(context.Background(), alice, &sdk.PutObjectInput{Bucket: str("bucket"), Key: str("k"), Body: textBody("x")})
						wantCode(t, err, "NoSuchBucket")
						r.bucket("bucket")
					}
				}
				for _, k := range []string{"a", "b", "c", "d"} {
					r.put("bucket", k, k)
				}
				wantCode(t, remove(r, "bucket"), "BucketNotEmpty")
			})
		})
	}
}

func TestADelayedCommandToAGateDoesNotUndoALaterDecision(t *testing.T) {
	r := newRig(t, 1)
	ctx := context.Background()
	r.bucket("bucket")
	old := fsm.Bucket{}
	if err := r.control.View(func(v *fsm.View) error { old, _ = fsm.Buckets.Get(v, "bucket"); return nil }); err != nil {
		t.Fatal(err)
	}
	wantCode(t, remove(r, "bucket"), "")
	open := &fsm.OpenGate{Name: "bucket", Owner: old.Owner, Born: old.Born, Seq: old.Rev}
	if err := r.index[0].Propose(ctx, open); !errors.Is(err, fsm.ErrConflict) {
		t.Errorf("the gate of a deleted bucket was opened: %v", err)
	}
	r.bucket("bucket")
	r.put("bucket", "k", "x")
	late := []fsm.Command{
		open,
		&fsm.SealGate{Name: "bucket", Owner: old.Owner, Born: old.Born, Seq: old.Rev},
		&fsm.RemoveGate{Name: "bucket", Seq: old.Rev},
		&fsm.PutObject{Bucket: "bucket", Born: old.Born, Key: "late"},
		&fsm.DeleteObjects{Bucket: "bucket", Born: old.Born, Keys: []string{"k"}},
	}
	for _, cmd := range late {
		if err := r.index[0].Propose(ctx, cmd); !errors.Is(err, fsm.ErrConflict) {
			t.Errorf("%T of the deleted bucket: %v", cmd, err)
		}
	}
	if got := r.names("bucket"); !slices.Equal(got, []string{"k"}) {
		t.Errorf("listed %q", got)
	}
}

// A bucket whose gate was never opened in a group, and that group has since removed the gate of a
// younger bucket.
func TestABucketOlderThanTheFloorOfAGroupCanBeWrittenTo(t *testing.T) {
	r := newRig(t, 1)
	ctx := context.Background()
	if err := r.control.Propose(ctx, &fsm.CreateBucket{Name: "older", Owner: testAccount, Region: testRegion, Created: 1}); err != nil {
		t.Fatal(err)
	}
	r.bucket("younger")
	wantCode(t, remove(r, "younger"), "")
	r.put("older", "k", "x")
	if r.get("older", "k") != "x" {
		t.Error("another object")
	}
}

func TestAclAndVersioningTellTheTruth(t *testing.T) {
	r := newRig(t, 1)
	ctx := context.Background()
	r.bucket("bucket")
	r.put("bucket", "k", "x")
	v, err := r.GetBucketVersioning(ctx, alice, &sdk.GetBucketVersioningInput{Bucket: str("bucket")})
	if err != nil || v.Status != "" {
		t.Errorf("versioning %+v, %v", v, err)
	}
	b, err := r.GetBucketAcl(ctx, alice, &sdk.GetBucketAclInput{Bucket: str("bucket")})
	if err != nil || len(b.Grants) != 1 || b.Grants[0].Permission != types.PermissionFullControl || *b.Grants[0].Grantee.ID != *b.Owner.ID {
		t.Errorf("bucket acl %+v, %v", b, err)
	}
	o, err := r.GetObjectAcl(ctx, alice, &sdk.GetObjectAclInput{Bucket: str("bucket"), Key: str("k")})
	if err != nil || *o.Owner.ID != *b.Owner.ID {
		t.Errorf("object acl %+v, %v", o, err)
	}
	_, err = r.GetObjectAcl(ctx, alice, &sdk.GetObjectAclInput{Bucket: str("bucket"), Key: str("none")})
	wantCode(t, err, "NoSuchKey")
}

// between calls fn once, before the nth proposal over all groups.
type between struct {
	Group
	left *atomic.Int64
	fn   func()
}

func (b *between) Propose(ctx context.Context, cmd fsm.Command) error {
	if b.left.Add(-1) == 0 {
		b.fn()
	}
	return b.Group.Propose(ctx, cmd)
}

// interrupted is the same service, with fn happening before its nth proposal.
func (r *rig) interrupted(n int, fn func()) *Service {
	left, cfg := new(atomic.Int64), r.cfg
	left.Store(int64(n))
	cfg.Control, cfg.Index = &between{r.cfg.Control, left, fn}, nil
	for _, g := range r.cfg.Index {
		cfg.Index = append(cfg.Index, &between{g, left, fn})
	}
	return New(cfg)
}

func TestAWriteBetweenTheStepsOfADeletionWinsOrIsRefused(t *testing.T) {
	ctx := context.Background()
	for n := 1; n <= 4; n++ { // begin, seal, remove, and the gate's removal

		r := newRig(t, 1)
		r.bucket("bucket")
		var put error
		s := r.interrupted(n, func() {
			_, put = r.PutObject(ctx, alice, &sdk.PutObjectInput{Bucket: str("bucket"), Key: str("k"), Body: textBody("x")})
		})
		_, err := s.DeleteBucket(ctx, alice, &sdk.DeleteBucketInput{Bucket: str("bucket")})
		if n == 4 {
			wantCode(t, err, "")
			wantCode(t, put, "NoSuchBucket")
			continue
		}
		wantCode(t, err, "BucketNotEmpty")
		wantCode(t, put, "")
		if r.get("bucket", "k") != "x" {
			t.Error("another object")
		}
	}
}

func TestADeletionBeforeAWriteCommitsRefusesItAndLeavesNoBlob(t *testing.T) {
	ctx := context.Background()
	for _, again := range []bool{false, true} {
		r := newRig(t, 3)
		r.bucket("bucket")
		s := r.interrupted(1, func() {
			wantCode(t, remove(r, "bucket"), "")
			if again {
				r.bucket("bucket")
			}
		})
		_, err := s.PutObject(ctx, alice, &sdk.PutObjectInput{Bucket: str("bucket"), Key: str("k"), Body: textBody("x")})
		if again {
			wantCode(t, err, "")
			continue
		}
		wantCode(t, err, "NoSuchBucket")
		if n := len(r.blobs.ids()); n != 0 {
			t.Errorf("%d blobs are left", n)
		}
	}
}
