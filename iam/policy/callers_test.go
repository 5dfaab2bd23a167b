package policy

import (
	"strings"
	"testing"
	"time"

	"hive/iam/principal"
)

var now = time.Date(2024, 5, 17, 12, 30, 0, 0, time.UTC)

// asker is who asks in a test, by the name that testdata has.
type asker struct {
	principal.Caller
	service, provider string
	bounded           bool
}

const (
	home     = "123456789012"
	provider = "arn:aws:iam::" + home + ":oidc-provider/token.example.org"
)

func alice() *principal.Caller {
	return &principal.Caller{
		Account: home, ARN: "arn:aws:iam::" + home + ":user/staff/Alice", UserID: "AIDAALICE0000000", UserName: "Alice",
		AccessKey: "AKIA1", SourceIP: "203.0.113.7", Secure: true, UserAgent: "aws-cli/2.9", Region: "ap-southeast-2",
		TLS: "1.3", Referer: "https://example.org/",
		Signing: principal.Signing{Place: "REST-HEADER", Version: "AWS4-HMAC-SHA256", Time: now.Add(-2 * time.Second), Payload: "UNSIGNED-PAYLOAD"},
	}
}

// askerOf makes a caller of testdata.
func askerOf(t testing.TB, name string) asker {
	t.Helper()
	a := asker{Caller: *alice()}
	issued := now.Add(-30 * time.Minute)
	be := func(account, arn, id, user string) {
		a.Account, a.ARN, a.UserID, a.UserName = account, "arn:aws:"+arn, id, user
	}
	session := func(kind principal.SessionKind, issuer, arn string) {
		a.Session = &principal.Session{Kind: kind, Issuer: issuer, IssuerARN: arn, Issued: issued, Expires: now.Add(time.Hour)}
	}
	role := func(name, path, id, session string) {
		be(home, "sts::"+home+":assumed-role/"+name+"/"+session, id+":"+session, "")
		a.Session = &principal.Session{
			Kind: principal.RoleSession, Name: session, Issuer: id, IssuerARN: "arn:aws:iam::" + home + ":role/" + path + name, Issued: issued,
		}
	}
	switch name {
	case "alice":
	case "plain":
		a.Secure, a.TLS, a.Referer, a.Signing.Place, a.Signing.Time = false, "", "", "REST-QUERY-STRING", time.Time{}
	case "bounded":
		a.bounded = true
	case "alice-session", "alice-mfa":
		session(principal.UserSession, a.UserID, a.ARN)
		if name == "alice-mfa" {
			a.Session.MFA = now.Add(-10 * time.Minute)
		}
	case "bob":
		be("210987654321", "iam::210987654321:user/Bob", "AIDABOB000000000", "Bob")
	case "root", "root-session":
		be(home, "iam::"+home+":root", home, "")
		a.Root = true
		if name == "root-session" {
			session(principal.UserSession, "", a.ARN)
		}
	case "other-root":
		be("210987654321", "iam::210987654321:root", "210987654321", "")
		a.Root = true
	case "role":
		role("app", "svc/", "AROAAPP000000000", "s1")
		a.Session.SourceIdentity = "Alice"
	case "instance":
		role("app", "svc/", "AROAAPP000000000", "i-0abc")
		a.Session.Instance = "i-0abc"
	case "web":
		role("web", "", "AROAWEB000000000", "w1")
		a.Session.Provider = provider
		a.Session.Claims = []principal.Tag{{Key: "token.example.org:aud", Value: "app"}, {Key: "token.example.org:sub", Value: "u1"}}
	case "fed", "root-fed":
		id, arn := a.UserID, a.ARN
		if name == "root-fed" {
			id, arn = "", "arn:aws:iam::"+home+":root"
		}
		be(home, "sts::"+home+":federated-user/fed1", home+":fed1", "")
		session(principal.FederatedSession, id, arn)
	case "anonymous", "service", "oidc", "oidc-other":
		a.Caller = principal.Caller{Anonymous: true, SourceIP: a.SourceIP, Secure: true, Region: a.Region}
		switch name {
		case "service":
			a.service = "ec2.amazonaws.com"
		case "oidc":
			a.provider = provider
		case "oidc-other":
			a.provider = strings.Replace(provider, "token", "other", 1)
		}
	default:
		t.Fatalf("nobody is called %q", name)
	}
	return a
}

// request is one of an asker, whose tags are team=blue and star=* when it is Alice.
func (a *asker) request(action, resource string, context map[string][]string) *Request {
	all := map[string][]string{}
	for key, values := range context {
		all[key] = values
	}
	if a.UserName == "Alice" {
		all["aws:principaltag/team"], all["aws:principaltag/star"] = []string{"blue"}, []string{"*"}
	}
	return &Request{
		Action: action, Resource: resource, Caller: &a.Caller, Now: now, Context: all,
		Service: a.service, Provider: a.provider, Canonical: strings.Repeat("a", 64),
	}
}
