package s3

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/fsm"
	"hive/iam/principal"
)

// oldRegion is the one region that knows no location constraint, and in which an owner may create a
// bucket twice.
const oldRegion = "us-east-1"

// maxBuckets is the most buckets in one page of ListBuckets.
const maxBuckets = 10_000

// CreateBucket makes a bucket. Repeating a creation that was cut off finishes it.
func (s *Service) CreateBucket(ctx context.Context, c *principal.Caller, in *sdk.CreateBucketInput) (*sdk.CreateBucketOutput, error) {
	name, err := bucketName(in.Bucket)
	if err != nil {
		return nil, err
	}
	if err := s.checkNewBucket(in); err != nil {
		return nil, err
	}
	sc := scope{caller: c, bucket: name}
	created := false
	for range maxTries {
		err := s.propose(ctx, s.cfg.Control, &fsm.CreateBucket{
			Name: name, Owner: fsm.AccountID(c.Account), Region: s.cfg.Region, Created: s.now(),
		})
		if errors.Is(err, fsm.ErrLimit) {
			return nil, tooManyBuckets.with("BucketName", string(name))
		}
		if err != nil && !errors.Is(err, fsm.ErrExists) {
			return nil, err
		}
		created = created || err == nil
		again, err := s.openGates(ctx, sc)
		if err != nil {
			return nil, err
		}
		if again {
			continue // deleted meanwhile
		}
		if !created && s.cfg.Region != oldRegion {
			return nil, bucketAlreadyOwned.with("BucketName", string(name))
		}
		return &sdk.CreateBucketOutput{Location: aws.String("/" + string(name)), BucketArn: aws.String(bucketARN(string(name)))}, nil
	}
	return nil, operationAborted.with("BucketName", string(name))
}

// openGates opens the bucket's gate everywhere. again means that there is no such bucket.
func (s *Service) openGates(ctx context.Context, sc scope) (again bool, err error) {
	err = s.eachIndex(ctx, func(ctx context.Context, _ int, g Group) error {
		_, err := s.openGate(ctx, sc, g)
		return err
	})
	switch codeOf(err) {
	case noSuchBucket.code:
		return true, nil
	case accessDenied.code:
		return false, bucketAlreadyExists.with("BucketName", string(sc.bucket))
	}
	return false, err
}

func (s *Service) checkNewBucket(in *sdk.CreateBucketInput) error {
	if in.ACL != "" && in.ACL != types.BucketCannedACLPrivate || anySet(in.GrantFullControl, in.GrantRead, in.GrantReadACP, in.GrantWrite, in.GrantWriteACP) {
		return noACLs.says("A bucket is its owner's alone: ACLs other than private are not supported. Use policies.")
	}
	if aws.ToBool(in.ObjectLockEnabledForBucket) {
		return notImplemented.says("Object Lock is not supported: create the bucket without it.")
	}
	if in.ObjectOwnership != "" && in.ObjectOwnership != types.ObjectOwnershipBucketOwnerEnforced {
		return notImplemented.says("Only the object ownership BucketOwnerEnforced is supported.")
	}
	cfg := in.CreateBucketConfiguration
	if cfg == nil {
		cfg = &types.CreateBucketConfiguration{}
	}
	if cfg.Bucket != nil || cfg.Location != nil {
		return notImplemented.says("Directory buckets are not supported: create a general purpose bucket.")
	}
	if len(cfg.Tags) > 0 {
		return notImplemented.says("Tags of buckets are not supported: create the bucket without them.")
	}
	return s.checkLocation(string(cfg.LocationConstraint))
}

func (s *Service) checkLocation(constraint string) error {
	if constraint == "EU" {
		constraint = "eu-west-1"
	}
	switch {
	case s.cfg.Region == oldRegion && constraint == "", s.cfg.Region != oldRegion && constraint == s.cfg.Region:
		return nil
	case constraint == "":
		return illegalLocation.with()
	case s.cfg.Region == oldRegion && constraint == oldRegion:
		return invalidLocation.with("LocationConstraint", constraint)
	}
	return illegalLocation.says("The " + constraint + " location constraint is incompatible for the region specific endpoint this request was sent to.")
}

// HeadBucket tells that a bucket exists and is the caller's.
func (s *Service) HeadBucket(ctx context.Context, c *principal.Caller, in *sdk.HeadBucketInput) (*sdk.HeadBucketOutput, error) {
	b, err := s.bucket(ctx, c, in.Bucket, in.ExpectedBucketOwner)
	if err != nil {
		return nil, err
	}
	return &sdk.HeadBucketOutput{BucketRegion: &b.Region, BucketArn: aws.String(bucketARN(*in.Bucket)), AccessPointAlias: aws.Bool(false)}, nil
}

