package policy

import (
	"strconv"
	"strings"
	"time"
)

// source says where the value of a condition key comes from.
type source func(r *Request) []string

// keys are the condition keys that are understood, in lower case. A document that names another is
// refused: its condition would never see a value. Source: "AWS global condition context keys".
var keys = map[string]source{
	"aws:currenttime": func(r *Request) []string { return []string{r.Now.UTC().Format(time.RFC3339)} },
	"aws:epochtime":   func(r *Request) []string { return []string{strconv.FormatInt(r.Now.Unix(), 10)} },
	"aws:securetransport": func(r *Request) []string {
		return []string{strconv.FormatBool(r.Caller.Secure)}
	},
	"aws:sourceip":         func(r *Request) []string { return present(r.Caller.SourceIP) },
	"aws:useragent":        func(r *Request) []string { return present(r.Caller.UserAgent) },
	"aws:username":         func(r *Request) []string { return present(r.Caller.UserName) },
	"aws:userid":           func(r *Request) []string { return present(r.Caller.UserID) },
	"aws:principalarn":     func(r *Request) []string { return present(r.Caller.ARN) },
	"aws:principalaccount": func(r *Request) []string { return present(r.Caller.Account) },
	"aws:principaltype":    principalType,
	"aws:requestedregion":  func(r *Request) []string { return present(r.Caller.Region) },
	// No service calls another on a caller's behalf, and no request comes through a VPC endpoint.
	"aws:viaawsservice":         func(*Request) []string { return []string{"false"} },
	"aws:principalisawsservice": func(*Request) []string { return []string{"false"} },
	"aws:sourcevpc":             absent,
	"aws:sourcevpce":            absent,
	// Access keys of users and root users are long-term credentials: AWS leaves these keys out too.
	"aws:multifactorauthpresent": absent,
	"aws:multifactorauthage":     absent,
	"aws:tokenissuetime":         absent,
	// From the operation's input, as the service's Access tells.
	"s3:prefix":          fromContext("s3:prefix"),
	"s3:delimiter":       fromContext("s3:delimiter"),
	"s3:max-keys":        fromContext("s3:max-keys"),
	"iam:policyarn":      fromContext("iam:policyarn"),
	"iam:awsservicename": fromContext("iam:awsservicename"),
	"aws:tagkeys":        fromContext("aws:tagkeys"),
	"ec2:createaction":   fromContext("ec2:createaction"),
	"ec2:instancetype":   fromContext("ec2:instancetype"),
	"ec2:region":         fromContext("ec2:region"),
}

// What the keys of the caller's tags, and of tags that a request carries, begin with.
const (
	principalTag = "aws:principaltag/"
	requestTag   = "aws:requesttag/"
)

func knownKey(key string) bool {
	return keys[key] != nil || len(key) > len(principalTag) && strings.HasPrefix(key, principalTag) ||
		len(key) > len(requestTag) && strings.HasPrefix(key, requestTag)
}

// values are the request's values of a condition key in lower case; none when it is absent.
func (e *evaluation) values(key string) []string {
	var out []string
	if src := keys[key]; src != nil {
		out = src(e.Request)
	} else {
		out = e.Context[key]
	}
	if e.fold && len(out) == 1 {
		return []string{strings.ToLower(out[0])}
	}
	return out
}

func present(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func absent(*Request) []string { return nil }

func fromContext(key string) source { return func(r *Request) []string { return r.Context[key] } }

func principalType(r *Request) []string {
	switch {
	case r.Caller.Anonymous:
		return []string{"Anonymous"}
	case r.Caller.Root:
		return []string{"Account"}
	default:
		return []string{"User"}
	}
}
