package iam

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/principal"
)

// user is the user of the caller's account that a required UserName names.
func (s *Service) user(ctx context.Context, c *principal.Caller, name *string) (user fsm.User, err error) {
	valid, err := requiredName(name, "userName", maxUserName)
	if err != nil {
		return user, err
	}
	err = s.read(ctx, func(v *fsm.View) error {
		user, err = userIn(v, c, valid)
		return err
	})
	return user, err
}

func userIn(v *fsm.View, c *principal.Caller, name string) (fsm.User, error) {
	user, ok := fsm.UserByName(v, fsm.AccountID(c.Account), name)
	if !ok {
		return user, fsm.Errorf(fsm.ErrNotFound, "user/"+name)
	}
	return user, nil
}

// CreateUser makes a user. Errors: EntityAlreadyExists, LimitExceeded, ValidationError, InvalidInput.
func (s *Service) CreateUser(ctx context.Context, c *principal.Caller, in *awsiam.CreateUserInput) (*awsiam.CreateUserOutput, error) {
	name, err := requiredName(in.UserName, "userName", maxNewUserName)
	if err != nil {
		return nil, err
	}
	path, err := validPath(in.Path, "path")
	if err != nil {
		return nil, err
	}
	tags, err := validTags(in.Tags)
	if err != nil {
		return nil, err
	}
	if in.PermissionsBoundary != nil {
		return nil, invalidInput("Permissions boundaries are not supported: leave PermissionsBoundary out.")
	}
	id, err := s.newID("AIDA", userIDLength)
	if err != nil {
		return nil, err
	}
	user := fsm.User{
		Account: fsm.AccountID(c.Account), ID: fsm.EntityID(id), Name: name, Path: path, Created: s.cfg.Clock().Unix(), Tags: tags,
	}
	if err := s.propose(ctx, c, &fsm.CreateUser{User: user}, name); err != nil {
		return nil, err
	}
	return &awsiam.CreateUserOutput{User: userOut(user, true)}, nil
}

func userOut(u fsm.User, tags bool) *types.User {
	out := &types.User{
		Arn: aws.String(u.ARN()), CreateDate: date(u.Created), Path: aws.String(u.Path),
		UserId: aws.String(string(u.ID)), UserName: aws.String(u.Name),
	}
	if tags && len(u.Tags) > 0 {
		out.Tags = tagsOut(u.Tags)
	}
	return out
}

func date(unix int64) *time.Time { return aws.Time(time.Unix(unix, 0).UTC()) }

// GetUser is the user of that name or, without one, the caller.
func (s *Service) GetUser(ctx context.Context, c *principal.Caller, in *awsiam.GetUserInput) (*awsiam.GetUserOutput, error) {
	if in.UserName == nil && c.Root {
		return s.getRoot(ctx, c)
	}
	name := in.UserName
	if name == nil {
		name = &c.UserName
	}
	user, err := s.user(ctx, c, name)
	if err != nil {
		return nil, err
	}
	return &awsiam.GetUserOutput{User: userOut(user, true)}, nil
}

