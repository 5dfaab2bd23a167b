package policy

import (
	"strconv"
	"strings"
	"time"

	"hive/iam/principal"
)

// values are what a request has for a condition key: none, one, or a list.
type values struct {
	one  string
	has  bool
	list []string
}

func (v *values) count() int {
	switch {
	case v.list != nil:
		return len(v.list)
	case v.has:
		return 1
	}
	return 0
}

func (v *values) at(i int) string {
	if v.list != nil {
		return v.list[i]
	}
	return v.one
}

// empty tells whether there is nothing to compare: no value, or none that says anything.
func (v *values) empty() bool {
	for i := range v.count() {
		if v.at(i) != "" {
			return false
		}
	}
	return true
}

// values are the request's values of a condition key. They stand until the values of another key are asked for.
func (e *evaluation) values(k *key) *values {
	if k.slot == 0 {
		if e.named.name != k.name {
			e.named.name, e.named.values = k.name, e.byForm(k)
		}
		return &e.named.values
	}
	if at := e.slots[k.slot]; at > 0 {
		return &e.cached[at-1]
	}
	if int(e.used) == len(e.cached) { // the last place is taken again and again
		e.named.name, e.named.values = "", e.lookup(k)
		return &e.named.values
	}
	e.cached[e.used] = e.lookup(k)
	e.used++
	e.slots[k.slot] = e.used
	return &e.cached[e.used-1]
}

// byForm are the values of a key that is known by its form only.
func (e *evaluation) byForm(k *key) values {
	if list, ok := e.Context[k.name]; ok {
		return values{list: list}
	}
	if k.global != "" && strings.HasPrefix(e.action, k.name[:4]) {
		return values{list: e.Context[k.global]}
	}
	if k.source == fromClaims && e.Caller.Session != nil {
		for _, claim := range e.Caller.Session.Claims {
			if claim.Key == k.name {
				return values{one: claim.Value, has: true}
			}
		}
	}
	return values{}
}

// lookup finds the values of a known key.
func (e *evaluation) lookup(k *key) values {
	if list, ok := e.Context[k.name]; ok {
		return values{list: list}
	}
	if k.source == fromContext || k.source == never {
		return values{}
	}
	s := e.compute(k.source)
	return values{one: s, has: s != ""}
}

// compute is the value that follows from the caller or the clock; "" when there is none.
func (e *evaluation) compute(from source) string {
	c := e.Caller
	switch from {
	case fromNow:
		return e.Now.UTC().Format(time.RFC3339)
	case fromEpoch:
		return strconv.FormatInt(e.Now.Unix(), 10)
	case fromSecure:
		return strconv.FormatBool(c.Secure)
	case fromSourceIP:
		return c.SourceIP
	case fromUserAgent:
		return c.UserAgent
	case fromRegion:
		return c.Region
	case fromResourceAccount:
		if e.tellsNoOwner() {
			return ""
		}
		return e.owner
	case fromService:
		return e.Service
	case fromIsService:
		if e.stranger && e.Service == "" {
			return ""
		}
		return strconv.FormatBool(e.Service != "")
	case fromFalse:
		return "false"
	case fromReferer:
		return c.Referer
	case fromTLS, fromSigningPlace, fromSigningVersion, fromSigningAge, fromPayload:
		return e.ofWire(from)
	}
	return e.ofCaller(from)
}

// ofWire is what S3 tells of how a request was sent; "" when there is nothing to tell.
func (e *evaluation) ofWire(from source) string {
	if !strings.HasPrefix(e.action, "s3:") {
		return ""
	}
	s := &e.Caller.Signing
	switch from {
	case fromTLS:
		return e.Caller.TLS
	case fromSigningPlace:
		return s.Place
	case fromSigningVersion:
		return s.Version
	case fromSigningAge:
		if !s.Time.IsZero() {
			return strconv.FormatInt(e.Now.Sub(s.Time).Milliseconds(), 10)
		}
	case fromPayload:
		return s.Payload
	}
	return ""
}

// tellsNoOwner tells of the actions that do not have aws:ResourceAccount. Source: "AWS global condition context keys".
func (e *evaluation) tellsNoOwner() bool {
	switch e.action {
	case "ec2:copyimage", "ec2:copysnapshot", "ec2:createvolume", "ec2:createvpcpeeringconnection":
		return true
	}
	return strings.HasPrefix(e.action, "ebs:")
}

// ofCaller is a value that tells who the caller is; "" when there is none.
func (e *evaluation) ofCaller(from source) string {
	c := e.Caller
	switch from {
	case fromUserID:
		if c.UserID == "" && e.stranger {
			return "anonymous"
		}
		return c.UserID
	case fromPrincipalType:
		return e.principalType()
	case fromAccount:
		if e.stranger && e.Service == "" {
			return "anonymous"
		}
	}
	if e.stranger {
		return ""
	}
	switch from {
	case fromUserName:
		if c.Session != nil && c.Session.Kind != principal.UserSession {
			return ""
		}
		return c.UserName
	case fromPrincipalARN: // a role's session goes by its role
		if c.Session != nil && c.Session.Kind == principal.RoleSession {
			return c.Session.IssuerARN
		}
		return c.ARN
	case fromAccount:
		return c.Account
	}
	if c.Session == nil {
		return "" // of long-term keys nothing more is known
	}
	return e.ofSession(from, c.Session)
}

func (e *evaluation) ofSession(from source, s *principal.Session) string {
	switch from {
	case fromMFA:
		return strconv.FormatBool(!s.MFA.IsZero())
	case fromMFAAge:
		if !s.MFA.IsZero() {
			return strconv.FormatInt(int64(e.Now.Sub(s.MFA)/time.Second), 10)
		}
	case fromIssued:
		return s.Issued.UTC().Format(time.RFC3339)
	case fromSourceIdentity:
		return s.SourceIdentity
	case fromProvider:
		return s.Provider
	case fromInstance:
		if s.Instance != "" {
			return "arn:aws:ec2:" + e.Caller.Region + ":" + e.Caller.Account + ":instance/" + s.Instance
		}
	}
	return ""
}

// principalType is as the table in "Request information that you can use for policy variables" has it.
func (e *evaluation) principalType() string {
	c := e.Caller
	switch {
	case e.stranger:
		return "Anonymous"
	case c.Session != nil && c.Session.Kind == principal.RoleSession:
		return "AssumedRole"
	case c.Session != nil && c.Session.Kind == principal.FederatedSession:
		return "FederatedUser"
	case c.Root:
		return "Account"
	}
	return "User"
}
