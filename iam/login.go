package iam

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"golang.org/x/crypto/bcrypt"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

const maxPassword = 128 // characters, from the IAM API reference

// hashPassword is a password as a record may hold it: bcrypt, sealed. bcrypt reads 72 bytes at most and stops at a zero
// byte, so it is given a digest in base64.
func (s *Service) hashPassword(password, sealContext string) ([]byte, error) {
	hash, err := bcrypt.GenerateFromPassword(passwordDigest(password), bcrypt.DefaultCost)
	if err != nil {
		return nil, fmt.Errorf("hash a password: %w", err)
	}
	return s.cfg.Sealer.Seal(hash, sealContext)
}

func passwordDigest(password string) []byte {
	sum := sha256.Sum256([]byte(password))
	return []byte(base64.StdEncoding.EncodeToString(sum[:]))
}

// isPassword tells whether a sealed hash is of that password.
func (s *Service) isPassword(password string, sealed []byte, sealContext string) (bool, error) {
	hash, err := s.cfg.Sealer.Open(sealed, sealContext)
	if err != nil {
		return false, fmt.Errorf("open a password's hash: %w", err)
	}
	err = bcrypt.CompareHashAndPassword(hash, passwordDigest(password))
	if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, nil
	}
	return err == nil, err
}

// validPassword is the value of a parameter that must be a password. Messages never show it.
func validPassword(value *string, parameter string) (string, error) {
	if value == nil {
		return "", constraint("null", parameter, "Member must not be null")
	}
	password, err := required(value, parameter, maxPassword)
	if err != nil {
		return "", constraint("'***'", parameter, fmt.Sprintf("Member must have length from 1 to %d", maxPassword))
	}
	if strings.ContainsFunc(password, func(r rune) bool { return r > 0xff || r < ' ' && r != '\t' && r != '\n' && r != '\r' }) {
		return "", constraint("'***'", parameter, `Member must satisfy regular expression pattern: [\u0009\u000A\u000D\u0020-\u00FF]+`)
	}
	return password, nil
}

// loginOwner is the user that a login profile's operation is about: the one of that name or, without one, the caller.
func loginOwner(v *fsm.View, c *principal.Caller, name *string) (fsm.User, error) {
	if name == nil {
		if err := mustBeUser(c); err != nil {
			return fsm.User{}, err
		}
		name = &c.UserName
	}
	valid, err := requiredName(name, "userName", maxUserName)
	if err != nil {
		return fsm.User{}, err
	}
	return userIn(v, c, valid)
}

