package policy

import (
	"slices"
	"strings"

	"hive/iam/principal"
)

// principalPattern is one principal that a statement names.
type principalPattern struct {
	form  principalForm
	value string
}

type principalForm uint8

const (
	everyone      principalForm = iota // "*": also the anonymous, services and federated users
	ofAccount                          // 12 digits
	ofARN                              // of a user, a role, a session of either
	ofUniqueID                         // AIDA…, AROA…: what AWS makes of an ARN whose entity is gone
	ofProvider                         // Federated
	ofService                          // Service
	ofCanonicalID                      // CanonicalUser: an account by S3's name for it
)

// grant is how much an Allow of a resource's policy gives to its principal, from little to much.
type grant uint8

const (
	grantNone    grant = iota
	grantAccount       // to the whole account, which has to pass it on by its own policies
	grantLimited       // to the role or user behind a session: boundary and session policies still limit it
	grantDirect        // to the very principal that asks, or to everyone
)

// readPrincipals reads a statement's Principal or NotPrincipal, which policies of resources must have and those
// of identities must not.
func (d *dialect) readPrincipals(m map[string]any, s *statement) error {
	raw, plain := m["Principal"]
	other, not := m["NotPrincipal"]
	switch {
	case d.kind == Identity || d.kind == Managed:
		if plain || not {
			return malformed("Policy document should not specify a principal.")
		}
		return nil
	case plain && not:
		return malformed("Syntax errors in policy. A statement has either Principal or NotPrincipal.")
	case not && d.kind == Trust:
		return malformed("AssumeRolepolicy contained a NotPrincipal, which is not supported.")
	case not && !s.deny:
		return malformed("Allow with NotPrincipal is not allowed.")
	case !plain && !not:
		return malformed("Missing required field Principal")
	case not:
		raw, s.notPrincipal = other, true
	}
	if raw == "*" {
		s.principals = []principalPattern{{form: everyone}}
		return nil
	}
	block, ok := raw.(object)
	if !ok {
		return malformed("Syntax errors in policy. Principal must be \"*\" or an object.")
	}
	for _, m := range block {
		values, ok := stringList(m.value)
		if !ok || len(values) == 0 {
			return malformed("Syntax errors in policy. Principal %s must be a string or a list of strings.", m.name)
		}
		for _, v := range values {
			p, ok := newPrincipal(m.name, v)
			if !ok {
				return malformed("Invalid principal in policy: %q:%q", m.name, v)
			}
			s.principals = append(s.principals, p)
		}
	}
	if len(s.principals) == 0 {
		return malformed("Syntax errors in policy. Principal is empty.")
	}
	return nil
}

func newPrincipal(kind, v string) (p principalPattern, ok bool) {
	switch kind {
	case "AWS":
		return newAWSPrincipal(v)
	case "Federated":
		return principalPattern{ofProvider, v}, knownProvider(v)
	case "Service":
		return principalPattern{ofService, v}, strings.HasSuffix(v, ".amazonaws.com") && hostname(v)
	case "CanonicalUser":
		return principalPattern{ofCanonicalID, v}, len(v) == 64 && strings.Trim(v, "0123456789abcdef") == ""
	}
	return p, false
}

// newAWSPrincipal reads a principal of AWS. Wildcards stand alone or not at all.
func newAWSPrincipal(v string) (p principalPattern, ok bool) {
	if v == "*" {
		return principalPattern{form: everyone}, true
	}
	if isAccount(v) {
		return principalPattern{ofAccount, v}, true
	}
	if len(v) >= 16 && (strings.HasPrefix(v, "AIDA") || strings.HasPrefix(v, "AROA")) && !strings.ContainsFunc(v, notAlphanumeric) {
		return principalPattern{ofUniqueID, v}, true
	}
	arn, ok := splitARN(v)
	if !ok || arn[3] != "" || !isAccount(arn[4]) || strings.ContainsAny(v, "*? ") || !slices.Contains(partitions[:3], arn[1]) {
		return p, false
	}
	kind, name, _ := strings.Cut(arn[5], "/")
	switch {
	case arn[2] == "iam" && arn[5] == "root":
		return principalPattern{ofAccount, arn[4]}, true
	case arn[2] == "iam" && (kind == "user" || kind == "role"):
		return principalPattern{ofARN, v}, name != "" && !strings.HasSuffix(name, "/")
	case arn[2] == "sts" && kind == "assumed-role":
		role, session, _ := strings.Cut(name, "/")
		return principalPattern{ofARN, v}, role != "" && session != "" && !strings.Contains(session, "/")
	case arn[2] == "sts" && kind == "federated-user":
		return principalPattern{ofARN, v}, name != "" && !strings.Contains(name, "/")
	}
	return p, false
}

