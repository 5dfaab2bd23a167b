package policy

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestEveryOperatorIsRead(t *testing.T) {
	for op := range operators {
		value := map[byte]string{'S': "x", 'N': "1", 'D': "2024-01-01", 'B': "true", 'I': "10.0.0.0/8", 'A': "arn:aws:iam::*:user/*"}[op[0]]
		switch op {
		case "NotIpAddress":
			value = "::/0"
		case "BinaryEquals":
			value = "eA=="
		case "Null":
			value = "false"
		}
		parse(t, document(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"`+op+`":{"aws:username":"`+value+`"}}}`), Identity)
	}
}

func TestEveryKeyHasAPlaceOfItsOwn(t *testing.T) {
	if n := len(computed) + len(contextKeys) + len(absentKeys); n != len(known) || n >= maxKeys {
		t.Errorf("%d keys, %d known, room for %d", n, len(known), maxKeys)
	}
	seen := map[uint8]bool{}
	for name, k := range known {
		if k.slot == 0 || seen[k.slot] || k.name != name {
			t.Errorf("%s: place %d", name, k.slot)
		}
		seen[k.slot] = true
	}
}

func TestDeepAndEndlessDocumentsAreRefused(t *testing.T) {
	for _, text := range []string{
		document(`{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":` + strings.Repeat(`{"a":`, 50) + `1` + strings.Repeat(`}`, 50) + `}`),
		strings.Repeat(`[`, 100_000),
		"{\"Id\":\"\xff\",\"Statement\":[]}",
	} {
		if doc, err := Parse([]byte(text), Identity); doc != nil || !errors.As(err, new(*MalformedError)) {
			t.Errorf("%v, %v", doc, err)
		}
	}
}

func TestWhatADocumentNames(t *testing.T) {
	doc := parse(t, document(
		`{"Effect":"Deny","NotPrincipal":{"AWS":["123456789012","arn:aws:iam::123456789012:user/x"]},"Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:UserName}"}`,
		`{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/${aws:UserName}"],
		"Condition":{"StringLike":{"s3:Prefix":"${aws:PrincipalTag/Team}/*"},"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::${aws:userid}:*"}}}`,
		`{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com","AWS":"123456789012"},"Action":"s3:*","Resource":"arn:aws:s3:::b"}`,
	), Resource)
	if got, want := doc.ContextKeys(), []string{"aws:PrincipalArn", "aws:PrincipalTag/Team", "aws:UserName", "aws:userid", "s3:Prefix"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	want := []Principal{{"AWS", "123456789012"}, {"AWS", "arn:aws:iam::123456789012:user/x"}, {"", "*"}, {"Service", "s3.amazonaws.com"}}
	if got := doc.Principals(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got, want := doc.Resources(), []string{"arn:aws:s3:::b/${aws:UserName}", "arn:aws:s3:::b"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestAnExplanationNamesStatementsAndMissingKeys(t *testing.T) {
	text := "{\"Statement\": [\n  {\"Sid\":\"A\",\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"*\"},\n" +
		"  {\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"*\",\"Condition\":{\"StringEquals\":{\"s3:Prefix\":\"é\",\"aws:username\":\"x\"}}},\n" +
		"  {\"Effect\":\"Allow\",\"Action\":\"ec2:*\",\"Resource\":\"*\",\"Condition\":{\"StringEquals\":{\"ec2:Vpc\":\"x\"}}}\n]}"
	a := askerOf(t, "alice")
	d, how := Explain(&Policies{Identity: []*Document{parse(t, text, Identity)}}, a.request("s3:ListBucket", "arn:aws:s3:::b", nil))
	if d.Effect != Allow || d.Statement != "A" || !slices.Equal(how.Missing, []string{"s3:Prefix"}) {
		t.Errorf("%+v, %+v", d, how)
	}
	want := Match{Cause: IdentityPolicy, Document: 0, Statement: "A", Effect: Allow, Start: Position{2, 3}, End: Position{2, 62}}
	if len(how.Matched) != 1 || how.Matched[0] != want {
		t.Errorf("%+v", how.Matched)
	}
}
