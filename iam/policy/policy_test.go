package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hive/iam/principal"
)

var now = time.Date(2024, 5, 17, 12, 30, 0, 0, time.UTC)

func alice() *principal.Caller {
	return &principal.Caller{
		Account: "123456789012", ARN: "arn:aws:iam::123456789012:user/staff/Alice", UserID: "AIDAALICE", UserName: "Alice",
		AccessKey: "AKIA1", SourceIP: "203.0.113.7", Secure: true, UserAgent: "aws-cli/2.9", Region: "ap-southeast-2",
	}
}

func parse(t testing.TB, text string) *Document {
	t.Helper()
	doc, err := Parse([]byte(text), Identity)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return doc
}

func document(statements string) string {
	return `{"Version":"2012-10-17","Statement":[` + statements + `]}`
}

// ask evaluates one document for Alice.
func ask(t testing.TB, doc, action, resource string, context map[string][]string) Effect {
	t.Helper()
	return Evaluate([]*Document{parse(t, doc)}, &Request{
		Action: action, Resource: resource, Caller: alice(), Now: now, Context: context,
	}).Effect
}

func TestActionPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, action string
		want            bool
	}{
		{"*", "s3:GetObject", true},
		{"*:*", "iam:CreateUser", true},
		{"s3:*", "s3:GetObject", true},
		{"s3:*", "s3express:GetObject", false},
		{"s3:*", "iam:GetUser", false},
		{"s3:GetObject", "s3:GetObject", true},
		{"s3:GetObject", "s3:GetObjectAcl", false},
		{"s3:GetObjectAcl", "s3:GetObject", false},
		{"S3:GETOBJECT", "s3:GetObject", true},
		{"s3:getobject", "S3:GetObject", true},
		{"s3:Get*", "s3:GetObject", true},
		{"s3:Get*", "s3:PutObject", false},
		{"s3:*Object", "s3:GetObject", true},
		{"s3:*Object", "s3:GetObjectAcl", false},
		{"s3:*Object*", "s3:GetObjectAcl", true},
		{"s3:Get?bject", "s3:GetObject", true},
		{"s3:Get?bject", "s3:Getbject", false},
		{"s3:???Object", "s3:PutObject", true},
		{"s3:???Object", "s3:DeleteObject", false},
		{"s3:G*t*t", "s3:GetObject", true},
		{"s3:G*t*T", "s3:GetObject", true},
		{"s3:**", "s3:GetObject", true},
		{"ec2:Describe*", "ec2:DescribeInstances", true},
	} {
		doc := document(fmt.Sprintf(`{"Effect":"Allow","Action":%q,"Resource":"*"}`, c.pattern))
		if got := ask(t, doc, c.action, "*", nil) == Allow; got != c.want {
			t.Errorf("%s on %s: %v", c.pattern, c.action, got)
		}
		doc = document(fmt.Sprintf(`{"Effect":"Allow","NotAction":[%q],"Resource":"*"}`, c.pattern))
		if got := ask(t, doc, c.action, "*", nil) == Allow; got == c.want {
			t.Errorf("not %s on %s: %v", c.pattern, c.action, got)
		}
	}
}

func TestResourcePatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, resource string
		want              bool
	}{
		{"*", "arn:aws:s3:::b/k", true},
		{"*", "*", true},
		{"arn:aws:s3:::b/k", "arn:aws:s3:::b/k", true},
		{"arn:aws:s3:::b/k", "arn:aws:s3:::b/K", false},
		{"arn:aws:s3:::B/k", "arn:aws:s3:::b/k", false},
		{"arn:aws:s3:::b", "arn:aws:s3:::b/k", false},
		{"arn:aws:s3:::b/*", "arn:aws:s3:::b", false},
		{"arn:aws:s3:::b/*", "arn:aws:s3:::b/", true},
		{"arn:aws:s3:::b/*", "arn:aws:s3:::b/k", true},
		{"arn:aws:s3:::b/*", "arn:aws:s3:::b/a/b:c/d", true},
		{"arn:aws:s3:::b*", "arn:aws:s3:::bucket/k", true},
		{"arn:aws:s3:::*", "arn:aws:s3:::b", true},
		{"arn:aws:s3:::*/k", "arn:aws:s3:::b/a/k", true},
		{"arn:aws:s3:::b/?", "arn:aws:s3:::b/k", true},
		{"arn:aws:s3:::b/?", "arn:aws:s3:::b/kk", false},
		{"arn:aws:s3:::b/?", "arn:aws:s3:::b/é", true},
		{"arn:aws:s3:::b/*é*", "arn:aws:s3:::b/caféteria", true},
		{"arn:aws:s3:::b/a*c*e", "arn:aws:s3:::b/abcde", true},
		{"arn:aws:s3:::b/a*c*e", "arn:aws:s3:::b/abcdef", false},
		{"arn:aws:s3:::b/*a*a*a*b", "arn:aws:s3:::b/aaaaaaaaaaaaaaaaaaaa", false},
		{"arn:aws:s3:*:*:b", "arn:aws:s3:::b", true},
		{"arn:*:s3:::b", "arn:aws:s3:::b", true},
		{"arn:aws-cn:s3:::b", "arn:aws:s3:::b", false},
		{"arn:aws:ec2:*:*:*", "arn:aws:ec2:r:1:instance/i-1", true},
		{"arn:aws:ec2:*:123456789012:instance/*", "arn:aws:ec2:ap-southeast-2:123456789012:instance/i-1", true},
		{"arn:aws:ec2:*:123456789012:instance/*", "arn:aws:ec2:ap-southeast-2:210987654321:instance/i-1", false},
		{"arn:aws:ec2:*:instance/*", "arn:aws:ec2:ap-southeast-2:123456789012:instance/i-1", false}, // * does not cross parts
		{"arn:aws:ec2:ap-*:*:instance/i-1", "arn:aws:ec2:ap-southeast-2:1:instance/i-1", true},
		{"arn:aws:ec2:ap-southeast-?:*:instance/i-1", "arn:aws:ec2:ap-southeast-2:1:instance/i-1", true},
		{"arn:aws:sqs", "arn:aws:sqs:r:1:q", true}, // a short ARN is completed
		{"arn:aws:sqs:r", "arn:aws:sqs:r2:1:q", false},
		{"arn:aws:s3:::*", "*", false},
		{"arn:aws:s3:::b", "b", false},
		{"arn:aws:iam::123456789012:user/*", "arn:aws:iam::123456789012:user/a/b", true},
		{"arn:aws:iam::123456789012:user/${aws:username}", "arn:aws:iam::123456789012:user/Alice", true},
		{"arn:aws:iam::123456789012:user/${aws:username}", "arn:aws:iam::123456789012:user/alice", false},
		{"arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::b/Alice/k", true},
		{"arn:aws:s3:::b/${aws:userid}/*", "arn:aws:s3:::b/AIDAALICE/k", true},
		{"arn:aws:s3:::b/${AWS:UserName}/*", "arn:aws:s3:::b/Alice/k", true},
		{"arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::b/Bob/k", false},
		{"arn:aws:s3:::b/${aws:PrincipalTag/team}/*", "arn:aws:s3:::b/blue/k", true},
		{"arn:aws:s3:::b/${aws:PrincipalTag/none}/*", "arn:aws:s3:::b/${aws:PrincipalTag/none}/k", false},
		{"arn:aws:s3:::b/${aws:PrincipalTag/none, 'all'}/*", "arn:aws:s3:::b/all/k", true},
		{"arn:aws:s3:::b/${aws:PrincipalTag/team, 'all'}/*", "arn:aws:s3:::b/all/k", false},
		{"arn:aws:s3:::b/${*}", "arn:aws:s3:::b/*", true},
		{"arn:aws:s3:::b/${*}", "arn:aws:s3:::b/k", false},
		{"arn:aws:s3:::b/${?}${$}", "arn:aws:s3:::b/?$", true},
		{"arn:aws:s3:::b/${?}", "arn:aws:s3:::b/k", false},
		{"arn:aws:s3:::b/${aws:PrincipalTag/star}", "arn:aws:s3:::b/secret", false}, // a value is no pattern
		{"arn:aws:s3:::b/${aws:PrincipalTag/star}", "arn:aws:s3:::b/*", true},
	} {
		context := map[string][]string{"aws:principaltag/team": {"blue"}, "aws:principaltag/star": {"*"}}
		doc := document(fmt.Sprintf(`{"Effect":"Allow","Action":"*","Resource":[%q]}`, c.pattern))
		if got := ask(t, doc, "s3:GetObject", c.resource, context) == Allow; got != c.want {
			t.Errorf("%s on %s: %v", c.pattern, c.resource, got)
		}
		doc = document(fmt.Sprintf(`{"Effect":"Deny","Action":"*","Resource":%q}`, c.pattern))
		if got := ask(t, doc, "s3:GetObject", c.resource, context) == ExplicitDeny; got != c.want {
			t.Errorf("deny of %s on %s: %v", c.pattern, c.resource, got)
		}
	}
}

