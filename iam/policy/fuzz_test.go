package policy

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever is read can be evaluated for whoever asks, and an allow never comes out of a document without "Allow".
func FuzzParse(f *testing.F) {
	seed := func(kind Kind, statement string) {
		f.Add(document(statement), uint8(kind), "s3:GetObject", "arn:aws:s3:::b/Alice/k")
	}
	seed(Identity, `{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:username}/*"}`)
	seed(Identity, `{"Sid":"x","Effect":"Deny","NotAction":["s3:Get?"],"NotResource":"*","Condition":{"ForAllValues:StringLikeIfExists":{"s3:prefix":["a*","${aws:userid, 'x'}"]}}}`)
	seed(Managed, `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"DateLessThan":{"aws:CurrentTime":1},"Null":{"aws:TagKeys":true}}}`)
	seed(Trust, `{"Effect":"Allow","Principal":{"AWS":["123456789012","AIDAALICE0000000"],"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}`)
	seed(Trust, `{"Effect":"Allow","Principal":{"Federated":"`+provider+`"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"token.example.org:aud":"x"}}}`)
	seed(Resource, `{"Effect":"Deny","NotPrincipal":{"AWS":"arn:aws:sts::123456789012:assumed-role/app/s1"},"Action":"s3:*","Resource":"arn:aws:s3:::b/*","Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/${aws:username}"},"BinaryEquals":{"s3:prefix":"eA=="}}}`)
	for _, r := range rows(f, "refused.txt", 3) {
		f.Add(expand(r.col[1]), uint8(kindOf(f, r.col[0])), "s3:GetObject", "*")
	}
	callers := []string{"alice", "root", "role", "fed", "anonymous", "service", "oidc"}
	f.Fuzz(func(t *testing.T, text string, kind uint8, action, resource string) {
		doc, err := Parse([]byte(text), Kind(kind%4))
		if err != nil {
			if bad := (*MalformedError)(nil); !errors.As(err, &bad) || bad.Message == "" || doc != nil {
				t.Fatalf("%v, %v", doc, err)
			}
			return
		}
		doc.ContextKeys()
		doc.Principals()
		doc.Resources()
		p := &Policies{Identity: []*Document{doc}}
		if k := Kind(kind % 4); k == Trust || k == Resource {
			p = &Policies{Resource: []*Document{doc}}
		}
		for _, name := range callers {
			a := askerOf(t, name)
			r := a.request(action, resource, map[string][]string{"s3:prefix": {"x"}, "aws:tagkeys": {"a", "b"}})
			got := Decide(p, r)
			if explained, _ := Explain(p, r); explained != got {
				t.Errorf("%+v, explained %+v", got, explained)
			}
			if got.Effect == Allow && got.Cause != NoPolicy && !strings.Contains(text, "Allow") && !strings.Contains(text, `\u`) {
				t.Errorf("%q allowed", text)
			}
		}
	})
}

// A negated operator is met when the plain one is not, IfExists changes nothing of a key that is there, and sets of one
// value are that value.
func FuzzConditions(f *testing.F) {
	for _, r := range rows(f, "conditions.txt", 5) {
		name, _ := strings.CutPrefix(r.col[0], "ForAllValues:")
		f.Add(name, strings.Trim(r.col[2], `"`), strings.Trim(r.col[3], `[]"`))
	}
	negations := map[string]string{
		"StringEquals": "StringNotEquals", "StringLike": "StringNotLike", "StringEqualsIgnoreCase": "StringNotEqualsIgnoreCase",
		"NumericEquals": "NumericNotEquals", "DateEquals": "DateNotEquals", "IpAddress": "NotIpAddress", "ArnEquals": "ArnNotEquals",
		"ArnLike": "ArnNotLike",
	}
	names := slices.Sorted(maps.Keys(operators))
	f.Fuzz(func(t *testing.T, operator, policyValue, value string) {
		if !slices.Contains(names, operator) || operator == "Null" || value == "" || !utf8.ValidString(policyValue) || !utf8.ValidString(value) {
			return
		}
		a := askerOf(t, "alice")
		r := a.request("s3:ListBucket", "*", map[string][]string{"s3:prefix": {value}})
		met := func(operator string) (ok, readable bool) {
			block, err := json.Marshal(map[string]any{operator: map[string]any{"s3:prefix": policyValue}})
			if err != nil {
				t.Fatal(err)
			}
			doc, err := Parse([]byte(document(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":`+string(block)+`}`)), Identity)
			if err != nil {
				return false, false
			}
			return Decide(&Policies{Identity: []*Document{doc}}, r).Effect == Allow, true
		}
		plain, readable := met(operator)
		for _, same := range []string{operator + "IfExists", "ForAnyValue:" + operator, "ForAllValues:" + operator} {
			if got, ok := met(same); got != plain || ok != readable {
				t.Errorf("%s %q on %q: %v, %s %v", operator, policyValue, value, plain, same, got)
			}
		}
		if not, ok := negations[operator]; ok && readable {
			if got, _ := met(not); got == plain {
				t.Errorf("%s and %s %q on %q: %v", operator, not, policyValue, value, got)
			}
		}
	})
}

// Globs mean what regular expressions of the same meaning mean.
func FuzzPatterns(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("*a*a*a*b", "aaaaaaaaaaaaa")
	f.Add("é?*", "éé")
	f.Fuzz(func(t *testing.T, text, s string) {
		if utf8.ValidString(text) && utf8.ValidString(s) && len(text) < 200 {
			agree(t, text, s)
		}
	})
}
