// Package policy reads IAM policy documents and decides by them. It is pure: it looks nothing up,
// reads no clock and imports nothing of Hive but the caller's type. A document with anything that it
// does not understand is refused, so that no policy is ever half enforced.
//
// Source: "IAM JSON policy element reference", "Grammar of the IAM JSON policy language" and "Policy
// evaluation logic" in the AWS IAM user guide.
package policy

import (
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
	deny         bool
	notPrincipal bool
	notAction    bool
	notResource  bool
	dear         bool // to match the resources is more than to compare texts
	principals   []principalPattern
	actions      []glob
	resources    []resource
	conditions   []condition
	id           string // Sid, or "#" and the statement's place, from 1
	start, end   Position
}

// Position is a place in a document's text. Both count from 1, columns in characters.
type Position struct{ Line, Column int }

// Request is one permission that is asked for.
type Request struct {
	Action   string // "s3:GetObject"
	Resource string // an ARN, or "*" where the action knows no resource
	Caller   *principal.Caller
	Now      time.Time
	// Context are further condition keys of the request, by name in lower case ("s3:prefix",
	// "aws:principaltag/team"). A key that is not there is absent, which differs from empty. A key that
	// is there stands over what Caller and Now say, which simulations use.
	Context map[string][]string

	// A caller that is no principal of an account says here what it is instead.
	Service  string // service principal that asks: "ec2.amazonaws.com"
	Provider string // ARN of the identity provider whose token the caller shows

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

// Policies are all that have a say on a request.
type Policies struct {
	Identity    []*Document // of the user and its groups, or of the role
	Boundary    []*Document // permissions boundary
	HasBoundary bool        // there is one: what it does not allow, the identity's policies cannot give
	Session     []*Document // session policies
	HasSession  bool        // the session is limited by them, also when there are none
	Resource    []*Document // the bucket's policy, or the trust policy of the role
	// ResourceAccount is the account of the resource; "" when it is the caller's own.
	ResourceAccount string
}

// Cause is the kind of policy that a decision comes from: the one that allowed or denied, or, of an implicit
// deny, the one that would have had to allow.
type Cause int

// Causes.
const (
	NoPolicy       Cause = iota // the root user's own right
	IdentityPolicy              // "no identity-based policy allows"
	BoundaryPolicy              // "no permissions boundary allows"
	SessionPolicy               // "no session policy allows"
	ResourcePolicy              // "no resource-based policy allows"
)

// Decision is an effect, and where it comes from.
type Decision struct {
	Effect    Effect
	Cause     Cause
	Document  int    // index into the documents of the cause's kind; -1 where no statement decided
	Statement string // Sid, or "#" and the statement's place in its document, from 1
	// What the policies of each kind say by themselves. A kind that has no say is ImplicitDeny.
	Identity, Boundary, Session, Resource Effect
}
