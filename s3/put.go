package s3

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"hive/fsm"
	"hive/iam/principal"
)

// PutObject stores an object: its bytes in the blob store, then one record.
func (s *Service) PutObject(ctx context.Context, c *principal.Caller, in *sdk.PutObjectInput) (*sdk.PutObjectOutput, error) {
	t, err := s.target(in.Bucket, in.Key)
	if err != nil {
		return nil, err
	}
	put, err := newPut(in, t)
	if err != nil {
		return nil, err
	}
	body, err := bodyOf(in.Body, in.ContentLength, in.ContentMD5)
	if err != nil {
		return nil, err
	}
	sc := scope{caller: c, bucket: t.bucket, expected: in.ExpectedBucketOwner}
	if err := s.mayPut(ctx, sc, t, put.Precondition); err != nil {
		return nil, err
	}
	blob, err := s.store(ctx, t, body)
	if err != nil {
		return nil, err
	}
	put.Object.Size, put.Object.MD5, put.Object.Sum = body.size, blob.md5, blob.sum
	if err := s.commit(ctx, sc, t, blob, put); err != nil {
		return nil, err
	}
	sums := sumsOf(put.Object.Sum, 0)
	return &sdk.PutObjectOutput{
		ETag:          quoted(put.Object.ETag()),
		ChecksumCRC32: sums.CRC32, ChecksumCRC32C: sums.CRC32C, ChecksumCRC64NVME: sums.CRC64NVME,
		ChecksumSHA1: sums.SHA1, ChecksumSHA256: sums.SHA256, ChecksumType: sums.Type,
	}, nil
}

// newPut is the command of a request, without what its body will tell.
func newPut(in *sdk.PutObjectInput, t target) (*fsm.PutObject, error) {
	err := wishes{
		acl: in.ACL, grants: []*string{in.GrantFullControl, in.GrantRead, in.GrantReadACP, in.GrantWriteACP},
		storage: in.StorageClass, crypt: in.ServerSideEncryption,
		keys:   []*string{in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5, in.SSEKMSKeyId, in.SSEKMSEncryptionContext},
		lock:   in.ObjectLockMode != "" || in.ObjectLockRetainUntilDate != nil || in.ObjectLockLegalHoldStatus != "",
		offset: in.WriteOffsetBytes,
	}.check()
	if err != nil {
		return nil, err
	}
	put := &fsm.PutObject{Bucket: t.bucket, Key: t.key}
	put.Object.ObjectHeaders, err = given{
		contentType: in.ContentType, cacheControl: in.CacheControl, disposition: in.ContentDisposition,
		encoding: in.ContentEncoding, language: in.ContentLanguage, redirect: in.WebsiteRedirectLocation,
		expires: in.Expires, meta: in.Metadata, tagging: in.Tagging,
	}.headers()
	if err != nil {
		return nil, err
	}
	put.Precondition, err = conditions(in.IfMatch, in.IfNoneMatch)
	return put, err
}

// mayPut refuses, before a body is read, what the state refuses already.
func (s *Service) mayPut(ctx context.Context, sc scope, t target, p fsm.Precondition) error {
	if _, err := s.gate(ctx, sc, t.group); err != nil {
		return err
	}
	if !p.Absent && p.ETag == "" {
		return nil
	}
	err := s.view(ctx, t.group, func(v *fsm.View) error { return p.Check(v, t.id) })
	return preconditionOf(err, t, conditionName(p))
}

// commit records an object whose bytes are stored.
func (s *Service) commit(ctx context.Context, sc scope, t target, blob stored, put *fsm.PutObject) error {
	put.Object.Blob, put.Owed = blob.blob, blob.owed
	unknown := false
	err := s.write(ctx, sc, t.group, func(gate fsm.Gate) error {
		put.Born, put.Object.Modified = gate.Born, s.now()
		err := s.propose(ctx, t.group, put)
		unknown = err != nil && !refused(err)
		return err
	})
	if err == nil || unknown { // of an unknown fate: left to the collection of unreferenced blobs
		return err
	}
	return s.giveUp(ctx, t, blob, preconditionOf(err, t, conditionName(put.Precondition)), func(v *fsm.View) *fsm.BlobRef {
		o, _ := fsm.Objects.Get(v, t.id)
		return o.Blob
	})
}

// giveUp removes a blob whose record was refused, and answers why. A proposal that was recorded, lost
// its answer on the way, and was refused when it was proposed again has not failed: refersTo tells
// which blob the record has now.
func (s *Service) giveUp(ctx context.Context, t target, blob stored, why error, refersTo func(*fsm.View) *fsm.BlobRef) error {
	if blob.blob == nil {
		return why
	}
	recorded := false
	err := s.view(ctx, t.group, func(v *fsm.View) error {
		ref := refersTo(v)
		recorded = ref != nil && ref.ID == blob.blob.ID
		return nil
	})
	switch {
	case err != nil:
		return why // unknown: left to the collection of unreferenced blobs
	case recorded:
		return nil
	}
	s.discard(ctx, t, blob)
	if errors.Is(why, fsm.ErrDenied) {
		return nil // recorded, and replaced since
	}
	return why
}

// DeleteObject removes an object; one that is not there is no error.
func (s *Service) DeleteObject(ctx context.Context, c *principal.Caller, in *sdk.DeleteObjectInput) (*sdk.DeleteObjectOutput, error) {
	t, err := s.target(in.Bucket, in.Key)
	if err != nil {
		return nil, err
	}
	if err := checkVersion(in.VersionId); err != nil {
		return nil, err
	}
	if in.IfMatchSize != nil || in.IfMatchLastModifiedTime != nil {
		return nil, notImplemented.says("Deletes can be conditional on If-Match only.")
	}
	p := fsm.Precondition{ETag: unquoted(aws.ToString(in.IfMatch))}
	sc := scope{caller: c, bucket: t.bucket, expected: in.ExpectedBucketOwner}
	return &sdk.DeleteObjectOutput{}, s.remove(ctx, sc, t.group, []string{t.key}, p)
}

// remove removes objects of one index group.
func (s *Service) remove(ctx context.Context, sc scope, g Group, keys []string, p fsm.Precondition) error {
	err := s.write(ctx, sc, g, func(gate fsm.Gate) error {
		return s.propose(ctx, g, &fsm.DeleteObjects{Bucket: sc.bucket, Born: gate.Born, Keys: keys, Now: s.now(), Precondition: p})
	})
	if errors.Is(err, fsm.ErrInvalid) || errors.Is(err, fsm.ErrNotFound) {
		return preconditionOf(err, target{bucket: sc.bucket, key: keys[0]}, "If-Match")
	}
	return err
}

// checkVersion refuses versions: a bucket without versioning has "null" only.
func checkVersion(id *string) error {
	if v := aws.ToString(id); v != "" && v != "null" {
		return invalidArgument.says("Invalid version id specified", "ArgumentName", "versionId", "ArgumentValue", v)
	}
	return nil
}
