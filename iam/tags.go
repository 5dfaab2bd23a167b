package iam

import (
	"context"

	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/principal"
)

// tagged is a thing with tags: what it has, and the command that gives it others.
type tagged struct {
	tags  []fsm.Tag
	set   func([]fsm.Tag) fsm.Command
	quota string // the limit's name in AWS's message
	keys  tagCase
}

// finder finds what a request tags.
type finder func(*fsm.View) (tagged, error)

func userTags(c *principal.Caller, name *string) finder {
	return func(v *fsm.View) (tagged, error) {
		e, err := aUser(name).in(v, c)
		user, _ := fsm.UserByID(v, e.Account, e.ID)
		return tagged{user.Tags, func(tags []fsm.Tag) fsm.Command {
			user.Tags = tags
			return &fsm.UpdateUser{User: user}
		}, "TagsPerUser", anyCase}, err
	}
}

func roleTags(c *principal.Caller, name *string) finder {
	return func(v *fsm.View) (tagged, error) {
		role, err := roleIn(v, c, name)
		return tagged{role.Tags, func(tags []fsm.Tag) fsm.Command {
			role.Tags = tags
			return &fsm.UpdateRole{Role: role}
		}, "TagsPerRole", anyCase}, err
	}
}

func profileTags(c *principal.Caller, name *string) finder {
	return func(v *fsm.View) (tagged, error) {
		profile, err := profileIn(v, c, name)
		return tagged{profile.Tags, func(tags []fsm.Tag) fsm.Command {
			profile.Tags = tags
			return &fsm.UpdateInstanceProfile{Profile: profile}
		}, "TagsPerInstanceProfile", inCase}, err
	}
}

// policyTags is of a policy that the account manages itself; those of AWS have no tags and get none.
func policyTags(c *principal.Caller, op string, arn *string) finder {
	return func(v *fsm.View) (tagged, error) {
		p, err := ownPolicyIn(v, c, op, arn)
		return tagged{p.Tags, func(tags []fsm.Tag) fsm.Command {
			p.Tags = tags
			return &fsm.UpdateManagedPolicy{Policy: p}
		}, "TagsPerPolicy", inCase}, err
	}
}

// tag adds tags, over those of the same key. Errors: NoSuchEntity, LimitExceeded, InvalidInput, ValidationError.
func (s *Service) tag(ctx context.Context, c *principal.Caller, find finder, add []types.Tag) error {
	return s.decide(ctx, c, "tags", func(v *fsm.View) (fsm.Command, error) {
		have, err := find(v)
		if err != nil {
			return nil, err
		}
		next, err := have.keys.put(have.tags, add, have.quota)
		return have.set(next), err
	})
}

// untag removes tags. A key that there is not is passed over.
func (s *Service) untag(ctx context.Context, c *principal.Caller, find finder, keys []string) error {
	return s.decide(ctx, c, "tags", func(v *fsm.View) (fsm.Command, error) {
		have, err := find(v)
		if err != nil {
			return nil, err
		}
		next, err := have.keys.take(have.tags, keys)
		return have.set(next), err
	})
}

// tags is a page of tags, in order of key.
func (s *Service) tags(ctx context.Context, find finder, after *string, items *int32) (out []types.Tag, next *string, err error) {
	p, err := newPage(after, items)
	if err != nil {
		return nil, nil, err
	}
	err = s.read(ctx, func(v *fsm.View) error {
		have, err := find(v)
		out, next = pageOfTags(p, have.tags)
		return err
	})
	return out, next, err
}

// TagUser is tag for a user.
func (s *Service) TagUser(ctx context.Context, c *principal.Caller, in *awsiam.TagUserInput) (*awsiam.TagUserOutput, error) {
	return done[awsiam.TagUserOutput](s.tag(ctx, c, userTags(c, in.UserName), in.Tags))
}

// TagRole is tag for a role.
func (s *Service) TagRole(ctx context.Context, c *principal.Caller, in *awsiam.TagRoleInput) (*awsiam.TagRoleOutput, error) {
	return done[awsiam.TagRoleOutput](s.tag(ctx, c, roleTags(c, in.RoleName), in.Tags))
}

