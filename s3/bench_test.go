package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/fsm"
)

func benchRig(b *testing.B, groups int) *rig {
	r := newRig(b, groups)
	r.bucket("bucket")
	return r
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			r := benchRig(b, 1)
			text := strings.Repeat("x", size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := range b.N {
				key := fmt.Sprintf("dir/object-%06d", i%1000)
				in := &sdk.PutObjectInput{Bucket: str("bucket"), Key: &key, Body: textBody(text), ContentType: str("text/plain")}
				if _, err := r.PutObject(context.Background(), alice, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchRead(b *testing.B, read func(r *rig, key string) error) {
	r := benchRig(b, 1)
	for i := range 1000 {
		r.put("bucket", fmt.Sprintf("dir/object-%06d", i), strings.Repeat("x", 4<<10))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if err := read(r, fmt.Sprintf("dir/object-%06d", i%1000)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet4KiB(b *testing.B) {
	benchRead(b, func(r *rig, key string) error {
		out, err := r.GetObject(context.Background(), alice, &sdk.GetObjectInput{Bucket: str("bucket"), Key: &key})
		if err == nil {
			_, err = io.Copy(io.Discard, out.Body)
		}
		return err
	})
}

func BenchmarkHead(b *testing.B) {
	benchRead(b, func(r *rig, key string) error {
		_, err := r.HeadObject(context.Background(), alice, &sdk.HeadObjectInput{Bucket: str("bucket"), Key: &key})
		return err
	})
}

func BenchmarkDelete(b *testing.B) {
	benchRead(b, func(r *rig, key string) error {
		_, err := r.DeleteObject(context.Background(), alice, &sdk.DeleteObjectInput{Bucket: str("bucket"), Key: &key})
		return err
	})
}

func BenchmarkListOf10000(b *testing.B) {
	for _, groups := range []int{1, 3} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			r := benchRig(b, groups)
			for i := range 10_000 {
				r.put("bucket", fmt.Sprintf("dir/object-%06d", i), "")
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				in, n := &sdk.ListObjectsV2Input{Bucket: str("bucket")}, 0
				for more := true; more; more = in.ContinuationToken != nil {
					out, err := r.ListObjectsV2(context.Background(), alice, in)
					if err != nil {
						b.Fatal(err)
					}
					n += int(aws.ToInt32(out.KeyCount))
					in.ContinuationToken = out.NextContinuationToken
				}
				if n != 10_000 {
					b.Fatalf("%d names", n)
				}
			}
		})
	}
}

func BenchmarkCompleteAndDeleteOf10000Parts(b *testing.B) {
	r := benchRig(b, 1)
	ctx := context.Background()
	for range b.N {
		b.StopTimer()
		m := r.begin(sdk.CreateMultipartUploadInput{})
		in := m.parts()
		for n := range int32(maxPartNumber) {
			ref := fsm.BlobRef{K: 2, M: 1, Size: minPart}
			rand.Read(ref.ID[:])
			r.blobs.blobs[ref.ID] = nil
			err := r.index[0].Propose(ctx, &fsm.PutPart{
				Bucket: "bucket", Key: "k", ID: fsm.UploadID(*m.id), Number: uint16(n + 1),
				Part: fsm.Part{Size: minPart, Modified: 1, MD5: sum("x"), Blob: &ref},
			})
			if err != nil {
				b.Fatal(err)
			}
			in.MultipartUpload.Parts = append(in.MultipartUpload.Parts, types.CompletedPart{PartNumber: aws.Int32(n + 1), ETag: str(hex.EncodeToString(sum("x")))})
		}
		b.StartTimer()
		if _, err := m.complete(in); err != nil {
			b.Fatal(err)
		}
		if _, err := r.HeadObject(ctx, alice, &sdk.HeadObjectInput{Bucket: str("bucket"), Key: str("k"), PartNumber: aws.Int32(9999)}); err != nil {
			b.Fatal(err)
		}
		if _, err := r.DeleteObject(ctx, alice, &sdk.DeleteObjectInput{Bucket: str("bucket"), Key: str("k")}); err != nil {
			b.Fatal(err)
		}
	}
}
