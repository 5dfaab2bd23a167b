package policy

import "slices"

// Explanation is how a decision came about, for simulations.
type Explanation struct {
	// Matched are the statements that make the decision: those that deny, or if none does, those that allow.
	Matched []Match
	// Missing are the condition keys, as documents write them, that the statements on the request's action and
	// resource name and the request does not have; sorted.
	Missing []string
}

// Match is a statement that applies to a request.
type Match struct {
	Cause      Cause // kind of policy
	Document   int   // index into the documents of that kind
	Statement  string
	Effect     Effect // Allow or ExplicitDeny
	Start, End Position
}

// Explain decides as Decide does, and tells how.
func Explain(p *Policies, r *Request) (Decision, Explanation) {
	var e evaluation
	e.prepare(p, r)
	d := e.decide(p)
	var out Explanation
	for _, of := range []struct {
		cause Cause
		docs  []*Document
		asked bool
	}{
		{IdentityPolicy, p.Identity, true},
		{BoundaryPolicy, p.Boundary, p.HasBoundary},
		{SessionPolicy, p.Session, p.HasSession},
		{ResourcePolicy, p.Resource, true},
	} {
		for i, doc := range of.docs {
			if of.asked {
				e.explain(&out, of.cause, i, doc)
			}
		}
	}
	out.Matched = slices.DeleteFunc(out.Matched, func(m Match) bool { return (m.Effect == ExplicitDeny) != (d.Effect == ExplicitDeny) })
	slices.Sort(out.Missing)
	out.Missing = slices.Compact(out.Missing)
	return d, out
}

// explain adds what one document says.
func (e *evaluation) explain(out *Explanation, cause Cause, document int, doc *Document) {
	for i := range doc.statements {
		s := &doc.statements[i]
		if _, ok := e.matchesPrincipal(s); !ok || !e.mayConcern(s) {
			continue
		}
		s.eachKey(func(k *key) {
			if v := e.values(k); v.count() == 0 {
				out.Missing = append(out.Missing, k.text)
			}
		})
		if !e.applies(s) {
			continue
		}
		effect := Allow
		if s.deny {
			effect = ExplicitDeny
		}
		out.Matched = append(out.Matched, Match{cause, document, s.id, effect, s.start, s.end})
	}
}

// mayConcern tells whether a statement speaks of the request's action, and of its resource as far as that does not
// hang on a variable without a value.
func (e *evaluation) mayConcern(s *statement) bool {
	if e.matchesAction(s) == s.notAction {
		return false
	}
	for i := range s.resources {
		if s.resources[i].arn.last.filled != nil {
			return true
		}
	}
	return e.matchesResource(s) != s.notResource
}
