package iam

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"hive/awsd/protocol"
	"hive/fsm"
	"hive/iam/policy"
	"hive/iam/principal"
)

// Authorizer decides whether a caller may do what an operation needs.
type Authorizer struct {
	group Group
	clock func() time.Time
	docs  documents
}

// NewAuthorizer reads policies from group. clock gives the time for conditions on it.
func NewAuthorizer(group Group, clock func() time.Time) *Authorizer {
	return &Authorizer{group: patient{group}, clock: clock}
}

// Authorize answers nil when the caller has every permission of need. The root user has all in its own
// account; a user has what its policies allow and none of them denies; an anonymous caller has none.
// Nobody reaches another account's resources where the ARN tells whose they are: for S3, whose ARNs do
// not, it is the bucket's owner who is asked, by s3.
//
// Policies are read from this node's state, which may lag behind other nodes by milliseconds. A denial is
// given only after ReadIndex, on a state that has every acknowledged write: what was granted through one
// node is granted on all at once. What was taken away elsewhere counts when its entry arrives here.
//
// Errors: a *protocol.Error with status 403; any other means that it could not be told.
func (a *Authorizer) Authorize(ctx context.Context, c *principal.Caller, need []protocol.Access) error {
	if c.Anonymous {
		return protocol.Errorf(http.StatusForbidden, codeDenied, "Access Denied")
	}
	for _, n := range need {
		if foreign(c, n.Resource) {
			return denied(c, n, "because no resource-based policy allows the "+n.Action+" action")
		}
	}
	if c.Root || len(need) == 0 {
		return nil
	}
	err := a.decide(c, need)
	if refused := (*protocol.Error)(nil); !errors.As(err, &refused) {
		return err
	}
	if err := a.group.ReadIndex(ctx); err != nil {
		return fmt.Errorf("read policies: %w", err)
	}
	return a.decide(c, need)
}

// decide asks the policies of a user for everything in need.
func (a *Authorizer) decide(c *principal.Caller, need []protocol.Access) error {
	docs, tags, err := a.policies(c)
	if err != nil {
		return err
	}
	now := a.clock()
	for _, n := range need {
		decision := policy.Evaluate(docs, &policy.Request{
			Action: n.Action, Resource: n.Resource, Caller: c, Now: now, Context: withTags(n.Context, tags),
		})
		switch decision.Effect {
		case policy.Allow:
		case policy.ExplicitDeny:
			return denied(c, n, "with an explicit deny in an identity-based policy")
		default:
			return denied(c, n, "because no identity-based policy allows the "+n.Action+" action")
		}
	}
	return nil
}

// foreign tells whether an ARN names another account. AWS's own resources are everybody's to read.
func foreign(c *principal.Caller, resource string) bool {
	parts := strings.SplitN(resource, ":", 6)
	return len(parts) == 6 && parts[4] != "" && parts[4] != "aws" && parts[4] != c.Account
}

// policies are the documents of a user, and its tags.
func (a *Authorizer) policies(c *principal.Caller) (docs []*policy.Document, tags []fsm.Tag, err error) {
	account, id := fsm.AccountID(c.Account), fsm.EntityID(c.UserID)
	err = a.group.View(func(v *fsm.View) error {
		user, ok := fsm.UserByID(v, account, id)
		if !ok {
			return nil // deleted while the request came in: it has no permissions
		}
		tags = user.Tags
		for _, p := range fsm.InlinePoliciesOf(v, account, id) {
			doc, err := a.docs.parse(p.Document)
			if err != nil {
				return fmt.Errorf("policy %s of user %s: %w", p.Name, user.Name, err)
			}
			docs = append(docs, doc)
		}
		for _, attached := range fsm.AttachedPoliciesOf(v, account, id) {
			m, ok := managedPolicy(attached.ARN)
			if !ok {
				return fmt.Errorf("policy %s of user %s is not known to this version", attached.ARN, user.Name)
			}
			doc, err := a.docs.parse(m.document)
			if err != nil {
				return fmt.Errorf("policy %s: %w", attached.ARN, err)
			}
			docs = append(docs, doc)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read policies: %w", err)
	}
	return docs, tags, nil
}

// withTags adds the caller's tags to a request's condition keys.
func withTags(context map[string][]string, tags []fsm.Tag) map[string][]string {
	if len(tags) == 0 {
		return context
	}
	out := make(map[string][]string, len(context)+len(tags))
	for key, values := range context {
		out[key] = values
	}
	for _, tag := range tags {
		out["aws:principaltag/"+strings.ToLower(tag.Key)] = []string{tag.Value}
	}
	return out
}

const codeDenied = "AccessDenied"

// denied is the one place that words a denial, which services do differently.
func denied(c *principal.Caller, need protocol.Access, why string) error {
	service, _, _ := strings.Cut(need.Action, ":")
	code, form := codeDenied, "User: %s is not authorized to perform: %s on resource: %s %s"
	switch service {
	case "ec2":
		code, form = "UnauthorizedOperation", "You are not authorized to perform this operation. "+form
	case "ebs":
		code = "AccessDeniedException"
	case "s3":
		form = "User: %s is not authorized to perform: %s on resource: %q %s"
	}
	return protocol.Errorf(http.StatusForbidden, code, form, c.ARN, need.Action, need.Resource, why)
}

// documents keeps parsed policies by their text. A text always parses to the same document, so there is
// nothing to go stale. It holds at most two generations: what was not asked for during one is dropped.
type documents struct {
	mu         sync.Mutex // guards both maps
	young, old map[string]*policy.Document
}

// generation is how many documents are kept before the older ones go.
const generation = 512

func (d *documents) parse(text string) (*policy.Document, error) {
	d.mu.Lock()
	doc, young := d.young[text]
	if !young {
		doc = d.old[text]
	}
	d.mu.Unlock()
	if young {
		return doc, nil
	}
	if doc == nil {
		var err error
		if doc, err = policy.Parse([]byte(text), policy.Identity); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.young) >= generation || d.young == nil {
		d.young, d.old = make(map[string]*policy.Document, generation), d.young
	}
	d.young[text] = doc
	return doc, nil
}
