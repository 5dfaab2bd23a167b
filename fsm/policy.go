package fsm

import (
	"iter"
	"strings"
	"unicode/utf8"
)

// InlinePolicy is a policy that is written into a user, group or role.
type InlinePolicy struct {
	Meta
	Name     string `cbor:"1,keyasint"`
	Document string `cbor:"2,keyasint"` // JSON, as it was given
}

// PolicyAttachment attaches a managed policy to a user, group or role.
type PolicyAttachment struct {
	Meta
	ARN string `cbor:"1,keyasint"`
}

// PolicyUse counts what uses a managed policy in an account.
type PolicyUse struct {
	Attached   int // users, groups and roles
	Boundaries int // users and roles that it bounds
}

// policyUse is a PolicyUse as it is stored.
type policyUse struct {
	Meta
	Attached   int `cbor:"1,keyasint,omitempty"`
	Boundaries int `cbor:"2,keyasint,omitempty"`
}

var (
	inlinePolicies = Table[pairKey, InlinePolicy]{Name: "iam-inline-policy", Watch: watchPair[InlinePolicy]("Inline Policy")}          // of an entity, by name
	attachments    = Table[pairKey, PolicyAttachment]{Name: "iam-attachment", Watch: watchPair[PolicyAttachment]("Policy Attachment")} // of an entity, by ARN
	attachedTo     = Table[pairKey, membership]{Name: "iam-attached-to"}                                                               // of an ARN, by entity
	boundaryOf     = Table[pairKey, membership]{Name: "iam-boundary-of"}                                                               // of an ARN, by entity
	policyUses     = Table[pairKey, policyUse]{Name: "iam-policy-use"}                                                                 // of an ARN, under nothing
)

// InlinePolicyOf is an entity's inline policy of that name.
func InlinePolicyOf(v *View, account AccountID, owner EntityID, name string) (InlinePolicy, bool) {
	return inlinePolicies.Get(v, keyOfPair(account, string(owner), name))
}

// InlinePoliciesOf are an entity's inline policies in order of name.
func InlinePoliciesOf(v *View, account AccountID, owner EntityID) []InlinePolicy {
	var out []InlinePolicy
	for _, p := range inlinePolicies.Scan(v, keyOfPair(account, string(owner), "")) {
		out = append(out, p)
	}
	return out
}

// AttachedPoliciesOf are the managed policies attached to an entity, in order of ARN.
func AttachedPoliciesOf(v *View, account AccountID, owner EntityID) []PolicyAttachment {
	var out []PolicyAttachment
	for _, a := range attachments.Scan(v, keyOfPair(account, string(owner), "")) {
		out = append(out, a)
	}
	return out
}

// AttachedTo yields the ids of the entities of an account to which a managed policy is attached, in their order,
// from the first that is not before start.
func AttachedTo(v *View, account AccountID, arn string, start EntityID) iter.Seq[EntityID] {
	return entitiesOf(v, attachedTo, account, arn, start)
}

// BoundaryUses yields the ids of the users and roles of an account whose boundary a managed policy is, as
// AttachedTo does.
func BoundaryUses(v *View, account AccountID, arn string, start EntityID) iter.Seq[EntityID] {
	return entitiesOf(v, boundaryOf, account, arn, start)
}

func entitiesOf(v *View, table Table[pairKey, membership], account AccountID, arn string, start EntityID) iter.Seq[EntityID] {
	return func(yield func(EntityID) bool) {
		for id := range pairsFrom(v, table, account, arn, string(start)) {
			if !yield(EntityID(id)) {
				return
			}
		}
	}
}

// PolicyUseOf counts what uses a managed policy in an account.
func PolicyUseOf(v *View, account AccountID, arn string) PolicyUse {
	use, _ := policyUses.Get(v, keyOfPair(account, arn, ""))
	return PolicyUse{use.Attached, use.Boundaries}
}

// addUse notes that so many more use a managed policy.
func addUse(w *Writer, account AccountID, arn string, by PolicyUse) {
	key := keyOfPair(account, arn, "")
	use, _ := policyUses.Get(&w.View, key)
	use.Attached += by.Attached
	use.Boundaries += by.Boundaries
	if use.Attached == 0 && use.Boundaries == 0 {
		policyUses.Delete(w, key)
	} else {
		policyUses.Put(w, key, use)
	}
}

