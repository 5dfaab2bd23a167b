package iam

import (
	"context"

	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"

	"hive/fsm"
	"hive/iam/principal"
)

// validAlias is the value of a parameter that must be an account's alias.
func validAlias(value *string) (string, error) {
	alias, err := required(value, "accountAlias", 63)
	if err != nil {
		return "", err
	}
	if !fsm.ValidAlias(alias) {
		return "", constraint(quoted(alias), "accountAlias", "Member must satisfy regular expression pattern: ^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$")
	}
	return alias, nil
}

// CreateAccountAlias gives the account an alias in place of the one it had. Errors: EntityAlreadyExists when any account
// has it.
func (s *Service) CreateAccountAlias(ctx context.Context, c *principal.Caller, in *awsiam.CreateAccountAliasInput) (*awsiam.CreateAccountAliasOutput, error) {
	alias, err := validAlias(in.AccountAlias)
	if err != nil {
		return nil, err
	}
	if err := s.propose(ctx, c, &fsm.SetAccountAlias{Account: fsm.AccountID(c.Account), Alias: alias}, ""); err != nil {
		return nil, err
	}
	return &awsiam.CreateAccountAliasOutput{}, nil
}

// DeleteAccountAlias takes the account's alias. Errors: NoSuchEntity for one that it does not have.
func (s *Service) DeleteAccountAlias(ctx context.Context, c *principal.Caller, in *awsiam.DeleteAccountAliasInput) (*awsiam.DeleteAccountAliasOutput, error) {
	alias, err := validAlias(in.AccountAlias)
	if err != nil {
		return nil, err
	}
	if err := s.propose(ctx, c, &fsm.SetAccountAlias{Account: fsm.AccountID(c.Account), Alias: alias, Take: true}, ""); err != nil {
		return nil, err
	}
	return &awsiam.DeleteAccountAliasOutput{}, nil
}

// ListAccountAliases lists the account's alias, if it has one.
func (s *Service) ListAccountAliases(ctx context.Context, c *principal.Caller, in *awsiam.ListAccountAliasesInput) (*awsiam.ListAccountAliasesOutput, error) {
	p, err := newPage(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	aliases := []string{}
	err = s.read(ctx, func(v *fsm.View) error {
		if alias := fsm.SettingsOf(v, fsm.AccountID(c.Account)).Alias; alias != "" {
			aliases = append(aliases, alias)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	aliases, next := cut(p, aliases, func(a string) string { return a })
	return &awsiam.ListAccountAliasesOutput{AccountAliases: aliases, IsTruncated: next != nil, Marker: next}, nil
}
