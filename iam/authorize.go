package iam

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/policy"
	"hive/iam/principal"
)

// Authorizer decides whether a caller may do what an operation needs.
type Authorizer struct {
	group  Group
	sealer Sealer
	clock  func() time.Time
	docs   documents
}

// NewAuthorizer reads policies from group and seals with sealer what EC2 tells of a denial. clock gives the time for
// conditions on it.
func NewAuthorizer(group Group, sealer Sealer, clock func() time.Time) *Authorizer {
	return &Authorizer{group: patient{group}, sealer: sealer, clock: clock}
}

// Authorize answers nil when the caller has every permission of need. The root user has all in its own
// account; a user has what its policies and those of its groups allow, as far as its permissions boundary allows it too,
// and none of them denies; a role's session likewise what those of the role allow; session policies narrow what a session
// has; an anonymous caller has nothing. Nobody reaches another account's resources where the ARN tells whose they are: for
// S3, whose ARNs do not, it is the bucket's owner who is asked, by s3.
//
// Policies are read from this node's state, which may lag behind other nodes by milliseconds. A denial is
// given only after ReadIndex, on a state that has every acknowledged write: what was granted through one
// node is granted on all at once. What was taken away elsewhere counts when its entry arrives here. A session is decided
// on a state that has every write acknowledged before its request, since Keys asked for that: what revokes sessions counts
// on all nodes at once.
//
// Errors: a *protocol.Error with status 403; any other means that it could not be told.
func (a *Authorizer) Authorize(ctx context.Context, c *principal.Caller, need []protocol.Access) error {
	if c.Anonymous {
		return protocol.Errorf(http.StatusForbidden, codeDenied, "Access Denied")
	}
	ask := &question{caller: c, service: serviceOf(need), need: decidedHere(need)}
	if err := barred(c, ask.service); err != nil {
		return err
	}
	for _, n := range ask.need {
		if foreign(c, n.Resource) {
			return a.denied(&refused{caller: c, service: ask.service, need: n, decision: policy.Decision{Cause: policy.ResourcePolicy}})
		}
	}
	if c.Root || len(ask.need) == 0 {
		return nil
	}
	err := a.decide(ask)
	if denial := (*protocol.Error)(nil); c.Session != nil || !errors.As(err, &denial) {
		return err
	}
	if err := a.group.ReadIndex(ctx); err != nil {
		return fmt.Errorf("read policies: %w", err)
	}
	return a.decide(ask)
}

// question is what an operation of a service needs.
type question struct {
	caller  *principal.Caller
	service string // "ec2"
	need    []protocol.Access
}

// serviceOf is the service whose operation needs the permissions: that of the first action but for iam:PassRole and its
// like, which operations of other services need beside their own.
func serviceOf(need []protocol.Access) string {
	service := ""
	for _, n := range need {
		if service, _, _ = strings.Cut(n.Action, ":"); service != "iam" {
			return service
		}
	}
	return service
}

// decidedHere is need without what STS decides by itself, for the role's trust policy has a say in it.
func decidedHere(need []protocol.Access) []protocol.Access {
	for i, n := range need {
		if !decidedByTrust(n.Action) {
			continue
		}
		rest := append([]protocol.Access(nil), need[:i]...)
		for _, n := range need[i+1:] {
			if !decidedByTrust(n.Action) {
				rest = append(rest, n)
			}
		}
		return rest
	}
	return need
}

func decidedByTrust(action string) bool {
	switch action {
	case actionAssumeRole, actionAssumeWithToken, actionTagSession, actionSetSource:
		return true
	}
	return false
}

