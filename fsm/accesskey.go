package fsm

// AccessKey is a pair of access key id and secret, of a user or of an account's root user.
type AccessKey struct {
	Meta
	Account  AccountID   `cbor:"1,keyasint"`
	User     EntityID    `cbor:"2,keyasint,omitempty"` // empty for the root user
	ID       AccessKeyID `cbor:"3,keyasint"`
	Secret   []byte      `cbor:"4,keyasint"` // sealed for "access-key/" and the id
	Inactive bool        `cbor:"5,keyasint,omitempty"`
	Created  int64       `cbor:"6,keyasint"` // Unix seconds
}

// Root tells whether the key is the account's root user's.
func (k AccessKey) Root() bool { return k.User == "" }

// SealContext is what the key's secret is sealed for.
func (id AccessKeyID) SealContext() string { return "access-key/" + string(id) }

func (k AccessKey) resource() string { return "access-key/" + string(k.ID) }

func (k AccessKey) valid() bool {
	return k.Account.Valid() && validIAM(string(k.ID), maxIAMName) && len(k.Secret) > 0 &&
		(k.Root() || validIAM(string(k.User), maxIAMName))
}

// accessKeyOwner is a row of the lookup table from an access key id to its record.
type accessKeyOwner struct {
	Account AccountID `cbor:"1,keyasint"`
	User    EntityID  `cbor:"2,keyasint,omitempty"`
}

// accessKeyKey is an account, a zero byte, a user's id or nothing, a zero byte and a key id.
type accessKeyKey string

func keyOfAccessKey(account AccountID, user EntityID, id AccessKeyID) accessKeyKey {
	return accessKeyKey(Key(string(account), string(user), string(id)))
}

var (
	accessKeys      = Table[accessKeyKey, AccessKey]{Name: "iam-access-key"}
	accessKeyOwners = Table[AccessKeyID, accessKeyOwner]{Name: "iam-access-key-owner"}
)

// AccessKeyByID is the key of that id, whichever account it belongs to.
func AccessKeyByID(v *View, id AccessKeyID) (AccessKey, bool) {
	owner, ok := accessKeyOwners.Get(v, id)
	if !ok {
		return AccessKey{}, false
	}
	return accessKeys.Get(v, keyOfAccessKey(owner.Account, owner.User, id))
}

// AccessKeysOf are the keys of a user, or with an empty id of the root user, in order of id.
func AccessKeysOf(v *View, account AccountID, user EntityID) []AccessKey {
	var out []AccessKey
	for _, key := range accessKeys.Scan(v, keyOfAccessKey(account, user, "")) {
		out = append(out, key)
	}
	return out
}

func putAccessKey(w *Writer, key AccessKey) {
	accessKeys.Put(w, keyOfAccessKey(key.Account, key.User, key.ID), key)
	accessKeyOwners.Put(w, key.ID, accessKeyOwner{Account: key.Account, User: key.User})
}

func errKeyQuota() error {
	return Errorf(ErrLimit, "quota/AccessKeysPerUser: %d", MaxAccessKeysPerOwner)
}

// CreateAccessKey gives a user, or the root user, a key.
type CreateAccessKey struct {
	Key AccessKey `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *CreateAccessKey) Kind() Kind { return 204 }

// Check refuses an owner that is not there (ErrNotFound), an id that is taken in any account (ErrExists)
// and one key too many (ErrLimit).
func (c *CreateAccessKey) Check(v *View) error {
	k := c.Key
	if !k.valid() {
		return Errorf(ErrInvalid, k.resource())
	}
	if !accounts.Has(v, k.Account) {
		return Errorf(ErrNotFound, "account/"+string(k.Account))
	}
	if !k.Root() && !users.has(v, k.Account, k.User) {
		return Errorf(ErrNotFound, "user/"+string(k.User))
	}
	if accessKeyOwners.Has(v, k.ID) {
		return Errorf(ErrExists, k.resource())
	}
	if len(AccessKeysOf(v, k.Account, k.User)) >= MaxAccessKeysPerOwner {
		return errKeyQuota()
	}
	return nil
}

// Record writes the key.
func (c *CreateAccessKey) Record(w *Writer) { putAccessKey(w, c.Key) }

// UpdateAccessKey switches a key on or off.
type UpdateAccessKey struct {
	Account  AccountID   `cbor:"1,keyasint"`
	User     EntityID    `cbor:"2,keyasint,omitempty"` // empty for the root user
	ID       AccessKeyID `cbor:"3,keyasint"`
	Inactive bool        `cbor:"4,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *UpdateAccessKey) Kind() Kind { return 205 }

// Check refuses a key that this owner does not have (ErrNotFound).
func (c *UpdateAccessKey) Check(v *View) error { return checkAccessKey(v, c.Account, c.User, c.ID) }

func checkAccessKey(v *View, account AccountID, user EntityID, id AccessKeyID) error {
	if !accessKeys.Has(v, keyOfAccessKey(account, user, id)) {
		return Errorf(ErrNotFound, "access-key/"+string(id))
	}
	return nil
}

// Record writes the key's status.
func (c *UpdateAccessKey) Record(w *Writer) {
	key, _ := accessKeys.Get(&w.View, keyOfAccessKey(c.Account, c.User, c.ID))
	key.Inactive = c.Inactive
	putAccessKey(w, key)
}

// DeleteAccessKey removes a key.
type DeleteAccessKey struct {
	Account AccountID   `cbor:"1,keyasint"`
	User    EntityID    `cbor:"2,keyasint,omitempty"` // empty for the root user
	ID      AccessKeyID `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteAccessKey) Kind() Kind { return 206 }

// Check refuses a key that this owner does not have (ErrNotFound).
func (c *DeleteAccessKey) Check(v *View) error { return checkAccessKey(v, c.Account, c.User, c.ID) }

// Record removes the key.
func (c *DeleteAccessKey) Record(w *Writer) {
	accessKeys.Delete(w, keyOfAccessKey(c.Account, c.User, c.ID))
	accessKeyOwners.Delete(w, c.ID)
	lastUses.Delete(w, keyOfUse(c.Account, "key", string(c.ID)))
}
