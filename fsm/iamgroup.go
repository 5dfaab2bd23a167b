package fsm

import (
	"iter"
	"strings"
)

// IAMGroup is a group of IAM users.
type IAMGroup struct {
	Meta
	Account AccountID `cbor:"1,keyasint"`
	ID      EntityID  `cbor:"2,keyasint"`
	Name    string    `cbor:"3,keyasint"` // in the case it was given
	Path    string    `cbor:"4,keyasint"` // begins and ends with a slash
	Created int64     `cbor:"5,keyasint"` // Unix seconds
}

// Entity is what a group has as every entity has it.
func (g IAMGroup) Entity() Entity { return Entity{g.Account, g.ID, g.Name, g.Path} }

// ARN is arn:aws:iam::ACCOUNT:group/PATH/NAME.
func (g IAMGroup) ARN() string { return g.Entity().ARN() }

var groups = entities[IAMGroup]{
	kind:    GroupEntity,
	records: Table[entityKey, IAMGroup]{Name: "iam-group", Watch: watchEntity[IAMGroup](QuotaGroups, "Group")},
	names:   Table[entityNameKey, EntityID]{Name: "iam-group-name"},
	quota:   QuotaGroups, limit: "GroupsPerAccount",
}

// IAMGroupByID is a group of an account.
func IAMGroupByID(v *View, account AccountID, id EntityID) (IAMGroup, bool) {
	return groups.byID(v, account, id)
}

// IAMGroupByName is a group of an account, by its name in any case.
func IAMGroupByName(v *View, account AccountID, name string) (IAMGroup, bool) {
	return groups.byName(v, account, name)
}

// IAMGroupsFrom yields the groups of an account as UsersFrom yields users.
func IAMGroupsFrom(v *View, account AccountID, start string, yield func(IAMGroup) bool) {
	groups.from(v, account, start, yield)
}

// membership is a row of the two tables that say who is in which group.
type membership struct{ Meta }

// pairKey is an account, a zero byte, one thing of it, a zero byte and another that belongs to it.
type pairKey string

func keyOfPair(account AccountID, of, what string) pairKey {
	return pairKey(Key(string(account), of, what))
}

var (
	groupsOfUser = Table[pairKey, membership]{Name: "iam-user-in-group"}
	usersOfGroup = Table[pairKey, membership]{Name: "iam-group-has-user", Watch: watchPair[membership]("Group Membership")}
)

// watchPair tells what becomes of what belongs to an entity: whose it is, its name and its change.
func watchPair[V any](what string) func(*Writer, pairKey, *V, *V) {
	return func(w *Writer, key pairKey, old, now *V) {
		part := strings.SplitN(string(key), "\x00", 3)
		owner, ok := EntityByID(&w.View, AccountID(part[0]), EntityID(part[1]))
		if !ok {
			return // it goes with its whole account
		}
		w.tell(Notice{
			Source: "aws.iam", DetailType: "Hive IAM " + what + " Change", Account: owner.Account, Resources: []string{owner.ARN()},
			Detail: map[string]string{"id": part[1], "name": part[2], "change": changeOf(old, now)},
		})
	}
}

// pairsFrom yields what belongs to a thing of an account, in its order, from start on.
func pairsFrom[V any](v *View, table Table[pairKey, V], account AccountID, of, start string) iter.Seq[string] {
	return func(yield func(string) bool) {
		prefix := string(keyOfPair(account, of, ""))
		for key := range table.From(v, keyOfPair(account, of, start)) {
			if len(key) < len(prefix) || string(key[:len(prefix)]) != prefix || !yield(string(key[len(prefix):])) {
				return
			}
		}
	}
}

// GroupsOfUser are the groups that a user is in, in order of id.
func GroupsOfUser(v *View, account AccountID, user EntityID) []IAMGroup {
	var out []IAMGroup
	for id := range pairsFrom(v, groupsOfUser, account, string(user), "") {
		if g, ok := IAMGroupByID(v, account, EntityID(id)); ok {
			out = append(out, g)
		}
	}
	return out
}

// UsersOfGroup yields the users in a group in order of id, from the first id that is not before start.
func UsersOfGroup(v *View, account AccountID, group, start EntityID) iter.Seq[User] {
	return func(yield func(User) bool) {
		for id := range pairsFrom(v, usersOfGroup, account, string(group), string(start)) {
			if u, ok := UserByID(v, account, EntityID(id)); ok && !yield(u) {
				return
			}
		}
	}
}

