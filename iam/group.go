package iam

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/principal"
)

const maxGroupName = 128

func groupOut(g fsm.IAMGroup) types.Group {
	return types.Group{
		Arn: aws.String(g.ARN()), CreateDate: date(g.Created), Path: aws.String(g.Path),
		GroupId: aws.String(string(g.ID)), GroupName: aws.String(g.Name),
	}
}

// groupIn is the group of the caller's account that a request names.
func groupIn(v *fsm.View, c *principal.Caller, name *string) (fsm.IAMGroup, error) {
	e, err := aGroup(name).in(v, c)
	if err != nil {
		return fsm.IAMGroup{}, err
	}
	group, _ := fsm.IAMGroupByID(v, e.Account, e.ID)
	return group, nil
}

// CreateGroup makes a group. Errors: EntityAlreadyExists, LimitExceeded, ValidationError.
func (s *Service) CreateGroup(ctx context.Context, c *principal.Caller, in *awsiam.CreateGroupInput) (*awsiam.CreateGroupOutput, error) {
	name, err := requiredName(in.GroupName, "groupName", maxGroupName)
	if err != nil {
		return nil, err
	}
	path, err := validPath(in.Path, "path")
	if err != nil {
		return nil, err
	}
	id, err := s.newID(fsm.GroupEntity.Prefix(), entityIDLength)
	if err != nil {
		return nil, err
	}
	group := fsm.IAMGroup{Account: fsm.AccountID(c.Account), ID: fsm.EntityID(id), Name: name, Path: path, Created: s.cfg.Clock().Unix()}
	if err := s.propose(ctx, c, &fsm.CreateGroup{Group: group}, name); err != nil {
		return nil, err
	}
	out := groupOut(group)
	return &awsiam.CreateGroupOutput{Group: &out}, nil
}

// GetGroup is a group with its users, in order of id.
func (s *Service) GetGroup(ctx context.Context, c *principal.Caller, in *awsiam.GetGroupInput) (*awsiam.GetGroupOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &awsiam.GetGroupOutput{}
	err = s.read(ctx, func(v *fsm.View) error {
		group, err := groupIn(v, c, in.GroupName)
		if err != nil {
			return err
		}
		shown := groupOut(group)
		out.Group = &shown
		out.Users, out.Marker = listed(p, func(start string, yield func(fsm.User) bool) {
			fsm.UsersOfGroup(v, group.Account, group.ID, fsm.EntityID(start))(yield)
		}, byID[fsm.User], func(u fsm.User) (types.User, bool) { return *userOut(u, false), true })
		out.IsTruncated = out.Marker != nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListGroups lists groups in order of name.
func (s *Service) ListGroups(ctx context.Context, c *principal.Caller, in *awsiam.ListGroupsInput) (*awsiam.ListGroupsOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	prefix, err := validPrefix(in.PathPrefix)
	if err != nil {
		return nil, err
	}
	out := &awsiam.ListGroupsOutput{}
	err = s.read(ctx, func(v *fsm.View) error {
		out.Groups, out.Marker = listed(p, func(start string, yield func(fsm.IAMGroup) bool) {
			fsm.IAMGroupsFrom(v, fsm.AccountID(c.Account), start, yield)
		}, byName[fsm.IAMGroup], func(g fsm.IAMGroup) (types.Group, bool) {
			return groupOut(g), strings.HasPrefix(g.Path, prefix)
		})
		out.IsTruncated = out.Marker != nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UpdateGroup renames a group or moves it to another path. Its users and policies stay.
func (s *Service) UpdateGroup(ctx context.Context, c *principal.Caller, in *awsiam.UpdateGroupInput) (*awsiam.UpdateGroupOutput, error) {
	return done[awsiam.UpdateGroupOutput](s.decide(ctx, c, text(in.GroupName), func(v *fsm.View) (fsm.Command, error) {
		group, err := groupIn(v, c, in.GroupName)
		if err != nil {
			return nil, err
		}
		if in.NewGroupName != nil {
			if group.Name, err = requiredName(in.NewGroupName, "newGroupName", maxGroupName); err != nil {
				return nil, err
			}
		}
		if in.NewPath != nil {
			if group.Path, err = validPath(in.NewPath, "newPath"); err != nil {
				return nil, err
			}
		}
		return &fsm.UpdateGroup{Group: group}, nil
	}))
}

// DeleteGroup removes a group. Errors: NoSuchEntity; DeleteConflict while it has users or policies.
func (s *Service) DeleteGroup(ctx context.Context, c *principal.Caller, in *awsiam.DeleteGroupInput) (*awsiam.DeleteGroupOutput, error) {
	return done[awsiam.DeleteGroupOutput](s.decide(ctx, c, text(in.GroupName), func(v *fsm.View) (fsm.Command, error) {
		group, err := aGroup(in.GroupName).in(v, c)
		return &fsm.DeleteGroup{Account: group.Account, ID: group.ID}, err
	}))
}

// member finds the user and the group that a request names, in this order.
func member(v *fsm.View, c *principal.Caller, user, group *string) (u, g fsm.Entity, err error) {
	if u, err = aUser(user).in(v, c); err == nil {
		g, err = aGroup(group).in(v, c)
	}
	return u, g, err
}

// AddUserToGroup puts a user into a group; again, it changes nothing. Errors: NoSuchEntity, LimitExceeded.
func (s *Service) AddUserToGroup(ctx context.Context, c *principal.Caller, in *awsiam.AddUserToGroupInput) (*awsiam.AddUserToGroupOutput, error) {
	return done[awsiam.AddUserToGroupOutput](s.decide(ctx, c, text(in.GroupName), func(v *fsm.View) (fsm.Command, error) {
		user, group, err := member(v, c, in.UserName, in.GroupName)
		return &fsm.AddUserToGroup{Account: user.Account, Group: group.ID, User: user.ID}, err
	}))
}

// RemoveUserFromGroup takes a user out of a group. One that is not in it is none the less out of it.
func (s *Service) RemoveUserFromGroup(ctx context.Context, c *principal.Caller, in *awsiam.RemoveUserFromGroupInput) (*awsiam.RemoveUserFromGroupOutput, error) {
	return done[awsiam.RemoveUserFromGroupOutput](s.decide(ctx, c, text(in.GroupName), func(v *fsm.View) (fsm.Command, error) {
		user, group, err := member(v, c, in.UserName, in.GroupName)
		return &fsm.RemoveUserFromGroup{Account: user.Account, Group: group.ID, User: user.ID}, err
	}))
}

// ListGroupsForUser lists the groups that a user is in, in order of id.
func (s *Service) ListGroupsForUser(ctx context.Context, c *principal.Caller, in *awsiam.ListGroupsForUserInput) (*awsiam.ListGroupsForUserOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &awsiam.ListGroupsForUserOutput{Groups: []types.Group{}}
	err = s.read(ctx, func(v *fsm.View) error {
		user, err := aUser(in.UserName).in(v, c)
		if err != nil {
			return err
		}
		var groups []fsm.IAMGroup
		groups, out.Marker = cut(p, fsm.GroupsOfUser(v, user.Account, user.ID), byID[fsm.IAMGroup])
		for _, g := range groups {
			out.Groups = append(out.Groups, groupOut(g))
		}
		out.IsTruncated = out.Marker != nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
