package s3

import (
	"context"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

const (
	maxPartNumber = 10_000
	minPart       = 5 << 20 // bytes of every part but the last
)

// uploadIDs is an alphabet whose byte order is that of the numbers it writes.
var uploadIDs = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// newUploadID is 6 bytes of time in ms and 16 random bytes, in 36 characters.
func (s *Service) newUploadID(now int64) (fsm.UploadID, error) {
	var raw [8 + 14]byte
	binary.BigEndian.PutUint64(raw[:], uint64(now)<<16) //nolint:gosec // after 1970
	if _, err := io.ReadFull(s.cfg.Rand, raw[6:]); err != nil {
		return "", fmt.Errorf("upload id: %w", err)
	}
	return fsm.UploadID(uploadIDs.EncodeToString(raw[:])), nil
}

// CreateMultipartUpload begins an upload in parts.
func (s *Service) CreateMultipartUpload(ctx context.Context, c *principal.Caller, in *sdk.CreateMultipartUploadInput) (*sdk.CreateMultipartUploadOutput, error) {
	t, err := s.target(in.Bucket, in.Key)
	if err != nil {
		return nil, err
	}
	u, err := newUpload(in)
	if err != nil {
		return nil, err
	}
	u.Initiated, u.Initiator = s.now(), c.ARN
	id, err := s.newUploadID(u.Initiated)
	if err != nil {
		return nil, err
	}
	sc := scope{caller: c, bucket: t.bucket, expected: in.ExpectedBucketOwner}
	err = s.write(ctx, sc, t.group, func(gate fsm.Gate) error {
		return s.propose(ctx, t.group, &fsm.CreateUpload{Bucket: t.bucket, Born: gate.Born, Key: t.key, ID: id, Upload: u})
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.CreateMultipartUploadOutput{Bucket: in.Bucket, Key: in.Key, UploadId: aws.String(string(id)), ChecksumType: typeOf(u.Sum)}
	if a := algorithmOf(u.Sum.Alg); a != nil {
		out.ChecksumAlgorithm = a.name
	}
	return out, nil
}

func newUpload(in *sdk.CreateMultipartUploadInput) (u fsm.Upload, err error) {
	err = wishes{
		acl: in.ACL, grants: []*string{in.GrantFullControl, in.GrantRead, in.GrantReadACP, in.GrantWriteACP},
		storage: in.StorageClass, crypt: in.ServerSideEncryption,
		keys: []*string{in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5, in.SSEKMSKeyId, in.SSEKMSEncryptionContext},
		lock: in.ObjectLockMode != "" || in.ObjectLockRetainUntilDate != nil || in.ObjectLockLegalHoldStatus != "",
	}.check()
	if err != nil {
		return u, err
	}
	u.ObjectHeaders, err = given{
		contentType: in.ContentType, cacheControl: in.CacheControl, disposition: in.ContentDisposition,
		encoding: in.ContentEncoding, language: in.ContentLanguage, redirect: in.WebsiteRedirectLocation,
		expires: in.Expires, meta: in.Metadata, tagging: in.Tagging,
	}.headers()
	if err != nil {
		return u, err
	}
	u.Sum, err = wantedSum(in.ChecksumAlgorithm, in.ChecksumType)
	return u, err
}

// wantedSum is the checksum that an upload shall have. Source: "Checking object integrity", Amazon S3
// User Guide: CRC64NVME is of the bytes only, SHA of the parts only.
func wantedSum(name types.ChecksumAlgorithm, kind types.ChecksumType) (fsm.Checksum, error) {
	a, err := algorithmNamed(name)
	if err != nil {
		return fsm.Checksum{}, err
	}
	if a == nil {
		if kind != "" {
			return fsm.Checksum{}, invalidRequest.says("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
		}
		return fsm.Checksum{}, nil
	}
	want := fsm.Checksum{Alg: a.alg, Composite: a.composite}
	switch kind {
	case "":
	case types.ChecksumTypeComposite:
		want.Composite = true
	case types.ChecksumTypeFullObject:
		want.Composite = false
	default:
		return want, invalidRequest.says("Value for x-amz-checksum-type header is invalid.")
	}
	if want.Composite && a.alg == algCRC64NVME || !want.Composite && a.poly == 0 {
		return want, invalidRequest.says("The " + string(kind) + " checksum type cannot be used with the " + string(a.name) + " checksum algorithm.")
	}
	return want, nil
}

// part is where a request's part belongs.
type part struct {
	scope
	target
	id     fsm.UploadID
	number uint16
}

func (s *Service) part(c *principal.Caller, in *sdk.UploadPartInput) (p part, err error) {
	if p.target, err = s.target(in.Bucket, in.Key); err != nil {
		return p, err
	}
	p.scope = scope{caller: c, bucket: p.target.bucket, expected: in.ExpectedBucketOwner}
	n := aws.ToInt32(in.PartNumber)
	if n < 1 || n > maxPartNumber {
		return p, badPartNumber()
	}
	p.id, p.number = fsm.UploadID(aws.ToString(in.UploadId)), uint16(n) //nolint:gosec // checked above
	return p, nil
}

func badPartNumber() error {
	return invalidArgument.says("Part number must be an integer between 1 and 10000, inclusive", "ArgumentName", "partNumber")
}

func noUpload(id fsm.UploadID) *protocol.Error { return noSuchUpload.with("UploadId", string(id)) }

// upload is an upload that is neither completed nor aborted: as this node knows it, else as of now.
func (s *Service) upload(ctx context.Context, sc scope, t target, id fsm.UploadID) (fsm.Upload, error) {
	var u fsm.Upload
	find := func(v *fsm.View) error {
		var ok bool
		if u, ok = fsm.Uploads.Get(v, fsm.NewUploadKey(t.bucket, t.key, id)); !ok {
			return noUpload(id)
		}
		return nil
	}
	if _, err := s.gate(ctx, sc, t.group); err != nil {
		return u, err
	}
	if err := s.local(t.group, find); err == nil {
		return u, nil
	}
	err := s.read(ctx, sc, t.group, find)
	return u, err
}

// UploadPart stores a part.
func (s *Service) UploadPart(ctx context.Context, c *principal.Caller, in *sdk.UploadPartInput) (*sdk.UploadPartOutput, error) {
	if anySet(in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5) {
		return nil, invalidRequest.says("The encryption parameters are not applicable to this upload.")
	}
	p, err := s.part(c, in)
	if err != nil {
		return nil, err
	}
	body, err := bodyOf(in.Body, in.ContentLength, in.ContentMD5)
	if err != nil {
		return nil, err
	}
	stored, err := s.storePart(ctx, p, body)
	if err != nil {
		return nil, err
	}
	sums := sumsOf(stored.Sum, 0)
	return &sdk.UploadPartOutput{
		ETag:          quoted(hex.EncodeToString(stored.MD5)),
		ChecksumCRC32: sums.CRC32, ChecksumCRC32C: sums.CRC32C, ChecksumCRC64NVME: sums.CRC64NVME,
		ChecksumSHA1: sums.SHA1, ChecksumSHA256: sums.SHA256,
	}, nil
}

// storePart stores the bytes of a part, then its record.
func (s *Service) storePart(ctx context.Context, p part, body upload) (fsm.Part, error) {
	u, err := s.upload(ctx, p.scope, p.target, p.id)
	if err != nil {
		return fsm.Part{}, err
	}
	body.sum = algorithmOf(u.Sum.Alg)
	blob, err := s.store(ctx, p.target, body)
	if err != nil {
		return fsm.Part{}, err
	}
	if body.sum != nil && blob.sum.Alg != body.sum.alg {
		s.discard(ctx, p.target, blob)
		return fsm.Part{}, invalidRequest.says("Checksum Type mismatch occurred, expected checksum Type: " + body.sum.suffix +
			", actual checksum Type: " + algorithmOf(blob.sum.Alg).suffix)
	}
	out := fsm.Part{Size: body.size, Modified: s.now(), MD5: blob.md5, Sum: blob.sum, Blob: blob.blob}
	err = s.propose(ctx, p.group, &fsm.PutPart{Bucket: p.target.bucket, Key: p.key, ID: p.id, Number: p.number, Part: out, Owed: blob.owed})
	if err != nil && refused(err) {
		if errors.Is(err, fsm.ErrNotFound) {
			err = noUpload(p.id)
		}
		err = s.giveUp(ctx, p.target, blob, err, func(v *fsm.View) *fsm.BlobRef {
			now, _ := fsm.Parts.Get(v, fsm.NewPartKey(p.id, p.number))
			return now.Blob
		})
	}
	return out, err
}

// AbortMultipartUpload ends an upload and gives up its parts.
func (s *Service) AbortMultipartUpload(ctx context.Context, c *principal.Caller, in *sdk.AbortMultipartUploadInput) (*sdk.AbortMultipartUploadOutput, error) {
	t, err := s.target(in.Bucket, in.Key)
	if err != nil {
		return nil, err
	}
	sc := scope{caller: c, bucket: t.bucket, expected: in.ExpectedBucketOwner}
	id := fsm.UploadID(aws.ToString(in.UploadId))
	u, err := s.upload(ctx, sc, t, id)
	if err != nil {
		return nil, err
	}
	if at := in.IfMatchInitiatedTime; at != nil && at.Unix() != u.Initiated/1000 {
		return nil, preconditionFailed.with("Condition", "x-amz-if-match-initiated-time")
	}
	err = s.propose(ctx, t.group, &fsm.AbortUpload{Bucket: t.bucket, Key: t.key, ID: id, Now: s.now()})
	if errors.Is(err, fsm.ErrNotFound) {
		return nil, noUpload(id)
	}
	return &sdk.AbortMultipartUploadOutput{}, err
}
