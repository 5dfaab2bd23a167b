package s3

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/crc64nvme"
	"pgregory.net/rapid"

	"hive/fsm"
)

// mpu is an upload in parts of bucket/k.
type mpu struct {
	*rig
	id   *string
	etag map[int32]string
}

func (r *rig) begin(in sdk.CreateMultipartUploadInput) *mpu {
	r.t.Helper()
	in.Bucket, in.Key = str("bucket"), str("k")
	out, err := r.CreateMultipartUpload(context.Background(), alice, &in)
	if err != nil {
		r.t.Fatal(err)
	}
	return &mpu{rig: r, id: out.UploadId, etag: map[int32]string{}}
}

func (m *mpu) part(n int32, text string) error {
	out, err := m.UploadPart(context.Background(), alice, &sdk.UploadPartInput{
		Bucket: str("bucket"), Key: str("k"), UploadId: m.id, PartNumber: &n, Body: textBody(text),
	})
	if err == nil {
		m.etag[n] = *out.ETag
	}
	return err
}

func (m *mpu) parts(numbers ...int32) *sdk.CompleteMultipartUploadInput {
	in := &sdk.CompleteMultipartUploadInput{Bucket: str("bucket"), Key: str("k"), UploadId: m.id, MultipartUpload: &types.CompletedMultipartUpload{}}
	for _, n := range numbers {
		in.MultipartUpload.Parts = append(in.MultipartUpload.Parts, types.CompletedPart{PartNumber: aws.Int32(n), ETag: str(m.etag[n])})
	}
	return in
}

func (m *mpu) complete(in *sdk.CompleteMultipartUploadInput) (string, error) {
	out, err := m.CompleteMultipartUpload(context.Background(), alice, in)
	if err != nil {
		return "", err
	}
	return *out.ETag, nil
}

func large(c string) string { return strings.Repeat(c, minPart) }

func TestAnUploadInPartsBecomesOneObject(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		r.bucket("bucket")
		r.put("bucket", "k", "before")
		m := r.begin(sdk.CreateMultipartUploadInput{ContentType: str("text/plain"), Metadata: map[string]string{"a": "b"}, Tagging: str("x=y")})
		a, b, c := large("a"), large("b")+"!", "tail"
		for n, text := range map[int32]string{3: a, 7: "replaced", 5: large("unlisted"), 10000: c} {
			wantCode(t, m.part(n, text), "")
		}
		wantCode(t, m.part(7, b), "")
		if r.get("bucket", "k") != "before" {
			t.Error("the object changed before the upload was completed")
		}
		etag, err := m.complete(m.parts(3, 7, 10000))
		if err != nil {
			t.Fatal(err)
		}
		want := `"` + hex.EncodeToString(sum(string(slices.Concat(sum(a), sum(b), sum(c))))) + `-3"`
		if etag != want {
			t.Errorf("etag %s, want %s", etag, want)
		}
		whole := a + b + c
		if r.get("bucket", "k") != whole {
			t.Error("the object is not its parts")
		}
		if n := len(r.garbage()); n != 3 {
			t.Errorf("%d blobs are garbage, want the object, the part replaced and the part not listed", n)
		}
		again, err := m.complete(m.parts(3, 7, 10000))
		if err != nil || again != etag {
			t.Errorf("completed again: %s, %v", again, err)
		}
		m.checkRead(ctx, whole, int64(len(a)), int64(len(b)))
		wantCode(t, m.part(1, "late"), "NoSuchUpload")
		r.put("bucket", "k", "after")
		_, err = m.complete(m.parts(3))
		wantCode(t, err, "NoSuchUpload")
		if n := len(r.garbage()); n != 6 {
			t.Errorf("%d blobs are garbage, want the object's three parts too", n)
		}
	})
}

