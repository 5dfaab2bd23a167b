package fsm

import "strings"

// AccountSettings are what an account says of itself.
type AccountSettings struct {
	Meta
	Alias    string          `cbor:"1,keyasint,omitempty"` // one in the cluster
	Password *PasswordPolicy `cbor:"2,keyasint,omitempty"` // nil: AWS's default applies
}

// PasswordPolicy is what the passwords of an account's users must be.
type PasswordPolicy struct {
	MinLength   int32 `cbor:"1,keyasint,omitempty"`
	Symbols     bool  `cbor:"2,keyasint,omitempty"`
	Numbers     bool  `cbor:"3,keyasint,omitempty"`
	Uppercase   bool  `cbor:"4,keyasint,omitempty"`
	Lowercase   bool  `cbor:"5,keyasint,omitempty"`
	AllowChange bool  `cbor:"6,keyasint,omitempty"` // users may change their own without any permission
	MaxAge      int32 `cbor:"7,keyasint,omitempty"` // days; 0: passwords do not expire
	Reuse       int32 `cbor:"8,keyasint,omitempty"` // how many of the last passwords may not be used again
	HardExpiry  *bool `cbor:"9,keyasint,omitempty"` // users cannot change an expired password; nil: it was not said
}

var (
	accountSettings = Table[AccountID, AccountSettings]{Name: "iam-account-settings", Watch: watchSettings}
	accountAliases  = Table[string, aliasOwner]{Name: "iam-account-alias"}
)

// aliasOwner is a row of the lookup table from an alias to its account.
type aliasOwner struct {
	Account AccountID `cbor:"1,keyasint"`
}

// SettingsOf are an account's settings; without a record they are empty.
func SettingsOf(v *View, account AccountID) AccountSettings {
	s, _ := accountSettings.Get(v, account)
	return s
}

// AccountOfAlias is the account that has an alias.
func AccountOfAlias(v *View, alias string) (AccountID, bool) {
	owner, ok := accountAliases.Get(v, alias)
	return owner.Account, ok
}

// SetAccountAlias gives an account an alias in place of the one that it had, or takes it.
type SetAccountAlias struct {
	Account AccountID `cbor:"1,keyasint"`
	Alias   string    `cbor:"2,keyasint"`
	Take    bool      `cbor:"3,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *SetAccountAlias) Kind() Kind { return 246 }

// Check refuses an unknown account (ErrNotFound), an alias that any account has (ErrExists) and to take one that this
// account does not have (ErrNotFound).
func (c *SetAccountAlias) Check(v *View) error {
	resource := "account-alias/" + c.Alias
	if !ValidAlias(c.Alias) {
		return Errorf(ErrInvalid, resource)
	}
	if !accounts.Has(v, c.Account) {
		return Errorf(ErrNotFound, "account/"+string(c.Account))
	}
	owner, taken := AccountOfAlias(v, c.Alias)
	switch {
	case c.Take && owner != c.Account:
		return Errorf(ErrNotFound, resource)
	case !c.Take && taken:
		return Errorf(ErrExists, resource)
	}
	return nil
}

// ValidAlias tells whether an alias is 3 to 63 lower-case letters, digits and single hyphens, no hyphen at an end.
func ValidAlias(alias string) bool {
	return len(alias) >= 3 && len(alias) <= 63 && strings.Trim(alias, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" &&
		!strings.HasPrefix(alias, "-") && !strings.HasSuffix(alias, "-") && !strings.Contains(alias, "--")
}

// Record writes the alias.
func (c *SetAccountAlias) Record(w *Writer) {
	s := SettingsOf(&w.View, c.Account)
	if s.Alias != "" {
		accountAliases.Delete(w, s.Alias)
	}
	s.Alias = ""
	if !c.Take {
		s.Alias = c.Alias
		accountAliases.Put(w, c.Alias, aliasOwner{c.Account})
	}
	accountSettings.Put(w, c.Account, s)
}

// SetPasswordPolicy gives an account a password policy in place of the one that it had, or with nil takes it.
type SetPasswordPolicy struct {
	Account AccountID       `cbor:"1,keyasint"`
	Policy  *PasswordPolicy `cbor:"2,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *SetPasswordPolicy) Kind() Kind { return 247 }

// Check refuses an unknown account (ErrNotFound), lengths and numbers that are not AWS's (ErrInvalid), and to take a policy
// that is not there (ErrNotFound).
func (c *SetPasswordPolicy) Check(v *View) error {
	if !accounts.Has(v, c.Account) {
		return Errorf(ErrNotFound, "account/"+string(c.Account))
	}
	p := c.Policy
	if p == nil && SettingsOf(v, c.Account).Password == nil {
		return Errorf(ErrNotFound, "password-policy/"+string(c.Account))
	}
	if p != nil && (p.MinLength < 6 || p.MinLength > 128 || p.MaxAge < 0 || p.MaxAge > 1095 || p.Reuse < 0 || p.Reuse > MaxPreviousPasswords) {
		return Errorf(ErrInvalid, "password-policy/"+string(c.Account))
	}
	return nil
}

// Record writes the policy.
func (c *SetPasswordPolicy) Record(w *Writer) {
	s := SettingsOf(&w.View, c.Account)
	s.Password = c.Policy
	accountSettings.Put(w, c.Account, s)
}