// knownProvider tells whether v names an identity provider: an ARN, or one of those that need none.
func knownProvider(v string) bool {
	if arn, ok := splitARN(v); ok {
		kind, name, _ := strings.Cut(arn[5], "/")
		return arn[2] == "iam" && arn[3] == "" && isAccount(arn[4]) && (kind == "oidc-provider" || kind == "saml-provider") &&
			name != "" && !strings.ContainsAny(v, "*? ")
	}
	return slices.Contains([]string{"cognito-identity.amazonaws.com", "www.amazon.com", "graph.facebook.com", "accounts.google.com"}, v)
}

func isAccount(s string) bool { return len(s) == 12 && strings.Trim(s, "0123456789") == "" }

func notAlphanumeric(r rune) bool { return !alphanumeric(r) }

func hostname(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !alphanumeric(r) && r != '.' && r != '-' && r != '_' })
}

// matchesPrincipal tells whether a statement speaks of the caller, and how directly. Identity policies speak of
// whoever they are attached to.
func (e *evaluation) matchesPrincipal(s *statement) (grant, bool) {
	if s.principals == nil {
		return grantDirect, true
	}
	if s.notPrincipal {
		return grantDirect, !e.excepted(s.principals)
	}
	best := grantNone
	for i := range s.principals {
		best = max(best, e.grantOf(&s.principals[i]))
	}
	return best, best > grantNone
}

// grantOf tells how a principal of a policy stands to the caller.
func (e *evaluation) grantOf(p *principalPattern) grant {
	c := e.Caller
	switch p.form {
	case everyone:
		return grantDirect
	case ofService:
		return when(e.Service == p.value && p.value != "", grantDirect)
	case ofProvider:
		return when(e.Provider == p.value && p.value != "", grantDirect)
	}
	if c.Anonymous || c.Account == "" {
		return grantNone
	}
	switch p.form {
	case ofAccount:
		return when(c.Account == p.value, grantAccount)
	case ofCanonicalID:
		return when(e.Canonical == p.value, grantAccount)
	case ofUniqueID:
		return e.grantOfID(p.value)
	}
	if c.ARN == p.value {
		return grantDirect
	}
	return when(c.Session != nil && c.Session.IssuerARN == p.value, grantLimited)
}

func (e *evaluation) grantOfID(id string) grant {
	c := e.Caller
	if c.UserID == id {
		return grantDirect
	}
	return when(c.Session != nil && c.Session.Issuer == id, grantLimited)
}

func when(met bool, g grant) grant {
	if met {
		return g
	}
	return grantNone
}

// excepted tells whether NotPrincipal leaves the caller out. AWS asks for each thing that the caller is: its account,
// the user or role behind it, and its session; one that is not listed is reason enough for the Deny. Whoever has a
// permissions boundary is never excepted. Source: "AWS JSON policy elements: NotPrincipal".
func (e *evaluation) excepted(listed []principalPattern) bool {
	var account, issuer, self bool
	for i := range listed {
		p := &listed[i]
		switch g := e.grantOf(p); {
		case p.form == everyone, g == grantDirect && (p.form == ofService || p.form == ofProvider):
			return true
		case g == grantAccount:
			account = true
		case g == grantLimited:
			issuer = true
		case g == grantDirect:
			self = true
		}
	}
	if e.bounded {
		return false
	}
	if e.Caller.Root {
		return account
	}
	return account && self && (issuer || !hasIssuer(e.Caller))
}

// hasIssuer tells whether a caller is a session with an ARN of its own, apart from the user's or role's behind it.
func hasIssuer(c *principal.Caller) bool {
	return c.Session != nil && c.Session.IssuerARN != "" && c.Session.IssuerARN != c.ARN
}
