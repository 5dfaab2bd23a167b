package policy

import (
	"strings"

	"hive/iam/principal"
)

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

// Decide says whether a request is allowed. Source: "Policy evaluation logic" in the IAM user guide.
// A trust policy always has to allow; a bucket's may do so in place of the caller's own policies.
func Decide(p *Policies, r *Request) Decision {
	e := newEvaluation(p, r)
	identity, resource := e.judge(p.Identity), e.judge(p.Resource)
	var boundary, session verdict
	if p.HasBoundary {
		boundary = e.judge(p.Boundary)
	}
	if p.HasSession {
		session = e.judge(p.Session)
	}
	d := Decision{Document: -1, Identity: identity.effect, Boundary: boundary.effect, Session: session.effect, Resource: resource.effect}
	if e.ownsPolicy() {
		resource = verdict{}
	}
	for _, v := range []struct {
		verdict *verdict
		cause   Cause
	}{{&identity, IdentityPolicy}, {&boundary, BoundaryPolicy}, {&session, SessionPolicy}, {&resource, ResourcePolicy}} {
		if v.verdict.effect == ExplicitDeny {
			return d.by(v.verdict, v.cause)
		}
	}
	s := sides{
		identity: identity, resource: resource,
		limits: limits{
			boundary: !p.HasBoundary || boundary.effect == Allow,
			session:  !p.HasSession || session.effect == Allow,
		},
	}
	return e.combine(d, &s)
}

// sides are what the policies of a request say when none of them denies it.
type sides struct {
	identity, resource verdict
	limits
}

// limits tells which of the policies that only limit let a request through.
type limits struct{ boundary, session bool }

// by is d as a verdict of one kind of policy decides it.
func (d Decision) by(v *verdict, cause Cause) Decision {
	d.Effect, d.Cause, d.Document, d.Statement = v.effect, cause, v.document, ""
	if v.statement != nil {
		d.Statement = v.statement.id
	}
	return d
}

// refused is d as an implicit deny.
func (d Decision) refused(cause Cause) Decision {
	d.Effect, d.Cause, d.Document, d.Statement = ImplicitDeny, cause, -1, ""
	return d
}

// combine makes one decision of what both sides, the caller's and the resource's, say.
func (e *evaluation) combine(d Decision, s *sides) Decision {
	granted := s.resource.grant
	if s.resource.effect != Allow {
		granted = grantNone
	}
	switch {
	case e.stranger(): // it has no policies of its own
		if granted == grantNone {
			return d.refused(ResourcePolicy)
		}
		return d.by(&s.resource, ResourcePolicy)
	case e.foreign || e.trust: // both sides must allow
		if granted == grantNone {
			return d.refused(ResourcePolicy)
		}
		if !e.foreign && (granted == grantDirect || granted == grantLimited) {
			break
		}
		return e.own(d, s)
	}
	switch {
	case granted == grantDirect:
		return d.by(&s.resource, ResourcePolicy)
	case granted == grantLimited && s.boundary && s.session:
		return d.by(&s.resource, ResourcePolicy)
	case granted == grantLimited:
		return limited(d, s)
	}
	return e.own(d, s)
}

// own is what the caller's own policies say: those of the identity, as far as boundary and session let them.
func (e *evaluation) own(d Decision, s *sides) Decision {
	switch {
	case !e.root && s.identity.effect != Allow:
		return d.refused(IdentityPolicy)
	case !s.boundary || !s.session:
		return limited(d, s)
	case e.root && s.identity.effect != Allow:
		d.Effect = Allow
		return d
	}
	return d.by(&s.identity, IdentityPolicy)
}

func limited(d Decision, s *sides) Decision {
	if !s.boundary {
		return d.refused(BoundaryPolicy)
	}
	return d.refused(SessionPolicy)
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

// Evaluate decides by identity-based policies alone, of a caller that is not taken for root.
func Evaluate(docs []*Document, r *Request) Decision {
	e := newEvaluation(&Policies{}, r)
	v := e.judge(docs)
	d := Decision{Document: -1, Identity: v.effect}
	if v.effect == ImplicitDeny {
		return d.refused(IdentityPolicy)
	}
	return d.by(&v, IdentityPolicy)
}

// newEvaluation is a request with what every statement needs of it.
func newEvaluation(p *Policies, r *Request) *evaluation {
	c := r.Caller
	e := &evaluation{Request: r, action: strings.ToLower(r.Action), bounded: p.HasBoundary}
	e.arn, e.isARN = splitARN(r.Resource)
	e.foreign = p.ResourceAccount != "" && p.ResourceAccount != c.Account
	for _, doc := range p.Resource {
		e.trust = e.trust || doc.kind == Trust
	}
	// A federated user of the root user has what its session policies allow.
	e.root = c.Root || c.Session != nil && c.Session.Kind == principal.FederatedSession && c.Session.Issuer == ""
	return e
}

// stranger tells whether the caller belongs to no account that could allow it anything.
func (e *evaluation) stranger() bool {
	return e.Caller.Anonymous || e.Caller.Account == "" || e.Service != "" || e.Provider != ""
}

// ownsPolicy tells of the root user of a bucket's account, which may always read, replace and delete the bucket's
// policy, also when that denies it. Source: S3's API reference, PutBucketPolicy.
func (e *evaluation) ownsPolicy() bool {
	if !e.Caller.Root || e.Caller.Session != nil || e.foreign {
		return false
	}
	switch e.action {
	case "s3:getbucketpolicy", "s3:putbucketpolicy", "s3:deletebucketpolicy":
		return true
	}
	return false
}
