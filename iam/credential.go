package iam

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/fsm"
	"hive/iam/principal"
)

// validID is the value of a parameter that must be a credential's id: \w, from least characters on.
func validID(value *string, parameter string, least int) (string, error) {
	id, err := required(value, parameter, 128)
	if err != nil {
		return "", err
	}
	if len(id) < least {
		return "", constraint(quoted(id), parameter, fmt.Sprintf("Member must have length greater than or equal to %d", least))
	}
	if !wordPattern(id, least, 128) {
		return "", constraint(quoted(id), parameter, `Member must satisfy regular expression pattern: [\w]+`)
	}
	return id, nil
}

// validStatus is the value of a parameter that switches a credential on or off.
func validStatus(status types.StatusType) (inactive bool, err error) {
	if status != types.StatusTypeActive && status != types.StatusTypeInactive {
		return false, constraint(quoted(string(status)), "status", "Member must satisfy enum value set: [Active, Inactive]")
	}
	return status == types.StatusTypeInactive, nil
}

// credentialOf is a user, the one of that name or without one the caller, and its credential.
func credentialOf(v *fsm.View, c *principal.Caller, name *string, kind fsm.CredentialType, id string) (user fsm.User, cred fsm.UserCredential, err error) {
	if user, err = loginOwner(v, c, name); err != nil {
		return user, cred, err
	}
	cred, ok := fsm.CredentialOf(v, user.Account, user.ID, kind, id)
	if !ok {
		return user, cred, fsm.Errorf(fsm.ErrNotFound, string(kind)+"/"+id)
	}
	return user, cred, nil
}

// addCredential gives a user a credential.
func (s *Service) addCredential(ctx context.Context, c *principal.Caller, name *string, cred *fsm.UserCredential) (user fsm.User, err error) {
	cred.Created = s.cfg.Clock().Unix()
	err = s.decide(ctx, c, text(name), func(v *fsm.View) (fsm.Command, error) {
		if user, err = loginOwner(v, c, name); err != nil {
			return nil, err
		}
		cred.Account, cred.User = user.Account, user.ID
		return &fsm.CreateCredential{Credential: *cred}, nil
	})
	return user, err
}

// switchCredential switches a user's credential on or off.
func (s *Service) switchCredential(ctx context.Context, c *principal.Caller, name *string, kind fsm.CredentialType, id string, status types.StatusType) error {
	inactive, err := validStatus(status)
	if err != nil {
		return err
	}
	return s.decide(ctx, c, text(name), func(v *fsm.View) (fsm.Command, error) {
		user, _, err := credentialOf(v, c, name, kind, id)
		return &fsm.UpdateCredential{Account: user.Account, User: user.ID, Type: kind, ID: id, Inactive: inactive}, err
	})
}

// dropCredential takes a credential from a user.
func (s *Service) dropCredential(ctx context.Context, c *principal.Caller, name *string, kind fsm.CredentialType, id string) error {
	return s.decide(ctx, c, text(name), func(v *fsm.View) (fsm.Command, error) {
		user, _, err := credentialOf(v, c, name, kind, id)
		return &fsm.DeleteCredential{Account: user.Account, User: user.ID, Type: kind, ID: id}, err
	})
}

// listCredentials is a page of a user's credentials of a type, in order of id.
func (s *Service) listCredentials(ctx context.Context, c *principal.Caller, name *string, kind fsm.CredentialType, p page) (user fsm.User, creds []fsm.UserCredential, next *string, err error) {
	err = s.read(ctx, func(v *fsm.View) error {
		if user, err = loginOwner(v, c, name); err != nil {
			return err
		}
		creds = slices.DeleteFunc(fsm.CredentialsOf(v, user.Account, user.ID), func(have fsm.UserCredential) bool { return have.Type != kind })
		return nil
	})
	creds, next = cut(p, creds, func(have fsm.UserCredential) string { return have.ID })
	return user, creds, next, err
}
