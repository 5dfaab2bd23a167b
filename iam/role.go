package iam

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/policy"
	"hive/iam/principal"
)

// Limits of the inputs of roles.
const (
	maxRoleName    = 64
	minRoleSession = 3600 // seconds
	maxRoleSession = 43_200
	maxDescription = 1000 // characters, also of a managed policy
)

// roleOut is a role as all answers show it. trust is its trust policy as it reads now.
func roleOut(r fsm.Role, trust string) types.Role {
	return types.Role{
		Arn: aws.String(r.ARN()), CreateDate: date(r.Created), Path: aws.String(r.Path), RoleId: aws.String(string(r.ID)),
		RoleName: aws.String(r.Name), AssumeRolePolicyDocument: encodeDocument(trust),
	}
}

// roleListed is a role as lists show it.
func roleListed(v *fsm.View, r fsm.Role) types.Role {
	out := roleOut(r, r.TrustNow(v))
	out.MaxSessionDuration = aws.Int32(r.MaxSession)
	out.Description = optional(r.Description)
	return out
}

// optional is a text that answers leave out where it is empty.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// boundaryType is what AWS answers; the model's own enum has another word.
const boundaryType types.PermissionsBoundaryAttachmentType = "Policy"

func boundaryOut(arn string) *types.AttachedPermissionsBoundary {
	if arn == "" {
		return nil
	}
	return &types.AttachedPermissionsBoundary{PermissionsBoundaryArn: aws.String(arn), PermissionsBoundaryType: boundaryType}
}

// roleIn is the role of the caller's account that a request names.
func roleIn(v *fsm.View, c *principal.Caller, name *string) (fsm.Role, error) {
	e, err := aRole(name).in(v, c)
	if err != nil {
		return fsm.Role{}, err
	}
	role, _ := fsm.RoleByID(v, e.Account, e.ID)
	return role, nil
}

// checkPolicy refuses a document that would not be enforced as it stands.
func checkPolicy(doc string, kind policy.Kind) error {
	_, err := readPolicy(doc, kind)
	return err
}

func readPolicy(doc string, kind policy.Kind) (*policy.Document, error) {
	read, err := policy.Parse([]byte(doc), kind)
	if bad := (*policy.MalformedError)(nil); errors.As(err, &bad) {
		return nil, malformedPolicy(bad.Message)
	}
	return read, err
}

// trusted are the users and roles of this cluster's accounts that a trust policy names. It refuses a policy that would not be
// enforced as it stands, and one that names a user or role that its account does not have.
func trusted(v *fsm.View, doc string) (out []fsm.Trusted, err error) {
	read, err := readPolicy(doc, policy.Trust)
	if err != nil {
		return nil, err
	}
	for _, p := range read.Principals() {
		parts := strings.SplitN(p.Value, ":", 6)
		if p.Kind != "AWS" || len(parts) < 6 || parts[2] != "iam" || parts[5] == "root" {
			continue
		}
		if _, here := fsm.AccountOf(v, fsm.AccountID(parts[4])); !here {
			continue
		}
		e, ok := fsm.EntityByARN(v, p.Value)
		if !ok {
			return nil, malformedPolicy(`Invalid principal in policy: "AWS":"` + p.Value + `"`)
		}
		out = append(out, fsm.Trusted{ARN: p.Value, ID: e.ID})
	}
	return out, nil
}

func validDescription(value *string) (string, error) {
	if value == nil {
		return "", nil
	}
	if utf8.RuneCountInString(*value) > maxDescription {
		return "", constraint(quoted(*value), "description", fmt.Sprintf("Member must have length less than or equal to %d", maxDescription))
	}
	return *value, nil
}

