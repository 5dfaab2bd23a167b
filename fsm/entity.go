package fsm

import "strings"

// EntityKind is the kind of an IAM entity, as its ARN and refusals call it.
type EntityKind string

// Kinds of IAM entity.
const (
	UserEntity    EntityKind = "user"
	GroupEntity   EntityKind = "group"
	RoleEntity    EntityKind = "role"
	ProfileEntity EntityKind = "instance-profile"
	PolicyEntity  EntityKind = "policy"
)

// Prefix is what ids of this kind begin with.
func (k EntityKind) Prefix() string {
	switch k {
	case UserEntity:
		return "AIDA"
	case GroupEntity:
		return "AGPA"
	case RoleEntity:
		return "AROA"
	case ProfileEntity:
		return "AIPA"
	case PolicyEntity:
		return "ANPA"
	}
	return ""
}

// Kind is what the id is of; "" for none.
func (id EntityID) Kind() EntityKind {
	if len(id) < 4 {
		return ""
	}
	for _, kind := range [...]EntityKind{UserEntity, GroupEntity, RoleEntity, ProfileEntity, PolicyEntity} {
		if string(id[:4]) == kind.Prefix() {
			return kind
		}
	}
	return ""
}

// Entity is what every IAM entity has.
type Entity struct {
	Account AccountID
	ID      EntityID
	Name    string // in the case it was given; one per account and kind whatever its case
	Path    string // begins and ends with a slash
}

// ARN is arn:aws:iam::ACCOUNT:KIND/PATH/NAME.
func (e Entity) ARN() string {
	return "arn:aws:iam::" + string(e.Account) + ":" + string(e.ID.Kind()) + e.Path + e.Name
}

func (e Entity) resource() string { return string(e.ID.Kind()) + "/" + e.Name }

func (e Entity) valid(kind EntityKind) bool {
	return e.Account.Valid() && e.ID.Kind() == kind && validIAM(string(e.ID), maxIAMName) && validIAM(e.Name, maxIAMName) &&
		validIAM(e.Path, maxIAMPath) && strings.HasPrefix(e.Path, "/") && strings.HasSuffix(e.Path, "/")
}

type (
	// entityKey is an account, a zero byte and an entity's id.
	entityKey string
	// entityNameKey is an account, a zero byte and an entity's name in lower case.
	entityNameKey string
)

func keyOfEntity(account AccountID, id EntityID) entityKey {
	return entityKey(Key(string(account), string(id)))
}

func keyOfName(account AccountID, name string) entityNameKey {
	return entityNameKey(Key(string(account), strings.ToLower(name)))
}

// entityRecord is the record of one kind of entity.
type entityRecord interface {
	Entity() Entity
	rev() uint64
}

func (m Meta) rev() uint64 { return m.Rev }

// entities are the records of one kind of entity and the index of their names.
type entities[V entityRecord] struct {
	kind    EntityKind
	records Table[entityKey, V]
	names   Table[entityNameKey, EntityID]
	quota   string // QuotaUsers, …
	limit   string // what AWS's message calls it
}

// watchEntity counts the entities of a kind and tells what becomes of them.
func watchEntity[V entityRecord](quota, what string) func(*Writer, entityKey, *V, *V) {
	return func(w *Writer, _ entityKey, old, now *V) {
		e := (*either(old, now)).Entity()
		w.count(e.Account, quota, one(now)-one(old))
		w.tellChange("aws.iam", "IAM "+what, e.Account, e.ARN(), string(e.ID), changeOf(old, now))
	}
}

func (e entities[V]) byID(v *View, account AccountID, id EntityID) (V, bool) {
	return e.records.Get(v, keyOfEntity(account, id))
}

func (e entities[V]) has(v *View, account AccountID, id EntityID) bool {
	return e.records.Has(v, keyOfEntity(account, id))
}

func (e entities[V]) byName(v *View, account AccountID, name string) (V, bool) {
	id, ok := e.names.Get(v, keyOfName(account, name))
	if !ok {
		var none V
		return none, false
	}
	return e.byID(v, account, id)
}

// byARN is the entity of exactly that ARN, its path included.
func (e entities[V]) byARN(v *View, account AccountID, arn string) (V, bool) {
	rec, ok := e.byName(v, account, arn[strings.LastIndexByte(arn, '/')+1:])
	return rec, ok && rec.Entity().ARN() == arn
}

// from yields an account's entities in order of name (in lower case), from the first name that is not before
// start, until yield answers false.
func (e entities[V]) from(v *View, account AccountID, start string, yield func(V) bool) {
	prefix := string(keyOfName(account, ""))
	for key, id := range e.names.From(v, keyOfName(account, start)) {
		if !strings.HasPrefix(string(key), prefix) {
			return
		}
		if rec, ok := e.byID(v, account, id); ok && !yield(rec) {
			return
		}
	}
}

// checkCreate refuses what is not well formed (ErrInvalid), an unknown account (ErrNotFound), a name or id that
// is taken (ErrExists) and one too many (ErrLimit).
func (e entities[V]) checkCreate(v *View, rec V) error {
	head := rec.Entity()
	switch {
	case !head.valid(e.kind):
		return Errorf(ErrInvalid, string(e.kind)+"/"+head.Name)
	case !accounts.Has(v, head.Account):
		return Errorf(ErrNotFound, "account/"+string(head.Account))
	case e.names.Has(v, keyOfName(head.Account, head.Name)), e.has(v, head.Account, head.ID):
		return Errorf(ErrExists, head.resource())
	}
	if checkQuota(v, head.Account, e.quota, 1) != nil {
		return Errorf(ErrLimit, "quota/%s: %d", e.limit, QuotaOf(v, head.Account, e.quota))
	}
	return nil
}

