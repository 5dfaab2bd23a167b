package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// row is a line of a table in testdata: columns between bars.
type row struct {
	line int
	col  []string
}

func (r row) name() string { return fmt.Sprintf("%d %s", r.line, strings.Join(r.col, " ; ")) }

// rows reads a table. Lines that are empty or begin with # are none of it.
func rows(t testing.TB, file string, columns int) []row {
	t.Helper()
	var out []row
	for i, line := range lines(t, file) {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		r := row{line: i + 1}
		for _, c := range strings.Split(line, "|") {
			r.col = append(r.col, strings.TrimSpace(c))
		}
		if len(r.col) != columns {
			t.Fatalf("%s:%d: %d columns", file, i+1, len(r.col))
		}
		out = append(out, r)
	}
	return out
}

func lines(t testing.TB, file string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func yes(t testing.TB, s string) bool {
	t.Helper()
	if s != "yes" && s != "no" {
		t.Fatalf("%q is neither yes nor no", s)
	}
	return s == "yes"
}

func parse(t testing.TB, text string, kind Kind) *Document {
	t.Helper()
	doc, err := Parse([]byte(text), kind)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return doc
}

func document(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

// expand writes out a document of testdata.
func expand(text string) string {
	text = strings.NewReplacer(
		"{OK}", `"Effect":"Allow","Action":"s3:*","Resource":"*"`,
		"{P}", `"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b"`,
		"{T}", `"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"sts:AssumeRole"`,
	).Replace(text)
	if rest, ok := strings.CutPrefix(text, "{S "); ok {
		return document("{" + rest)
	}
	return text
}

func kindOf(t testing.TB, name string) Kind {
	t.Helper()
	kind, ok := map[string]Kind{"identity": Identity, "trust": Trust, "resource": Resource, "managed": Managed}[name]
	if !ok {
		t.Fatalf("no kind %q", name)
	}
	return kind
}

func TestRefusedDocuments(t *testing.T) {
	for _, r := range rows(t, "refused.txt", 3) {
		t.Run(r.name(), func(t *testing.T) {
			doc, err := Parse([]byte(expand(r.col[1])), kindOf(t, r.col[0]))
			bad := (*MalformedError)(nil)
			if !errors.As(err, &bad) || doc != nil {
				t.Fatalf("%v, %v", doc, err)
			}
			if bad.Message != r.col[2] {
				t.Errorf("%q (%s), want %q", bad.Message, bad.Detail, r.col[2])
			}
		})
	}
}

func TestAcceptedDocuments(t *testing.T) {
	for _, r := range rows(t, "accepted.txt", 2) {
		parse(t, expand(r.col[1]), kindOf(t, r.col[0]))
	}
}

// asks evaluates two statements on the same thing, one that allows and one that denies, and tells whether they apply.
func asks(t testing.TB, element string, r *Request) bool {
	t.Helper()
	effects := [2]Effect{}
	for i, effect := range []string{"Allow", "Deny"} {
		doc := parse(t, document(`{"Effect":"`+effect+`",`+element+`}`), Identity)
		effects[i] = Decide(&Policies{Identity: []*Document{doc}}, r).Effect
	}
	switch effects {
	case [2]Effect{Allow, ExplicitDeny}:
		return true
	case [2]Effect{ImplicitDeny, ImplicitDeny}:
		return false
	}
	t.Errorf("%s: %v", element, effects)
	return false
}

func TestActions(t *testing.T) {
	a := askerOf(t, "alice")
	for _, r := range rows(t, "actions.txt", 3) {
		want, ask := yes(t, r.col[2]), a.request(r.col[1], "*", nil)
		if got := asks(t, fmt.Sprintf(`"Action":%q,"Resource":"*"`, r.col[0]), ask); got != want {
			t.Errorf("%s", r.name())
		}
		if got := asks(t, fmt.Sprintf(`"NotAction":["x:y",%q],"Resource":"*"`, r.col[0]), ask); got == want {
			t.Errorf("not %s", r.name())
		}
	}
}

func TestResources(t *testing.T) {
	a := askerOf(t, "alice")
	for _, r := range rows(t, "resources.txt", 3) {
		want, ask := yes(t, r.col[2]), a.request("s3:GetObject", r.col[1], nil)
		if got := asks(t, fmt.Sprintf(`"Action":"*","Resource":%q`, r.col[0]), ask); got != want {
			t.Errorf("%s", r.name())
		}
		if got := asks(t, fmt.Sprintf(`"Action":"*","NotResource":["arn:aws:x:::y",%q]`, r.col[0]), ask); got == want {
			t.Errorf("not %s", r.name())
		}
	}
}

func TestConditions(t *testing.T) {
	a := askerOf(t, "alice")
	for _, r := range rows(t, "conditions.txt", 5) {
		context := map[string][]string{}
		if r.col[3] != "none" {
			var values []string
			if err := json.Unmarshal([]byte(r.col[3]), &values); err != nil {
				t.Fatalf("%s: %v", r.name(), err)
			}
			context[strings.ToLower(r.col[1])] = values
		}
		element := fmt.Sprintf(`"Action":"*","Resource":"*","Condition":{%q:{%q:%s}}`, r.col[0], r.col[1], r.col[2])
		if got := asks(t, element, a.request("s3:ListBucket", "arn:aws:s3:::b", context)); got != yes(t, r.col[4]) {
			t.Errorf("%s: %v", r.name(), got)
		}
	}
}

func TestValuesOfKeys(t *testing.T) {
	for _, r := range rows(t, "keys.txt", 3) {
		a := askerOf(t, r.col[0])
		holds := func(condition string) bool {
			doc := parse(t, document(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{`+condition+`}}`), Identity)
			var e evaluation
			e.prepare(&Policies{}, a.request("s3:GetObject", "arn:aws:s3:::b/k", nil))
			return e.applies(&doc.statements[0])
		}
		if isAbsent := holds(fmt.Sprintf(`"Null":{%q:"true"}`, r.col[1])); isAbsent != (r.col[2] == "none") {
			t.Errorf("%s: absent: %v", r.name(), isAbsent)
		}
		if equal := holds(fmt.Sprintf(`"StringEquals":{%q:%q}`, r.col[1], r.col[2])); equal != (r.col[2] != "none") {
			t.Errorf("%s: %v", r.name(), equal)
		}
	}
}

func TestPrincipals(t *testing.T) {
	grants := map[string]grant{"none": grantNone, "account": grantAccount, "limited": grantLimited, "direct": grantDirect}
	for _, r := range rows(t, "principals.txt", 3) {
		want, ok := grants[r.col[2]]
		if !ok {
			t.Fatalf("%s", r.name())
		}
		doc := parse(t, document(`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/*","Principal":`+r.col[0]+`}`), Resource)
		a := askerOf(t, r.col[1])
		var e evaluation
		e.prepare(&Policies{}, a.request("s3:GetObject", "arn:aws:s3:::b/k", nil))
		if got, applies := e.matchesPrincipal(&doc.statements[0]); got != want || applies != (want != grantNone) {
			t.Errorf("%s: %v, %v", r.name(), got, applies)
		}
	}
}

func TestNotPrincipals(t *testing.T) {
	for _, r := range rows(t, "notprincipals.txt", 3) {
		doc := parse(t, document(`{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::b/*","NotPrincipal":`+r.col[0]+`}`), Resource)
		a := askerOf(t, r.col[1])
		p := &Policies{Resource: []*Document{doc}}
		if a.bounded {
			p.HasBoundary, p.Boundary = true, []*Document{parse(t, document(`{`+`"Effect":"Allow","Action":"*","Resource":"*"}`), Managed)}
		}
		got := Decide(p, a.request("s3:GetObject", "arn:aws:s3:::b/k", nil)).Effect == ExplicitDeny
		if got != yes(t, r.col[2]) {
			t.Errorf("%s: %v", r.name(), got)
		}
	}
}
