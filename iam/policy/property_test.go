package policy

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// world draws policies, callers and requests out of few enough words that they often meet.
type world struct {
	*rapid.T
}

func (w world) pick(label string, from ...string) string {
	return rapid.SampledFrom(from).Draw(w.T, label)
}

// statement is a statement of a document of a kind, in JSON.
func (w world) statement(kind Kind, effect string) string {
	out := `{"Effect":"` + effect + `"`
	switch kind {
	case Trust:
		return out + w.principal() + `,"Action":` + w.pick("action", `"sts:AssumeRole"`, `"sts:*"`, `"sts:TagSession"`) + w.conditions() + `}`
	case Resource:
		if effect == "Deny" && rapid.IntRange(0, 3).Draw(w.T, "not") == 0 {
			out += strings.Replace(w.principal(), "Principal", "NotPrincipal", 1)
		} else {
			out += w.principal()
		}
	}
	not := w.pick("negation", "", "", "", "Not")
	out += `,"` + not + `Action":` + w.pick("actions", `"s3:GetObject"`, `"s3:*"`, `"s3:Put*"`, `["s3:PutObject","s3:Get*"]`, `"s3:?etObject"`)
	not = w.pick("negation", "", "", "", "Not")
	out += `,"` + not + `Resource":` + w.pick("resources", `"arn:aws:s3:::b/*"`, `"arn:aws:s3:::b/k"`, `["arn:aws:s3:::c","arn:aws:s3:::*/k"]`,
		`"arn:aws:s3:::b/${aws:username}"`, `"arn:aws:s3:::b/${aws:PrincipalTag/team, 'k'}"`)
	return out + w.conditions() + `}`
}

func (w world) principal() string {
	return `,"Principal":` + w.pick("principal", `"*"`, `{"AWS":"123456789012"}`, `{"AWS":["210987654321","arn:aws:iam::123456789012:role/svc/app"]}`,
		`{"AWS":"arn:aws:iam::123456789012:user/staff/Alice"}`, `{"AWS":"arn:aws:sts::123456789012:assumed-role/app/s1"}`,
		`{"Service":"ec2.amazonaws.com"}`, `{"AWS":["123456789012","arn:aws:iam::123456789012:user/staff/Alice"]}`)
}

func (w world) conditions() string {
	return w.pick("condition", "", "", "",
		`,"Condition":{"Bool":{"aws:SecureTransport":"true"}}`,
		`,"Condition":{"StringLike":{"s3:prefix":["a*","${aws:username}"]}}`,
		`,"Condition":{"StringNotEqualsIfExists":{"s3:prefix":"a"},"DateLessThan":{"aws:CurrentTime":"2030"}}`,
		`,"Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":["a","b"]}}`,
		`,"Condition":{"Null":{"aws:TokenIssueTime":"true"}}`,
		`,"Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"},"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`)
}

// documents are texts of documents as lists of their statements.
func (w world) documents(kind Kind) [][]string {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) []string {
		inner := world{t}
		var out []string
		for range rapid.IntRange(1, 3).Draw(t, "statements") {
			out = append(out, inner.statement(kind, inner.pick("effect", "Allow", "Allow", "Deny")))
		}
		return out
	}), 0, 3).Draw(w.T, "documents")
}

// texts are the policies of a request as text.
type texts struct {
	identity, boundary, session, resource [][]string
	hasBoundary, hasSession               bool
	resourceKind                          Kind
	owner                                 string
}

func (w world) texts() texts {
	x := texts{
		hasBoundary: rapid.Bool().Draw(w.T, "has boundary"), hasSession: rapid.Bool().Draw(w.T, "has session"),
		resourceKind: rapid.SampledFrom([]Kind{Resource, Resource, Trust}).Draw(w.T, "kind"),
		owner:        w.pick("owner", "", "123456789012", "210987654321"),
	}
	x.identity, x.boundary, x.session = w.documents(Identity), w.documents(Identity), w.documents(Identity)
	x.resource = w.documents(x.resourceKind)
	return x
}

func (x texts) policies(t testing.TB) *Policies {
	docs := func(of [][]string, kind Kind) (out []*Document) {
		for _, statements := range of {
			out = append(out, parse(t, document(statements...), kind))
		}
		return out
	}
	return &Policies{
		Identity: docs(x.identity, Identity), Boundary: docs(x.boundary, Identity), Session: docs(x.session, Identity),
		Resource: docs(x.resource, x.resourceKind), HasBoundary: x.hasBoundary, HasSession: x.hasSession, ResourceAccount: x.owner,
	}
}

