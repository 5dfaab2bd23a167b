package s3

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hive/fsm"
	"hive/iam/principal"
)

// GetObjectTagging lists an object's tags by key.
func (s *Service) GetObjectTagging(ctx context.Context, c *principal.Caller, in *sdk.GetObjectTaggingInput) (*sdk.GetObjectTaggingOutput, error) {
	o, err := s.object(ctx, c, &sdk.GetObjectInput{Bucket: in.Bucket, Key: in.Key, VersionId: in.VersionId, ExpectedBucketOwner: in.ExpectedBucketOwner})
	if err != nil {
		return nil, err
	}
	out := &sdk.GetObjectTaggingOutput{TagSet: []types.Tag{}}
	for _, k := range slices.Sorted(maps.Keys(o.Tags)) {
		out.TagSet = append(out.TagSet, types.Tag{Key: aws.String(k), Value: aws.String(o.Tags[k])})
	}
	return out, nil
}

// object is an object's record as of now.
func (s *Service) object(ctx context.Context, c *principal.Caller, in *sdk.GetObjectInput) (fsm.Object, error) {
	q, err := s.question(c, in)
	if err != nil {
		return fsm.Object{}, err
	}
	a, err := s.find(ctx, q, false)
	return a.object, err
}

// PutObjectTagging replaces an object's tags.
func (s *Service) PutObjectTagging(ctx context.Context, c *principal.Caller, in *sdk.PutObjectTaggingInput) (*sdk.PutObjectTaggingOutput, error) {
	if in.Tagging == nil {
		return nil, malformedXML.with()
	}
	tags, err := tagsOf(in.Tagging.TagSet)
	if err != nil {
		return nil, err
	}
	return &sdk.PutObjectTaggingOutput{}, s.setTags(ctx, c, in, tags)
}

// DeleteObjectTagging removes an object's tags.
func (s *Service) DeleteObjectTagging(ctx context.Context, c *principal.Caller, in *sdk.DeleteObjectTaggingInput) (*sdk.DeleteObjectTaggingOutput, error) {
	return &sdk.DeleteObjectTaggingOutput{}, s.setTags(ctx, c, &sdk.PutObjectTaggingInput{
		Bucket: in.Bucket, Key: in.Key, VersionId: in.VersionId, ExpectedBucketOwner: in.ExpectedBucketOwner,
	}, nil)
}

func (s *Service) setTags(ctx context.Context, c *principal.Caller, in *sdk.PutObjectTaggingInput, tags map[string]string) error {
	t, err := s.target(in.Bucket, in.Key)
	if err != nil {
		return err
	}
	if err := checkVersion(in.VersionId); err != nil {
		return err
	}
	sc := scope{caller: c, bucket: t.bucket, expected: in.ExpectedBucketOwner}
	err = s.write(ctx, sc, t.group, func(gate fsm.Gate) error {
		return s.propose(ctx, t.group, &fsm.SetObjectTags{Bucket: t.bucket, Born: gate.Born, Key: t.key, Tags: tags})
	})
	if errors.Is(err, fsm.ErrNotFound) {
		return noSuchKey.with("Key", t.key)
	}
	return err
}

// GetObjectAcl tells that an object is its bucket's owner's alone.
func (s *Service) GetObjectAcl(ctx context.Context, c *principal.Caller, in *sdk.GetObjectAclInput) (*sdk.GetObjectAclOutput, error) {
	if _, err := s.object(ctx, c, &sdk.GetObjectInput{Bucket: in.Bucket, Key: in.Key, VersionId: in.VersionId, ExpectedBucketOwner: in.ExpectedBucketOwner}); err != nil {
		return nil, err
	}
	owner := fsm.AccountID(c.Account) // find has seen to it
	return &sdk.GetObjectAclOutput{Owner: ownerOf(owner), Grants: fullControl(owner)}, nil
}
