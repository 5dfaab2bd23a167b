package fsm

import "strings"

// EntityID names an IAM entity for ever: a prefix that tells its kind and 17 characters. A renamed entity keeps it, and
// what hangs on an entity hangs on its id.
//
//	AIDA user   AGPA group   AROA role   AIPA instance profile   ANPA managed policy
type EntityID string

// AccessKeyID names an access key, unique in the cluster: "AKIA" and 16 characters, or what an operator
// chose.
type AccessKeyID string

// Limits of IAM, as in AWS ("IAM and AWS STS quotas").
const (
	MaxUsersPerAccount      = 5000
	MaxAccessKeysPerOwner   = 2
	MaxAttachedUserPolicies = 10
	MaxInlineUserPolicyText = 2048 // characters of all inline policies of a user, white space not counted
	maxIAMName              = 128  // bytes of any name; AWS's own limits are the handlers'
	maxIAMPath              = 512
)

// Account is an AWS account.
type Account struct {
	Meta
	ID      AccountID `cbor:"1,keyasint"`
	Name    string    `cbor:"2,keyasint,omitempty"`
	Created int64     `cbor:"3,keyasint"`           // Unix seconds
	Users   int       `cbor:"4,keyasint,omitempty"` // how many it has
}

var accounts = Table[AccountID, Account]{Name: "account"}

// AccountOf is an account's record, and whether there is one.
func AccountOf(v *View, id AccountID) (Account, bool) { return accounts.Get(v, id) }

// Accounts are the accounts from start on, in order of id.
func Accounts(v *View, start AccountID) []Account {
	var out []Account
	for _, a := range accounts.From(v, start) {
		out = append(out, a)
	}
	return out
}

var iamKinds = []KindEntry{
	{200, Control, func() Command { return new(CreateAccount) }},
	{201, Control, func() Command { return new(CreateUser) }},
	{202, Control, func() Command { return new(UpdateUser) }},
	{203, Control, func() Command { return new(DeleteUser) }},
	{204, Control, func() Command { return new(CreateAccessKey) }},
	{205, Control, func() Command { return new(UpdateAccessKey) }},
	{206, Control, func() Command { return new(DeleteAccessKey) }},
	{207, Control, func() Command { return new(PutUserPolicy) }},
	{208, Control, func() Command { return new(DeleteUserPolicy) }},
	{209, Control, func() Command { return new(AttachUserPolicy) }},
	{210, Control, func() Command { return new(DetachUserPolicy) }},
}

// CreateAccount makes an account together with the access keys of its root user, so that there is
// never an account that nobody can enter.
type CreateAccount struct {
	Account  Account     `cbor:"1,keyasint"`
	RootKeys []AccessKey `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *CreateAccount) Kind() Kind { return 200 }

// Check refuses an id that is not 12 digits (ErrInvalid), an account or key that exists (ErrExists) and
// keys that are not the root user's (ErrInvalid) or too many (ErrLimit).
func (c *CreateAccount) Check(v *View) error {
	id := c.Account.ID
	if !id.Valid() {
		return Errorf(ErrInvalid, "account/"+string(id))
	}
	if accounts.Has(v, id) {
		return Errorf(ErrExists, "account/"+string(id))
	}
	if len(c.RootKeys) > MaxAccessKeysPerOwner {
		return errKeyQuota()
	}
	for i, key := range c.RootKeys {
		if key.Account != id || !key.Root() || !key.valid() || i > 0 && key.ID == c.RootKeys[0].ID {
			return Errorf(ErrInvalid, "access-key/"+string(key.ID))
		}
		if accessKeyOwners.Has(v, key.ID) {
			return Errorf(ErrExists, "access-key/"+string(key.ID))
		}
	}
	return nil
}

// Record writes the account and its keys.
func (c *CreateAccount) Record(w *Writer) {
	c.Account.Users = 0
	accounts.Put(w, c.Account.ID, c.Account)
	for _, key := range c.RootKeys {
		putAccessKey(w, key)
	}
}

// Valid tells whether the id is 12 digits.
func (id AccountID) Valid() bool {
	return len(id) == 12 && strings.Trim(string(id), "0123456789") == ""
}

// validIAM tells whether a name can stand in a key: printable ASCII, so that lower case means the same
// in every version. AWS's finer rules are the handlers'; this one keeps the tables sound whatever a
// proposer sends.
func validIAM(name string, longest int) bool {
	return name != "" && len(name) <= longest && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' })
}
