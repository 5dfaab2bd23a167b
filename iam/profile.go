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

// profileOut is an instance profile as lists show it, with its role.
func profileOut(v *fsm.View, p fsm.InstanceProfile) types.InstanceProfile {
	out := types.InstanceProfile{
		Arn: aws.String(p.ARN()), CreateDate: date(p.Created), Path: aws.String(p.Path),
		InstanceProfileId: aws.String(string(p.ID)), InstanceProfileName: aws.String(p.Name), Roles: []types.Role{},
	}
	if role, ok := fsm.RoleByID(v, p.Account, p.Role); ok {
		out.Roles = append(out.Roles, roleOut(role, role.TrustNow(v)))
	}
	return out
}

// profileIn is the instance profile of the caller's account that a request names.
func profileIn(v *fsm.View, c *principal.Caller, name *string) (fsm.InstanceProfile, error) {
	e, err := aProfile(name).in(v, c)
	if err != nil {
		return fsm.InstanceProfile{}, err
	}
	profile, _ := fsm.InstanceProfileByID(v, e.Account, e.ID)
	return profile, nil
}

// CreateInstanceProfile makes an instance profile without a role. Errors: EntityAlreadyExists, LimitExceeded,
// ValidationError, InvalidInput.
func (s *Service) CreateInstanceProfile(ctx context.Context, c *principal.Caller, in *awsiam.CreateInstanceProfileInput) (*awsiam.CreateInstanceProfileOutput, error) {
	name, err := aProfile(in.InstanceProfileName).valid()
	if err != nil {
		return nil, err
	}
	path, err := validPath(in.Path, "path")
	if err != nil {
		return nil, err
	}
	tags, err := inCase.valid(in.Tags)
	if err != nil {
		return nil, err
	}
	id, err := s.newID(fsm.ProfileEntity.Prefix(), entityIDLength)
	if err != nil {
		return nil, err
	}
	profile := fsm.InstanceProfile{
		Account: fsm.AccountID(c.Account), ID: fsm.EntityID(id), Name: name, Path: path, Created: s.cfg.Clock().Unix(), Tags: tags,
	}
	if err := s.propose(ctx, c, &fsm.CreateInstanceProfile{Profile: profile}, name); err != nil {
		return nil, err
	}
	out := types.InstanceProfile{
		Arn: aws.String(profile.ARN()), CreateDate: date(profile.Created), Path: aws.String(path),
		InstanceProfileId: aws.String(id), InstanceProfileName: aws.String(name), Roles: []types.Role{},
	}
	if len(tags) > 0 {
		out.Tags = tagsOut(tags)
	}
	return &awsiam.CreateInstanceProfileOutput{InstanceProfile: &out}, nil
}

