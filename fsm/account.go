package fsm

import (
	"iter"
	"strconv"
	"strings"
)

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
	MaxUsersPerAccount    = 5000
	MaxAccessKeysPerOwner = 2
	MaxGroupsPerUser      = 10
	MaxAttachedPolicies   = 10
	MaxPolicyVersions     = 5
	// Characters of all inline policies of an entity or of a document, white space not counted.
	MaxInlineUserPolicyText  = 2048
	MaxInlineGroupPolicyText = 5120
	MaxInlineRolePolicyText  = 10240
	MaxManagedPolicyText     = 6144
	MaxTrustPolicyText       = 2048
	maxIAMName               = 128 // bytes of any name; AWS's own limits are the handlers'
	maxIAMPath               = 512
)

// Account is an AWS account.
type Account struct {
	Meta
	ID      AccountID `cbor:"1,keyasint"`
	Name    string    `cbor:"2,keyasint,omitempty"`
	Created int64     `cbor:"3,keyasint"` // Unix seconds
	// Suspended: nobody acts for it until it is resumed. What it runs goes on.
	Suspended bool `cbor:"5,keyasint,omitempty"`
	// EventKeys counts the rotations of its credentials for events.
	EventKeys uint64 `cbor:"6,keyasint,omitempty"`
}

var accounts = Table[AccountID, Account]{Name: "account", Watch: watchAccount}

func watchAccount(w *Writer, id AccountID, old, now *Account) {
	if old != nil && now != nil && old.Name == now.Name && old.Suspended == now.Suspended {
		return // its credentials for events
	}
	w.tell(Notice{
		Source: "hive.cluster", DetailType: "Hive Account Change",
		Detail: map[string]string{
			"account": string(id), "name": either(old, now).Name, "change": changeOf(old, now),
			"suspended#": strconv.FormatBool(either(old, now).Suspended),
		},
	})
}

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
	{207, Control, func() Command { return new(PutInlinePolicy) }},
	{208, Control, func() Command { return new(DeleteInlinePolicy) }},
	{209, Control, func() Command { return new(AttachPolicy) }},
	{210, Control, func() Command { return new(DetachPolicy) }},
	{265, Control, func() Command { return new(UpdateAccount) }},
	{266, Control, func() Command { return new(SetQuota) }},
	{267, Control, func() Command { return new(DeleteAccount) }},
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
	accounts.Put(w, c.Account.ID, c.Account)
	for _, key := range c.RootKeys {
		putAccessKey(w, key)
	}
}

// UpdateAccount replaces an account's name, whether it is suspended, and its credentials for events. Account.Rev is that of
// the record which the decision was made on.
type UpdateAccount struct {
	Account Account `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *UpdateAccount) Kind() Kind { return 265 }

// Check refuses an account that is none (ErrNotFound) or was changed since (ErrConflict).
func (c *UpdateAccount) Check(v *View) error {
	have, ok := accounts.Get(v, c.Account.ID)
	switch {
	case !ok:
		return Errorf(ErrNotFound, "account/"+string(c.Account.ID))
	case have.Rev != c.Account.Rev:
		return Errorf(ErrConflict, "account/"+string(c.Account.ID))
	}
	return nil
}

// Record writes the account. Its id and time of creation stay.
func (c *UpdateAccount) Record(w *Writer) {
	have, _ := accounts.Get(&w.View, c.Account.ID)
	have.Name, have.Suspended, have.EventKeys = c.Account.Name, c.Account.Suspended, c.Account.EventKeys
	accounts.Put(w, have.ID, have)
}

// DeleteAccount removes an account that has nothing but what it was given: root user's keys, default network, settings.
type DeleteAccount struct {
	ID AccountID `cbor:"1,keyasint"`
	// Entities: its users, groups, roles, policies and the like are not in the way: they go with it.
	Entities bool `cbor:"2,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *DeleteAccount) Kind() Kind { return 267 }

// Check refuses an account that is none (ErrNotFound), the cluster's last one (ErrDenied), and one that has resources
// (ErrInUse with what it has: "3 instances, 1 buckets").
func (c *DeleteAccount) Check(v *View) error {
	if !accounts.Has(v, c.ID) {
		return Errorf(ErrNotFound, "account/"+string(c.ID))
	}
	if len(Accounts(v, "")) == 1 {
		return Errorf(ErrDenied, "account/"+string(c.ID))
	}
	if has := holds(v, c.ID, !c.Entities); len(has) > 0 {
		return Errorf(ErrInUse, strings.Join(has, ", "))
	}
	return nil
}

// Record removes the account and what it was given.
func (c *DeleteAccount) Record(w *Writer) {
	for _, key := range records(accessKeys.Scan(&w.View, accessKeyKey(Key(string(c.ID), "")))) {
		accessKeyOwners.Delete(w, key.ID)
	}
	if alias := SettingsOf(&w.View, c.ID).Alias; alias != "" {
		accountAliases.Delete(w, alias)
	}
	if id, ok := defaultVPCs.Get(&w.View, c.ID); ok {
		dropDefaultVPC(w, c.ID, id)
	}
	for _, table := range accountTables {
		table.dropOf(w, c.ID)
	}
	accounts.Delete(w, c.ID)
}

// dropDefaultVPC removes an account's default network, which has no interfaces any more.
func dropDefaultVPC(w *Writer, account AccountID, id VPCID) {
	vpc, _ := VPCs.Get(&w.View, id)
	for _, s := range records(Subnets.Scan(&w.View, "")) {
		if s.VPC == id {
			Subnets.Delete(w, s.ID)
			resourceTags.Delete(w, string(s.ID))
		}
	}
	for _, g := range records(SecurityGroups.Scan(&w.View, "")) {
		if g.VPC == id {
			SecurityGroups.Delete(w, g.ID)
			resourceTags.Delete(w, string(g.ID))
		}
	}
	VPCs.Delete(w, id)
	resourceTags.Delete(w, string(id))
	vpcNumbers.Delete(w, vniKey(vpc.VNI))
	defaultVPCs.Delete(w, account)
}

// records are a scan's records in their order, so that the table can be written while they are gone over.
func records[K, V any](scan iter.Seq2[K, V]) (out []V) {
	for _, r := range scan {
		out = append(out, r)
	}
	return out
}

// accountTables are the tables of which the keys begin with the account that a record belongs to, and whose records go with
// it.
var accountTables = []interface{ dropOf(*Writer, AccountID) }{
	quotas, clientTokens, auditEvents, lastUses, accountSettings,
	users.records, users.names, groups.records, groups.names, roles.records, roles.names, profiles.records, profiles.names,
	policies.records, policies.names, policyVersions, groupsOfUser, usersOfGroup, inlinePolicies, attachments, attachedTo, boundaryOf,
	policyUses, profilesOfRole, accessKeys, loginProfiles, userCredentials, mfaDevices, userMFA, oidcProviders, samlProviders,
	serverCertificates, jobs,
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
