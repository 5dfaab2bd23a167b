package policy

// Decide says whether a request is allowed. Source: "Policy evaluation logic" in the IAM user guide; DESIGN.md
// draws the order. A trust policy always has to allow; a bucket's may do so in place of the caller's own policies.
func Decide(p *Policies, r *Request) Decision {
	var e evaluation
	e.prepare(p, r)
	return e.decide(p)
}

func (e *evaluation) decide(p *Policies) Decision {
	s := sides{identity: e.judge(p.Identity), resource: e.judge(p.Resource)}
	if p.HasBoundary {
		s.boundary = e.judge(p.Boundary)
	}
	if p.HasSession {
		s.session = e.judge(p.Session)
	}
	d := Decision{
		Document: -1, Identity: s.identity.effect, Boundary: s.boundary.effect, Session: s.session.effect, Resource: s.resource.effect,
	}
	if e.ownsPolicy() {
		s.resource = verdict{}
	}
	switch {
	case s.identity.effect == ExplicitDeny:
		return d.by(&s.identity, IdentityPolicy)
	case s.boundary.effect == ExplicitDeny:
		return d.by(&s.boundary, BoundaryPolicy)
	case s.session.effect == ExplicitDeny:
		return d.by(&s.session, SessionPolicy)
	case s.resource.effect == ExplicitDeny:
		return d.by(&s.resource, ResourcePolicy)
	}
	s.bounded = p.HasBoundary && s.boundary.effect != Allow
	s.narrowed = p.HasSession && s.session.effect != Allow
	return e.combine(d, &s)
}

// sides are what the policies of a request say.
type sides struct {
	identity, boundary, session, resource verdict
	bounded, narrowed                     bool // the boundary, the session policies do not let it through
}

// combine makes one decision of what both sides, the caller's and the resource's, say when nothing denies.
func (e *evaluation) combine(d Decision, s *sides) Decision {
	given := s.resource.grant
	switch {
	case given == grantNone && (e.stranger || e.foreign || e.trust):
		return d.refused(ResourcePolicy)
	case e.stranger: // it has no policies of its own
		return d.by(&s.resource, ResourcePolicy)
	case e.foreign: // both accounts must allow
		return e.own(d, s)
	case given == grantDirect: // implicit denies of the other policies do not count
		return d.by(&s.resource, ResourcePolicy)
	case given == grantLimited && (s.bounded || s.narrowed):
		return limited(d, s)
	case given == grantLimited:
		return d.by(&s.resource, ResourcePolicy)
	}
	return e.own(d, s)
}

// own is what the caller's own policies say: those of the identity, as far as boundary and session let them.
func (e *evaluation) own(d Decision, s *sides) Decision {
	switch {
	case !e.root && s.identity.effect != Allow:
		return d.refused(IdentityPolicy)
	case s.bounded || s.narrowed:
		return limited(d, s)
	case e.root:
		d.Effect = Allow
		return d
	}
	return d.by(&s.identity, IdentityPolicy)
}

func limited(d Decision, s *sides) Decision {
	if s.bounded {
		return d.refused(BoundaryPolicy)
	}
	return d.refused(SessionPolicy)
}

// by is d as a verdict of one kind of policy decides it.
func (d Decision) by(v *verdict, cause Cause) Decision {
	d.Effect, d.Cause, d.Document, d.Statement = v.effect, cause, v.document, v.statement.id
	return d
}

// refused is d as an implicit deny.
func (d Decision) refused(cause Cause) Decision {
	d.Effect, d.Cause = ImplicitDeny, cause
	return d
}

// ownsPolicy tells of the root user of a bucket's account, who may always read, replace and delete the bucket's
// policy, also when that denies it. Source: S3's API reference, PutBucketPolicy.
func (e *evaluation) ownsPolicy() bool {
	if !e.Caller.Root || e.stranger || e.foreign || e.Caller.Session != nil {
		return false
	}
	switch e.action {
	case "s3:getbucketpolicy", "s3:putbucketpolicy", "s3:deletebucketpolicy":
		return true
	}
	return false
}