// GetBucketLocation tells the bucket's region, which is nothing for us-east-1.
func (s *Service) GetBucketLocation(ctx context.Context, c *principal.Caller, in *sdk.GetBucketLocationInput) (*sdk.GetBucketLocationOutput, error) {
	b, err := s.bucket(ctx, c, in.Bucket, in.ExpectedBucketOwner)
	if err != nil {
		return nil, err
	}
	out := &sdk.GetBucketLocationOutput{}
	if b.Region != oldRegion {
		out.LocationConstraint = types.BucketLocationConstraint(b.Region)
	}
	return out, nil
}

// GetBucketVersioning tells that versioning was never turned on.
func (s *Service) GetBucketVersioning(ctx context.Context, c *principal.Caller, in *sdk.GetBucketVersioningInput) (*sdk.GetBucketVersioningOutput, error) {
	if _, err := s.bucket(ctx, c, in.Bucket, in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	return &sdk.GetBucketVersioningOutput{}, nil
}

// GetBucketAcl tells that a bucket is its owner's alone.
func (s *Service) GetBucketAcl(ctx context.Context, c *principal.Caller, in *sdk.GetBucketAclInput) (*sdk.GetBucketAclOutput, error) {
	b, err := s.bucket(ctx, c, in.Bucket, in.ExpectedBucketOwner)
	if err != nil {
		return nil, err
	}
	return &sdk.GetBucketAclOutput{Owner: ownerOf(b.Owner), Grants: fullControl(b.Owner)}, nil
}

// ListBuckets lists the caller's buckets by name. The continuation token is the last name.
func (s *Service) ListBuckets(ctx context.Context, c *principal.Caller, in *sdk.ListBucketsInput) (*sdk.ListBucketsOutput, error) {
	limit := int(aws.ToInt32(in.MaxBuckets))
	if in.MaxBuckets == nil {
		limit = maxBuckets
	}
	if limit < 1 || limit > maxBuckets {
		return nil, invalidArgument.says("Argument max-buckets must be an integer between 1 and 10000", "ArgumentName", "max-buckets")
	}
	after, err := base64.RawURLEncoding.DecodeString(aws.ToString(in.ContinuationToken))
	if err != nil {
		return nil, badToken()
	}
	out := &sdk.ListBucketsOutput{Owner: ownerOf(fsm.AccountID(c.Account)), Prefix: in.Prefix, Buckets: []types.Bucket{}}
	prefix := fsm.BucketName(aws.ToString(in.Prefix))
	err = s.view(ctx, s.cfg.Control, func(v *fsm.View) error {
		for name, b := range fsm.Buckets.From(v, max(prefix, fsm.BucketName(after))) {
			if !strings.HasPrefix(string(name), string(prefix)) {
				break
			}
			region := aws.ToString(in.BucketRegion)
			if string(b.Owner) != c.Account || string(name) == string(after) || region != "" && region != b.Region {
				continue
			}
			if len(out.Buckets) == limit {
				last := *out.Buckets[limit-1].Name
				out.ContinuationToken = aws.String(base64.RawURLEncoding.EncodeToString([]byte(last)))
				break
			}
			out.Buckets = append(out.Buckets, types.Bucket{
				Name: aws.String(string(name)), CreationDate: timeOf(b.Created), BucketRegion: aws.String(b.Region),
				BucketArn: aws.String(bucketARN(string(name))),
			})
		}
		return nil
	})
	return out, err
}

// bucket is the bucket's record as of now, once the caller may use it.
func (s *Service) bucket(ctx context.Context, c *principal.Caller, bucket, expected *string) (fsm.Bucket, error) {
	name, err := bucketName(bucket)
	if err != nil {
		return fsm.Bucket{}, err
	}
	return s.record(ctx, scope{caller: c, bucket: name, expected: expected})
}

func ownerOf(account fsm.AccountID) *types.Owner { return &types.Owner{ID: canonicalID(account)} }

func fullControl(account fsm.AccountID) []types.Grant {
	return []types.Grant{{
		Grantee:    &types.Grantee{Type: types.TypeCanonicalUser, ID: canonicalID(account)},
		Permission: types.PermissionFullControl,
	}}
}

func bucketARN(name string) string { return "arn:aws:s3:::" + name }

func anySet(values ...*string) bool {
	for _, v := range values {
		if v != nil && *v != "" {
			return true
		}
	}
	return false
}