func (e entities[V]) put(w *Writer, rec V) {
	head := rec.Entity()
	e.records.Put(w, keyOfEntity(head.Account, head.ID), rec)
	if id, ok := e.names.Get(&w.View, keyOfName(head.Account, head.Name)); !ok || id != head.ID {
		e.names.Put(w, keyOfName(head.Account, head.Name), head.ID)
	}
}

// checkUpdate refuses what is not well formed (ErrInvalid), an entity that is gone (ErrNotFound) or was changed
// after its Rev (ErrConflict), and a name that another one has (ErrExists).
func (e entities[V]) checkUpdate(v *View, rec V) error {
	head := rec.Entity()
	if !head.valid(e.kind) {
		return Errorf(ErrInvalid, string(e.kind)+"/"+head.Name)
	}
	have, ok := e.byID(v, head.Account, head.ID)
	if !ok {
		return Errorf(ErrNotFound, head.resource())
	}
	if have.rev() != rec.rev() {
		return Errorf(ErrConflict, head.resource())
	}
	if other, taken := e.names.Get(v, keyOfName(head.Account, head.Name)); taken && other != head.ID {
		return Errorf(ErrExists, head.resource())
	}
	return nil
}

// rename puts a record whose name before was old.
func (e entities[V]) rename(w *Writer, old string, rec V) {
	if head := rec.Entity(); !strings.EqualFold(old, head.Name) {
		e.names.Delete(w, keyOfName(head.Account, old))
	}
	e.put(w, rec)
}

func (e entities[V]) remove(w *Writer, rec V) {
	head := rec.Entity()
	e.records.Delete(w, keyOfEntity(head.Account, head.ID))
	e.names.Delete(w, keyOfName(head.Account, head.Name))
}

// EntityByName is what all kinds of entity have of the one with that name, in any case.
func EntityByName(v *View, account AccountID, kind EntityKind, name string) (Entity, bool) {
	switch kind {
	case UserEntity:
		return head(users.byName(v, account, name))
	case GroupEntity:
		return head(groups.byName(v, account, name))
	case RoleEntity:
		return head(roles.byName(v, account, name))
	case ProfileEntity:
		return head(profiles.byName(v, account, name))
	case PolicyEntity:
		return head(policies.byName(v, account, name))
	}
	return Entity{}, false
}

// EntityByID is what all kinds of entity have of the one with that id.
func EntityByID(v *View, account AccountID, id EntityID) (Entity, bool) {
	switch id.Kind() {
	case UserEntity:
		return head(users.byID(v, account, id))
	case GroupEntity:
		return head(groups.byID(v, account, id))
	case RoleEntity:
		return head(roles.byID(v, account, id))
	case ProfileEntity:
		return head(profiles.byID(v, account, id))
	case PolicyEntity:
		return head(policies.byID(v, account, id))
	}
	return Entity{}, false
}

// EntityByARN is what all kinds of entity have of the one with exactly that ARN, its path included, in any account.
func EntityByARN(v *View, arn string) (Entity, bool) {
	account := accountInARN(arn)
	rest := strings.TrimPrefix(arn, "arn:aws:iam::"+string(account)+":")
	kind, _, ok := strings.Cut(rest, "/")
	if account == "" || !ok {
		return Entity{}, false
	}
	e, ok := EntityByName(v, account, EntityKind(kind), arn[strings.LastIndexByte(arn, '/')+1:])
	return e, ok && e.ARN() == arn
}

// accountInARN is the account that the ARN of an entity names, "" for another ARN.
func accountInARN(arn string) AccountID {
	rest, ok := strings.CutPrefix(arn, "arn:aws:iam::")
	account, _, cut := strings.Cut(rest, ":")
	if !ok || !cut {
		return ""
	}
	return AccountID(account)
}

func head[V entityRecord](rec V, ok bool) (Entity, bool) { return rec.Entity(), ok }

// entityKinds are the commands on groups, roles, instance profiles and managed policies.
var entityKinds = []KindEntry{
	{211, Control, func() Command { return new(CreateGroup) }},
	{212, Control, func() Command { return new(UpdateGroup) }},
	{213, Control, func() Command { return new(DeleteGroup) }},
	{214, Control, func() Command { return new(AddUserToGroup) }},
	{215, Control, func() Command { return new(RemoveUserFromGroup) }},
	{216, Control, func() Command { return new(CreateRole) }},
	{217, Control, func() Command { return new(UpdateRole) }},
	{218, Control, func() Command { return new(DeleteRole) }},
	{219, Control, func() Command { return new(CreateInstanceProfile) }},
	{220, Control, func() Command { return new(UpdateInstanceProfile) }},
	{221, Control, func() Command { return new(DeleteInstanceProfile) }},
	{222, Control, func() Command { return new(AddRoleToInstanceProfile) }},
	{223, Control, func() Command { return new(RemoveRoleFromInstanceProfile) }},
	{224, Control, func() Command { return new(CreateManagedPolicy) }},
	{225, Control, func() Command { return new(UpdateManagedPolicy) }},
	{226, Control, func() Command { return new(DeleteManagedPolicy) }},
	{227, Control, func() Command { return new(CreatePolicyVersion) }},
	{228, Control, func() Command { return new(DeletePolicyVersion) }},
	{229, Control, func() Command { return new(SetDefaultPolicyVersion) }},
}
