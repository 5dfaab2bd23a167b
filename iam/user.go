package iam

import (
	"context"
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
	tags, err := anyCase.valid(in.Tags)
	if err != nil {
		return nil, err
	}
	id, err := s.newID(fsm.UserEntity.Prefix(), entityIDLength)
	if err != nil {
		return nil, err
	}
	user := fsm.User{
		Account: fsm.AccountID(c.Account), ID: fsm.EntityID(id), Name: name, Path: path, Created: s.cfg.Clock().Unix(), Tags: tags,
	}
	if in.PermissionsBoundary == nil {
		err = s.propose(ctx, c, &fsm.CreateUser{User: user}, name) // there is nothing to read first
	} else {
		err = s.decide(ctx, c, name, func(v *fsm.View) (fsm.Command, error) {
			user.Boundary, err = boundaryIn(v, c, in.PermissionsBoundary)
			return &fsm.CreateUser{User: user}, err
		})
	}
	if err != nil {
		return nil, err
	}
	return &awsiam.CreateUserOutput{User: userOut(user, true)}, nil
}

// userOut is a user as answers show it, whole or as lists do.
func userOut(u fsm.User, whole bool) *types.User {
	out := &types.User{
		Arn: aws.String(u.ARN()), CreateDate: date(u.Created), Path: aws.String(u.Path),
		UserId: aws.String(string(u.ID)), UserName: aws.String(u.Name),
	}
	if whole {
		out.PermissionsBoundary = boundaryOut(u.Boundary)
		if len(u.Tags) > 0 {
			out.Tags = tagsOut(u.Tags)
		}
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
		if err := mustBeUser(c); err != nil {
			return nil, err
		}
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
	out := &awsiam.ListUsersOutput{}
	err = s.read(ctx, func(v *fsm.View) error {
		out.Users, out.Marker = listed(p, func(start string, yield func(fsm.User) bool) {
			fsm.UsersFrom(v, fsm.AccountID(c.Account), start, yield)
		}, byName[fsm.User], func(u fsm.User) (types.User, bool) {
			return *userOut(u, false), strings.HasPrefix(u.Path, prefix)
		})
		out.IsTruncated = out.Marker != nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// changeUser alters a user of the caller's account.
func (s *Service) changeUser(ctx context.Context, c *principal.Caller, name *string, alter func(*fsm.View, *fsm.User) error) error {
	return s.decide(ctx, c, text(name), func(v *fsm.View) (fsm.Command, error) {
		e, err := aUser(name).in(v, c)
		if err != nil {
			return nil, err
		}
		user, _ := fsm.UserByID(v, e.Account, e.ID)
		err = alter(v, &user)
		return &fsm.UpdateUser{User: user}, err
	})
}

// UpdateUser renames a user or moves it to another path. What hangs on it stays.
func (s *Service) UpdateUser(ctx context.Context, c *principal.Caller, in *awsiam.UpdateUserInput) (*awsiam.UpdateUserOutput, error) {
	return done[awsiam.UpdateUserOutput](s.changeUser(ctx, c, in.UserName, func(_ *fsm.View, u *fsm.User) (err error) {
		if in.NewUserName != nil {
			if u.Name, err = requiredName(in.NewUserName, "newUserName", maxNewUserName); err != nil {
				return err
			}
		}
		if in.NewPath != nil {
			u.Path, err = validPath(in.NewPath, "newPath")
		}
		return err
	}))
}

// DeleteUser removes a user. Errors: NoSuchEntity; DeleteConflict while it has keys, groups, policies or other credentials.
func (s *Service) DeleteUser(ctx context.Context, c *principal.Caller, in *awsiam.DeleteUserInput) (*awsiam.DeleteUserOutput, error) {
	return done[awsiam.DeleteUserOutput](s.decide(ctx, c, text(in.UserName), func(v *fsm.View) (fsm.Command, error) {
		user, err := aUser(in.UserName).in(v, c)
		return &fsm.DeleteUser{Account: user.Account, ID: user.ID}, err
	}))
}

func tagsOut(tags []fsm.Tag) []types.Tag {
	out := make([]types.Tag, len(tags))
	for i, t := range tags {
		out[i] = types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)}
	}
	return out
}
