package s3

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/fsm"
	"hive/iam/principal"
)

// ListObjectsV2 lists a page of a bucket's objects. The continuation token holds the name to go on from.
func (s *Service) ListObjectsV2(ctx context.Context, c *principal.Caller, in *sdk.ListObjectsV2Input) (*sdk.ListObjectsV2Output, error) {
	q, err := newListQuery(c, in.Bucket, in.Prefix, in.Delimiter, in.MaxKeys)
	if err != nil {
		return nil, err
	}
	q.expected = in.ExpectedBucketOwner
	if start := aws.ToString(in.StartAfter); start != "" {
		q.from = start + "\x00"
	}
	if in.ContinuationToken != nil {
		if q.from, err = tokenValue(*in.ContinuationToken); err != nil {
			return nil, err
		}
	}
	encode, err := encoding(in.EncodingType)
	if err != nil {
		return nil, err
	}
	page, next, err := list(ctx, s, q, inBucket(fsm.ObjectHeads, q.bucket))
	if err != nil {
		return nil, err
	}
	out := &sdk.ListObjectsV2Output{
		Name: in.Bucket, Prefix: encode(aws.String(q.prefix)), Delimiter: encode(in.Delimiter), StartAfter: encode(in.StartAfter),
		EncodingType: in.EncodingType, ContinuationToken: in.ContinuationToken, NextContinuationToken: token(next),
		MaxKeys: aws.Int32(int32(q.max)), KeyCount: aws.Int32(int32(len(page))), IsTruncated: aws.Bool(next != ""), //nolint:gosec // at most 1000
	}
	var owner *types.Owner
	if aws.ToBool(in.FetchOwner) {
		owner = ownerOf(fsm.AccountID(c.Account))
	}
	out.Contents, out.CommonPrefixes = contents(page, encode, owner)
	return out, nil
}

// ListObjects is the first version of the same: it goes on by name, after Marker.
func (s *Service) ListObjects(ctx context.Context, c *principal.Caller, in *sdk.ListObjectsInput) (*sdk.ListObjectsOutput, error) {
	q, err := newListQuery(c, in.Bucket, in.Prefix, in.Delimiter, in.MaxKeys)
	if err != nil {
		return nil, err
	}
	q.expected = in.ExpectedBucketOwner
	q.from = q.afterMarker(aws.ToString(in.Marker))
	encode, err := encoding(in.EncodingType)
	if err != nil {
		return nil, err
	}
	page, next, err := list(ctx, s, q, inBucket(fsm.ObjectHeads, q.bucket))
	if err != nil {
		return nil, err
	}
	out := &sdk.ListObjectsOutput{
		Name: in.Bucket, Prefix: encode(aws.String(q.prefix)), Delimiter: encode(in.Delimiter), Marker: encode(aws.String(aws.ToString(in.Marker))),
		EncodingType: in.EncodingType, MaxKeys: aws.Int32(int32(q.max)), IsTruncated: aws.Bool(next != ""), //nolint:gosec // at most 1000
	}
	if next != "" && q.delimiter != "" { // without one, clients take the last key
		out.NextMarker = encode(&page[len(page)-1].name)
	}
	out.Contents, out.CommonPrefixes = contents(page, encode, ownerOf(fsm.AccountID(c.Account)))
	return out, nil
}

func newListQuery(c *principal.Caller, bucket, prefix, delimiter *string, limit *int32) (q listQuery, err error) {
	q = listQuery{scope: scope{caller: c}, prefix: aws.ToString(prefix), delimiter: aws.ToString(delimiter)}
	if q.bucket, err = bucketName(bucket); err != nil {
		return q, err
	}
	q.max, err = pageSize(limit, "max-keys")
	return q, err
}

// afterMarker is the first name behind marker, and behind all that share a prefix with it that is
// listed as one.
func (q listQuery) afterMarker(marker string) string {
	if marker == "" {
		return ""
	}
	if strings.HasPrefix(marker, q.prefix) {
		if common := commonPrefix(marker, len(q.prefix), q.delimiter); common != "" {
			return after(common)
		}
	}
	return marker + "\x00"
}

func contents(page []entry[fsm.ObjectLine], encode func(*string) *string, owner *types.Owner) (objects []types.Object, prefixes []types.CommonPrefix) {
	objects = make([]types.Object, 0, len(page))
	for i := range page {
		e := &page[i]
		if e.common {
			prefixes = append(prefixes, types.CommonPrefix{Prefix: encode(&e.name)})
			continue
		}
		objects = append(objects, types.Object{
			Key: encode(&e.name), ETag: quoted(e.item.ETag()), Size: &e.item.Size, LastModified: timeOf(e.item.Modified),
			StorageClass: types.ObjectStorageClassStandard, Owner: owner,
			ChecksumAlgorithm: namesOf(e.item.Sum), ChecksumType: typeOf(e.item.Sum),
		})
	}
	return objects, prefixes
}

// encoding is how names are written in a listing.
func encoding(asked types.EncodingType) (func(*string) *string, error) {
	switch asked {
	case "":
		return func(s *string) *string { return s }, nil
	case types.EncodingTypeUrl:
		return func(s *string) *string {
			if s == nil {
				return nil
			}
			return aws.String(percentEncoded(*s))
		}, nil
	}
	return nil, invalidArgument.says("Invalid Encoding Method specified in Request", "ArgumentName", "encoding-type", "ArgumentValue", string(asked))
}

// percentEncoded leaves letters, digits and -_.~/* as they are.
func percentEncoded(s string) string {
	const hex = "0123456789ABCDEF"
	var out strings.Builder
	for i := range len(s) {
		c := s[i]
		if isLowerOrDigit(c) || 'A' <= c && c <= 'Z' || strings.IndexByte("-_.~/*", c) >= 0 {
			out.WriteByte(c)
		} else {
			out.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return out.String()
}