func validSession(value *int32) (int32, error) {
	switch {
	case value == nil:
		return minRoleSession, nil
	case *value < minRoleSession:
		return 0, constraint(fmt.Sprintf("'%d'", *value), "maxSessionDuration", fmt.Sprintf("Member must have value greater than or equal to %d", minRoleSession))
	case *value > maxRoleSession:
		return 0, constraint(fmt.Sprintf("'%d'", *value), "maxSessionDuration", fmt.Sprintf("Member must have value less than or equal to %d", maxRoleSession))
	}
	return *value, nil
}

// CreateRole makes a role. Errors: EntityAlreadyExists, LimitExceeded, MalformedPolicyDocument, NoSuchEntity for the
// boundary, ValidationError, InvalidInput.
func (s *Service) CreateRole(ctx context.Context, c *principal.Caller, in *awsiam.CreateRoleInput) (*awsiam.CreateRoleOutput, error) {
	role, err := newRole(in)
	if err != nil {
		return nil, err
	}
	id, err := s.newID(fsm.RoleEntity.Prefix(), entityIDLength)
	if err != nil {
		return nil, err
	}
	role.Account, role.ID, role.Created = fsm.AccountID(c.Account), fsm.EntityID(id), s.cfg.Clock().Unix()
	err = s.decide(ctx, c, role.Name, func(v *fsm.View) (fsm.Command, error) {
		if role.Trusted, err = trusted(v, role.Trust); err != nil {
			return nil, err
		}
		role.Boundary, err = boundaryIn(v, c, in.PermissionsBoundary)
		return &fsm.CreateRole{Role: role}, err
	})
	if err != nil {
		return nil, err
	}
	out := roleOut(role, role.Trust)
	out.PermissionsBoundary = boundaryOut(role.Boundary)
	if len(role.Tags) > 0 {
		out.Tags = tagsOut(role.Tags)
	}
	return &awsiam.CreateRoleOutput{Role: &out}, nil
}

// newRole is the role that a request describes.
func newRole(in *awsiam.CreateRoleInput) (role fsm.Role, err error) {
	if role.Name, err = requiredName(in.RoleName, "roleName", maxRoleName); err != nil {
		return role, err
	}
	if role.Path, err = validPath(in.Path, "path"); err != nil {
		return role, err
	}
	if role.MaxSession, err = validSession(in.MaxSessionDuration); err != nil {
		return role, err
	}
	if role.Description, err = validDescription(in.Description); err != nil {
		return role, err
	}
	if role.Tags, err = anyCase.valid(in.Tags); err != nil {
		return role, err
	}
	role.Trust, err = required(in.AssumeRolePolicyDocument, "assumeRolePolicyDocument", maxDocument)
	return role, err
}