// GetInstanceProfile is an instance profile with its role and tags.
func (s *Service) GetInstanceProfile(ctx context.Context, c *principal.Caller, in *awsiam.GetInstanceProfileInput) (*awsiam.GetInstanceProfileOutput, error) {
	out := &awsiam.GetInstanceProfileOutput{}
	err := s.read(ctx, func(v *fsm.View) error {
		profile, err := profileIn(v, c, in.InstanceProfileName)
		if err != nil {
			return err
		}
		shown := profileOut(v, profile)
		shown.Tags = tagsOut(profile.Tags)
		out.InstanceProfile = &shown
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListInstanceProfiles lists instance profiles in order of name. As in AWS the answers have no tags.
func (s *Service) ListInstanceProfiles(ctx context.Context, c *principal.Caller, in *awsiam.ListInstanceProfilesInput) (*awsiam.ListInstanceProfilesOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	prefix, err := validPrefix(in.PathPrefix)
	if err != nil {
		return nil, err
	}
	out := &awsiam.ListInstanceProfilesOutput{}
	err = s.read(ctx, func(v *fsm.View) error {
		out.InstanceProfiles, out.Marker = listed(p, func(start string, yield func(fsm.InstanceProfile) bool) {
			fsm.InstanceProfilesFrom(v, fsm.AccountID(c.Account), start, yield)
		}, byName[fsm.InstanceProfile], func(x fsm.InstanceProfile) (types.InstanceProfile, bool) {
			return profileOut(v, x), strings.HasPrefix(x.Path, prefix)
		})
		out.IsTruncated = out.Marker != nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListInstanceProfilesForRole lists the instance profiles that have a role, in order of id.
func (s *Service) ListInstanceProfilesForRole(ctx context.Context, c *principal.Caller, in *awsiam.ListInstanceProfilesForRoleInput) (*awsiam.ListInstanceProfilesForRoleOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &awsiam.ListInstanceProfilesForRoleOutput{}
	err = s.read(ctx, func(v *fsm.View) error {
		role, err := aRole(in.RoleName).in(v, c)
		if err != nil {
			return err
		}
		out.InstanceProfiles, out.Marker = listed(p, func(start string, yield func(fsm.InstanceProfile) bool) {
			fsm.InstanceProfilesOfRole(v, role.Account, role.ID, fsm.EntityID(start))(yield)
		}, byID[fsm.InstanceProfile], func(x fsm.InstanceProfile) (types.InstanceProfile, bool) { return profileOut(v, x), true })
		out.IsTruncated = out.Marker != nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteInstanceProfile removes an instance profile. Errors: NoSuchEntity; DeleteConflict while it has a role.
func (s *Service) DeleteInstanceProfile(ctx context.Context, c *principal.Caller, in *awsiam.DeleteInstanceProfileInput) (*awsiam.DeleteInstanceProfileOutput, error) {
	return done[awsiam.DeleteInstanceProfileOutput](s.decide(ctx, c, text(in.InstanceProfileName), func(v *fsm.View) (fsm.Command, error) {
		profile, err := aProfile(in.InstanceProfileName).in(v, c)
		return &fsm.DeleteInstanceProfile{Account: profile.Account, ID: profile.ID}, err
	}))
}

// AddRoleToInstanceProfile gives an instance profile its role. Errors: NoSuchEntity, UnmodifiableEntity, LimitExceeded when
// it has one.
func (s *Service) AddRoleToInstanceProfile(ctx context.Context, c *principal.Caller, in *awsiam.AddRoleToInstanceProfileInput) (*awsiam.AddRoleToInstanceProfileOutput, error) {
	return done[awsiam.AddRoleToInstanceProfileOutput](s.decide(ctx, c, text(in.InstanceProfileName), func(v *fsm.View) (fsm.Command, error) {
		profile, role, err := roleOfProfile(v, c, in.InstanceProfileName, in.RoleName)
		return &fsm.AddRoleToInstanceProfile{Account: profile.Account, Profile: profile.ID, Role: role.ID}, err
	}))
}

// roleOfProfile finds the instance profile and the role that a request names, in this order.
func roleOfProfile(v *fsm.View, c *principal.Caller, profile, role *string) (p fsm.InstanceProfile, r fsm.Entity, err error) {
	if p, err = profileIn(v, c, profile); err == nil {
		r, err = aRole(role).changeable(v, c)
	}
	return p, r, err
}

// RemoveRoleFromInstanceProfile takes its role from an instance profile. Errors: NoSuchEntity, UnmodifiableEntity.
func (s *Service) RemoveRoleFromInstanceProfile(ctx context.Context, c *principal.Caller, in *awsiam.RemoveRoleFromInstanceProfileInput) (*awsiam.RemoveRoleFromInstanceProfileOutput, error) {
	return done[awsiam.RemoveRoleFromInstanceProfileOutput](s.decide(ctx, c, text(in.InstanceProfileName), func(v *fsm.View) (fsm.Command, error) {
		profile, role, err := roleOfProfile(v, c, in.InstanceProfileName, in.RoleName)
		if err == nil && profile.Role != role.ID {
			err = fsm.Errorf(fsm.ErrNotFound, "profile-role/Role "+role.Name+" in Instance Profile "+profile.Name)
		}
		return &fsm.RemoveRoleFromInstanceProfile{Account: profile.Account, Profile: profile.ID, Role: role.ID}, err
	}))
}
