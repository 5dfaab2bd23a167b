package iam

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

const secondsPerDay = 24 * 60 * 60

// Characters that count as symbols, from "Set an account password policy for IAM users".
const passwordSymbols = `!@#$%^&*()_+-=[]{}|'`

const (
	upperLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lowerLetters = "abcdefghijklmnopqrstuvwxyz"
	digits       = "0123456789"
)

// Lengths of passwords from the IAM API reference and the user guide.
const (
	minMinLength, maxMinLength = 6, 128
	maxPasswordAge             = 1095
	defaultMinLength           = 6 // of a policy that does not say
	lengthWithoutPolicy        = 8
)

func policyViolation(format string, args ...any) error {
	return protocol.Errorf(http.StatusBadRequest, "PasswordPolicyViolation", format, args...)
}

// conforms refuses a password that the account's policy does not allow or, without one, AWS's default policy: 8 characters,
// three of the four kinds of character, and neither the account's nor the user's name.
func conforms(password string, settings fsm.AccountSettings, user fsm.User) error {
	p := settings.Password
	if p == nil {
		return conformsToDefault(password, settings, user)
	}
	if utf8.RuneCountInString(password) < int(p.MinLength) {
		return policyViolation("Password should have a minimum length of %d", p.MinLength)
	}
	for _, rule := range []struct {
		on         bool
		from, name string
	}{
		{p.Uppercase, upperLetters, "uppercase letter"}, {p.Lowercase, lowerLetters, "lowercase letter"},
		{p.Numbers, digits, "number"}, {p.Symbols, passwordSymbols, "symbol"},
	} {
		if rule.on && !strings.ContainsAny(password, rule.from) {
			return policyViolation("Password should have at least one %s", rule.name)
		}
	}
	return nil
}

func conformsToDefault(password string, settings fsm.AccountSettings, user fsm.User) error {
	kinds := 0
	for _, from := range []string{upperLetters, lowerLetters, digits, passwordSymbols} {
		if strings.ContainsAny(password, from) {
			kinds++
		}
	}
	name := strings.EqualFold(password, user.Name) || password == string(user.Account) || settings.Alias != "" && strings.EqualFold(password, settings.Alias)
	if utf8.RuneCountInString(password) < lengthWithoutPolicy || kinds < 3 || name {
		return policyViolation("Password does not conform to the account password policy.")
	}
	return nil
}

// passwordExpires is when a password expires, in Unix seconds; 0: never.
func passwordExpires(p fsm.LoginProfile, policy *fsm.PasswordPolicy) int64 {
	if policy == nil || policy.MaxAge == 0 {
		return 0
	}
	return p.Changed + int64(policy.MaxAge)*secondsPerDay
}

// hardExpired tells whether a user may no longer change its password itself.
func hardExpired(p fsm.LoginProfile, policy *fsm.PasswordPolicy, now int64) bool {
	expires := passwordExpires(p, policy)
	return expires != 0 && now >= expires && aws.ToBool(policy.HardExpiry)
}

// UpdateAccountPasswordPolicy sets the account's password policy. What the request leaves out goes back to its default, as
// in AWS. Errors: ValidationError.
func (s *Service) UpdateAccountPasswordPolicy(ctx context.Context, c *principal.Caller, in *awsiam.UpdateAccountPasswordPolicyInput) (*awsiam.UpdateAccountPasswordPolicyOutput, error) {
	for _, n := range []struct {
		value       *int32
		name        string
		least, most int32
	}{
		{in.MinimumPasswordLength, "minimumPasswordLength", minMinLength, maxMinLength},
		{in.MaxPasswordAge, "maxPasswordAge", 1, maxPasswordAge},
		{in.PasswordReusePrevention, "passwordReusePrevention", 1, fsm.MaxPreviousPasswords},
	} {
		if n.value != nil && *n.value < n.least {
			return nil, constraint(fmt.Sprintf("'%d'", *n.value), n.name, fmt.Sprintf("Member must have value greater than or equal to %d", n.least))
		}
		if n.value != nil && *n.value > n.most {
			return nil, constraint(fmt.Sprintf("'%d'", *n.value), n.name, fmt.Sprintf("Member must have value less than or equal to %d", n.most))
		}
	}
	p := &fsm.PasswordPolicy{
		MinLength: defaultMinLength, Symbols: in.RequireSymbols, Numbers: in.RequireNumbers, Uppercase: in.RequireUppercaseCharacters,
		Lowercase: in.RequireLowercaseCharacters, AllowChange: in.AllowUsersToChangePassword, MaxAge: aws.ToInt32(in.MaxPasswordAge),
		Reuse: aws.ToInt32(in.PasswordReusePrevention), HardExpiry: in.HardExpiry,
	}
	if in.MinimumPasswordLength != nil {
		p.MinLength = *in.MinimumPasswordLength
	}
	if err := s.propose(ctx, c, &fsm.SetPasswordPolicy{Account: fsm.AccountID(c.Account), Policy: p}, ""); err != nil {
		return nil, err
	}
	return &awsiam.UpdateAccountPasswordPolicyOutput{}, nil
}

// GetAccountPasswordPolicy is the account's own password policy. Errors: NoSuchEntity while it has none.
func (s *Service) GetAccountPasswordPolicy(ctx context.Context, c *principal.Caller, _ *awsiam.GetAccountPasswordPolicyInput) (*awsiam.GetAccountPasswordPolicyOutput, error) {
	var p *fsm.PasswordPolicy
	err := s.read(ctx, func(v *fsm.View) error {
		if p = fsm.SettingsOf(v, fsm.AccountID(c.Account)).Password; p == nil {
			return fsm.Errorf(fsm.ErrNotFound, "password-policy/"+c.Account)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &awsiam.GetAccountPasswordPolicyOutput{PasswordPolicy: &types.PasswordPolicy{
		MinimumPasswordLength: aws.Int32(p.MinLength), RequireSymbols: p.Symbols, RequireNumbers: p.Numbers,
		RequireUppercaseCharacters: p.Uppercase, RequireLowercaseCharacters: p.Lowercase, AllowUsersToChangePassword: p.AllowChange,
		ExpirePasswords: p.MaxAge > 0, MaxPasswordAge: positive(p.MaxAge), PasswordReusePrevention: positive(p.Reuse), HardExpiry: p.HardExpiry,
	}}, nil
}

// positive is a number that answers leave out where it is 0.
func positive(n int32) *int32 {
	if n == 0 {
		return nil
	}
	return &n
}

// DeleteAccountPasswordPolicy takes the account's password policy, so that AWS's default applies. Errors: NoSuchEntity.
func (s *Service) DeleteAccountPasswordPolicy(ctx context.Context, c *principal.Caller, _ *awsiam.DeleteAccountPasswordPolicyInput) (*awsiam.DeleteAccountPasswordPolicyOutput, error) {
	if err := s.propose(ctx, c, &fsm.SetPasswordPolicy{Account: fsm.AccountID(c.Account)}, ""); err != nil {
		if refused := (*protocol.Error)(nil); errors.As(err, &refused) && refused.Status == http.StatusNotFound {
			return nil, protocol.Errorf(refused.Status, refused.Code, "The account policy with name PasswordPolicy cannot be found.")
		}
		return nil, err
	}
	return &awsiam.DeleteAccountPasswordPolicyOutput{}, nil
}