// barred refuses what temporary credentials of a user can never do, whatever policies say. Source: "Request temporary
// security credentials" in the IAM user guide: credentials of GetSessionToken are good for IAM only when a second factor
// was shown, those of GetFederationToken never.
func barred(c *principal.Caller, service string) error {
	if c.Session == nil || service != "iam" {
		return nil
	}
	switch {
	case c.Session.Kind == principal.UserSession && c.Session.MFA.IsZero(), c.Session.Kind == principal.FederatedSession:
		return protocol.Errorf(http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid")
	}
	return nil
}

// decide asks a caller's policies for everything that it needs.
func (a *Authorizer) decide(ask *question) error {
	c := ask.caller
	have, err := a.standing(c)
	if err != nil {
		return err
	}
	now := a.clock()
	for _, n := range ask.need {
		request := policy.Request{
			Action: n.Action, Resource: n.Resource, Caller: c, Now: now, Context: have.context(n.Context),
		}
		decision := policy.Decide(&have.policies, &request)
		given, err := a.ownPassword(c, n, decision)
		if err != nil {
			return err
		}
		if given || decision.Effect == policy.Allow {
			continue
		}
		no := &refused{caller: c, service: ask.service, need: n, decision: decision}
		if ask.service == "ec2" {
			_, why := policy.Explain(&have.policies, &request)
			no.matched = why.Matched
		}
		return a.denied(no)
	}
	return nil
}

// foreign tells whether an ARN names another account. AWS's own resources are everybody's to read.
func foreign(c *principal.Caller, resource string) bool {
	account := accountOf(resource)
	return account != "" && account != "aws" && account != c.Account
}

// accountOf is the account that an ARN names, if it does.
func accountOf(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 {
		return ""
	}
	return parts[4]
}

// standing is what a caller stands on: the policies that have a say on it, and its tags.
type standing struct {
	policies policy.Policies
	tags     []principal.Tag // of the user or role, then those of the session
}

// standing reads what a caller stands on from this node's state.
func (a *Authorizer) standing(c *principal.Caller) (have standing, err error) {
	err = a.group.View(func(v *fsm.View) error {
		have, err = a.standingIn(v, c)
		return err
	})
	if err != nil {
		return standing{}, fmt.Errorf("read policies: %w", err)
	}
	return have, nil
}

func (a *Authorizer) standingIn(v *fsm.View, c *principal.Caller) (have standing, err error) {
	account, id := fsm.AccountID(c.Account), fsm.EntityID(c.UserID)
	if c.Session != nil {
		id = fsm.EntityID(c.Session.Issuer)
	}
	owned := pile{a: a, v: v, account: account}
	switch id.Kind() { // whoever was deleted while the request came in has no permissions
	case fsm.RoleEntity:
		if role, ok := fsm.RoleByID(v, account, id); ok {
			owned.of(role.ID)
			owned.bound(&have, role.Boundary, role.Tags)
		}
	case fsm.UserEntity:
		if user, ok := fsm.UserByID(v, account, id); ok {
			owned.of(user.ID)
			for _, group := range fsm.GroupsOfUser(v, account, user.ID) {
				owned.of(group.ID)
			}
			owned.bound(&have, user.Boundary, user.Tags)
		}
	}
	have.policies.Identity = owned.docs
	if s := c.Session; s != nil {
		have.policies.HasSession = s.Restricted
		narrowed := pile{a: a, v: v, account: account}
		for _, text := range s.Policies {
			narrowed.add(text, policy.Identity)
		}
		for _, arn := range s.PolicyARNs {
			narrowed.managed(arn)
		}
		have.policies.Session = narrowed.docs
		have.tags = append(have.tags, s.Tags...)
		owned.err = errors.Join(owned.err, narrowed.err)
	}
	return have, owned.err
}

// pile gathers documents until an error.
type pile struct {
	a       *Authorizer
	v       *fsm.View
	account fsm.AccountID
	docs    []*policy.Document
	err     error
}

// of adds all policies of a user, group or role.
func (p *pile) of(owner fsm.EntityID) {
	for _, inline := range fsm.InlinePoliciesOf(p.v, p.account, owner) {
		p.add(inline.Document, policy.Identity)
	}
	for _, attached := range fsm.AttachedPoliciesOf(p.v, p.account, owner) {
		p.managed(attached.ARN)
	}
}

// managed adds the policy of an ARN. One that is not there allows nothing; that of a boundary so denies all.
func (p *pile) managed(arn string) {
	if text, ok := managedDocument(p.v, p.account, arn); ok {
		p.add(text, policy.Managed)
	}
}

func (p *pile) add(text string, kind policy.Kind) {
	doc, err := p.a.docs.parse(text, kind)
	if err != nil {
		p.err = errors.Join(p.err, err)
		return
	}
	p.docs = append(p.docs, doc)
}

// bound notes a permissions boundary, and the tags of who has it.
func (p *pile) bound(have *standing, boundary string, tags []fsm.Tag) {
	for _, t := range tags {
		have.tags = append(have.tags, principal.Tag{Key: t.Key, Value: t.Value})
	}
	if boundary == "" {
		return
	}
	limit := pile{a: p.a, v: p.v, account: p.account}
	limit.managed(boundary)
	have.policies.HasBoundary, have.policies.Boundary = true, limit.docs
	p.err = errors.Join(p.err, limit.err)
}

// managedDocument is the text of a managed policy, of AWS's or of the account's.
func managedDocument(v *fsm.View, account fsm.AccountID, arn string) (string, bool) {
	if m, ok := managedPolicy(arn); ok {
		return m.document, true
	}
	return fsm.ManagedDocument(v, account, arn)
}

// context adds the caller's tags to a request's condition keys.
func (s *standing) context(keys map[string][]string) map[string][]string {
	if len(s.tags) == 0 {
		return keys
	}
	out := make(map[string][]string, len(keys)+len(s.tags))
	for key, values := range keys {
		out[key] = values
	}
	for _, tag := range s.tags {
		out["aws:principaltag/"+strings.ToLower(tag.Key)] = []string{tag.Value}
	}
	return out
}
