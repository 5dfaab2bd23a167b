package s3

import (
	"context"
	"encoding/hex"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/fsm"
	"hive/iam/principal"
)

// copySource reads x-amz-copy-source: bucket/key, percent-encoded, perhaps with a leading slash and a
// versionId.
func copySource(header *string) (bucket, key string, err error) {
	path, query, versioned := strings.Cut(aws.ToString(header), "?")
	path, err = url.PathUnescape(strings.TrimPrefix(path, "/"))
	if err != nil {
		return "", "", badCopySource("Copy Source must be URL-encoded.")
	}
	bucket, key, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || bucket == "" || key == "" {
		return "", "", badCopySource("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	}
	if strings.HasPrefix(bucket, "arn:") {
		return "", "", badCopySource("Access points are not supported: name the source bucket and key.")
	}
	if versioned {
		id, ok := strings.CutPrefix(query, "versionId=")
		if !ok {
			return "", "", badCopySource("Copy Source has an unknown query parameter: only versionId may follow the key.")
		}
		err = checkVersion(&id)
	}
	return bucket, key, err
}

func badCopySource(message string) error {
	return invalidArgument.says(message, "ArgumentName", "x-amz-copy-source")
}

// source is what a copy is made of.
type source struct {
	header   *string
	expected *string // owner of the source bucket
	when     conditional
}

// find reads the source's record and refuses what may not be copied.
func (s *Service) findSource(ctx context.Context, c *principal.Caller, src source) (question, *answer, error) {
	bucket, key, err := copySource(src.header)
	if err != nil {
		return question{}, nil, err
	}
	q, err := s.question(c, &sdk.GetObjectInput{Bucket: &bucket, Key: &key, ExpectedBucketOwner: src.expected})
	if err != nil {
		return q, nil, err
	}
	a, err := s.find(ctx, q, true)
	if err != nil {
		return q, nil, err
	}
	err = src.when.check(&a.object.ObjectHead, s.cfg.Clock())
	if codeOf(err) == notModified.code { // a copy has no 304
		err = preconditionFailed.with("Condition", "x-amz-copy-source-If-None-Match or -If-Modified-Since")
	}
	return q, a, err
}

// copyBytes stores the bytes of a span of the source under t.
func (s *Service) copyBytes(ctx context.Context, from question, a *answer, t target, sum *algorithm) (stored, error) {
	body, err := s.open(ctx, from.target, a)
	if err != nil {
		return stored{}, s.blobError(ctx, from.target, "read", err)
	}
	blob, err := s.store(ctx, t, upload{body: body, size: a.span.length, sum: sum})
	if closeErr := body.Close(); err == nil && closeErr != nil {
		s.discard(ctx, t, blob)
		err = s.blobError(ctx, from.target, "read", closeErr)
	}
	return blob, err
}

// CopyObject makes an object of another's bytes.
func (s *Service) CopyObject(ctx context.Context, c *principal.Caller, in *sdk.CopyObjectInput) (*sdk.CopyObjectOutput, error) {
	t, err := s.target(in.Bucket, in.Key)
	if err != nil {
		return nil, err
	}
	put, err := newCopy(in, t)
	if err != nil {
		return nil, err
	}
	sum, err := algorithmNamed(in.ChecksumAlgorithm)
	if err != nil {
		return nil, err
	}
	sc := scope{caller: c, bucket: t.bucket, expected: in.ExpectedBucketOwner}
	if err := s.mayPut(ctx, sc, t, put.Precondition); err != nil {
		return nil, err
	}
	from, a, err := s.findSource(ctx, c, source{in.CopySource, in.ExpectedSourceBucketOwner, conditional{
		in.CopySourceIfMatch, in.CopySourceIfNoneMatch, in.CopySourceIfModifiedSince, in.CopySourceIfUnmodifiedSince}})
	if err != nil {
		return nil, err
	}
	if err := inheritCopy(in, t, from, &a.object, put); err != nil {
		return nil, err
	}
	if sum == nil {
		sum = algorithmOf(a.object.Sum.Alg)
	}
	blob, err := s.copyBytes(ctx, from, a, t, sum)
	if err != nil {
		return nil, err
	}
	put.Object.Size, put.Object.MD5, put.Object.Sum = a.span.length, blob.md5, blob.sum
	if err := s.commit(ctx, sc, t, blob, put); err != nil {
		return nil, err
	}
	sums := sumsOf(put.Object.Sum, 0)
	return &sdk.CopyObjectOutput{CopyObjectResult: &types.CopyObjectResult{
		ETag: quoted(put.Object.ETag()), LastModified: timeOf(put.Object.Modified),
		ChecksumCRC32: sums.CRC32, ChecksumCRC32C: sums.CRC32C, ChecksumCRC64NVME: sums.CRC64NVME,
		ChecksumSHA1: sums.SHA1, ChecksumSHA256: sums.SHA256, ChecksumType: sums.Type,
	}}, nil
}

// newCopy is the command of a copy, with the headers of the request.
func newCopy(in *sdk.CopyObjectInput, t target) (*fsm.PutObject, error) {
	if in.AnnotationDirective != "" {
		return nil, notImplemented.says("Annotations are not supported.")
	}
	return newPut(&sdk.PutObjectInput{
		ACL: in.ACL, GrantFullControl: in.GrantFullControl, GrantRead: in.GrantRead, GrantReadACP: in.GrantReadACP, GrantWriteACP: in.GrantWriteACP,
		StorageClass: in.StorageClass, ServerSideEncryption: in.ServerSideEncryption,
		SSECustomerAlgorithm: in.SSECustomerAlgorithm, SSECustomerKey: in.SSECustomerKey, SSECustomerKeyMD5: in.SSECustomerKeyMD5,
		SSEKMSKeyId: in.SSEKMSKeyId, SSEKMSEncryptionContext: in.SSEKMSEncryptionContext,
		ObjectLockMode: in.ObjectLockMode, ObjectLockRetainUntilDate: in.ObjectLockRetainUntilDate, ObjectLockLegalHoldStatus: in.ObjectLockLegalHoldStatus,
		ContentType: in.ContentType, CacheControl: in.CacheControl, ContentDisposition: in.ContentDisposition,
		ContentEncoding: in.ContentEncoding, ContentLanguage: in.ContentLanguage, WebsiteRedirectLocation: in.WebsiteRedirectLocation,
		Expires: in.Expires, Metadata: in.Metadata, Tagging: in.Tagging, IfMatch: in.IfMatch, IfNoneMatch: in.IfNoneMatch,
	}, t)
}

// inheritCopy takes from the source what the directives do not replace.
func inheritCopy(in *sdk.CopyObjectInput, t target, from question, o *fsm.Object, put *fsm.PutObject) error {
	if o.Size > maxBody {
		return invalidRequest.says("The specified copy source is larger than the maximum allowable size for a copy source: " + decimal(maxBody))
	}
	asked := put.Object.ObjectHeaders
	kept := o.ObjectHeaders
	switch in.MetadataDirective {
	case "", types.MetadataDirectiveCopy:
		if from.target.id == t.id && in.TaggingDirective != types.TaggingDirectiveReplace && asked.Redirect == "" {
			return invalidRequest.says("This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
		}
		kept.Redirect = asked.Redirect // never copied
	case types.MetadataDirectiveReplace:
		kept = asked
		kept.Tags = o.Tags
	default:
		return invalidArgument.says("Unknown metadata directive.", "ArgumentName", "x-amz-metadata-directive", "ArgumentValue", string(in.MetadataDirective))
	}
	switch in.TaggingDirective {
	case "", types.TaggingDirectiveCopy:
	case types.TaggingDirectiveReplace:
		kept.Tags = asked.Tags
	default:
		return invalidArgument.says("Unknown tagging directive.", "ArgumentName", "x-amz-tagging-directive", "ArgumentValue", string(in.TaggingDirective))
	}
	put.Object.ObjectHeaders = kept
	return nil
}

// UploadPartCopy stores a part of another object's bytes, or of a range of them.
func (s *Service) UploadPartCopy(ctx context.Context, c *principal.Caller, in *sdk.UploadPartCopyInput) (*sdk.UploadPartCopyOutput, error) {
	if anySet(in.SSECustomerAlgorithm, in.SSECustomerKey, in.CopySourceSSECustomerAlgorithm, in.CopySourceSSECustomerKey) {
		return nil, invalidRequest.says("The encryption parameters are not applicable to this copy.")
	}
	p, err := s.part(c, &sdk.UploadPartInput{Bucket: in.Bucket, Key: in.Key, PartNumber: in.PartNumber, UploadId: in.UploadId, ExpectedBucketOwner: in.ExpectedBucketOwner})
	if err != nil {
		return nil, err
	}
	from, a, err := s.findSource(ctx, c, source{in.CopySource, in.ExpectedSourceBucketOwner, conditional{
		in.CopySourceIfMatch, in.CopySourceIfNoneMatch, in.CopySourceIfModifiedSince, in.CopySourceIfUnmodifiedSince}})
	if err != nil {
		return nil, err
	}
	if err := a.chooseCopyRange(aws.ToString(in.CopySourceRange)); err != nil {
		return nil, err
	}
	body, err := s.open(ctx, from.target, a)
	if err != nil {
		return nil, s.blobError(ctx, from.target, "read", err)
	}
	made, err := s.storePart(ctx, p, upload{body: body, size: a.span.length})
	if closeErr := body.Close(); err == nil && closeErr != nil {
		err = s.blobError(ctx, from.target, "read", closeErr)
	}
	if err != nil {
		return nil, err
	}
	sums := sumsOf(made.Sum, 0)
	return &sdk.UploadPartCopyOutput{CopyPartResult: &types.CopyPartResult{
		ETag: quoted(hex.EncodeToString(made.MD5)), LastModified: timeOf(made.Modified),
		ChecksumCRC32: sums.CRC32, ChecksumCRC32C: sums.CRC32C, ChecksumCRC64NVME: sums.CRC64NVME,
		ChecksumSHA1: sums.SHA1, ChecksumSHA256: sums.SHA256,
	}}, nil
}

// chooseCopyRange is stricter than a GET's range: both ends must be named and lie in the object.
func (a *answer) chooseCopyRange(header string) error {
	size := a.object.Size
	if header != "" {
		chosen, err := spanOf(header, size)
		if err != nil || !chosen.partial || *chosen.header(size) != "bytes "+strings.TrimPrefix(header, "bytes=")+"/"+decimal(size) {
			return invalidArgument.says("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy, within the source of "+decimal(size)+" bytes",
				"ArgumentName", "x-amz-copy-source-range", "ArgumentValue", header)
		}
		a.span = chosen
	}
	if a.span.length > maxBody {
		return entityTooLarge.with("ProposedSize", decimal(a.span.length), "MaxSizeAllowed", decimal(maxBody))
	}
	return nil
}
