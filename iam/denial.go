package iam

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"hive/awsd/protocol"
	"hive/iam/policy"
	"hive/iam/principal"
)

const codeDenied = "AccessDenied"

// refused is a permission that a caller does not have, and the decision that says so.
type refused struct {
	caller   *principal.Caller
	service  string // whose operation it is, and whose words the denial has
	need     protocol.Access
	decision policy.Decision
	matched  []policy.Match // statements that apply, where the denial is to be explained
}

// denied is the one place that words a denial, which services do differently.
func (a *Authorizer) denied(r *refused) error {
	code, on, text := codeDenied, " on resource: "+r.need.Resource, ""
	switch r.service {
	case "iam", "sts":
	case "s3":
		on = " on resource: " + strconv.Quote(r.need.Resource)
	case "ec2":
		code, text = "UnauthorizedOperation", "You are not authorized to perform this operation. "
	default: // the services that speak JSON
		code = "AccessDeniedException"
	}
	if r.need.Resource == "*" && r.service != "iam" && r.service != "sts" {
		on = ""
	}
	text += "User: " + r.caller.ARN + " is not authorized to perform: " + r.need.Action + on + " " + r.why()
	if r.service == "ec2" {
		encoded, err := a.encode(r)
		if err != nil {
			return err
		}
		text += ". Encoded authorization failure message: " + encoded
	}
	return protocol.Errorf(http.StatusForbidden, code, "%s", text)
}

// policyNames are what AWS calls the kinds of policy in its denials. Source: "Troubleshoot access denied error messages"
// in the IAM user guide.
var policyNames = map[policy.Cause]struct{ article, name string }{
	policy.NoPolicy:       {"an", "identity-based policy"},
	policy.IdentityPolicy: {"an", "identity-based policy"},
	policy.BoundaryPolicy: {"a", "permissions boundary"},
	policy.SessionPolicy:  {"a", "session policy"},
	policy.ResourcePolicy: {"a", "resource-based policy"},
}

// why tells which kind of policy denies, or lacks an Allow.
func (r *refused) why() string {
	kind := policyNames[r.decision.Cause]
	if r.decision.Effect == policy.ExplicitDeny {
		return "with an explicit deny in " + kind.article + " " + kind.name
	}
	return "because no " + kind.name + " allows the " + r.need.Action + " action"
}

// Causes of errors about encoded messages.
var errMessage = errors.New("not an authorization message")

// maxMessage is how much an encoded message may hold, in bytes: DecodeAuthorizationMessage takes 10,240 characters.
const (
	maxMessage      = 64 << 10
	maxEncoded      = 10_240
	maxShownValues  = 20
	maxShownLetters = 256
)

// items is how AWS writes a list in a decoded message.
type items[T any] struct {
	Items []T `json:"items"`
}

type messageValue struct {
	Value string `json:"value"`
}

type messageCondition struct {
	Key    string              `json:"key"`
	Values items[messageValue] `json:"values"`
}

type messageStatement struct {
	StatementID string              `json:"statementId"`
	Effect      string              `json:"effect"`
	Principals  items[messageValue] `json:"principals"`
	Groups      items[messageValue] `json:"principalGroups"`
	Actions     items[messageValue] `json:"actions"`
	Resources   items[messageValue] `json:"resources"`
	Conditions  items[messageValue] `json:"conditions"`
}

type messagePrincipal struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	ARN  string `json:"arn"`
}

// message is what DecodeAuthorizationMessage shows. Source: its API reference.
type message struct {
	Allowed      bool                    `json:"allowed"`
	ExplicitDeny bool                    `json:"explicitDeny"`
	Matched      items[messageStatement] `json:"matchedStatements"`
	Failures     items[messageValue]     `json:"failures"`
	Context      struct {
		Principal  messagePrincipal        `json:"principal"`
		Action     string                  `json:"action"`
		Resource   string                  `json:"resource"`
		Conditions items[messageCondition] `json:"conditions"`
	} `json:"context"`
}

func (r *refused) message() message {
	var m message
	m.ExplicitDeny = r.decision.Effect == policy.ExplicitDeny
	m.Matched.Items, m.Failures.Items = []messageStatement{}, []messageValue{}
	none := items[messageValue]{[]messageValue{}}
	for _, match := range r.matched[:min(len(r.matched), maxShownValues)] {
		effect := "ALLOW"
		if match.Effect == policy.ExplicitDeny {
			effect = "DENY"
		}
		m.Matched.Items = append(m.Matched.Items, messageStatement{
			StatementID: match.Statement, Effect: effect, Principals: items[messageValue]{[]messageValue{{r.caller.UserID}}},
			Groups: none, Actions: items[messageValue]{[]messageValue{{r.need.Action}}},
			Resources: items[messageValue]{[]messageValue{{r.need.Resource}}}, Conditions: none,
		})
	}
	c := &m.Context
	c.Principal = messagePrincipal{r.caller.UserID, r.caller.UserName, r.caller.ARN}
	if s := r.caller.Session; s != nil && r.caller.UserName == "" {
		c.Principal.Name = s.Name
	}
	c.Action, c.Resource, c.Conditions.Items = r.need.Action, r.need.Resource, []messageCondition{}
	for _, key := range slices.Sorted(maps.Keys(r.need.Context)) {
		shown := messageCondition{Key: key, Values: items[messageValue]{[]messageValue{}}}
		for _, value := range r.need.Context[key][:min(len(r.need.Context[key]), maxShownValues)] {
			shown.Values.Items = append(shown.Values.Items, messageValue{strings.ToValidUTF8(value[:min(len(value), maxShownLetters)], "")})
		}
		c.Conditions.Items = append(c.Conditions.Items, shown)
	}
	return m
}

func messageContext(account string) string { return "authorization-message/" + account }

// encode seals what a denial is about for DecodeAuthorizationMessage, of the caller's account alone. One that is too long
// goes without the request's conditions.
func (a *Authorizer) encode(r *refused) (string, error) {
	m := r.message()
	encoded, err := a.encodeMessage(&m, r.caller.Account)
	if err == nil && len(encoded) > maxEncoded {
		m.Context.Conditions.Items = []messageCondition{}
		encoded, err = a.encodeMessage(&m, r.caller.Account)
	}
	return encoded, err
}

func (a *Authorizer) encodeMessage(m *message, account string) (string, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode a denial: %w", err)
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.DefaultCompression)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return "", fmt.Errorf("encode a denial: %w", err)
	}
	sealed, err := a.sealer.Seal(packed.Bytes(), messageContext(account))
	if err != nil {
		return "", fmt.Errorf("encode a denial: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// decode is the JSON that encode has sealed for an account. Errors: errMessage.
func (a *Authorizer) decode(encoded, account string) (string, error) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", errMessage
	}
	packed, err := a.sealer.Open(sealed, messageContext(account))
	if err != nil {
		return "", errMessage
	}
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxMessage+1))
	if err != nil || len(text) > maxMessage {
		return "", errMessage
	}
	return string(text), nil
}