// checkRead reads across the parts of an object whose second begins at a and is b long.
func (m *mpu) checkRead(ctx context.Context, whole string, a, b int64) {
	m.t.Helper()
	get := func(in sdk.GetObjectInput) *sdk.GetObjectOutput {
		in.Bucket, in.Key = str("bucket"), str("k")
		out, err := m.GetObject(ctx, alice, &in)
		if err != nil {
			m.t.Fatal(err)
		}
		return out
	}
	for _, cut := range [][2]int64{{0, 0}, {a - 1, a}, {a, a}, {a - 2, a + b + 1}, {a + b, int64(len(whole)) - 1}} {
		out := get(sdk.GetObjectInput{Range: str("bytes=" + decimal(cut[0]) + "-" + decimal(cut[1]))})
		if got := readAll(m.t, out.Body); got != whole[cut[0]:cut[1]+1] {
			m.t.Errorf("range %v: %d bytes", cut, len(got))
		}
	}
	out := get(sdk.GetObjectInput{PartNumber: aws.Int32(2)})
	if got := readAll(m.t, out.Body); got != whole[a:a+b] || *out.PartsCount != 3 || *out.ContentRange != "bytes "+decimal(a)+"-"+decimal(a+b-1)+"/"+decimal(int64(len(whole))) {
		m.t.Errorf("part 2: %d bytes, %d parts, %s", len(got), *out.PartsCount, *out.ContentRange)
	}
	var copied strings.Builder
	body := get(sdk.GetObjectInput{}).Body
	if _, err := body.(interface {
		WriteTo(w io.Writer) (int64, error)
	}).WriteTo(&copied); err != nil || copied.String() != whole {
		m.t.Errorf("WriteTo wrote %d bytes, %v", copied.Len(), err)
	}
	head, err := m.HeadObject(ctx, alice, &sdk.HeadObjectInput{Bucket: str("bucket"), Key: str("k"), PartNumber: aws.Int32(3)})
	if err != nil || *head.ContentLength != int64(len(whole))-a-b || *head.ContentType != "text/plain" || head.Metadata["a"] != "b" || *head.TagCount != 1 {
		m.t.Errorf("head of part 3: %+v, %v", head, err)
	}
	_, err = m.HeadObject(ctx, alice, &sdk.HeadObjectInput{Bucket: str("bucket"), Key: str("k"), PartNumber: aws.Int32(4)})
	wantCode(m.t, err, "InvalidPartNumber")
}

func TestCompletionRefusesWhatIsNotThere(t *testing.T) {
	r := newRig(t, 1)
	r.bucket("bucket")
	m := r.begin(sdk.CreateMultipartUploadInput{})
	for n, text := range map[int32]string{1: large("a"), 2: "small", 3: "last"} {
		wantCode(t, m.part(n, text), "")
	}
	m.etag[9] = m.etag[1]
	refuse := func(in *sdk.CompleteMultipartUploadInput, code string) error {
		t.Helper()
		_, err := m.complete(in)
		wantCode(t, err, code)
		return err
	}
	refuse(m.parts(2, 1), "InvalidPartOrder")
	refuse(m.parts(1, 1), "InvalidPartOrder")
	refuse(m.parts(1, 9), "InvalidPart")
	refuse(m.parts(), "MalformedXML")
	refuse(m.parts(0), "InvalidArgument")
	err := refuse(m.parts(1, 2, 3), "EntityTooSmall")
	if fieldOf(err, "PartNumber") != "2" || fieldOf(err, "ProposedSize") != "5" || fieldOf(err, "MinSizeAllowed") != decimal(minPart) {
		t.Errorf("fields of %+v", err)
	}
	other := m.parts(1, 3)
	other.MultipartUpload.Parts[1].ETag = str(m.etag[2])
	refuse(other, "InvalidPart")
	size := m.parts(1, 3)
	size.MpuObjectSize = aws.Int64(7)
	refuse(size, "InvalidRequest")
	size.MpuObjectSize, size.UploadId = nil, str("none")
	refuse(size, "NoSuchUpload")
	size.UploadId = str("")
	refuse(size, "NoSuchUpload")
	r.put("bucket", "k", "there")
	cond := m.parts(1, 3)
	cond.IfNoneMatch = str("*")
	refuse(cond, "PreconditionFailed")
	cond.IfNoneMatch, cond.IfMatch = nil, str(`"00"`)
	refuse(cond, "PreconditionFailed")
	cond.IfMatch = str(hex.EncodeToString(sum("there")))
	refuse(cond, "")
	for _, n := range []int32{0, 10001} {
		wantCode(t, m.part(n, "x"), "InvalidArgument")
	}
}

