package iam

import (
	"context"

	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"

	"hive/fsm"
	"hive/iam/principal"
)

// boundaryIn is the ARN of the policy that a request names as a boundary, "" for none.
func boundaryIn(v *fsm.View, c *principal.Caller, arn *string) (string, error) {
	if arn == nil {
		return "", nil
	}
	name, err := validARNOf(arn, "permissionsBoundary")
	if err != nil {
		return "", err
	}
	return name, usable(v, c, name, "boundary")
}

// neededBoundary is boundaryIn where a request must name one.
func neededBoundary(v *fsm.View, c *principal.Caller, arn *string) (string, error) {
	if arn == nil {
		return "", constraint("null", "permissionsBoundary", "Member must not be null")
	}
	return boundaryIn(v, c, arn)
}

// PutUserPermissionsBoundary makes a managed policy a user's boundary. Errors: NoSuchEntity, PolicyNotAttachable,
// ValidationError.
func (s *Service) PutUserPermissionsBoundary(ctx context.Context, c *principal.Caller, in *awsiam.PutUserPermissionsBoundaryInput) (*awsiam.PutUserPermissionsBoundaryOutput, error) {
	return done[awsiam.PutUserPermissionsBoundaryOutput](s.changeUser(ctx, c, in.UserName, func(v *fsm.View, u *fsm.User) (err error) {
		u.Boundary, err = neededBoundary(v, c, in.PermissionsBoundary)
		return err
	}))
}

// DeleteUserPermissionsBoundary takes its boundary from a user.
func (s *Service) DeleteUserPermissionsBoundary(ctx context.Context, c *principal.Caller, in *awsiam.DeleteUserPermissionsBoundaryInput) (*awsiam.DeleteUserPermissionsBoundaryOutput, error) {
	return done[awsiam.DeleteUserPermissionsBoundaryOutput](s.changeUser(ctx, c, in.UserName, func(_ *fsm.View, u *fsm.User) error {
		u.Boundary = ""
		return nil
	}))
}

// PutRolePermissionsBoundary makes a managed policy a role's boundary. Errors: NoSuchEntity, PolicyNotAttachable,
// UnmodifiableEntity, ValidationError.
func (s *Service) PutRolePermissionsBoundary(ctx context.Context, c *principal.Caller, in *awsiam.PutRolePermissionsBoundaryInput) (*awsiam.PutRolePermissionsBoundaryOutput, error) {
	return done[awsiam.PutRolePermissionsBoundaryOutput](s.changeRole(ctx, c, in.RoleName, func(v *fsm.View, r *fsm.Role) (err error) {
		if err = own(*r); err == nil {
			r.Boundary, err = neededBoundary(v, c, in.PermissionsBoundary)
		}
		return err
	}))
}

// DeleteRolePermissionsBoundary takes its boundary from a role. Errors: NoSuchEntity, UnmodifiableEntity.
func (s *Service) DeleteRolePermissionsBoundary(ctx context.Context, c *principal.Caller, in *awsiam.DeleteRolePermissionsBoundaryInput) (*awsiam.DeleteRolePermissionsBoundaryOutput, error) {
	return done[awsiam.DeleteRolePermissionsBoundaryOutput](s.changeRole(ctx, c, in.RoleName, func(_ *fsm.View, r *fsm.Role) error {
		r.Boundary = ""
		return own(*r)
	}))
}
