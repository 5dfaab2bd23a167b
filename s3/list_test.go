package s3

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"pgregory.net/rapid"

	"hive/fsm"
)

// modelList is what a listing shall contain, by reading every key.
func modelList(keys []string, prefix, delimiter string, skip func(name string, common bool) bool) (out []string) {
	sort.Strings(keys)
	for _, k := range keys {
		rest, ok := strings.CutPrefix(k, prefix)
		if !ok {
			continue
		}
		name, common := k, false
		if i := strings.Index(rest, delimiter); delimiter != "" && i >= 0 {
			name, common = prefix+rest[:i+len(delimiter)], true
		}
		if skip(k, false) || common && skip(name, true) {
			continue
		}
		line := "key " + name
		if common {
			line = "prefix " + name
		}
		if len(out) == 0 || out[len(out)-1] != line {
			out = append(out, line)
		}
	}
	return out
}

func lines(objects []types.Object, prefixes []types.CommonPrefix) (out []string) {
	for _, o := range objects {
		out = append(out, "key "+*o.Key)
	}
	for _, p := range prefixes {
		out = append(out, "prefix "+*p.Prefix)
	}
	sort.Slice(out, func(i, j int) bool { return nameOf(out[i]) < nameOf(out[j]) })
	return out
}

func nameOf(line string) string { _, name, _ := strings.Cut(line, " "); return name }

var someKey = rapid.StringMatching(`([abé/]|\xff?[~!]|日|//|a/b){1,6}`).Filter(func(s string) bool { return checkKey(&s) == nil })

func TestListingsMatchAModelInPagesOfAnySize(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		n := 0
		rapid.Check(t, func(rt *rapid.T) {
			n++
			bucket := fmt.Sprintf("bucket-%d", n)
			r.bucket(bucket)
			keys := rapid.SliceOfNDistinct(someKey, 0, 25, rapid.ID).Draw(rt, "keys")
			for _, k := range keys {
				r.put(bucket, k, "")
			}
			somePrefix := rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[ab/é日]{0,3}`))
			prefix := somePrefix.Draw(rt, "prefix")
			delimiter := rapid.SampledFrom([]string{"", "/", "//", "b", "é", "/a"}).Draw(rt, "delimiter")
			start := rapid.OneOf(somePrefix, someKey).Draw(rt, "start")
			size := rapid.Int32Range(1, 10).Draw(rt, "page")

			want := modelList(keys, prefix, delimiter, func(name string, common bool) bool { return !common && name <= start && start != "" })
			if got := r.pagesV2(rt, bucket, prefix, delimiter, start, size); !slices.Equal(got, want) {
				rt.Errorf("V2: got %q, want %q", got, want)
			}
			want = modelList(keys, prefix, delimiter, func(name string, common bool) bool {
				return start != "" && (common && strings.HasPrefix(start, name) || !common && name <= start)
			})
			if got := r.pagesV1(rt, bucket, prefix, delimiter, start, size); !slices.Equal(got, want) {
				rt.Errorf("V1: got %q, want %q", got, want)
			}
		})
	})
}

func (r *rig) pagesV2(t *rapid.T, bucket, prefix, delimiter, start string, size int32) (got []string) {
	in := &sdk.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, Delimiter: &delimiter, StartAfter: &start, MaxKeys: &size}
	for {
		out, err := r.ListObjectsV2(context.Background(), alice, in)
		if err != nil {
			t.Fatal(err)
		}
		page := lines(out.Contents, out.CommonPrefixes)
		if *out.KeyCount != int32(len(page)) || len(page) > int(size) || *out.IsTruncated != (out.NextContinuationToken != nil) {
			t.Fatalf("page of %d, KeyCount %d, IsTruncated %v", len(page), *out.KeyCount, *out.IsTruncated)
		}
		got = append(got, page...)
		if !*out.IsTruncated {
			return got
		}
		in.ContinuationToken = out.NextContinuationToken
	}
}

func (r *rig) pagesV1(t *rapid.T, bucket, prefix, delimiter, start string, size int32) (got []string) {
	in := &sdk.ListObjectsInput{Bucket: &bucket, Prefix: &prefix, Delimiter: &delimiter, Marker: &start, MaxKeys: &size}
	for {
		out, err := r.ListObjects(context.Background(), alice, in)
		if err != nil {
			t.Fatal(err)
		}
		page := lines(out.Contents, out.CommonPrefixes)
		got = append(got, page...)
		if !*out.IsTruncated {
			return got
		}
		if in.Marker = out.NextMarker; in.Marker == nil {
			in.Marker = aws.String(nameOf(page[len(page)-1]))
		}
	}
}

func TestListingsAnswerTheirArgumentsAndAreEncodedOnDemand(t *testing.T) {
	r := newRig(t, 1)
	ctx := context.Background()
	r.bucket("bucket")
	names := []string{"a b+c%/x", "日/y", "z&<"}
	for _, k := range names {
		r.put("bucket", k, "x")
	}
	out, err := r.ListObjectsV2(ctx, alice, &sdk.ListObjectsV2Input{Bucket: str("bucket"), EncodingType: types.EncodingTypeUrl, StartAfter: str(" "), FetchOwner: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range out.Contents {
		if got, err := url.QueryUnescape(*o.Key); err != nil || got != names[[]int{0, 2, 1}[i]] {
			t.Errorf("%s is %q, %v", *o.Key, got, err)
		}
		if *o.Size != 1 || *o.ETag != `"9dd4e461268c8034f5c8564e155c67a6"` || o.LastModified == nil || o.Owner == nil || o.StorageClass != "STANDARD" {
			t.Errorf("%+v", o)
		}
	}
	if *out.StartAfter != "%20" || *out.MaxKeys != 1000 || *out.Name != "bucket" || *out.KeyCount != 3 {
		t.Errorf("%+v", out)
	}
	zero, err := r.ListObjectsV2(ctx, alice, &sdk.ListObjectsV2Input{Bucket: str("bucket"), MaxKeys: aws.Int32(0)})
	if err != nil || len(zero.Contents) != 0 || *zero.IsTruncated {
		t.Errorf("max-keys 0: %+v, %v", zero, err)
	}
	many, err := r.ListObjectsV2(ctx, alice, &sdk.ListObjectsV2Input{Bucket: str("bucket"), MaxKeys: aws.Int32(5000)})
	if err != nil || *many.MaxKeys != 1000 {
		t.Errorf("max-keys 5000: %+v, %v", many, err)
	}
	for _, in := range []*sdk.ListObjectsV2Input{{MaxKeys: aws.Int32(-1)}, {ContinuationToken: str("")}, {ContinuationToken: str("*")}, {EncodingType: "gzip"}} {
		in.Bucket = str("bucket")
		_, err := r.ListObjectsV2(ctx, alice, in)
		wantCode(t, err, "InvalidArgument")
	}
}

// A prefix with many names under it is one step, not one per name.
func TestCommonPrefixesAreSeekedPast(t *testing.T) {
	reads := 0
	rows := func(from string) iter.Seq2[string, fsm.ObjectLine] {
		return func(yield func(string, fsm.ObjectLine) bool) {
			for _, k := range []string{"a/1", "a/2", "a/3", "a/4", "b"} {
				if k < from {
					continue
				}
				if reads++; !yield(k, fsm.ObjectLine{}) {
					return
				}
			}
		}
	}
	got := take(listQuery{delimiter: "/", max: 10}, rows)
	if len(got) != 2 || reads != 2 {
		t.Errorf("%d entries after %d reads", len(got), reads)
	}
}
