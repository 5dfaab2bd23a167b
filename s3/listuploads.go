package s3

import (
	"context"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/fsm"
	"hive/iam/principal"
)

// ListParts lists the parts of an upload by number.
func (s *Service) ListParts(ctx context.Context, c *principal.Caller, in *sdk.ListPartsInput) (*sdk.ListPartsOutput, error) {
	t, err := s.target(in.Bucket, in.Key)
	if err != nil {
		return nil, err
	}
	limit, err := pageSize(in.MaxParts, "max-parts")
	if err != nil {
		return nil, err
	}
	marker := 0
	if text := aws.ToString(in.PartNumberMarker); text != "" {
		if marker, err = strconv.Atoi(text); err != nil || marker < 0 {
			return nil, invalidArgument.says("Argument part-number-marker must be an integer between 0 and 2147483647", "ArgumentName", "part-number-marker", "ArgumentValue", text)
		}
	}
	id := fsm.UploadID(aws.ToString(in.UploadId))
	out := &sdk.ListPartsOutput{
		Bucket: in.Bucket, Key: in.Key, UploadId: in.UploadId, PartNumberMarker: aws.String(strconv.Itoa(marker)),
		MaxParts: aws.Int32(int32(limit)), StorageClass: types.StorageClassStandard, IsTruncated: aws.Bool(false), //nolint:gosec // at most 1000
		Owner: ownerOf(fsm.AccountID(c.Account)),
	}
	sc := scope{caller: c, bucket: t.bucket, expected: in.ExpectedBucketOwner}
	return out, s.read(ctx, sc, t.group, func(v *fsm.View) error {
		u, ok := fsm.Uploads.Get(v, fsm.NewUploadKey(t.bucket, t.key, id))
		if !ok {
			return noUpload(id)
		}
		out.Initiator = &types.Initiator{ID: aws.String(u.Initiator), DisplayName: aws.String(u.Initiator)}
		if a := algorithmOf(u.Sum.Alg); a != nil {
			out.ChecksumAlgorithm, out.ChecksumType = a.name, typeOf(u.Sum)
		}
		listParts(v, id, marker, limit, out)
		return nil
	})
}

func listParts(v *fsm.View, id fsm.UploadID, marker, limit int, out *sdk.ListPartsOutput) {
	if marker >= maxPartNumber || limit == 0 {
		return
	}
	for k, p := range fsm.Parts.From(v, fsm.NewPartKey(id, uint16(marker+1))) { //nolint:gosec // checked above
		if !strings.HasPrefix(string(k), string(id)) {
			return
		}
		if len(out.Parts) == limit {
			out.IsTruncated = aws.Bool(true)
			out.NextPartNumberMarker = aws.String(decimal(int64(*out.Parts[limit-1].PartNumber)))
			return
		}
		sums := sumsOf(p.Sum, 0)
		out.Parts = append(out.Parts, types.Part{
			PartNumber: aws.Int32(int32(k.Number())), Size: aws.Int64(p.Size), ETag: quoted(hex.EncodeToString(p.MD5)), LastModified: timeOf(p.Modified),
			ChecksumCRC32: sums.CRC32, ChecksumCRC32C: sums.CRC32C, ChecksumCRC64NVME: sums.CRC64NVME,
			ChecksumSHA1: sums.SHA1, ChecksumSHA256: sums.SHA256,
		})
	}
}

// ListMultipartUploads lists a bucket's uploads by key, then by the time they were begun.
func (s *Service) ListMultipartUploads(ctx context.Context, c *principal.Caller, in *sdk.ListMultipartUploadsInput) (*sdk.ListMultipartUploadsOutput, error) {
	q, err := newListQuery(c, in.Bucket, in.Prefix, in.Delimiter, in.MaxUploads)
	if err != nil {
		return nil, err
	}
	q.expected = in.ExpectedBucketOwner
	encode, err := encoding(in.EncodingType)
	if err != nil {
		return nil, err
	}
	key, id := aws.ToString(in.KeyMarker), aws.ToString(in.UploadIdMarker)
	switch {
	case key != "" && id != "":
		q.from = key + "\x00" + id + "\x00"
	case key != "":
		q.from = q.afterMarker(key)
		if q.from == key+"\x00" {
			q.from = key + "\x01" // behind all uploads of that key
		}
	}
	page, next, err := list(ctx, s, q, inBucket(fsm.Uploads, q.bucket))
	if err != nil {
		return nil, err
	}
	out := &sdk.ListMultipartUploadsOutput{
		Bucket: in.Bucket, Prefix: encode(aws.String(q.prefix)), Delimiter: encode(in.Delimiter), EncodingType: in.EncodingType,
		KeyMarker: encode(&key), UploadIdMarker: &id, MaxUploads: aws.Int32(int32(q.max)), IsTruncated: aws.Bool(next != ""), //nolint:gosec // at most 1000
	}
	for _, e := range page {
		if e.common {
			out.CommonPrefixes = append(out.CommonPrefixes, types.CommonPrefix{Prefix: encode(&e.name)})
			out.NextKeyMarker, out.NextUploadIdMarker = encode(&e.name), nil
			continue
		}
		out.Uploads = append(out.Uploads, uploadLine(e, encode, fsm.AccountID(c.Account)))
		last := &out.Uploads[len(out.Uploads)-1]
		out.NextKeyMarker, out.NextUploadIdMarker = last.Key, last.UploadId
	}
	if next == "" {
		out.NextKeyMarker, out.NextUploadIdMarker = nil, nil
	}
	return out, nil
}

func uploadLine(e entry[fsm.Upload], encode func(*string) *string, owner fsm.AccountID) types.MultipartUpload {
	key, id, _ := strings.Cut(e.name, "\x00")
	line := types.MultipartUpload{
		Key: encode(&key), UploadId: &id, Initiated: timeOf(e.item.Initiated), StorageClass: types.StorageClassStandard,
		Owner: ownerOf(owner), Initiator: &types.Initiator{ID: aws.String(e.item.Initiator), DisplayName: aws.String(e.item.Initiator)},
	}
	if a := algorithmOf(e.item.Sum.Alg); a != nil {
		line.ChecksumAlgorithm, line.ChecksumType = a.name, typeOf(e.item.Sum)
	}
	return line
}
