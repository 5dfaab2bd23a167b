package fsm

import (
	"iter"
	"slices"
)

// InstanceProfile is what carries a role to an instance.
type InstanceProfile struct {
	Meta
	Account AccountID `cbor:"1,keyasint"`
	ID      EntityID  `cbor:"2,keyasint"`
	Name    string    `cbor:"3,keyasint"`           // in the case it was given
	Path    string    `cbor:"4,keyasint"`           // begins and ends with a slash
	Created int64     `cbor:"5,keyasint"`           // Unix seconds
	Role    EntityID  `cbor:"6,keyasint,omitempty"` // it has one at most
	Tags    []Tag     `cbor:"7,keyasint,omitempty"` // keys are one per profile whatever their case
}

// Entity is what an instance profile has as every entity has it.
func (p InstanceProfile) Entity() Entity { return Entity{p.Account, p.ID, p.Name, p.Path} }

// ARN is arn:aws:iam::ACCOUNT:instance-profile/PATH/NAME.
func (p InstanceProfile) ARN() string { return p.Entity().ARN() }

var profiles = entities[InstanceProfile]{
	kind:    ProfileEntity,
	records: Table[entityKey, InstanceProfile]{Name: "iam-instance-profile", Watch: watchEntity[InstanceProfile](QuotaInstanceProfiles, "Instance Profile")},
	names:   Table[entityNameKey, EntityID]{Name: "iam-instance-profile-name"},
	quota:   QuotaInstanceProfiles, limit: "InstanceProfilesPerAccount",
}

var profilesOfRole = Table[pairKey, membership]{Name: "iam-role-in-profile"}

// InstanceProfileByID is an instance profile of an account.
func InstanceProfileByID(v *View, account AccountID, id EntityID) (InstanceProfile, bool) {
	return profiles.byID(v, account, id)
}

// InstanceProfileByName is an instance profile of an account, by its name in any case.
func InstanceProfileByName(v *View, account AccountID, name string) (InstanceProfile, bool) {
	return profiles.byName(v, account, name)
}

// InstanceProfileByARN is the instance profile of an account that has exactly that ARN, its path included.
func InstanceProfileByARN(v *View, account AccountID, arn string) (InstanceProfile, bool) {
	return profiles.byARN(v, account, arn)
}

// InstanceProfilesFrom yields the instance profiles of an account as UsersFrom yields users.
func InstanceProfilesFrom(v *View, account AccountID, start string, yield func(InstanceProfile) bool) {
	profiles.from(v, account, start, yield)
}

// InstanceProfilesOfRole yields the instance profiles that have a role in order of id, from the first id that is
// not before start.
func InstanceProfilesOfRole(v *View, account AccountID, role, start EntityID) iter.Seq[InstanceProfile] {
	return func(yield func(InstanceProfile) bool) {
		for id := range pairsFrom(v, profilesOfRole, account, string(role), string(start)) {
			if p, ok := InstanceProfileByID(v, account, EntityID(id)); ok && !yield(p) {
				return
			}
		}
	}
}

// CreateInstanceProfile makes an instance profile without a role.
type CreateInstanceProfile struct {
	Profile InstanceProfile `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *CreateInstanceProfile) Kind() Kind { return 219 }

// Check refuses an unknown account (ErrNotFound), a name or id that is taken (ErrExists) and one profile too many
// (ErrLimit).
func (c *CreateInstanceProfile) Check(v *View) error { return profiles.checkCreate(v, c.Profile) }

// Record writes the profile.
func (c *CreateInstanceProfile) Record(w *Writer) {
	c.Profile.Role = ""
	profiles.put(w, c.Profile)
}

// UpdateInstanceProfile replaces a profile's tags. Profile.Rev is that of the record which the decision was made on.
type UpdateInstanceProfile struct {
	Profile InstanceProfile `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *UpdateInstanceProfile) Kind() Kind { return 220 }