// bind makes now the boundary of an entity that had old; "" is none.
func bind(w *Writer, account AccountID, id EntityID, old, now string) {
	if old == now {
		return
	}
	if old != "" {
		boundaryOf.Delete(w, keyOfPair(account, old, string(id)))
		addUse(w, account, old, PolicyUse{Boundaries: -1})
	}
	if now != "" {
		boundaryOf.Put(w, keyOfPair(account, now, string(id)), membership{})
		addUse(w, account, now, PolicyUse{Boundaries: 1})
	}
}

// checkBoundary refuses a boundary that is no policy's ARN (ErrInvalid) and one that would be the account's own and
// is not there (ErrNotFound). That any other exists is the proposer's knowledge.
func checkBoundary(v *View, account AccountID, arn string) error {
	if arn == "" {
		return nil
	}
	if !validIAM(arn, maxPolicyARN) || !strings.HasPrefix(arn, "arn:") {
		return Errorf(ErrInvalid, "boundary/"+arn)
	}
	if _, ok := ManagedPolicyByARN(v, account, arn); !ok && ownPolicy(account, arn) {
		return Errorf(ErrNotFound, "boundary/"+arn)
	}
	return nil
}

// checkNoPolicies refuses the deletion of an entity with policies (ErrInUse; the resource says which).
func checkNoPolicies(v *View, e Entity) error {
	for range pairsFrom(v, inlinePolicies, e.Account, string(e.ID), "") {
		return Errorf(ErrInUse, "inline-policies/"+e.Name)
	}
	for range pairsFrom(v, attachments, e.Account, string(e.ID), "") {
		return Errorf(ErrInUse, "attachments/"+e.Name)
	}
	return nil
}

// policyOwner is what may have policies of an account, with its limits.
type policyOwner struct {
	Entity
	inline   int // characters
	attached int
	quota    string // name in AWS's message of how many may be attached
}

func policyOwnerOf(v *View, account AccountID, id EntityID) (policyOwner, error) {
	e, ok := EntityByID(v, account, id)
	if !ok {
		return policyOwner{}, Errorf(ErrNotFound, "%s/%s", id.Kind(), id)
	}
	switch id.Kind() {
	case UserEntity:
		return policyOwner{e, MaxInlineUserPolicyText, MaxAttachedPolicies, "PoliciesPerUser"}, nil
	case GroupEntity:
		return policyOwner{e, MaxInlineGroupPolicyText, MaxAttachedPolicies, "PoliciesPerGroup"}, nil
	case RoleEntity:
		return policyOwner{e, MaxInlineRolePolicyText, MaxAttachedPolicies, "PoliciesPerRole"}, nil
	}
	return policyOwner{}, Errorf(ErrInvalid, e.resource())
}

// PutInlinePolicy writes an inline policy into a user, group or role, over one of the same name.
type PutInlinePolicy struct {
	Account AccountID    `cbor:"1,keyasint"`
	Owner   EntityID     `cbor:"2,keyasint"`
	Policy  InlinePolicy `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *PutInlinePolicy) Kind() Kind { return 207 }

// Check refuses an owner that is not there (ErrNotFound) and more text than an owner of its kind may have (ErrLimit).
func (c *PutInlinePolicy) Check(v *View) error {
	if !validIAM(c.Policy.Name, maxIAMName) {
		return Errorf(ErrInvalid, "inline-policy/"+c.Policy.Name)
	}
	owner, err := policyOwnerOf(v, c.Account, c.Owner)
	if err != nil {
		return err
	}
	size := policyText(c.Policy.Document)
	for _, p := range InlinePoliciesOf(v, c.Account, c.Owner) {
		if p.Name != c.Policy.Name {
			size += policyText(p.Document)
		}
	}
	if size > owner.inline {
		return Errorf(ErrLimit, "policy-size/%d bytes exceeded for %s %s", owner.inline, owner.ID.Kind(), owner.Name)
	}
	return nil
}

// policyText is how many characters of a document count: all but JSON's white space.
func policyText(doc string) int {
	return utf8.RuneCountInString(doc) - strings.Count(doc, " ") - strings.Count(doc, "\t") -
		strings.Count(doc, "\r") - strings.Count(doc, "\n")
}

// Record writes the policy.
func (c *PutInlinePolicy) Record(w *Writer) {
	inlinePolicies.Put(w, keyOfPair(c.Account, string(c.Owner), c.Policy.Name), c.Policy)
}

// DeleteInlinePolicy removes an inline policy from a user, group or role.
type DeleteInlinePolicy struct {
	Account AccountID `cbor:"1,keyasint"`
	Owner   EntityID  `cbor:"2,keyasint"`
	Name    string    `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteInlinePolicy) Kind() Kind { return 208 }

