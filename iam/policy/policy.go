// Package policy reads IAM policy documents and decides by them. It is pure: it looks nothing up,
// reads no clock and imports nothing of Hive but the caller's type. A document with anything that it
// does not understand is refused, so that no policy is ever half enforced.
//
// Source: "IAM JSON policy element reference", "Grammar of the IAM JSON policy language" and "Policy
// evaluation logic" in the AWS IAM user guide.
package policy

import (
	"strings"
	"time"

	"hive/iam/principal"
)

// Kind is what a document governs, and by that which elements it has.
type Kind int

// Kinds of document.
const (
	Identity Kind = iota // of a user, group or role; also a session policy
	Trust                // of a role: who may assume it (AssumeRolePolicyDocument)
	Resource             // of a bucket
	Managed              // as Identity, for managed policies: of version 2012-10-17 only
)

// Document is a policy, read and ready to be evaluated. It is immutable.
type Document struct {
	kind       Kind
	statements []statement
}

type statement struct {
	id           string // Sid, or "#" and the statement's place, from 1
	deny         bool
	principals   []principalPattern
	notPrincipal bool
	actions      []glob
	notAction    bool
	resources    []resource
	notResource  bool
	conditions   []condition
}

// Request is one permission that is asked for.
type Request struct {
	Action   string // "s3:GetObject"
	Resource string // an ARN, or "*" where the action knows no resource
	Caller   *principal.Caller
	Now      time.Time
	// Context are further condition keys of the request, by name in lower case ("s3:prefix",
	// "aws:principaltag/team"). A key that is not there is absent, which differs from empty.
	Context map[string][]string

	// A caller that is no principal of an account says here what it is instead.
	Service  string // service principal that asks: "ec2.amazonaws.com"; Caller is then anonymous
	Provider string // ARN of the identity provider whose token an anonymous caller shows

	Canonical string // S3's canonical user ID of the caller's account; "" where no policy names one
}

// Effect is what policies say to a request.
type Effect int

// Effects. The zero value denies.
const (
	ImplicitDeny Effect = iota // no statement allows it
	Allow
	ExplicitDeny
)

// String is the effect as logs show it.
func (e Effect) String() string {
	switch e {
	case Allow:
		return "allow"
	case ExplicitDeny:
		return "explicit deny"
	default:
		return "implicit deny"
	}
}

// evaluation is a request with what every statement needs of it.
type evaluation struct {
	*Request
	action string // in lower case
	arn    [6]string
	isARN  bool
	fold   bool // values of variables are wanted in lower case

	root    bool // the caller needs no policy to allow it
	foreign bool // the resource is another account's
	trust   bool // the resource is a role that is to be assumed
	bounded bool // the caller has a permissions boundary
}

func (e *evaluation) applies(s *statement) bool {
	if e.matchesAction(s) == s.notAction || e.matchesResource(s) == s.notResource {
		return false
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(e, s.deny) {
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

// matchesResource tells whether one of the statement's resources is the request's. Where a policy
// variable has no value the resource matches nothing; under NotResource an Allow then does not apply
// and a Deny does: what cannot be told apart is denied.
func (e *evaluation) matchesResource(s *statement) bool {
	for i := range s.resources {
		matched, known := s.resources[i].match(e)
		if matched || !known && s.notResource && !s.deny {
			return true
		}
	}
	return false
}

// splitARN cuts an ARN into its six parts; the last keeps its colons.
func splitARN(s string) (parts [6]string, ok bool) {
	if !strings.HasPrefix(s, "arn:") {
		return parts, false
	}
	for i := range 5 {
		if parts[i], s, ok = strings.Cut(s, ":"); !ok {
			return parts, false
		}
	}
	parts[5] = s
	return parts, true
}