// TagInstanceProfile is tag for an instance profile.
func (s *Service) TagInstanceProfile(ctx context.Context, c *principal.Caller, in *awsiam.TagInstanceProfileInput) (*awsiam.TagInstanceProfileOutput, error) {
	return done[awsiam.TagInstanceProfileOutput](s.tag(ctx, c, profileTags(c, in.InstanceProfileName), in.Tags))
}

// TagPolicy is tag for a policy that the account manages itself.
func (s *Service) TagPolicy(ctx context.Context, c *principal.Caller, in *awsiam.TagPolicyInput) (*awsiam.TagPolicyOutput, error) {
	return done[awsiam.TagPolicyOutput](s.tag(ctx, c, policyTags(c, "TagPolicy", in.PolicyArn), in.Tags))
}

// UntagUser is untag for a user.
func (s *Service) UntagUser(ctx context.Context, c *principal.Caller, in *awsiam.UntagUserInput) (*awsiam.UntagUserOutput, error) {
	return done[awsiam.UntagUserOutput](s.untag(ctx, c, userTags(c, in.UserName), in.TagKeys))
}

// UntagRole is untag for a role.
func (s *Service) UntagRole(ctx context.Context, c *principal.Caller, in *awsiam.UntagRoleInput) (*awsiam.UntagRoleOutput, error) {
	return done[awsiam.UntagRoleOutput](s.untag(ctx, c, roleTags(c, in.RoleName), in.TagKeys))
}

// UntagInstanceProfile is untag for an instance profile.
func (s *Service) UntagInstanceProfile(ctx context.Context, c *principal.Caller, in *awsiam.UntagInstanceProfileInput) (*awsiam.UntagInstanceProfileOutput, error) {
	return done[awsiam.UntagInstanceProfileOutput](s.untag(ctx, c, profileTags(c, in.InstanceProfileName), in.TagKeys))
}

// UntagPolicy is untag for a policy that the account manages itself.
func (s *Service) UntagPolicy(ctx context.Context, c *principal.Caller, in *awsiam.UntagPolicyInput) (*awsiam.UntagPolicyOutput, error) {
	return done[awsiam.UntagPolicyOutput](s.untag(ctx, c, policyTags(c, "UntagPolicy", in.PolicyArn), in.TagKeys))
}

// ListUserTags is tags of a user.
func (s *Service) ListUserTags(ctx context.Context, c *principal.Caller, in *awsiam.ListUserTagsInput) (*awsiam.ListUserTagsOutput, error) {
	found, next, err := s.tags(ctx, userTags(c, in.UserName), in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &awsiam.ListUserTagsOutput{Tags: found, IsTruncated: next != nil, Marker: next}, nil
}

// ListRoleTags is tags of a role.
func (s *Service) ListRoleTags(ctx context.Context, c *principal.Caller, in *awsiam.ListRoleTagsInput) (*awsiam.ListRoleTagsOutput, error) {
	found, next, err := s.tags(ctx, roleTags(c, in.RoleName), in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &awsiam.ListRoleTagsOutput{Tags: found, IsTruncated: next != nil, Marker: next}, nil
}

// ListInstanceProfileTags is tags of an instance profile.
func (s *Service) ListInstanceProfileTags(ctx context.Context, c *principal.Caller, in *awsiam.ListInstanceProfileTagsInput) (*awsiam.ListInstanceProfileTagsOutput, error) {
	found, next, err := s.tags(ctx, profileTags(c, in.InstanceProfileName), in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &awsiam.ListInstanceProfileTagsOutput{Tags: found, IsTruncated: next != nil, Marker: next}, nil
}

// ListPolicyTags is tags of a managed policy.
func (s *Service) ListPolicyTags(ctx context.Context, c *principal.Caller, in *awsiam.ListPolicyTagsInput) (*awsiam.ListPolicyTagsOutput, error) {
	find := policyTags(c, "", in.PolicyArn)
	if _, ok := managedPolicy(text(in.PolicyArn)); ok {
		find = func(*fsm.View) (tagged, error) { return tagged{}, nil }
	}
	found, next, err := s.tags(ctx, find, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &awsiam.ListPolicyTagsOutput{Tags: found, IsTruncated: next != nil, Marker: next}, nil
}