// Check refuses a policy that the owner does not have (ErrNotFound).
func (c *DeleteInlinePolicy) Check(v *View) error {
	if !inlinePolicies.Has(v, keyOfPair(c.Account, string(c.Owner), c.Name)) {
		return Errorf(ErrNotFound, string(c.Owner.Kind())+"-policy/"+c.Name)
	}
	return nil
}

// Record removes the policy.
func (c *DeleteInlinePolicy) Record(w *Writer) {
	inlinePolicies.Delete(w, keyOfPair(c.Account, string(c.Owner), c.Name))
}

// AttachPolicy attaches a managed policy to a user, group or role. Attaching it again changes nothing. That a policy
// which is not the account's own exists is the proposer's knowledge: the policies that AWS manages are no records.
type AttachPolicy struct {
	Account AccountID `cbor:"1,keyasint"`
	Owner   EntityID  `cbor:"2,keyasint"`
	ARN     string    `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *AttachPolicy) Kind() Kind { return 209 }

// Check refuses an owner or policy that is not there (ErrNotFound) and one policy too many (ErrLimit).
func (c *AttachPolicy) Check(v *View) error {
	if !validIAM(c.ARN, maxPolicyARN) || !strings.HasPrefix(c.ARN, "arn:") {
		return Errorf(ErrInvalid, "attachment/"+c.ARN)
	}
	owner, err := policyOwnerOf(v, c.Account, c.Owner)
	if err != nil {
		return err
	}
	if _, ok := ManagedPolicyByARN(v, c.Account, c.ARN); !ok && ownPolicy(c.Account, c.ARN) {
		return Errorf(ErrNotFound, "attachable/"+c.ARN)
	}
	if attachments.Has(v, keyOfPair(c.Account, string(c.Owner), c.ARN)) {
		return nil
	}
	if len(AttachedPoliciesOf(v, c.Account, c.Owner)) >= owner.attached {
		return Errorf(ErrLimit, "quota/%s: %d", owner.quota, owner.attached)
	}
	return nil
}

// maxPolicyARN is AWS's limit on the length of an ARN in IAM.
const maxPolicyARN = 2048

// Record writes the attachment.
func (c *AttachPolicy) Record(w *Writer) {
	key := keyOfPair(c.Account, string(c.Owner), c.ARN)
	if attachments.Has(&w.View, key) {
		return
	}
	attachments.Put(w, key, PolicyAttachment{ARN: c.ARN})
	attachedTo.Put(w, keyOfPair(c.Account, c.ARN, string(c.Owner)), membership{})
	addUse(w, c.Account, c.ARN, PolicyUse{Attached: 1})
}

// DetachPolicy takes a managed policy from a user, group or role.
type DetachPolicy struct {
	Account AccountID `cbor:"1,keyasint"`
	Owner   EntityID  `cbor:"2,keyasint"`
	ARN     string    `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *DetachPolicy) Kind() Kind { return 210 }

// Check refuses a policy that is not attached to the owner (ErrNotFound).
func (c *DetachPolicy) Check(v *View) error {
	if !attachments.Has(v, keyOfPair(c.Account, string(c.Owner), c.ARN)) {
		return Errorf(ErrNotFound, "attachment/"+c.ARN)
	}
	return nil
}

// Record removes the attachment.
func (c *DetachPolicy) Record(w *Writer) {
	attachments.Delete(w, keyOfPair(c.Account, string(c.Owner), c.ARN))
	attachedTo.Delete(w, keyOfPair(c.Account, c.ARN, string(c.Owner)))
	addUse(w, c.Account, c.ARN, PolicyUse{Attached: -1})
}
