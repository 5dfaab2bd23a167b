package policy

import (
	"slices"
	"strings"

	"hive/iam/principal"
)

// principalPattern is one principal that a statement names.
type principalPattern struct {
	form  principalForm
	kind  string // as the document has it: "AWS", "Service", …; "" for the bare "*"
	text  string // as the document has it
	value string // what it is compared by
}

type principalForm uint8

const (
	everyone      principalForm = iota // "*": also the anonymous, services and federated users
	ofAccount                          // 12 digits
	ofARN                              // of a user, a role, a session of either
	ofUniqueID                         // AIDA…, AROA…: what AWS makes of an ARN, so that a namesake made later is another
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
			return &MalformedError{"Policy document should not specify a principal.", ""}
		}
		return nil
	case plain && not:
		return d.syntax("a statement has either Principal or NotPrincipal")
	case not && d.kind == Trust:
		return d.syntax("the policy of a role cannot have NotPrincipal")
	case not && !s.deny:
		return d.syntax("NotPrincipal goes with Deny only")
	case !plain && !not:
		return &MalformedError{"Missing required field Principal", ""}
	case not:
		raw, s.notPrincipal = other, true
	}
	if raw == "*" {
		s.principals = []principalPattern{{form: everyone, text: "*"}}
		return nil
	}
	return d.principalBlock(raw, s)
}

// principalBlock reads principals by their kinds: {"AWS": …, "Service": […]}.
func (d *dialect) principalBlock(raw any, s *statement) error {
	block, ok := raw.(*object)
	if !ok || len(block.members) == 0 {
		return d.syntax("Principal must be \"*\" or an object")
	}
	for _, m := range block.members {
		values, ok := stringList(m.value)
		if !ok || len(values) == 0 {
			return d.syntax("Principal " + m.name + " must be a string or a list of strings")
		}
		for _, v := range values {
			p, ok := newPrincipal(m.name, v)
			if !ok {
				return d.invalidPrincipal(m.name, v)
			}
			s.principals = append(s.principals, p)
		}
	}
	return nil
}

func (d *dialect) invalidPrincipal(kind, value string) error {
	switch {
	case d.kind == Resource:
		return &MalformedError{"Invalid principal in policy", kind + ": " + value}
	case kind == "Federated":
		return &MalformedError{"Federated principals must be valid domain names or SAML metadata ARNs", value}
	}
	return &MalformedError{`Invalid principal in policy: "` + strings.ToUpper(kind) + `":"` + value + `"`, ""}
}

func newPrincipal(kind, v string) (p principalPattern, ok bool) {
	switch kind {
	case "AWS":
		p, ok = newAWSPrincipal(v)
	case "Federated":
		p, ok = principalPattern{form: ofProvider, value: v}, knownProvider(v)
	case "Service":
		p, ok = principalPattern{form: ofService, value: v}, serviceName(v)
	case "CanonicalUser":
		p, ok = principalPattern{form: ofCanonicalID, value: v}, len(v) == 64 && strings.Trim(v, "0123456789abcdef") == ""
	}
	p.kind, p.text = kind, v
	return p, ok
}

// newAWSPrincipal reads a principal of AWS. A wildcard stands alone or not at all.
func newAWSPrincipal(v string) (p principalPattern, ok bool) {
	switch {
	case v == "*":
		return principalPattern{form: everyone}, true
	case isAccount(v):
		return principalPattern{form: ofAccount, value: v}, true
	case uniqueID(v):
		return principalPattern{form: ofUniqueID, value: v}, true
	}
	a, ok := splitARN(v)
	arn := &a.parts
	if !ok || arn[3] != "" || !isAccount(arn[4]) || strings.ContainsAny(v, "*? ") || !slices.Contains(partitions[:3], arn[1]) {
		return p, false
	}
	kind, name, _ := strings.Cut(arn[5], "/")
	switch {
	case arn[2] == "iam" && arn[5] == "root":
		return principalPattern{form: ofAccount, value: arn[4]}, true
	case arn[2] == "iam" && (kind == "user" || kind == "role"):
		return principalPattern{form: ofARN, value: v}, name != "" && !strings.HasSuffix(name, "/")
	case arn[2] == "sts" && kind == "assumed-role":
		role, session, _ := strings.Cut(name, "/")
		return principalPattern{form: ofARN, value: v}, role != "" && session != "" && !strings.Contains(session, "/")
	case arn[2] == "sts" && kind == "federated-user":
		return principalPattern{form: ofARN, value: v}, name != "" && !strings.Contains(name, "/")
	}
	return p, false
}

// knownProvider tells whether v names an identity provider: an ARN, or one of those that need none.
func knownProvider(v string) bool {
	if a, ok := splitARN(v); ok {
		arn := &a.parts
		kind, name, _ := strings.Cut(arn[5], "/")
		return arn[2] == "iam" && arn[3] == "" && isAccount(arn[4]) && (kind == "oidc-provider" || kind == "saml-provider") &&
			name != "" && !strings.ContainsAny(v, "*? ")
	}
	return slices.Contains([]string{"cognito-identity.amazonaws.com", "www.amazon.com", "graph.facebook.com", "accounts.google.com"}, v)
}

func isAccount(s string) bool { return len(s) == 12 && strings.Trim(s, "0123456789") == "" }

func uniqueID(s string) bool {
	return len(s) >= 16 && (strings.HasPrefix(s, "AIDA") || strings.HasPrefix(s, "AROA")) && !strings.ContainsFunc(s, notAlphanumeric)
}

// serviceName tells whether s has the form of a service principal: ec2.amazonaws.com.
func serviceName(s string) bool {
	for _, suffix := range []string{".amazonaws.com", ".amazonaws.com.cn", ".aws.internal"} {
		if name, ok := strings.CutSuffix(s, suffix); ok {
			return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return !alphanumeric(r) && r != '.' && r != '-' && r != '_' })
		}
	}
	return false
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
	c, s := e.Caller, e.Caller.Session
	switch {
	case p.form == everyone:
		return grantDirect
	case e.Service != "":
		return when(p.form == ofService && p.value == e.Service, grantDirect)
	case e.Provider != "":
		return when(p.form == ofProvider && p.value == e.Provider, grantDirect)
	case e.stranger:
		return grantNone
	}
	switch p.form {
	case ofAccount:
		return when(p.value == c.Account, grantAccount)
	case ofCanonicalID:
		return when(p.value == e.Canonical, grantAccount)
	case ofProvider: // of a session that a token of it began
		return when(s != nil && p.value == s.Provider, grantLimited)
	case ofARN:
		if p.value == c.ARN {
			return grantDirect
		}
		return when(s != nil && p.value == s.IssuerARN, grantLimited)
	case ofUniqueID:
		if p.value == c.UserID {
			return grantDirect
		}
		return when(s != nil && p.value == s.Issuer, grantLimited)
	}
	return grantNone
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
		case g == grantLimited && p.form != ofProvider:
			issuer = true
		case g == grantDirect:
			self = true
		}
	}
	switch {
	case e.bounded:
		return false
	case e.Caller.Root && !hasIssuer(e.Caller):
		return account
	}
	return account && self && (issuer || !hasIssuer(e.Caller))
}

// hasIssuer tells whether a caller is a session with an ARN of its own, apart from the user's or role's behind it.
func hasIssuer(c *principal.Caller) bool {
	return c.Session != nil && c.Session.Issuer != "" && c.Session.IssuerARN != c.ARN
}
