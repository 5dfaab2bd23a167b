package fsm

import (
	"slices"
	"strings"
)

// User is an IAM user. Names are one per account whatever their case.
type User struct {
	Meta
	Account AccountID `cbor:"1,keyasint"`
	ID      EntityID  `cbor:"2,keyasint"`
	Name    string    `cbor:"3,keyasint"`           // in the case it was given
	Path    string    `cbor:"4,keyasint"`           // begins and ends with a slash
	Created int64     `cbor:"5,keyasint"`           // Unix seconds
	Tags    []Tag     `cbor:"6,keyasint,omitempty"` // keys are one per user whatever their case
}

// Tag is a label on a resource.
type Tag struct {
	Key   string `cbor:"1,keyasint"`
	Value string `cbor:"2,keyasint,omitempty"`
}

// ARN is arn:aws:iam::ACCOUNT:user/PATH/NAME.
func (u User) ARN() string { return "arn:aws:iam::" + string(u.Account) + ":user" + u.Path + u.Name }

func (u User) resource() string { return "user/" + u.Name }

func (u User) valid() bool {
	return u.Account.Valid() && validIAM(string(u.ID), maxIAMName) && validIAM(u.Name, maxIAMName) &&
		validIAM(u.Path, maxIAMPath) && strings.HasPrefix(u.Path, "/") && strings.HasSuffix(u.Path, "/")
}

type (
	// userKey is an account, a zero byte and a user's id.
	userKey string
	// userNameKey is an account, a zero byte and a user's name in lower case.
	userNameKey string
)

func keyOfUser(account AccountID, id EntityID) userKey {
	return userKey(Key(string(account), string(id)))
}

func keyOfName(account AccountID, name string) userNameKey {
	return userNameKey(Key(string(account), strings.ToLower(name)))
}

var (
	users     = Table[userKey, User]{Name: "iam-user"}
	userNames = Table[userNameKey, EntityID]{Name: "iam-user-name"}
)

// UserByID is a user of an account.
func UserByID(v *View, account AccountID, id EntityID) (User, bool) {
	return users.Get(v, keyOfUser(account, id))
}

// UserByName is a user of an account, by its name in any case.
func UserByName(v *View, account AccountID, name string) (User, bool) {
	id, ok := userNames.Get(v, keyOfName(account, name))
	if !ok {
		return User{}, false
	}
	return UserByID(v, account, id)
}

// UsersFrom yields the users of an account in order of name (in lower case), from the first name that
// is not before start, until yield answers false.
func UsersFrom(v *View, account AccountID, start string, yield func(User) bool) {
	prefix := string(keyOfName(account, ""))
	for key, id := range userNames.From(v, keyOfName(account, start)) {
		if !strings.HasPrefix(string(key), prefix) {
			return
		}
		if user, ok := UserByID(v, account, id); ok && !yield(user) {
			return
		}
	}
}

// CreateUser makes a user.
type CreateUser struct {
	User User `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *CreateUser) Kind() Kind { return 201 }

// Check refuses an unknown account (ErrNotFound), a name or id that is taken (ErrExists) and one user
// too many (ErrLimit).
func (c *CreateUser) Check(v *View) error {
	if !c.User.valid() {
		return Errorf(ErrInvalid, c.User.resource())
	}
	account, ok := accounts.Get(v, c.User.Account)
	if !ok {
		return Errorf(ErrNotFound, "account/"+string(c.User.Account))
	}
	if userNames.Has(v, keyOfName(c.User.Account, c.User.Name)) || users.Has(v, keyOfUser(c.User.Account, c.User.ID)) {
		return Errorf(ErrExists, c.User.resource())
	}
	if account.Users >= MaxUsersPerAccount {
		return Errorf(ErrLimit, "quota/UsersPerAccount: %d", MaxUsersPerAccount)
	}
	return nil
}

// Record writes the user.
func (c *CreateUser) Record(w *Writer) {
	putUser(w, c.User)
	countUsers(w, c.User.Account, 1)
}

func putUser(w *Writer, u User) {
	users.Put(w, keyOfUser(u.Account, u.ID), u)
	userNames.Put(w, keyOfName(u.Account, u.Name), u.ID)
}

func countUsers(w *Writer, id AccountID, by int) {
	account, _ := accounts.Get(&w.View, id)
	account.Users += by
	accounts.Put(w, id, account)
}

// UpdateUser replaces a user's name, path and tags. User.Rev is that of the record which the decision
// was made on.
type UpdateUser struct {
	User User `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *UpdateUser) Kind() Kind { return 202 }

// Check refuses a user that is gone (ErrNotFound) or was changed since (ErrConflict), and a name that
// another user has (ErrExists).
func (c *UpdateUser) Check(v *View) error {
	if !c.User.valid() {
		return Errorf(ErrInvalid, c.User.resource())
	}
	have, ok := UserByID(v, c.User.Account, c.User.ID)
	if !ok {
		return Errorf(ErrNotFound, c.User.resource())
	}
	if have.Rev != c.User.Rev {
		return Errorf(ErrConflict, c.User.resource())
	}
	if other, taken := userNames.Get(v, keyOfName(c.User.Account, c.User.Name)); taken && other != c.User.ID {
		return Errorf(ErrExists, c.User.resource())
	}
	return nil
}

// Record writes the user. Its account, id and time of creation stay.
func (c *UpdateUser) Record(w *Writer) {
	have, _ := UserByID(&w.View, c.User.Account, c.User.ID)
	userNames.Delete(w, keyOfName(have.Account, have.Name))
	have.Name, have.Path, have.Tags = c.User.Name, c.User.Path, slices.Clone(c.User.Tags)
	putUser(w, have)
}

// DeleteUser removes a user on whom nothing hangs.
type DeleteUser struct {
	Account AccountID `cbor:"1,keyasint"`
	ID      EntityID  `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteUser) Kind() Kind { return 203 }

// Check refuses a user that is not there (ErrNotFound) and one that has access keys or policies
// (ErrInUse; the resource says which).
func (c *DeleteUser) Check(v *View) error {
	user, ok := UserByID(v, c.Account, c.ID)
	switch {
	case !ok:
		return Errorf(ErrNotFound, "user/"+string(c.ID))
	case len(AccessKeysOf(v, c.Account, c.ID)) > 0:
		return Errorf(ErrInUse, "access-keys/"+user.Name)
	case len(UserPoliciesOf(v, c.Account, c.ID)) > 0:
		return Errorf(ErrInUse, "user-policies/"+user.Name)
	case len(AttachedPoliciesOf(v, c.Account, c.ID)) > 0:
		return Errorf(ErrInUse, "attachments/"+user.Name)
	}
	return nil
}

// Record removes the user.
func (c *DeleteUser) Record(w *Writer) {
	user, _ := UserByID(&w.View, c.Account, c.ID)
	users.Delete(w, keyOfUser(c.Account, c.ID))
	userNames.Delete(w, keyOfName(c.Account, user.Name))
	countUsers(w, c.Account, -1)
}