// Check refuses a profile that is gone (ErrNotFound) or was changed since (ErrConflict).
func (c *UpdateInstanceProfile) Check(v *View) error { return profiles.checkUpdate(v, c.Profile) }

// Record writes the tags. All else stays.
func (c *UpdateInstanceProfile) Record(w *Writer) {
	have, _ := InstanceProfileByID(&w.View, c.Profile.Account, c.Profile.ID)
	have.Tags = slices.Clone(c.Profile.Tags)
	profiles.put(w, have)
}

// DeleteInstanceProfile removes a profile without a role. Instances that were given it keep its id, and get no
// credentials.
type DeleteInstanceProfile struct {
	Account AccountID `cbor:"1,keyasint"`
	ID      EntityID  `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteInstanceProfile) Kind() Kind { return 221 }

// Check refuses a profile that is not there (ErrNotFound) and one that has a role (ErrInUse).
func (c *DeleteInstanceProfile) Check(v *View) error {
	profile, ok := InstanceProfileByID(v, c.Account, c.ID)
	if !ok {
		return Errorf(ErrNotFound, "instance-profile/"+string(c.ID))
	}
	if profile.Role != "" {
		return Errorf(ErrInUse, "profile-roles/"+profile.Name)
	}
	return nil
}

// Record removes the profile.
func (c *DeleteInstanceProfile) Record(w *Writer) {
	profile, _ := InstanceProfileByID(&w.View, c.Account, c.ID)
	profiles.remove(w, profile)
}

// AddRoleToInstanceProfile gives a profile its role.
type AddRoleToInstanceProfile struct {
	Account AccountID `cbor:"1,keyasint"`
	Profile EntityID  `cbor:"2,keyasint"`
	Role    EntityID  `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *AddRoleToInstanceProfile) Kind() Kind { return 222 }

// Check refuses a profile or role that is not there (ErrNotFound) and a profile that has a role already (ErrLimit).
func (c *AddRoleToInstanceProfile) Check(v *View) error {
	profile, ok := InstanceProfileByID(v, c.Account, c.Profile)
	switch {
	case !ok:
		return Errorf(ErrNotFound, "instance-profile/"+string(c.Profile))
	case !roles.has(v, c.Account, c.Role):
		return Errorf(ErrNotFound, "role/"+string(c.Role))
	case profile.Role != "":
		return Errorf(ErrLimit, "quota/InstanceSessionsPerInstanceProfile: 1")
	}
	return nil
}

// Record writes the role into the profile.
func (c *AddRoleToInstanceProfile) Record(w *Writer) {
	profile, _ := InstanceProfileByID(&w.View, c.Account, c.Profile)
	profile.Role = c.Role
	profiles.put(w, profile)
	profilesOfRole.Put(w, keyOfPair(c.Account, string(c.Role), string(c.Profile)), membership{})
}

// RemoveRoleFromInstanceProfile takes its role from a profile.
type RemoveRoleFromInstanceProfile struct {
	Account AccountID `cbor:"1,keyasint"`
	Profile EntityID  `cbor:"2,keyasint"`
	Role    EntityID  `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *RemoveRoleFromInstanceProfile) Kind() Kind { return 223 }

// Check refuses a profile that is not there or does not have the role (ErrNotFound).
func (c *RemoveRoleFromInstanceProfile) Check(v *View) error {
	profile, ok := InstanceProfileByID(v, c.Account, c.Profile)
	if !ok {
		return Errorf(ErrNotFound, "instance-profile/"+string(c.Profile))
	}
	if profile.Role != c.Role || c.Role == "" {
		return Errorf(ErrNotFound, "profile-role/"+string(c.Role))
	}
	return nil
}

// Record takes the role out of the profile.
func (c *RemoveRoleFromInstanceProfile) Record(w *Writer) {
	profile, _ := InstanceProfileByID(&w.View, c.Account, c.Profile)
	profile.Role = ""
	profiles.put(w, profile)
	profilesOfRole.Delete(w, keyOfPair(c.Account, string(c.Role), string(c.Profile)))
}