func (s *Service) getRoot(ctx context.Context, c *principal.Caller) (*awsiam.GetUserOutput, error) {
	var account fsm.Account
	err := s.read(ctx, func(v *fsm.View) (err error) {
		var ok bool
		if account, ok = fsm.AccountOf(v, fsm.AccountID(c.Account)); !ok {
			return fsm.Errorf(fsm.ErrNotFound, "account/"+c.Account)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.GetUserOutput{User: &types.User{
		Arn: aws.String(c.ARN), UserId: aws.String(c.UserID), CreateDate: date(account.Created), Path: aws.String("/"),
	}}, nil
}

// ListUsers lists users in order of name. As in AWS the answers have no tags.
func (s *Service) ListUsers(ctx context.Context, c *principal.Caller, in *awsiam.ListUsersInput) (*awsiam.ListUsersOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	prefix, err := validPrefix(in.PathPrefix)
	if err != nil {
		return nil, err
	}
	out := &awsiam.ListUsersOutput{Users: []types.User{}}
	err = s.read(ctx, func(v *fsm.View) error {
		last := ""
		fsm.UsersFrom(v, fsm.AccountID(c.Account), p.after, func(u fsm.User) bool {
			if strings.ToLower(u.Name) == p.after || !strings.HasPrefix(u.Path, prefix) {
				return true
			}
			if len(out.Users) == p.max {
				out.IsTruncated, out.Marker = true, marker(last)
				return false
			}
			last = strings.ToLower(u.Name)
			out.Users = append(out.Users, *userOut(u, false))
			return true
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UpdateUser renames a user or moves it to another path. What hangs on it stays.
func (s *Service) UpdateUser(ctx context.Context, c *principal.Caller, in *awsiam.UpdateUserInput) (*awsiam.UpdateUserOutput, error) {
	err := s.changeUser(ctx, c, in.UserName, func(u *fsm.User) (err error) {
		if in.NewUserName != nil {
			if u.Name, err = requiredName(in.NewUserName, "newUserName", maxNewUserName); err != nil {
				return err
			}
		}
		if in.NewPath != nil {
			u.Path, err = validPath(in.NewPath, "newPath")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.UpdateUserOutput{}, nil
}

// DeleteUser removes a user. Errors: NoSuchEntity; DeleteConflict while it has keys or policies.
func (s *Service) DeleteUser(ctx context.Context, c *principal.Caller, in *awsiam.DeleteUserInput) (*awsiam.DeleteUserOutput, error) {
	user, err := s.user(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	if err := s.propose(ctx, c, &fsm.DeleteUser{Account: user.Account, ID: user.ID}, user.Name); err != nil {
		return nil, err
	}
	return &awsiam.DeleteUserOutput{}, nil
}

// TagUser adds tags to a user, over those of the same key in any case.
func (s *Service) TagUser(ctx context.Context, c *principal.Caller, in *awsiam.TagUserInput) (*awsiam.TagUserOutput, error) {
	if in.Tags == nil {
		return nil, constraint("null", "tags", "Member must not be null")
	}
	tags, err := validTags(in.Tags)
	if err != nil {
		return nil, err
	}
	err = s.changeUser(ctx, c, in.UserName, func(u *fsm.User) error {
		for _, tag := range tags {
			u.Tags = append(withoutTag(u.Tags, tag.Key), tag)
		}
		if len(u.Tags) > maxTags {
			return refusal(fsm.Errorf(fsm.ErrLimit, "quota/TagsPerUser: %d", maxTags), "")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.TagUserOutput{}, nil
}

func withoutTag(tags []fsm.Tag, key string) []fsm.Tag {
	return slices.DeleteFunc(slices.Clone(tags), func(t fsm.Tag) bool { return strings.EqualFold(t.Key, key) })
}

// UntagUser removes tags from a user. A key that it does not have is passed over.
func (s *Service) UntagUser(ctx context.Context, c *principal.Caller, in *awsiam.UntagUserInput) (*awsiam.UntagUserOutput, error) {
	if in.TagKeys == nil {
		return nil, constraint("null", "tagKeys", "Member must not be null")
	}
	for i := range in.TagKeys {
		if _, err := validTagKey(&in.TagKeys[i], "tagKeys"); err != nil {
			return nil, err
		}
	}
	err := s.changeUser(ctx, c, in.UserName, func(u *fsm.User) error {
		for _, key := range in.TagKeys {
			u.Tags = withoutTag(u.Tags, key)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.UntagUserOutput{}, nil
}

// ListUserTags lists a user's tags in order of key.
func (s *Service) ListUserTags(ctx context.Context, c *principal.Caller, in *awsiam.ListUserTagsInput) (*awsiam.ListUserTagsOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	user, err := s.user(ctx, c, in.UserName)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(user.Tags, func(a, b fsm.Tag) int { return strings.Compare(a.Key, b.Key) })
	tags, next := cut(p, user.Tags, func(t fsm.Tag) string { return t.Key })
	return &awsiam.ListUserTagsOutput{Tags: tagsOut(tags), IsTruncated: next != nil, Marker: next}, nil
}

func tagsOut(tags []fsm.Tag) []types.Tag {
	out := make([]types.Tag, len(tags))
	for i, t := range tags {
		out[i] = types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)}
	}
	return out
}
