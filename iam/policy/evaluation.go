package policy

import (
	"net/netip"
	"strings"
	"time"

	"hive/iam/principal"
)

// evaluation is a request with what every statement needs of it. It lives on the stack of Decide.
type evaluation struct {
	*Request
	action string // in lower case
	arn    arn
	isARN  bool
	owner  string // account of the resource

	root     bool // the caller needs no policy to allow it
	stranger bool // the caller belongs to no account that could allow it anything
	foreign  bool // the resource is another account's
	trust    bool // the resource is a role that is to be assumed
	bounded  bool // the caller has a permissions boundary

	// What was looked up already. slots holds, for each known key, the place of its values, from 1.
	slots  [maxKeys]uint8
	used   uint8
	cached [16]values
	named  struct { // the last key that is known by its form only
		name string
		values
	}
	// The last value that was read as an address, and as a date: most requests have one.
	address memo[netip.Addr]
	date    memo[time.Time]
}

// memo is what a text was read as.
type memo[T any] struct {
	text  string
	value T
	ok    bool
}

func (e *evaluation) prepare(p *Policies, r *Request) {
	c := r.Caller
	e.Request, e.action, e.bounded = r, strings.ToLower(r.Action), p.HasBoundary
	e.arn, e.isARN = splitARN(r.Resource)
	e.foreign = p.ResourceAccount != "" && p.ResourceAccount != c.Account
	e.owner = p.ResourceAccount
	if e.owner == "" {
		e.owner = e.arn.parts[4]
	}
	if e.owner == "" {
		e.owner = c.Account
	}
	for _, doc := range p.Resource {
		e.trust = e.trust || doc.kind == Trust
	}
	e.stranger = c.Anonymous || c.Account == "" || r.Service != "" || r.Provider != ""
	// A federated user of the root user has what its session policies allow.
	e.root = !e.stranger && (c.Root || c.Session != nil && c.Session.Kind == principal.FederatedSession &&
		c.Session.Issuer == "" && strings.HasSuffix(c.Session.IssuerARN, ":root"))
}

// verdict is what the documents of one kind say.
type verdict struct {
	effect    Effect
	document  int
	statement *statement
	grant     grant
}

// judge asks documents of one kind: a statement that denies wins, else the one that allows most directly.
func (e *evaluation) judge(docs []*Document) (v verdict) {
	for i, doc := range docs {
		for j := range doc.statements {
			s := &doc.statements[j]
			if !s.deny && v.grant == grantDirect {
				continue
			}
			g, ok := e.matchesPrincipal(s)
			if !ok || !s.deny && g <= v.grant || !e.applies(s) {
				continue
			}
			if s.deny {
				return verdict{effect: ExplicitDeny, document: i, statement: s}
			}
			v = verdict{effect: Allow, document: i, statement: s, grant: g}
		}
	}
	return v
}

// applies tells whether a statement speaks of the request's action and resource, under its conditions. What is cheap to
// tell is asked first.
func (e *evaluation) applies(s *statement) bool {
	if e.matchesAction(s) == s.notAction || !s.dear && e.matchesResource(s) == s.notResource {
		return false
	}
	for i := range s.conditions {
		if c := &s.conditions[i]; c.cost == cheap && !c.holds(e) {
			return false
		}
	}
	if s.dear && e.matchesResource(s) == s.notResource {
		return false
	}
	for i := range s.conditions {
		if c := &s.conditions[i]; c.cost != cheap && !c.holds(e) {
			return false
		}
	}
	return true
}

func (e *evaluation) matchesAction(s *statement) bool {
	for i := range s.actions {
		if s.actions[i].match(e.action) {
			return true
		}
	}
	return false
}

func (e *evaluation) matchesResource(s *statement) bool {
	for i := range s.resources {
		if s.resources[i].match(e) {
			return true
		}
	}
	return false
}