func TestAnAbortedUploadGivesUpItsParts(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		r.bucket("bucket")
		m := r.begin(sdk.CreateMultipartUploadInput{})
		wantCode(t, m.part(1, "x"), "")
		in := &sdk.AbortMultipartUploadInput{Bucket: str("bucket"), Key: str("k"), UploadId: m.id}
		for _, code := range []string{"", "NoSuchUpload"} {
			_, err := r.AbortMultipartUpload(context.Background(), alice, in)
			wantCode(t, err, code)
		}
		wantCode(t, m.part(2, "x"), "NoSuchUpload")
		_, err := r.ListParts(context.Background(), alice, &sdk.ListPartsInput{Bucket: in.Bucket, Key: in.Key, UploadId: m.id})
		wantCode(t, err, "NoSuchUpload")
		if n := len(r.garbage()); n != 1 {
			t.Errorf("%d blobs are garbage", n)
		}
	})
}

func TestPartsAndUploadsAreListedInPages(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		r.bucket("bucket")
		m := r.begin(sdk.CreateMultipartUploadInput{})
		for _, n := range []int32{1, 2, 300, 10000} {
			wantCode(t, m.part(n, "x"), "")
		}
		var numbers []int32
		in := &sdk.ListPartsInput{Bucket: str("bucket"), Key: str("k"), UploadId: m.id, MaxParts: aws.Int32(3)}
		for {
			out, err := r.ListParts(ctx, alice, in)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range out.Parts {
				numbers = append(numbers, *p.PartNumber)
			}
			if in.PartNumberMarker = out.NextPartNumberMarker; !*out.IsTruncated {
				break
			}
		}
		if !slices.Equal(numbers, []int32{1, 2, 300, 10000}) {
			t.Errorf("parts %v", numbers)
		}
		want := []string{"k " + *m.id}
		for _, key := range []string{"a/1", "a/2", "k", "k!", "l"} {
			out, err := r.CreateMultipartUpload(ctx, alice, &sdk.CreateMultipartUploadInput{Bucket: str("bucket"), Key: &key})
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, key+" "+*out.UploadId)
		}
		slices.Sort(want)
		for size := int32(1); size < 7; size++ {
			if got := r.uploads(&sdk.ListMultipartUploadsInput{MaxUploads: &size}); !slices.Equal(got, want) {
				t.Errorf("pages of %d: %q, want %q", size, got, want)
			}
		}
		got := r.uploads(&sdk.ListMultipartUploadsInput{MaxUploads: aws.Int32(1), Delimiter: str("/")})
		if !slices.Equal(got, append([]string{"a/"}, want[2:]...)) {
			t.Errorf("with a delimiter: %q", got)
		}
		got = r.uploads(&sdk.ListMultipartUploadsInput{KeyMarker: str("k")})
		if !slices.Equal(got, want[4:]) {
			t.Errorf("after k: %q", got)
		}
	})
}

func (r *rig) uploads(in *sdk.ListMultipartUploadsInput) (got []string) {
	in.Bucket = str("bucket")
	for {
		out, err := r.ListMultipartUploads(context.Background(), alice, in)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, p := range out.CommonPrefixes {
			got = append(got, *p.Prefix)
		}
		for _, u := range out.Uploads {
			got = append(got, *u.Key+" "+*u.UploadId)
		}
		if in.KeyMarker, in.UploadIdMarker = out.NextKeyMarker, out.NextUploadIdMarker; !*out.IsTruncated {
			return got
		}
	}
}

