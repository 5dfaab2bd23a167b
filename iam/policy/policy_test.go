package policy

import (
	"strings"
	"testing"
)

// ask evaluates one document for Alice.
func ask(t testing.TB, doc, action, resource string, context map[string][]string) Effect {
	t.Helper()
	return Decide(&Policies{Identity: []*Document{parse(t, doc, Identity)}}, &Request{
		Action: action, Resource: resource, Caller: alice(), Now: now, Context: context,
	}).Effect
}

func TestVariableWithoutValueIsLikeNothing(t *testing.T) {
	for _, c := range []struct {
		statement string
		want      Effect
	}{
		{`{"Effect":"Allow","Action":"*","NotResource":"arn:aws:s3:::b/${aws:PrincipalTag/none}"}`, Allow},
		{`{"Effect":"Deny","Action":"*","NotResource":"arn:aws:s3:::b/${aws:PrincipalTag/none}"}`, ExplicitDeny},
		{`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:PrincipalTag/none}"}`, ImplicitDeny},
		{`{"Effect":"Allow","Action":"*","Resource":["arn:aws:s3:::b/${aws:PrincipalTag/none}","*"]}`, Allow},
		{`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:userid":"${aws:PrincipalTag/none}"}}}`, ExplicitDeny},
		{`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:userid":"${aws:PrincipalTag/none}"}}}`, Allow},
	} {
		if got := ask(t, document(c.statement), "s3:GetObject", "arn:aws:s3:::b/", nil); got != c.want {
			t.Errorf("%s: %v", c.statement, got)
		}
	}
}

func TestVariablesAreTextInTheOlderVersion(t *testing.T) {
	for _, head := range []string{``, `"Version":"2008-10-17",`} {
		doc := `{` + head + `"Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:username}"}}`
		if got := ask(t, doc, "s3:GetObject", "arn:aws:s3:::b/Alice", nil); got != ImplicitDeny {
			t.Errorf("%q: the variable was read: %v", head, got)
		}
		if got := ask(t, doc, "s3:GetObject", "arn:aws:s3:::b/${aws:username}", nil); got != Allow {
			t.Errorf("%q: the text does not match itself: %v", head, got)
		}
	}
}

// decided is the part of a decision that names its statement.
type decided struct {
	effect    Effect
	document  int
	statement string
}

func TestDenyWinsAndTheDecisionNamesItsStatement(t *testing.T) {
	allow := `{"Sid":"Open","Effect":"Allow","Action":"s3:*","Resource":"*"}`
	deny := `{"Effect":"Deny","Action":"s3:Delete*","Resource":"arn:aws:s3:::b/keep/*"}`
	docs := func(texts ...string) (out []*Document) {
		for _, s := range texts {
			out = append(out, parse(t, document(s), Identity))
		}
		return out
	}
	keep, other := "arn:aws:s3:::b/keep/k", "arn:aws:s3:::b/k"
	for _, c := range []struct {
		docs             []*Document
		action, resource string
		want             decided
	}{
		{nil, "s3:GetObject", other, decided{ImplicitDeny, -1, ""}},
		{docs(allow), "s3:GetObject", other, decided{Allow, 0, "Open"}},
		{docs(allow), "iam:GetUser", other, decided{ImplicitDeny, -1, ""}},
		{docs(allow, deny), "s3:DeleteObject", keep, decided{ExplicitDeny, 1, "#1"}},
		{docs(deny, allow), "s3:DeleteObject", keep, decided{ExplicitDeny, 0, "#1"}},
		{docs(allow + "," + deny), "s3:DeleteObject", keep, decided{ExplicitDeny, 0, "#2"}},
		{docs(deny + "," + allow), "s3:DeleteObject", keep, decided{ExplicitDeny, 0, "#1"}},
		{docs(deny + "," + allow), "s3:DeleteObject", other, decided{Allow, 0, "Open"}},
		{docs(deny), "s3:GetObject", other, decided{ImplicitDeny, -1, ""}},
		{docs(allow, allow), "s3:GetObject", other, decided{Allow, 0, "Open"}},
	} {
		got := Decide(&Policies{Identity: c.docs}, &Request{Action: c.action, Resource: c.resource, Caller: alice(), Now: now})
		if (decided{got.Effect, got.Document, got.Statement}) != c.want {
			t.Errorf("%s on %s: %+v, want %+v", c.action, c.resource, got, c.want)
		}
	}
}

func TestNotResource(t *testing.T) {
	doc := document(`{"Effect":"Allow","Action":"s3:*","NotResource":["arn:aws:s3:::secret","arn:aws:s3:::secret/*"]}`)
	for resource, want := range map[string]Effect{
		"arn:aws:s3:::b/k": Allow, "arn:aws:s3:::secret": ImplicitDeny, "arn:aws:s3:::secret/k": ImplicitDeny, "*": Allow,
	} {
		if got := ask(t, doc, "s3:GetObject", resource, nil); got != want {
			t.Errorf("%s: %v", resource, got)
		}
	}
}

func TestPatternOfManyWildcardsEnds(t *testing.T) {
	doc := document(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::` + strings.Repeat("*a", 500) + `b"}`)
	if got := ask(t, doc, "s3:GetObject", "arn:aws:s3:::"+strings.Repeat("a", 1024), nil); got != ImplicitDeny {
		t.Error(got)
	}
}

func TestSomeActionsTellNothingOfTheResourcesAccount(t *testing.T) {
	doc := document(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"aws:ResourceAccount":"true"}}}`)
	for action, absent := range map[string]bool{
		"ec2:CopyImage": true, "ec2:CopySnapshot": true, "ec2:CreateVolume": true, "ebs:PutSnapshotBlock": true,
		"ec2:RunInstances": false, "s3:GetObject": false, "iam:GetUser": false,
	} {
		if got := ask(t, doc, action, "*", nil) == Allow; got != absent {
			t.Errorf("%s: %v", action, got)
		}
	}
}
