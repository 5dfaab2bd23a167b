package fsm

// MaxPreviousPasswords is how many passwords of a user can be remembered, as in AWS's password policies.
const MaxPreviousPasswords = 24

// LoginProfile is a user's password.
type LoginProfile struct {
	Meta
	Account       AccountID `cbor:"1,keyasint"`
	User          EntityID  `cbor:"2,keyasint"`
	Hash          []byte    `cbor:"3,keyasint"` // bcrypt, sealed for SealContext
	Created       int64     `cbor:"4,keyasint"` // Unix seconds
	Changed       int64     `cbor:"5,keyasint"` // Unix seconds, of this password
	ResetRequired bool      `cbor:"6,keyasint,omitempty"`
	Previous      [][]byte  `cbor:"7,keyasint,omitempty"` // hashes of the passwords before, sealed likewise, the newest first
}

// SealContext is what the profile's hashes are sealed for.
func (p LoginProfile) SealContext() string {
	return "login-profile/" + string(p.Account) + "/" + string(p.User)
}

// userPartKey is an account, a zero byte, a user's id, and for what a user has several of a zero byte and its id.
type userPartKey string

func keyOfUserPart(account AccountID, user EntityID, part ...string) userPartKey {
	return userPartKey(Key(append([]string{string(account), string(user)}, part...)...))
}

var loginProfiles = Table[userPartKey, LoginProfile]{
	Name:  "iam-login-profile",
	Watch: watchOwned[userPartKey]("Login Profile", func(p LoginProfile) (AccountID, EntityID, string) { return p.Account, p.User, string(p.User) }),
}

// LoginProfileOf is a user's login profile, and whether it has one.
func LoginProfileOf(v *View, account AccountID, user EntityID) (LoginProfile, bool) {
	return loginProfiles.Get(v, keyOfUserPart(account, user))
}

// PutLoginProfile gives a user a login profile, or replaces one. Then Profile.Rev is that of the record which the decision
// was made on.
type PutLoginProfile struct {
	Profile LoginProfile `cbor:"1,keyasint"`
	Make    bool         `cbor:"2,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *PutLoginProfile) Kind() Kind { return 244 }

// Check refuses an unknown user (ErrNotFound), a profile to be made that is there (ErrExists), one to be replaced that is
// not there (ErrNotFound) or was changed since (ErrConflict), and more previous passwords than are ever asked for
// (ErrLimit).
func (c *PutLoginProfile) Check(v *View) error {
	p := c.Profile
	user, ok := UserByID(v, p.Account, p.User)
	if !ok {
		return Errorf(ErrNotFound, "user/"+string(p.User))
	}
	if len(p.Hash) == 0 {
		return Errorf(ErrInvalid, "login-profile/"+user.Name)
	}
	if len(p.Previous) > MaxPreviousPasswords {
		return Errorf(ErrLimit, "quota/PreviousPasswords: %d", MaxPreviousPasswords)
	}
	have, ok := LoginProfileOf(v, p.Account, p.User)
	return checkPut(c.Make, ok, have.Rev, p.Rev, "login-profile/"+user.Name)
}

// checkPut refuses to make what is there (ErrExists), and to replace what is not (ErrNotFound) or was changed since it was
// read (ErrConflict).
func checkPut(make, there bool, have, read uint64, resource string) error {
	switch {
	case make && there:
		return Errorf(ErrExists, resource)
	case !make && !there:
		return Errorf(ErrNotFound, resource)
	case !make && have != read:
		return Errorf(ErrConflict, resource)
	}
	return nil
}

// Record writes the profile.
func (c *PutLoginProfile) Record(w *Writer) {
	loginProfiles.Put(w, keyOfUserPart(c.Profile.Account, c.Profile.User), c.Profile)
}

// DeleteLoginProfile takes a user's password.
type DeleteLoginProfile struct {
	Account AccountID `cbor:"1,keyasint"`
	User    EntityID  `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteLoginProfile) Kind() Kind { return 245 }

// Check refuses a user (ErrNotFound) or a profile (ErrNotFound) that is not there.
func (c *DeleteLoginProfile) Check(v *View) error {
	user, ok := UserByID(v, c.Account, c.User)
	if !ok {
		return Errorf(ErrNotFound, "user/"+string(c.User))
	}
	if !loginProfiles.Has(v, keyOfUserPart(c.Account, c.User)) {
		return Errorf(ErrNotFound, "login-profile/"+user.Name)
	}
	return nil
}

// Record removes the profile.
func (c *DeleteLoginProfile) Record(w *Writer) {
	loginProfiles.Delete(w, keyOfUserPart(c.Account, c.User))
}

// userHolds is what of this room's records keeps a user from being deleted, as an ErrInUse that names it.
func userHolds(v *View, user User) error {
	if loginProfiles.Has(v, keyOfUserPart(user.Account, user.ID)) {
		return Errorf(ErrInUse, "login-profile/"+user.Name)
	}
	if len(MFADevicesOf(v, user.Account, user.ID)) > 0 {
		return Errorf(ErrInUse, "mfa-devices/"+user.Name)
	}
	for _, c := range CredentialsOf(v, user.Account, user.ID) {
		return Errorf(ErrInUse, string(c.Type)+"s/"+user.Name)
	}
	return nil
}