// CreateGroup makes a group.
type CreateGroup struct {
	Group IAMGroup `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *CreateGroup) Kind() Kind { return 211 }

// Check refuses an unknown account (ErrNotFound), a name or id that is taken (ErrExists) and one group too many
// (ErrLimit).
func (c *CreateGroup) Check(v *View) error { return groups.checkCreate(v, c.Group) }

// Record writes the group.
func (c *CreateGroup) Record(w *Writer) { groups.put(w, c.Group) }

// UpdateGroup replaces a group's name and path. Group.Rev is that of the record which the decision was made on.
type UpdateGroup struct {
	Group IAMGroup `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *UpdateGroup) Kind() Kind { return 212 }

// Check refuses a group that is gone (ErrNotFound) or was changed since (ErrConflict), and a name that another
// group has (ErrExists).
func (c *UpdateGroup) Check(v *View) error { return groups.checkUpdate(v, c.Group) }

// Record writes the group. Its account, id and time of creation stay.
func (c *UpdateGroup) Record(w *Writer) {
	have, _ := IAMGroupByID(&w.View, c.Group.Account, c.Group.ID)
	old := have.Name
	have.Name, have.Path = c.Group.Name, c.Group.Path
	groups.rename(w, old, have)
}

// DeleteGroup removes an empty group without policies.
type DeleteGroup struct {
	Account AccountID `cbor:"1,keyasint"`
	ID      EntityID  `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteGroup) Kind() Kind { return 213 }

// Check refuses a group that is not there (ErrNotFound) and one that has users or policies (ErrInUse; the
// resource says which).
func (c *DeleteGroup) Check(v *View) error {
	group, ok := IAMGroupByID(v, c.Account, c.ID)
	if !ok {
		return Errorf(ErrNotFound, "group/"+string(c.ID))
	}
	for range pairsFrom(v, usersOfGroup, c.Account, string(c.ID), "") {
		return Errorf(ErrInUse, "memberships/"+group.Name)
	}
	return checkNoPolicies(v, group.Entity())
}

// Record removes the group.
func (c *DeleteGroup) Record(w *Writer) {
	group, _ := IAMGroupByID(&w.View, c.Account, c.ID)
	groups.remove(w, group)
}

// AddUserToGroup puts a user into a group. Again, it changes nothing.
type AddUserToGroup struct {
	Account AccountID `cbor:"1,keyasint"`
	Group   EntityID  `cbor:"2,keyasint"`
	User    EntityID  `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *AddUserToGroup) Kind() Kind { return 214 }

// Check refuses a group or user that is not there (ErrNotFound) and one group too many for the user (ErrLimit).
func (c *AddUserToGroup) Check(v *View) error {
	if err := checkMember(v, c.Account, c.Group, c.User); err != nil {
		return err
	}
	if groupsOfUser.Has(v, keyOfPair(c.Account, string(c.User), string(c.Group))) {
		return nil
	}
	if len(GroupsOfUser(v, c.Account, c.User)) >= MaxGroupsPerUser {
		return Errorf(ErrLimit, "quota/GroupsPerUser: %d", MaxGroupsPerUser)
	}
	return nil
}

func checkMember(v *View, account AccountID, group, user EntityID) error {
	if !groups.has(v, account, group) {
		return Errorf(ErrNotFound, "group/"+string(group))
	}
	if !users.has(v, account, user) {
		return Errorf(ErrNotFound, "user/"+string(user))
	}
	return nil
}

// Record writes the membership.
func (c *AddUserToGroup) Record(w *Writer) {
	if groupsOfUser.Has(&w.View, keyOfPair(c.Account, string(c.User), string(c.Group))) {
		return
	}
	groupsOfUser.Put(w, keyOfPair(c.Account, string(c.User), string(c.Group)), membership{})
	usersOfGroup.Put(w, keyOfPair(c.Account, string(c.Group), string(c.User)), membership{})
}

// RemoveUserFromGroup takes a user out of a group. For one that is not in it, it changes nothing.
type RemoveUserFromGroup struct {
	Account AccountID `cbor:"1,keyasint"`
	Group   EntityID  `cbor:"2,keyasint"`
	User    EntityID  `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *RemoveUserFromGroup) Kind() Kind { return 215 }

// Check refuses a group or user that is not there (ErrNotFound).
func (c *RemoveUserFromGroup) Check(v *View) error {
	return checkMember(v, c.Account, c.Group, c.User)
}

// Record removes the membership.
func (c *RemoveUserFromGroup) Record(w *Writer) {
	groupsOfUser.Delete(w, keyOfPair(c.Account, string(c.User), string(c.Group)))
	usersOfGroup.Delete(w, keyOfPair(c.Account, string(c.Group), string(c.User)))
}