// GetRole is a role with all that it has but its policies.
func (s *Service) GetRole(ctx context.Context, c *principal.Caller, in *awsiam.GetRoleInput) (*awsiam.GetRoleOutput, error) {
	out := &awsiam.GetRoleOutput{}
	err := s.read(ctx, func(v *fsm.View) error {
		role, err := roleIn(v, c, in.RoleName)
		if err != nil {
			return err
		}
		shown := roleListed(v, role)
		shown.PermissionsBoundary = boundaryOut(role.Boundary)
		if len(role.Tags) > 0 {
			shown.Tags = tagsOut(role.Tags)
		}
		shown.RoleLastUsed = &types.RoleLastUsed{}
		if used, ok := fsm.RoleLastUsed(v, role.Account, role.ID); ok {
			shown.RoleLastUsed.LastUsedDate, shown.RoleLastUsed.Region = date(used.Time), optional(used.Region)
		}
		out.Role = &shown
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListRoles lists roles in order of name. As in AWS the answers have no tags and no boundaries.
func (s *Service) ListRoles(ctx context.Context, c *principal.Caller, in *awsiam.ListRolesInput) (*awsiam.ListRolesOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	prefix, err := validPrefix(in.PathPrefix)
	if err != nil {
		return nil, err
	}
	out := &awsiam.ListRolesOutput{}
	err = s.read(ctx, func(v *fsm.View) error {
		out.Roles, out.Marker = listed(p, func(start string, yield func(fsm.Role) bool) {
			fsm.RolesFrom(v, fsm.AccountID(c.Account), start, yield)
		}, byName[fsm.Role], func(r fsm.Role) (types.Role, bool) {
			return roleListed(v, r), strings.HasPrefix(r.Path, prefix)
		})
		out.IsTruncated = out.Marker != nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// changeRole alters a role of the caller's account.
func (s *Service) changeRole(ctx context.Context, c *principal.Caller, name *string, alter func(*fsm.View, *fsm.Role) error) error {
	return s.decide(ctx, c, text(name), func(v *fsm.View) (fsm.Command, error) {
		role, err := roleIn(v, c, name)
		if err == nil {
			err = alter(v, &role)
		}
		return &fsm.UpdateRole{Role: role}, err
	})
}

// UpdateRole changes a role's description and its longest session. What is not given stays.
func (s *Service) UpdateRole(ctx context.Context, c *principal.Caller, in *awsiam.UpdateRoleInput) (*awsiam.UpdateRoleOutput, error) {
	return done[awsiam.UpdateRoleOutput](s.changeRole(ctx, c, in.RoleName, func(_ *fsm.View, r *fsm.Role) (err error) {
		if in.MaxSessionDuration != nil {
			if err = own(*r); err != nil {
				return err
			}
			if r.MaxSession, err = validSession(in.MaxSessionDuration); err != nil {
				return err
			}
		}
		if in.Description != nil {
			r.Description, err = validDescription(in.Description)
		}
		return err
	}))
}

// UpdateRoleDescription changes a role's description.
func (s *Service) UpdateRoleDescription(ctx context.Context, c *principal.Caller, in *awsiam.UpdateRoleDescriptionInput) (*awsiam.UpdateRoleDescriptionOutput, error) {
	if in.Description == nil {
		return nil, constraint("null", "description", "Member must not be null")
	}
	var out types.Role
	err := s.changeRole(ctx, c, in.RoleName, func(v *fsm.View, r *fsm.Role) (err error) {
		r.Description, err = validDescription(in.Description)
		out = roleOut(*r, r.TrustNow(v))
		return err
	})
	if err != nil {
		return nil, err
	}
	out.Description = in.Description
	return &awsiam.UpdateRoleDescriptionOutput{Role: &out}, nil
}

// UpdateAssumeRolePolicy replaces a role's trust policy. Errors: MalformedPolicyDocument, LimitExceeded, NoSuchEntity,
// UnmodifiableEntity.
func (s *Service) UpdateAssumeRolePolicy(ctx context.Context, c *principal.Caller, in *awsiam.UpdateAssumeRolePolicyInput) (*awsiam.UpdateAssumeRolePolicyOutput, error) {
	doc, err := required(in.PolicyDocument, "policyDocument", maxDocument)
	if err != nil {
		return nil, err
	}
	return done[awsiam.UpdateAssumeRolePolicyOutput](s.changeRole(ctx, c, in.RoleName, func(v *fsm.View, r *fsm.Role) error {
		if err := own(*r); err != nil {
			return err
		}
		r.Trust = doc
		r.Trusted, err = trusted(v, doc)
		return err
	}))
}

// DeleteRole removes a role. Errors: NoSuchEntity, UnmodifiableEntity; DeleteConflict while it is in an instance profile or
// has policies.
func (s *Service) DeleteRole(ctx context.Context, c *principal.Caller, in *awsiam.DeleteRoleInput) (*awsiam.DeleteRoleOutput, error) {
	return done[awsiam.DeleteRoleOutput](s.decide(ctx, c, text(in.RoleName), func(v *fsm.View) (fsm.Command, error) {
		role, err := aRole(in.RoleName).changeable(v, c)
		return &fsm.DeleteRole{Account: role.Account, ID: role.ID}, err
	}))
}
