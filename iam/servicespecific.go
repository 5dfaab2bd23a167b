package iam

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

const (
	minCredentialID   = 20
	maxCredentialDays = 36_600
)

// passwordServices are the services that take a user name and a password of their own. Their credentials are kept and
// shown; the services are not Hive's.
func passwordServices() []string {
	return []string{"cassandra.amazonaws.com", "codecommit.amazonaws.com"}
}

func passwordService(name *string) (string, error) {
	service, err := required(name, "serviceName", 128)
	if err != nil {
		return "", err
	}
	if !slices.Contains(passwordServices(), service) {
		return "", protocol.Errorf(http.StatusNotFound, "NotSupportedService", "No such service %s is supported for Service Specific Credentials", service)
	}
	return service, nil
}

// CreateServiceSpecificCredential gives a user a name and a password at a service. The password is in this answer only.
// Errors: NotSupportedService, LimitExceeded, NoSuchEntity.
func (s *Service) CreateServiceSpecificCredential(ctx context.Context, c *principal.Caller, in *awsiam.CreateServiceSpecificCredentialInput) (*awsiam.CreateServiceSpecificCredentialOutput, error) {
	if _, err := requiredName(in.UserName, "userName", maxNewUserName); err != nil {
		return nil, err
	}
	service, err := passwordService(in.ServiceName)
	if err != nil {
		return nil, err
	}
	k := fsm.UserCredential{Type: fsm.ServiceSpecific, Body: service, Created: s.cfg.Clock().Unix()}
	if days := in.CredentialAgeDays; days != nil {
		if *days < 1 || *days > maxCredentialDays {
			return nil, constraint(fmt.Sprintf("'%d'", *days), "credentialAgeDays", "Member must have value from 1 to 36600")
		}
		k.Expires = k.Created + int64(*days)*secondsPerDay
	}
	if k.ID, err = s.newID("ACCA", entityIDLength); err != nil {
		return nil, err
	}
	password, err := s.newSecret()
	if err != nil {
		return nil, err
	}
	if k.Secret, err = s.cfg.Sealer.Seal([]byte(password), k.SealContext()); err != nil {
		return nil, err
	}
	var user fsm.User
	err = s.decide(ctx, c, *in.UserName, func(v *fsm.View) (fsm.Command, error) {
		if user, err = loginOwner(v, c, in.UserName); err != nil {
			return nil, err
		}
		k.Account, k.User = user.Account, user.ID
		k.Name = serviceUserName(v, user, service)
		return &fsm.CreateCredential{Credential: k}, nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.CreateServiceSpecificCredentialOutput{ServiceSpecificCredential: passwordOut(user.Name, k, password)}, nil
}

// serviceUserName is NAME-at-ACCOUNT, or with +1 and so on where the user has that at the service already.
func serviceUserName(v *fsm.View, user fsm.User, service string) string {
	have := fsm.CredentialsOf(v, user.Account, user.ID)
	for n := 0; ; n++ {
		suffix := ""
		if n > 0 {
			suffix = fmt.Sprintf("+%d", n)
		}
		name := user.Name + suffix + "-at-" + string(user.Account)
		taken := func(k fsm.UserCredential) bool {
			return k.Type == fsm.ServiceSpecific && k.Body == service && k.Name == name
		}
		if !slices.ContainsFunc(have, taken) {
			return name
		}
	}
}

func passwordOut(user string, k fsm.UserCredential, password string) *types.ServiceSpecificCredential {
	out := &types.ServiceSpecificCredential{
		UserName: aws.String(user), ServiceName: aws.String(k.Body), ServiceSpecificCredentialId: aws.String(k.ID), ServiceUserName: aws.String(k.Name),
		ServicePassword: aws.String(password), Status: status(k.Inactive), CreateDate: date(k.Created),
	}
	if k.Expires != 0 {
		out.ExpirationDate = date(k.Expires)
	}
	return out
}

// ListServiceSpecificCredentials lists the credentials of a user, of the caller, or with AllUsers of all users of the
// account, without passwords. Errors: NoSuchEntity, NotSupportedService.
func (s *Service) ListServiceSpecificCredentials(ctx context.Context, c *principal.Caller, in *awsiam.ListServiceSpecificCredentialsInput) (*awsiam.ListServiceSpecificCredentialsOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	if in.ServiceName != nil {
		if _, err := passwordService(in.ServiceName); err != nil {
			return nil, err
		}
	}
	found := []types.ServiceSpecificCredentialMetadata{}
	err = s.read(ctx, func(v *fsm.View) error {
		users, err := whose(v, c, in)
		for _, user := range users {
			for _, k := range fsm.CredentialsOf(v, user.Account, user.ID) {
				if k.Type == fsm.ServiceSpecific && (in.ServiceName == nil || *in.ServiceName == k.Body) {
					found = append(found, passwordListed(user.Name, k))
				}
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	key := func(m types.ServiceSpecificCredentialMetadata) string { return *m.ServiceSpecificCredentialId }
	slices.SortFunc(found, func(a, b types.ServiceSpecificCredentialMetadata) int { return strings.Compare(key(a), key(b)) })
	found, next := cut(p, found, key)
	return &awsiam.ListServiceSpecificCredentialsOutput{ServiceSpecificCredentials: found, IsTruncated: next != nil, Marker: next}, nil
}

// whose are the users whose credentials a listing asks for.
func whose(v *fsm.View, c *principal.Caller, in *awsiam.ListServiceSpecificCredentialsInput) (users []fsm.User, err error) {
	if aws.ToBool(in.AllUsers) {
		if in.UserName != nil {
			return nil, invalidInput("UserName and AllUsers cannot be given together.")
		}
		fsm.UsersFrom(v, fsm.AccountID(c.Account), "", func(u fsm.User) bool {
			users = append(users, u)
			return true
		})
		return users, nil
	}
	user, err := loginOwner(v, c, in.UserName)
	return []fsm.User{user}, err
}

func passwordListed(user string, k fsm.UserCredential) types.ServiceSpecificCredentialMetadata {
	shown := passwordOut(user, k, "")
	return types.ServiceSpecificCredentialMetadata{
		UserName: shown.UserName, ServiceName: shown.ServiceName, ServiceSpecificCredentialId: shown.ServiceSpecificCredentialId,
		ServiceUserName: shown.ServiceUserName, Status: shown.Status, CreateDate: shown.CreateDate, ExpirationDate: shown.ExpirationDate,
	}
}

// ResetServiceSpecificCredential gives a credential a new password, which is in this answer only. Errors: NoSuchEntity.
func (s *Service) ResetServiceSpecificCredential(ctx context.Context, c *principal.Caller, in *awsiam.ResetServiceSpecificCredentialInput) (*awsiam.ResetServiceSpecificCredentialOutput, error) {
	id, err := validID(in.ServiceSpecificCredentialId, "serviceSpecificCredentialId", minCredentialID)
	if err != nil {
		return nil, err
	}
	password, err := s.newSecret()
	if err != nil {
		return nil, err
	}
	var user fsm.User
	var k fsm.UserCredential
	err = s.decide(ctx, c, text(in.UserName), func(v *fsm.View) (fsm.Command, error) {
		if user, k, err = credentialOf(v, c, in.UserName, fsm.ServiceSpecific, id); err != nil {
			return nil, err
		}
		secret, err := s.cfg.Sealer.Seal([]byte(password), k.SealContext())
		return &fsm.UpdateCredential{Account: user.Account, User: user.ID, Type: fsm.ServiceSpecific, ID: id, Secret: secret}, err
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.ResetServiceSpecificCredentialOutput{ServiceSpecificCredential: passwordOut(user.Name, k, password)}, nil
}

// UpdateServiceSpecificCredential switches a credential on or off. Errors: NoSuchEntity.
func (s *Service) UpdateServiceSpecificCredential(ctx context.Context, c *principal.Caller, in *awsiam.UpdateServiceSpecificCredentialInput) (*awsiam.UpdateServiceSpecificCredentialOutput, error) {
	id, err := validID(in.ServiceSpecificCredentialId, "serviceSpecificCredentialId", minCredentialID)
	if err != nil {
		return nil, err
	}
	return done[awsiam.UpdateServiceSpecificCredentialOutput](s.switchCredential(ctx, c, in.UserName, fsm.ServiceSpecific, id, in.Status))
}

// DeleteServiceSpecificCredential takes a credential from a user. Errors: NoSuchEntity.
func (s *Service) DeleteServiceSpecificCredential(ctx context.Context, c *principal.Caller, in *awsiam.DeleteServiceSpecificCredentialInput) (*awsiam.DeleteServiceSpecificCredentialOutput, error) {
	id, err := validID(in.ServiceSpecificCredentialId, "serviceSpecificCredentialId", minCredentialID)
	if err != nil {
		return nil, err
	}
	return done[awsiam.DeleteServiceSpecificCredentialOutput](s.dropCredential(ctx, c, in.UserName, fsm.ServiceSpecific, id))
}
