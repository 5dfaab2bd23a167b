package fsm

import "slices"

// User is an IAM user.
type User struct {
	Meta
	Account  AccountID `cbor:"1,keyasint"`
	ID       EntityID  `cbor:"2,keyasint"`
	Name     string    `cbor:"3,keyasint"`           // in the case it was given
	Path     string    `cbor:"4,keyasint"`           // begins and ends with a slash
	Created  int64     `cbor:"5,keyasint"`           // Unix seconds
	Tags     []Tag     `cbor:"6,keyasint,omitempty"` // keys are one per user whatever their case
	Boundary string    `cbor:"7,keyasint,omitempty"` // ARN of the policy that bounds its permissions
}

// Tag is a label on a resource.
type Tag struct {
	Key   string `cbor:"1,keyasint"`
	Value string `cbor:"2,keyasint,omitempty"`
}

// Entity is what a user has as every entity has it.
func (u User) Entity() Entity { return Entity{u.Account, u.ID, u.Name, u.Path} }

// ARN is arn:aws:iam::ACCOUNT:user/PATH/NAME.
func (u User) ARN() string { return u.Entity().ARN() }

var users = entities[User]{
	kind:    UserEntity,
	records: Table[entityKey, User]{Name: "iam-user", Watch: watchEntity[User](QuotaUsers, "User")},
	names:   Table[entityNameKey, EntityID]{Name: "iam-user-name"},
	quota:   QuotaUsers, limit: "UsersPerAccount",
}

// UserByID is a user of an account.
func UserByID(v *View, account AccountID, id EntityID) (User, bool) {
	return users.byID(v, account, id)
}

// UserByName is a user of an account, by its name in any case.
func UserByName(v *View, account AccountID, name string) (User, bool) {
	return users.byName(v, account, name)
}

// UsersFrom yields the users of an account in order of name (in lower case), from the first name that
// is not before start, until yield answers false.
func UsersFrom(v *View, account AccountID, start string, yield func(User) bool) {
	users.from(v, account, start, yield)
}

// CreateUser makes a user.
type CreateUser struct {
	User User `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *CreateUser) Kind() Kind { return 201 }

// Check refuses an unknown account or boundary (ErrNotFound), a name or id that is taken (ErrExists) and one user
// too many (ErrLimit).
func (c *CreateUser) Check(v *View) error {
	if err := users.checkCreate(v, c.User); err != nil {
		return err
	}
	return checkBoundary(v, c.User.Account, c.User.Boundary)
}

// Record writes the user.
func (c *CreateUser) Record(w *Writer) {
	users.put(w, c.User)
	bind(w, c.User.Account, c.User.ID, "", c.User.Boundary)
}

// UpdateUser replaces a user's name, path, tags and boundary. User.Rev is that of the record which the decision
// was made on.
type UpdateUser struct {
	User User `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *UpdateUser) Kind() Kind { return 202 }

// Check refuses a user that is gone and a boundary that there is not (ErrNotFound), a user that was changed since
// (ErrConflict), and a name that another user has (ErrExists).
func (c *UpdateUser) Check(v *View) error {
	if err := users.checkUpdate(v, c.User); err != nil {
		return err
	}
	return checkBoundary(v, c.User.Account, c.User.Boundary)
}

// Record writes the user. Its account, id and time of creation stay.
func (c *UpdateUser) Record(w *Writer) {
	have, _ := UserByID(&w.View, c.User.Account, c.User.ID)
	bind(w, have.Account, have.ID, have.Boundary, c.User.Boundary)
	old := have.Name
	have.Name, have.Path, have.Tags, have.Boundary = c.User.Name, c.User.Path, slices.Clone(c.User.Tags), c.User.Boundary
	users.rename(w, old, have)
}

// DeleteUser removes a user on whom nothing hangs. Its boundary goes with it.
type DeleteUser struct {
	Account AccountID `cbor:"1,keyasint"`
	ID      EntityID  `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteUser) Kind() Kind { return 203 }

// Check refuses a user that is not there (ErrNotFound) and one that has access keys, groups or policies
// (ErrInUse; the resource says which).
func (c *DeleteUser) Check(v *View) error {
	user, ok := UserByID(v, c.Account, c.ID)
	switch {
	case !ok:
		return Errorf(ErrNotFound, "user/"+string(c.ID))
	case len(AccessKeysOf(v, c.Account, c.ID)) > 0:
		return Errorf(ErrInUse, "access-keys/"+user.Name)
	case len(GroupsOfUser(v, c.Account, c.ID)) > 0:
		return Errorf(ErrInUse, "memberships/"+user.Name)
	}
	if err := userHolds(v, user); err != nil {
		return err
	}
	return checkNoPolicies(v, user.Entity())
}

// Record removes the user.
func (c *DeleteUser) Record(w *Writer) {
	user, _ := UserByID(&w.View, c.Account, c.ID)
	bind(w, c.Account, c.ID, user.Boundary, "")
	users.remove(w, user)
}