// CreateLoginProfile gives a user a password. Errors: EntityAlreadyExists, NoSuchEntity, PasswordPolicyViolation.
func (s *Service) CreateLoginProfile(ctx context.Context, c *principal.Caller, in *awsiam.CreateLoginProfileInput) (*awsiam.CreateLoginProfileOutput, error) {
	password, err := validPassword(in.Password, "password")
	if err != nil {
		return nil, err
	}
	p := fsm.LoginProfile{Created: s.cfg.Clock().Unix(), Changed: s.cfg.Clock().Unix(), ResetRequired: in.PasswordResetRequired}
	var name string
	err = s.decide(ctx, c, text(in.UserName), func(v *fsm.View) (fsm.Command, error) {
		user, err := loginOwner(v, c, in.UserName)
		if err != nil {
			return nil, err
		}
		if _, has := fsm.LoginProfileOf(v, user.Account, user.ID); has {
			return nil, fsm.Errorf(fsm.ErrExists, "login-profile/"+user.Name)
		}
		if err := conforms(password, fsm.SettingsOf(v, user.Account), user); err != nil {
			return nil, err
		}
		name, p.Account, p.User = user.Name, user.Account, user.ID
		if p.Hash, err = s.hashPassword(password, p.SealContext()); err != nil {
			return nil, err
		}
		return &fsm.PutLoginProfile{Profile: p, Make: true}, nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.CreateLoginProfileOutput{LoginProfile: loginOut(p, name)}, nil
}

func loginOut(p fsm.LoginProfile, name string) *types.LoginProfile {
	return &types.LoginProfile{UserName: aws.String(name), CreateDate: date(p.Created), PasswordResetRequired: p.ResetRequired}
}

// readLogin is a user and its login profile.
func readLogin(v *fsm.View, c *principal.Caller, name *string) (user fsm.User, p fsm.LoginProfile, err error) {
	if user, err = loginOwner(v, c, name); err != nil {
		return user, p, err
	}
	p, ok := fsm.LoginProfileOf(v, user.Account, user.ID)
	if !ok {
		return user, p, fsm.Errorf(fsm.ErrNotFound, "login-profile/"+user.Name)
	}
	return user, p, nil
}

// GetLoginProfile tells whether a user has a password, and since when. Errors: NoSuchEntity.
func (s *Service) GetLoginProfile(ctx context.Context, c *principal.Caller, in *awsiam.GetLoginProfileInput) (*awsiam.GetLoginProfileOutput, error) {
	var user fsm.User
	var p fsm.LoginProfile
	err := s.read(ctx, func(v *fsm.View) (err error) {
		user, p, err = readLogin(v, c, in.UserName)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.GetLoginProfileOutput{LoginProfile: loginOut(p, user.Name)}, nil
}

// UpdateLoginProfile gives a user another password, or says whether it must be changed. Errors: NoSuchEntity,
// PasswordPolicyViolation.
func (s *Service) UpdateLoginProfile(ctx context.Context, c *principal.Caller, in *awsiam.UpdateLoginProfileInput) (*awsiam.UpdateLoginProfileOutput, error) {
	if _, err := requiredName(in.UserName, "userName", maxUserName); err != nil {
		return nil, err
	}
	var password string
	if in.Password != nil {
		var err error
		if password, err = validPassword(in.Password, "password"); err != nil {
			return nil, err
		}
	}
	err := s.decide(ctx, c, *in.UserName, func(v *fsm.View) (fsm.Command, error) {
		user, p, err := readLogin(v, c, in.UserName)
		if err != nil {
			return nil, err
		}
		if in.PasswordResetRequired != nil {
			p.ResetRequired = *in.PasswordResetRequired
		}
		if in.Password != nil {
			if err := s.replacePassword(&p, password, fsm.SettingsOf(v, user.Account), user); err != nil {
				return nil, err
			}
		}
		return &fsm.PutLoginProfile{Profile: p}, nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.UpdateLoginProfileOutput{}, nil
}

// replacePassword puts a new password into a profile and the old one among the previous. Errors: PasswordPolicyViolation.
func (s *Service) replacePassword(p *fsm.LoginProfile, password string, settings fsm.AccountSettings, user fsm.User) error {
	if err := conforms(password, settings, user); err != nil {
		return err
	}
	if settings.Password != nil {
		last := append([][]byte{p.Hash}, p.Previous...)
		for _, hash := range last[:min(len(last), int(settings.Password.Reuse))] {
			same, err := s.isPassword(password, hash, p.SealContext())
			if err != nil {
				return err
			}
			if same {
				return policyViolation("Policy constraint violation with password reuse prevention during password change.")
			}
		}
	}
	hash, err := s.hashPassword(password, p.SealContext())
	if err != nil {
		return err
	}
	p.Previous = append([][]byte{p.Hash}, p.Previous...)
	p.Previous = p.Previous[:min(len(p.Previous), fsm.MaxPreviousPasswords)]
	p.Hash, p.Changed = hash, s.cfg.Clock().Unix()
	return nil
}

// DeleteLoginProfile takes a user's password. Errors: NoSuchEntity.
func (s *Service) DeleteLoginProfile(ctx context.Context, c *principal.Caller, in *awsiam.DeleteLoginProfileInput) (*awsiam.DeleteLoginProfileOutput, error) {
	err := s.decide(ctx, c, text(in.UserName), func(v *fsm.View) (fsm.Command, error) {
		user, _, err := readLogin(v, c, in.UserName)
		if err != nil {
			return nil, err
		}
		return &fsm.DeleteLoginProfile{Account: user.Account, User: user.ID}, nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.DeleteLoginProfileOutput{}, nil
}

// ChangePassword changes the caller's own password. Errors: InvalidUserType for all but users, AccessDenied when the old
// password is wrong or has expired for good, NoSuchEntity, PasswordPolicyViolation.
func (s *Service) ChangePassword(ctx context.Context, c *principal.Caller, in *awsiam.ChangePasswordInput) (*awsiam.ChangePasswordOutput, error) {
	before, err := validPassword(in.OldPassword, "oldPassword")
	if err != nil {
		return nil, err
	}
	after, err := validPassword(in.NewPassword, "newPassword")
	if err != nil {
		return nil, err
	}
	if c.Root || c.UserName == "" {
		return nil, protocol.Errorf(http.StatusBadRequest, "InvalidUserType", "Only IAM Users can change their own password.")
	}
	err = s.decide(ctx, c, c.UserName, func(v *fsm.View) (fsm.Command, error) {
		user, p, err := readLogin(v, c, &c.UserName)
		if err != nil {
			return nil, err
		}
		right, err := s.isPassword(before, p.Hash, p.SealContext())
		if err != nil {
			return nil, err
		}
		if !right {
			return nil, protocol.Errorf(http.StatusForbidden, "AccessDenied", "The old password was incorrect.")
		}
		settings := fsm.SettingsOf(v, user.Account)
		if hardExpired(p, settings.Password, s.cfg.Clock().Unix()) {
			return nil, protocol.Errorf(http.StatusForbidden, "AccessDenied", "The password has expired: an administrator must set a new one.")
		}
		p.ResetRequired = false
		if err := s.replacePassword(&p, after, settings, user); err != nil {
			return nil, err
		}
		return &fsm.PutLoginProfile{Profile: p}, nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.ChangePasswordOutput{}, nil
}