func (w world) request(t testing.TB, x *texts) *Request {
	a := askerOf(t, w.pick("caller", "alice", "alice-mfa", "bob", "root", "role", "instance", "fed", "root-fed", "anonymous", "service", "plain"))
	context := map[string][]string{}
	if rapid.Bool().Draw(w.T, "has prefix") {
		context["s3:prefix"] = []string{w.pick("prefix", "a", "ab", "Alice", "")}
	}
	if rapid.Bool().Draw(w.T, "has keys") {
		context["aws:tagkeys"] = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3).Draw(w.T, "keys")
	}
	action := w.pick("asked", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "S3:getobject", "s3:PutBucketPolicy")
	if x.resourceKind == Trust {
		action = "sts:AssumeRole"
	}
	return a.request(action, w.pick("on", "arn:aws:s3:::b/k", "arn:aws:s3:::b/Alice", "arn:aws:s3:::c", "*"), context)
}

// side is one kind of policy of x, by number.
func (x *texts) side(i int) (*[][]string, Kind) {
	switch i {
	case 0:
		return &x.identity, Identity
	case 1:
		return &x.boundary, Identity
	case 2:
		return &x.session, Identity
	}
	return &x.resource, x.resourceKind
}

// with is x with one more document of one kind.
func (x texts) with(side int, statement string) texts {
	docs, _ := x.side(side)
	*docs = append(slices.Clone(*docs), []string{statement})
	return x
}

func denyAll(kind Kind) string {
	switch kind {
	case Trust:
		return `{"Effect":"Deny","Principal":"*","Action":"sts:*"}`
	case Resource:
		return `{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}`
	}
	return `{"Effect":"Deny","Action":"*","Resource":"*"}`
}

// property checks something of random policies and requests.
func property(t *testing.T, check func(w world, x texts, p *Policies, r *Request, d Decision)) {
	rapid.Check(t, func(rt *rapid.T) {
		w := world{rt}
		x := w.texts()
		p, r := x.policies(t), w.request(t, &x)
		check(w, x, p, r, Decide(p, r))
	})
}

func TestADenyAlwaysWins(t *testing.T) {
	property(t, func(w world, x texts, p *Policies, r *Request, _ Decision) {
		side := rapid.IntRange(0, 3).Draw(w.T, "side")
		if side == 1 && !x.hasBoundary || side == 2 && !x.hasSession || side == 3 && r.Action == "s3:PutBucketPolicy" {
			return // it is not asked, or the root user may mend its policy
		}
		_, kind := x.side(side)
		if got := Decide(x.with(side, denyAll(kind)).policies(t), r); got.Effect != ExplicitDeny {
			w.Fatalf("%+v", got)
		}
	})
}

func TestOneMoreAllowNeverDenies(t *testing.T) {
	property(t, func(w world, x texts, p *Policies, r *Request, before Decision) {
		side := rapid.IntRange(0, 3).Draw(w.T, "side")
		_, kind := x.side(side)
		after := Decide(x.with(side, w.statement(kind, "Allow")).policies(t), r)
		if before.Effect == Allow && after.Effect != Allow || (before.Effect == ExplicitDeny) != (after.Effect == ExplicitDeny) {
			w.Fatalf("%+v became %+v", before, after)
		}
	})
}

func TestOneMoreDenyNeverAllows(t *testing.T) {
	property(t, func(w world, x texts, p *Policies, r *Request, before Decision) {
		side := rapid.IntRange(0, 3).Draw(w.T, "side")
		_, kind := x.side(side)
		after := Decide(x.with(side, w.statement(kind, "Deny")).policies(t), r)
		if before.Effect != Allow && after.Effect == Allow || before.Effect == ExplicitDeny && after.Effect != ExplicitDeny {
			w.Fatalf("%+v became %+v", before, after)
		}
	})
}

func TestOrderDoesNotMatter(t *testing.T) {
	property(t, func(w world, x texts, p *Policies, r *Request, before Decision) {
		for side := range 4 {
			docs, _ := x.side(side)
			*docs = rapid.Permutation(*docs).Draw(w.T, "documents")
			for i := range *docs {
				(*docs)[i] = rapid.Permutation((*docs)[i]).Draw(w.T, "statements")
			}
		}
		if after := Decide(x.policies(t), r); after.Effect != before.Effect || after.Cause != before.Cause {
			w.Fatalf("%+v became %+v", before, after)
		}
	})
}

func TestHowStatementsAreSpreadOverDocumentsDoesNotMatter(t *testing.T) {
	property(t, func(w world, x texts, p *Policies, r *Request, before Decision) {
		for side := range 4 {
			docs, _ := x.side(side)
			if all := slices.Concat(*docs...); len(all) > 0 {
				*docs = [][]string{all}
			}
		}
		if after := Decide(x.policies(t), r); after.Effect != before.Effect || after.Cause != before.Cause {
			w.Fatalf("%+v became %+v", before, after)
		}
	})
}

