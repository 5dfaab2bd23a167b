package fsm

import (
	"slices"
	"strings"
)

// Role is an IAM role.
type Role struct {
	Meta
	Account     AccountID `cbor:"1,keyasint"`
	ID          EntityID  `cbor:"2,keyasint"`
	Name        string    `cbor:"3,keyasint"` // in the case it was given
	Path        string    `cbor:"4,keyasint"` // begins and ends with a slash
	Created     int64     `cbor:"5,keyasint"` // Unix seconds
	Trust       string    `cbor:"6,keyasint"` // JSON, as it was given: who may assume it
	MaxSession  int32     `cbor:"7,keyasint"` // seconds
	Description string    `cbor:"8,keyasint,omitempty"`
	Tags        []Tag     `cbor:"9,keyasint,omitempty"`  // keys are one per role whatever their case
	Boundary    string    `cbor:"10,keyasint,omitempty"` // ARN of the policy that bounds its permissions
	// ServiceLinked is the service whose role it is ("autoscaling.amazonaws.com"): only that service's operations change it.
	ServiceLinked string `cbor:"11,keyasint,omitempty"`
	// Trusted are the users and roles that Trust names, as they were when it was put.
	Trusted []Trusted `cbor:"12,keyasint,omitempty"`
}

// Trusted is a user or role of any account of the cluster.
type Trusted struct {
	ARN string   `cbor:"1,keyasint"`
	ID  EntityID `cbor:"2,keyasint"`
}

// TrustNow is the role's trust policy with those that it names as they are to be called now: by today's ARN, or by the id
// where they are gone. So a namesake that is made later is not meant. Source: "AWS JSON policy elements: Principal".
func (r Role) TrustNow(v *View) string {
	var names []string // in one go: one may be called today as another was
	for _, t := range r.Trusted {
		now := string(t.ID)
		if e, ok := EntityByID(v, accountInARN(t.ARN), t.ID); ok {
			now = e.ARN()
		}
		if now != t.ARN {
			escaped := strings.ReplaceAll(t.ARN, "/", `\/`) // as some writers of JSON have it
			names = append(names, `"`+t.ARN+`"`, `"`+now+`"`, `"`+escaped+`"`, `"`+now+`"`)
		}
	}
	return strings.NewReplacer(names...).Replace(r.Trust)
}

// Entity is what a role has as every entity has it.
func (r Role) Entity() Entity { return Entity{r.Account, r.ID, r.Name, r.Path} }

// ARN is arn:aws:iam::ACCOUNT:role/PATH/NAME.
func (r Role) ARN() string { return r.Entity().ARN() }

var roles = entities[Role]{
	kind:    RoleEntity,
	records: Table[entityKey, Role]{Name: "iam-role", Watch: watchEntity[Role](QuotaRoles, "Role")},
	names:   Table[entityNameKey, EntityID]{Name: "iam-role-name"},
	quota:   QuotaRoles, limit: "RolesPerAccount",
}

// RoleByID is a role of an account.
func RoleByID(v *View, account AccountID, id EntityID) (Role, bool) {
	return roles.byID(v, account, id)
}

// RoleByName is a role of an account, by its name in any case.
func RoleByName(v *View, account AccountID, name string) (Role, bool) {
	return roles.byName(v, account, name)
}

// RoleByARN is the role of an account that has exactly that ARN, its path included.
func RoleByARN(v *View, account AccountID, arn string) (Role, bool) {
	return roles.byARN(v, account, arn)
}

// RolesFrom yields the roles of an account as UsersFrom yields users.
func RolesFrom(v *View, account AccountID, start string, yield func(Role) bool) {
	roles.from(v, account, start, yield)
}

// check refuses a trust policy that is too long (ErrLimit) and a boundary that there is not (ErrNotFound).
func (r Role) check(v *View) error {
	if policyText(r.Trust) > MaxTrustPolicyText {
		return Errorf(ErrLimit, "quota/ACLSizePerRole: %d", MaxTrustPolicyText)
	}
	return checkBoundary(v, r.Account, r.Boundary)
}

// CreateRole makes a role.
type CreateRole struct {
	Role Role `cbor:"1,keyasint"`
	// Attach is the ARN of the policy managed by AWS that a service-linked role has from the start.
	Attach string `cbor:"2,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *CreateRole) Kind() Kind { return 216 }

// Check refuses an unknown account or boundary (ErrNotFound), a name or id that is taken (ErrExists), one role too
// many and a trust policy that is too long (ErrLimit).
func (c *CreateRole) Check(v *View) error {
	if err := roles.checkCreate(v, c.Role); err != nil {
		return err
	}
	if c.Attach != "" && (!validIAM(c.Attach, maxPolicyARN) || !strings.HasPrefix(c.Attach, "arn:aws:iam::aws:")) {
		return Errorf(ErrInvalid, "attachment/"+c.Attach)
	}
	return c.Role.check(v)
}

// Record writes the role.
func (c *CreateRole) Record(w *Writer) {
	roles.put(w, c.Role)
	bind(w, c.Role.Account, c.Role.ID, "", c.Role.Boundary)
	if c.Attach != "" {
		(&AttachPolicy{Account: c.Role.Account, Owner: c.Role.ID, ARN: c.Attach}).Record(w)
	}
}

// UpdateRole replaces a role's trust policy, longest session, description, tags and boundary. Role.Rev is that of
// the record which the decision was made on.
type UpdateRole struct {
	Role Role `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *UpdateRole) Kind() Kind { return 217 }

// Check refuses a role that is gone and a boundary that there is not (ErrNotFound), a role that was changed since
// (ErrConflict), and a trust policy that is too long (ErrLimit).
func (c *UpdateRole) Check(v *View) error {
	if err := roles.checkUpdate(v, c.Role); err != nil {
		return err
	}
	return c.Role.check(v)
}

// Record writes the role. Its account, id, name, path, service and time of creation stay.
func (c *UpdateRole) Record(w *Writer) {
	have, _ := RoleByID(&w.View, c.Role.Account, c.Role.ID)
	bind(w, have.Account, have.ID, have.Boundary, c.Role.Boundary)
	have.Trust, have.Trusted = c.Role.Trust, slices.Clone(c.Role.Trusted)
	have.MaxSession, have.Description = c.Role.MaxSession, c.Role.Description
	have.Tags, have.Boundary = slices.Clone(c.Role.Tags), c.Role.Boundary
	roles.put(w, have)
}

// DeleteRole removes a role on which nothing hangs. Its boundary goes with it.
type DeleteRole struct {
	Account AccountID `cbor:"1,keyasint"`
	ID      EntityID  `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteRole) Kind() Kind { return 218 }

// Check refuses a role that is not there (ErrNotFound) and one that is in an instance profile or has policies
// (ErrInUse; the resource says which).
func (c *DeleteRole) Check(v *View) error {
	role, ok := RoleByID(v, c.Account, c.ID)
	if !ok {
		return Errorf(ErrNotFound, "role/"+string(c.ID))
	}
	for range pairsFrom(v, profilesOfRole, c.Account, string(c.ID), "") {
		return Errorf(ErrInUse, "profile-roles/"+role.Name)
	}
	return checkNoPolicies(v, role.Entity())
}

// Record removes the role.
func (c *DeleteRole) Record(w *Writer) {
	role, _ := RoleByID(&w.View, c.Account, c.ID)
	bind(w, c.Account, c.ID, role.Boundary, "")
	roles.remove(w, role)
	lastUses.Delete(w, keyOfUse(c.Account, "role", string(c.ID)))
}