func TestAnUploadHasTheChecksumThatItWasBegunWith(t *testing.T) {
	a, b := large("a"), "tail"
	crc := func(s string) []byte { h := crc32.NewIEEE(); h.Write([]byte(s)); return h.Sum(nil) }
	crc64 := func(s string) []byte { h := crc64nvme.New(); h.Write([]byte(s)); return h.Sum(nil) }
	text := base64.StdEncoding.EncodeToString
	composite := text(crc(string(slices.Concat(crc(a), crc(b))))) + "-2"
	cases := []struct {
		alg  types.ChecksumAlgorithm
		kind types.ChecksumType
		want string
		of   func(*sdk.HeadObjectOutput) *string
	}{
		{types.ChecksumAlgorithmCrc32, "", composite, func(o *sdk.HeadObjectOutput) *string { return o.ChecksumCRC32 }},
		{types.ChecksumAlgorithmCrc32, types.ChecksumTypeFullObject, text(crc(a + b)), func(o *sdk.HeadObjectOutput) *string { return o.ChecksumCRC32 }},
		{types.ChecksumAlgorithmCrc64nvme, "", text(crc64(a + b)), func(o *sdk.HeadObjectOutput) *string { return o.ChecksumCRC64NVME }},
	}
	for _, c := range cases {
		r := newRig(t, 1)
		r.bucket("bucket")
		m := r.begin(sdk.CreateMultipartUploadInput{ChecksumAlgorithm: c.alg, ChecksumType: c.kind})
		wantCode(t, m.part(1, a), "")
		wantCode(t, m.part(2, b), "")
		wrong := m.parts(1, 2)
		wrong.ChecksumCRC32, wrong.ChecksumCRC64NVME = str("AAAAAA=="), str("AAAAAAAAAAA=")
		_, err := m.complete(wrong)
		wantCode(t, err, "BadDigest")
		_, err = m.complete(m.parts(1, 2))
		wantCode(t, err, "")
		head, err := r.HeadObject(context.Background(), alice, &sdk.HeadObjectInput{Bucket: str("bucket"), Key: str("k"), ChecksumMode: types.ChecksumModeEnabled})
		if err != nil || aws.ToString(c.of(head)) != c.want {
			t.Errorf("%s %s: %s, want %s, %v", c.alg, c.kind, aws.ToString(c.of(head)), c.want, err)
		}
	}
	for _, in := range []sdk.CreateMultipartUploadInput{
		{ChecksumAlgorithm: types.ChecksumAlgorithmSha256, ChecksumType: types.ChecksumTypeFullObject},
		{ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme, ChecksumType: types.ChecksumTypeComposite},
		{ChecksumAlgorithm: "ROT13"},
		{ChecksumType: types.ChecksumTypeComposite},
	} {
		r := newRig(t, 1)
		in.Bucket, in.Key = str("bucket"), str("k")
		_, err := r.CreateMultipartUpload(context.Background(), alice, &in)
		wantCode(t, err, "InvalidRequest")
	}
}

func TestJoinedCRCsAreThoseOfTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 70), 1, 8).Draw(t, "pieces")
		for i := range algorithms {
			a := &algorithms[i]
			if a.poly == 0 {
				continue
			}
			whole := a.new()
			var parts []fsm.Part
			for _, p := range pieces {
				whole.Write(p)
				one := a.new()
				one.Write(p)
				parts = append(parts, fsm.Part{Size: int64(len(p)), Sum: fsm.Checksum{Sum: one.Sum(nil)}})
			}
			if got, want := joinCRCs(a, parts), whole.Sum(nil); !slices.Equal(got, want) {
				t.Errorf("%s: %x, want %x", a.name, got, want)
			}
		}
	})
}
