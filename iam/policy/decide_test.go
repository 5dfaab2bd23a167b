package policy

import (
	"strings"
	"testing"
)

// scenario is one case of decisions.txt.
type scenario struct {
	line             int
	name, caller     string
	policies         Policies
	action, on, want string
	context          map[string][]string
}

// scenarios reads decisions.txt.
func scenarios(t testing.TB) []scenario {
	t.Helper()
	named, out := map[string]string{}, []scenario(nil)
	for i, line := range lines(t, "decisions.txt") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if rest, ok := strings.CutPrefix(line, "let "); ok {
			name, text, _ := strings.Cut(rest, "=")
			named[strings.TrimSpace(name)] = strings.TrimSpace(text)
			continue
		}
		key, value, ok := strings.Cut(line, ": ")
		if !ok || key != "case" && len(out) == 0 {
			t.Fatalf("line %d: %s", i+1, line)
		}
		if key == "case" {
			out = append(out, scenario{line: i + 1, name: value, caller: "alice", action: "s3:GetObject", on: "arn:aws:s3:::b/k"})
			continue
		}
		out[len(out)-1].set(t, named, key, value)
	}
	return out
}

func (s *scenario) set(t testing.TB, named map[string]string, key, value string) {
	t.Helper()
	docs := func(kind Kind) []*Document {
		if value == "none" {
			return nil
		}
		var statements []string
		for _, name := range strings.Fields(value) {
			if named[name] == "" {
				t.Fatalf("%s: no statement is called %q", s.name, name)
			}
			statements = append(statements, named[name])
		}
		return []*Document{parse(t, document(statements...), kind)}
	}
	p := &s.policies
	switch key {
	case "caller":
		s.caller = value
	case "action":
		s.action = value
	case "on":
		s.on = value
	case "want":
		s.want = value
	case "owner":
		p.ResourceAccount = value
	case "context":
		s.context = map[string][]string{}
		for _, pair := range strings.Fields(value) {
			name, text, _ := strings.Cut(pair, "=")
			s.context[name] = []string{text}
		}
	case "identity":
		p.Identity = append(p.Identity, docs(Identity)...)
	case "boundary":
		p.HasBoundary, p.Boundary = true, append(p.Boundary, docs(Managed)...)
	case "session":
		p.HasSession, p.Session = true, append(p.Session, docs(Identity)...)
	case "resource":
		p.Resource = append(p.Resource, docs(Resource)...)
	case "trust":
		p.Resource = append(p.Resource, docs(Trust)...)
	default:
		t.Fatalf("%s: no element is called %q", s.name, key)
	}
}

func (s *scenario) request(t testing.TB) *Request {
	t.Helper()
	a := askerOf(t, s.caller)
	return a.request(s.action, s.on, s.context)
}

var causes = map[Cause]string{
	NoPolicy: "root", IdentityPolicy: "identity", BoundaryPolicy: "boundary", SessionPolicy: "session", ResourcePolicy: "resource",
}

func TestDecisions(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range scenarios(t) {
		t.Run(s.name, func(t *testing.T) {
			if seen[s.name] {
				t.Error("there are two cases of this name")
			}
			seen[s.name] = true
			got := Decide(&s.policies, s.request(t))
			if text := got.Effect.String() + " by " + causes[got.Cause]; text != s.want {
				t.Errorf("line %d: %s, want %s", s.line, text, s.want)
			}
			if stated := got.Effect != ImplicitDeny && got.Cause != NoPolicy; stated != (got.Document >= 0) || stated != (got.Statement != "") {
				t.Errorf("line %d: document %d, statement %q", s.line, got.Document, got.Statement)
			}
		})
	}
}

func TestThereAreMoreThan400Cases(t *testing.T) {
	n := len(scenarios(t))
	for file, columns := range map[string]int{
		"actions.txt": 3, "resources.txt": 3, "conditions.txt": 5, "keys.txt": 3, "principals.txt": 3, "notprincipals.txt": 3,
		"refused.txt": 3, "accepted.txt": 2,
	} {
		n += len(rows(t, file, columns))
	}
	if n < 400 {
		t.Errorf("%d cases", n)
	}
	t.Logf("%d cases", n)
}
