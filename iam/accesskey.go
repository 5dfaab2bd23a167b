package iam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/principal"
)

// keyOwner is whose keys an operation is about.
type keyOwner struct {
	account fsm.AccountID
	id      fsm.EntityID // empty for the root user
	name    string       // empty for the root user
}

// keyOwner is the user of that name or, without one, whom the signature's key belongs to.
func (s *Service) keyOwner(ctx context.Context, c *principal.Caller, name *string) (keyOwner, error) {
	if name == nil && c.Root {
		return keyOwner{account: fsm.AccountID(c.Account)}, nil
	}
	if name == nil {
		if err := mustBeUser(c); err != nil {
			return keyOwner{}, err
		}
		return keyOwner{fsm.AccountID(c.Account), fsm.EntityID(c.UserID), c.UserName}, nil
	}
	user, err := s.user(ctx, c, name)
	return keyOwner{user.Account, user.ID, user.Name}, err
}

// mustBeUser refuses an operation that is about the caller itself to one that is no user.
func mustBeUser(c *principal.Caller) error {
	if c.UserName == "" {
		return invalid("Must specify userName when calling with non-User credentials")
	}
	return nil
}

func (o keyOwner) userName() *string {
	if o.name == "" {
		return nil
	}
	return aws.String(o.name)
}

func status(inactive bool) types.StatusType {
	if inactive {
		return types.StatusTypeInactive
	}
	return types.StatusTypeActive
}

// CreateAccessKey makes a key. Its secret is in this answer only. Errors: NoSuchEntity, LimitExceeded.
func (s *Service) CreateAccessKey(ctx context.Context, c *principal.Caller, in *awsiam.CreateAccessKeyInput) (*awsiam.CreateAccessKeyOutput, error) {
	owner, err := s.keyOwner(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	id, err := s.newID("AKIA", keyIDLength)
	if err != nil {
		return nil, err
	}
	secret, err := s.newSecret()
	if err != nil {
		return nil, err
	}
	key := fsm.AccessKey{Account: owner.account, User: owner.id, ID: fsm.AccessKeyID(id), Created: s.cfg.Clock().Unix()}
	if key.Secret, err = s.cfg.Sealer.Seal([]byte(secret), key.ID.SealContext()); err != nil {
		return nil, err
	}
	if err := s.propose(ctx, c, &fsm.CreateAccessKey{Key: key}, owner.name); err != nil {
		return nil, err
	}
	return &awsiam.CreateAccessKeyOutput{AccessKey: &types.AccessKey{
		AccessKeyId: aws.String(id), SecretAccessKey: aws.String(secret), Status: status(false),
		UserName: owner.userName(), CreateDate: date(key.Created),
	}}, nil
}

// ListAccessKeys lists the keys of a user or of the caller, without their secrets.
func (s *Service) ListAccessKeys(ctx context.Context, c *principal.Caller, in *awsiam.ListAccessKeysInput) (*awsiam.ListAccessKeysOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	owner, err := s.keyOwner(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	var keys []fsm.AccessKey
	err = s.read(ctx, func(v *fsm.View) error {
		keys = fsm.AccessKeysOf(v, owner.account, owner.id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	keys, next := cut(p, keys, func(k fsm.AccessKey) string { return string(k.ID) })
	out := &awsiam.ListAccessKeysOutput{AccessKeyMetadata: []types.AccessKeyMetadata{}, IsTruncated: next != nil, Marker: next}
	for _, k := range keys {
		out.AccessKeyMetadata = append(out.AccessKeyMetadata, types.AccessKeyMetadata{
			AccessKeyId: aws.String(string(k.ID)), Status: status(k.Inactive), UserName: owner.userName(), CreateDate: date(k.Created),
		})
	}
	return out, nil
}

// UpdateAccessKey switches a key on or off.
func (s *Service) UpdateAccessKey(ctx context.Context, c *principal.Caller, in *awsiam.UpdateAccessKeyInput) (*awsiam.UpdateAccessKeyOutput, error) {
	id, err := validKeyID(in.AccessKeyId)
	if err != nil {
		return nil, err
	}
	if in.Status != types.StatusTypeActive && in.Status != types.StatusTypeInactive {
		return nil, constraint(quoted(string(in.Status)), "status", "Member must satisfy enum value set: [Active, Inactive]")
	}
	owner, err := s.keyOwner(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	err = s.propose(ctx, c, &fsm.UpdateAccessKey{
		Account: owner.account, User: owner.id, ID: id, Inactive: in.Status == types.StatusTypeInactive,
	}, owner.name)
	if err != nil {
		return nil, err
	}
	return &awsiam.UpdateAccessKeyOutput{}, nil
}

// DeleteAccessKey removes a key.
func (s *Service) DeleteAccessKey(ctx context.Context, c *principal.Caller, in *awsiam.DeleteAccessKeyInput) (*awsiam.DeleteAccessKeyOutput, error) {
	id, err := validKeyID(in.AccessKeyId)
	if err != nil {
		return nil, err
	}
	owner, err := s.keyOwner(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	err = s.propose(ctx, c, &fsm.DeleteAccessKey{Account: owner.account, User: owner.id, ID: id}, owner.name)
	if err != nil {
		return nil, err
	}
	return &awsiam.DeleteAccessKeyOutput{}, nil
}
