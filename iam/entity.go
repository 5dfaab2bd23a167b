package iam

import (
	"net/http"
	"strings"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/principal"
)

// named is an entity as a request names it.
type named struct {
	kind fsm.EntityKind
	name *string
}

func aUser(name *string) named    { return named{fsm.UserEntity, name} }
func aGroup(name *string) named   { return named{fsm.GroupEntity, name} }
func aRole(name *string) named    { return named{fsm.RoleEntity, name} }
func aProfile(name *string) named { return named{fsm.ProfileEntity, name} }

// parameter is the request's name for the entity's name, and the most characters that it can have.
func (n named) parameter() (string, int) {
	switch n.kind {
	case fsm.GroupEntity:
		return "groupName", 128
	case fsm.RoleEntity:
		return "roleName", 64
	case fsm.ProfileEntity:
		return "instanceProfileName", 128
	}
	return "userName", maxUserName
}

// valid is the name, if it can be one.
func (n named) valid() (string, error) {
	parameter, longest := n.parameter()
	return requiredName(n.name, parameter, longest)
}

// in is the entity of the caller's account that has the name.
func (n named) in(v *fsm.View, c *principal.Caller) (fsm.Entity, error) {
	name, err := n.valid()
	if err != nil {
		return fsm.Entity{}, err
	}
	e, ok := fsm.EntityByName(v, fsm.AccountID(c.Account), n.kind, name)
	if !ok {
		return e, fsm.Errorf(fsm.ErrNotFound, string(n.kind)+"/"+name)
	}
	return e, nil
}

// changeable is in for an entity that the request is to change: a service-linked role is its service's alone.
func (n named) changeable(v *fsm.View, c *principal.Caller) (fsm.Entity, error) {
	e, err := n.in(v, c)
	if err != nil || n.kind != fsm.RoleEntity {
		return e, err
	}
	role, _ := fsm.RoleByID(v, e.Account, e.ID)
	return e, own(role)
}

// own refuses to change a service-linked role.
func own(role fsm.Role) error {
	if role.ServiceLinked == "" {
		return nil
	}
	return protocol.Errorf(http.StatusBadRequest, "UnmodifiableEntity",
		"Cannot perform the operation on the protected role '%s' - this role is only modifiable by AWS", role.Name)
}

// done is the answer of an operation that answers nothing but success.
func done[T any](err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return new(T), nil
}

// lookedAt bounds how many records a page of a listing is made from: an answer may hold fewer items than it was asked
// for, also none, and a marker.
const lookedAt = 10_000

// listed gathers a page. from yields records in order of key, from the first that is not before start; pick makes an
// item of a record, or passes it over.
func listed[V, T any](p page, from func(start string, yield func(V) bool), key func(V) string, pick func(V) (T, bool)) ([]T, *string) {
	items, looked := []T{}, 0
	var last string
	var next *string
	from(p.after, func(rec V) bool {
		k := key(rec)
		if k == p.after {
			return true
		}
		if len(items) == p.max || looked == lookedAt {
			next = marker(last)
			return false
		}
		if item, ok := pick(rec); ok {
			items = append(items, item)
		}
		last, looked = k, looked+1
		return true
	})
	return items, next
}

// byName is the key of listings in order of name.
func byName[V interface{ Entity() fsm.Entity }](rec V) string {
	return strings.ToLower(rec.Entity().Name)
}

// byID is the key of listings in order of id.
func byID[V interface{ Entity() fsm.Entity }](rec V) string { return string(rec.Entity().ID) }