func TestConditions(t *testing.T) {
	for _, c := range []struct {
		condition string
		want      bool
	}{
		{`"StringEquals":{"aws:username":"Alice"}`, true},
		{`"StringEquals":{"aws:username":"alice"}`, false},
		{`"StringEquals":{"AWS:UserName":"Alice"}`, true},
		{`"StringEquals":{"aws:username":["Bob","Alice"]}`, true},
		{`"StringEquals":{"aws:username":"*"}`, false},
		{`"StringEquals":{"aws:username":"Alice","aws:userid":"x"}`, false},
		{`"StringEquals":{"aws:username":"Alice"},"Bool":{"aws:SecureTransport":"false"}`, false},
		{`"StringNotEquals":{"aws:username":"Alice"}`, false},
		{`"StringNotEquals":{"aws:username":["Bob","Alice"]}`, false},
		{`"StringNotEquals":{"aws:username":["Bob","Carol"]}`, true},
		{`"StringEqualsIgnoreCase":{"aws:username":"aLICE"}`, true},
		{`"StringEqualsIgnoreCase":{"aws:username":"bob"}`, false},
		{`"StringEqualsIgnoreCase":{"s3:prefix":"X${aws:username}"}`, true},
		{`"StringNotEqualsIgnoreCase":{"aws:username":"aLICE"}`, false},
		{`"StringLike":{"aws:username":"A*e"}`, true},
		{`"StringLike":{"aws:username":"A?ice"}`, true},
		{`"StringLike":{"aws:username":"a*"}`, false},
		{`"StringLike":{"s3:prefix":"x${aws:username}"}`, true},
		{`"StringLike":{"s3:prefix":["","home/*"]}`, false},
		{`"StringNotLike":{"aws:username":"A*"}`, false},
		{`"StringNotLike":{"aws:username":"B*"}`, true},
		{`"NumericEquals":{"s3:max-keys":"10"}`, true},
		{`"NumericEquals":{"s3:max-keys":10}`, true},
		{`"NumericEquals":{"s3:max-keys":"10.0"}`, true},
		{`"NumericNotEquals":{"s3:max-keys":"10"}`, false},
		{`"NumericLessThan":{"s3:max-keys":"10"}`, false},
		{`"NumericLessThanEquals":{"s3:max-keys":"10"}`, true},
		{`"NumericGreaterThan":{"s3:max-keys":"9"}`, true},
		{`"NumericGreaterThanEquals":{"s3:max-keys":"11"}`, false},
		{`"NumericLessThan":{"aws:username":"10"}`, false},
		{`"NumericGreaterThan":{"aws:EpochTime":"1000000000"}`, true},
		{`"DateGreaterThan":{"aws:CurrentTime":"2024-05-17T12:00:00Z"}`, true},
		{`"DateGreaterThan":{"aws:CurrentTime":"2024-05-17T13:00:00Z"}`, false},
		{`"DateLessThan":{"aws:CurrentTime":"2024-05-17T14:31:00+02:00"}`, true},
		{`"DateLessThan":{"aws:CurrentTime":"2024-05-17T14:29:00+02:00"}`, false},
		{`"DateLessThanEquals":{"aws:CurrentTime":"2024-05-17T12:30:00Z"}`, true},
		{`"DateGreaterThanEquals":{"aws:CurrentTime":"2024-05-17T12:30Z"}`, true},
		{`"DateEquals":{"aws:CurrentTime":"2024-05-17T12:30:00Z"}`, true},
		{`"DateNotEquals":{"aws:CurrentTime":"2024-05-17T12:30:00Z"}`, false},
		{`"DateLessThan":{"aws:CurrentTime":"2024-05-18"}`, true},
		{`"DateLessThan":{"aws:EpochTime":"1700000000"}`, false},
		{`"DateGreaterThan":{"aws:EpochTime":1700000000}`, true},
		{`"Bool":{"aws:SecureTransport":"true"}`, true},
		{`"Bool":{"aws:SecureTransport":true}`, true},
		{`"Bool":{"aws:SecureTransport":"false"}`, false},
		{`"Bool":{"aws:ViaAWSService":"false"}`, true},
		{`"Bool":{"aws:MultiFactorAuthPresent":"false"}`, false},
		{`"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}`, true},
		{`"Null":{"aws:MultiFactorAuthPresent":"true"}`, true},
		{`"Null":{"aws:MultiFactorAuthPresent":"false"}`, false},
		{`"Null":{"aws:username":"true"}`, false},
		{`"Null":{"aws:username":false}`, true},
		{`"Null":{"aws:username":["true","false"]}`, true},
		{`"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`, true},
		{`"IpAddress":{"aws:SourceIp":"203.0.113.99/24"}`, true},
		{`"IpAddress":{"aws:SourceIp":"203.0.113.7"}`, true},
		{`"IpAddress":{"aws:SourceIp":["10.0.0.0/8","203.0.113.8"]}`, false},
		{`"IpAddress":{"aws:SourceIp":"2001:db8::/32"}`, false},
		{`"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}`, false},
		{`"NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","192.168.0.0/16"]}`, true},
		{`"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:user/staff/Alice"}`, true},
		{`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/staff/*"}`, true},
		{`"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::*:user/*"}`, true},
		{`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::${aws:PrincipalAccount}:user/staff/${aws:username}"}`, true},
		{`"ArnLike":{"aws:username":"*"}`, false},
		{`"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:user/staff/Alice"}`, false},
		{`"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/admin/*"}`, true},
		{`"StringEquals":{"s3:delimiter":"/"}`, false},
		{`"StringEqualsIfExists":{"s3:delimiter":"/"}`, true},
		{`"StringEqualsIfExists":{"s3:prefix":"y"}`, false},
		{`"StringNotEquals":{"s3:delimiter":"/"}`, true},
		{`"NotIpAddress":{"aws:SourceVpc":"10.0.0.0/8"}`, true},
		{`"StringEquals":{"aws:PrincipalType":"User"}`, true},
		{`"StringEquals":{"aws:RequestedRegion":"ap-southeast-2"}`, true},
		{`"StringLike":{"aws:UserAgent":"aws-cli/*"}`, true},
		{`"StringEquals":{"aws:PrincipalTag/team":"blue"}`, true},
		{`"StringEquals":{"aws:principaltag/TEAM":"blue"}`, true},
		{`"StringEquals":{"aws:PrincipalTag/team":"red"}`, false},
		{`"StringEquals":{"aws:PrincipalTag/none":""}`, false},
		{`"ForAnyValue:StringEquals":{"aws:PrincipalTag/many":["b","x"]}`, true},
		{`"ForAnyValue:StringEquals":{"aws:PrincipalTag/many":["x"]}`, false},
		{`"ForAllValues:StringEquals":{"aws:PrincipalTag/many":["a","b","c"]}`, true},
		{`"ForAllValues:StringEquals":{"aws:PrincipalTag/many":["a"]}`, false},
		{`"ForAllValues:StringEquals":{"aws:PrincipalTag/none":["a"]}`, true},
		{`"ForAnyValue:StringEquals":{"aws:PrincipalTag/none":["a"]}`, false},
		{`"ForAnyValue:StringNotEquals":{"aws:PrincipalTag/none":["a"]}`, false},
		{`"ForAnyValue:StringNotEquals":{"aws:PrincipalTag/many":["a"]}`, true},
		{`"ForAllValues:StringNotEquals":{"aws:PrincipalTag/many":["a"]}`, false},
		{`"ForAllValues:StringNotLike":{"aws:PrincipalTag/many":["x*"]}`, true},
		{`"ForAnyValue:StringEqualsIfExists":{"aws:PrincipalTag/none":["a"]}`, true},
		{`"StringEquals":{"aws:username":"${aws:PrincipalTag/none}"}`, false},
		{`"StringNotEquals":{"aws:username":"${aws:PrincipalTag/none}"}`, true}, // as documented: null is like nothing
		{`"StringEquals":{"aws:username":"${aws:PrincipalTag/none, 'Alice'}"}`, true},
	} {
		doc := document(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{` + c.condition + `}}`)
		got := ask(t, doc, "s3:ListBucket", "arn:aws:s3:::b", map[string][]string{
			"s3:prefix": {"xAlice"}, "s3:max-keys": {"10"},
			"aws:principaltag/team": {"blue"}, "aws:principaltag/many": {"a", "b"},
		}) == Allow
		if got != c.want {
			t.Errorf("%s: %v", c.condition, got)
		}
	}
}

func TestVariableWithoutValueIsLikeNothing(t *testing.T) {
	root := &principal.Caller{Account: "123456789012", UserID: "123456789012", Root: true}
	for _, c := range []struct {
		statement string
		want      Effect
	}{
		{`{"Effect":"Allow","Action":"*","NotResource":"arn:aws:s3:::b/${aws:username}"}`, Allow},
		{`{"Effect":"Deny","Action":"*","NotResource":"arn:aws:s3:::b/${aws:username}"}`, ExplicitDeny},
		{`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:username}"}`, ImplicitDeny},
		{`{"Effect":"Allow","Action":"*","Resource":["arn:aws:s3:::b/${aws:username}","*"]}`, Allow},
		{`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:userid":"${aws:username}"}}}`, ExplicitDeny},
		{`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:userid":"${aws:username}"}}}`, Allow},
	} {
		got := Evaluate([]*Document{parse(t, document(c.statement))}, &Request{
			Action: "s3:GetObject", Resource: "arn:aws:s3:::b/", Caller: root, Now: now,
		})
		if got.Effect != c.want {
			t.Errorf("%s: %v", c.statement, got.Effect)
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
			out = append(out, parse(t, document(s)))
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
		got := Evaluate(c.docs, &Request{Action: c.action, Resource: c.resource, Caller: alice(), Now: now})
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

func TestPathologicalPatternEndsSoon(t *testing.T) {
	doc := document(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::` + strings.Repeat("*a", 500) + `b"}`)
	started := time.Now()
	if got := ask(t, doc, "s3:GetObject", "arn:aws:s3:::"+strings.Repeat("a", 1024), nil); got != ImplicitDeny {
		t.Error(got)
	}
	if took := time.Since(started); took > time.Second {
		t.Errorf("took %v", took)
	}
}