func TestWhatLimitsNeverGives(t *testing.T) {
	property(t, func(w world, x texts, p *Policies, r *Request, narrow Decision) {
		x.hasBoundary, x.hasSession = false, false
		if wide := Decide(x.policies(t), r); narrow.Effect == Allow && wide.Effect != Allow {
			w.Fatalf("%+v without boundary and session policy, %+v with", wide, narrow)
		}
	})
}

func TestNobodyReachesAnotherAccountWithoutItsPolicy(t *testing.T) {
	property(t, func(w world, x texts, p *Policies, r *Request, _ Decision) {
		x.owner, x.resource = "999999999999", nil
		if got := Decide(x.policies(t), r); got.Effect == Allow {
			w.Fatalf("%+v", got)
		}
	})
}

func TestExplainAgreesWithDecide(t *testing.T) {
	property(t, func(w world, x texts, p *Policies, r *Request, d Decision) {
		got, how := Explain(p, r)
		if got != d {
			w.Fatalf("%+v, decided %+v", got, d)
		}
		found := slices.ContainsFunc(how.Matched, func(m Match) bool {
			return m.Cause == d.Cause && m.Document == d.Document && m.Statement == d.Statement && m.Effect == d.Effect
		})
		if found != (d.Document >= 0) {
			w.Fatalf("%+v is explained by %+v", d, how.Matched)
		}
		for _, m := range how.Matched {
			if (d.Effect == ExplicitDeny) != (m.Effect == ExplicitDeny) || m.Start.Line != 1 || m.End.Column <= m.Start.Column {
				w.Fatalf("%+v is explained by %+v", d, m)
			}
		}
	})
}

func TestPatternsMatchWhatRegularExpressionsMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab*?é/")), 0, 10, -1).Draw(t, "pattern")
		s := rapid.StringOfN(rapid.RuneFrom([]rune("abé/")), 0, 12, -1).Draw(t, "text")
		agree(t, text, s)
	})
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// agree compares a glob with the regular expression that means the same.
func agree(t fataler, text, s string) {
	t.Helper()
	p, err := patternSyntax{wildcards: true}.compile(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	expression := "(?s)^" + strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(text)) + "$"
	if got, want := p.glob.match(s), regexp.MustCompile(expression).MatchString(s); got != want {
		t.Fatalf("%q on %q: %v", text, s, got)
	}
}

// A pattern with variables means what the pattern means in which their values stand as text.
func TestPatternsWithVariablesAreThoseOfTheirValues(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := world{rt}
		keys := []string{"aws:username", "s3:prefix", "aws:PrincipalTag/x", "aws:RequestTag/none, 'a*b'"}
		values := []string{"Alice", w.pick("prefix", "", "a", "ab/", "*", "?"), w.pick("tag", "b", "ab", "a/b", "é"), "a*b"}
		withVariables, plain := "", ""
		for range rapid.IntRange(1, 6).Draw(rt, "pieces") {
			if i := rapid.IntRange(0, 7).Draw(rt, "piece"); i < len(keys) {
				withVariables += "${" + keys[i] + "}"
				plain += strings.NewReplacer("*", "${*}", "?", "${?}").Replace(values[i])
			} else {
				text := w.pick("text", "a", "b", "/", "*", "?", "a*", "*b", "é", "**")
				withVariables, plain = withVariables+text, plain+text
			}
		}
		s := rapid.StringOfN(rapid.SampledFrom([]rune("abé/*?Alice")), 0, 12, -1).Draw(rt, "text")
		if rapid.Bool().Draw(rt, "near") { // what surely matches, or nearly
			s = strings.NewReplacer("${*}", "*", "${?}", "?", "*", w.pick("star", "", "x", "ab"), "?", "b").Replace(plain)
		}
		a := askerOf(t, "alice")
		r := a.request("s3:ListBucket", "*", map[string][]string{"s3:prefix": {values[1]}, "aws:principaltag/x": {values[2]}})
		var e evaluation
		e.prepare(&Policies{}, r)
		syntax := patternSyntax{wildcards: true, variables: true}
		one, err := syntax.compile(withVariables)
		if err != nil {
			rt.Fatal(err)
		}
		other, err := syntax.compile(plain)
		if err != nil {
			rt.Fatal(err)
		}
		if got, want := one.match(&e, s), other.match(&e, s); got != want {
			rt.Fatalf("%q on %q: %v, %q: %v", withVariables, s, got, plain, want)
		}
	})
}
