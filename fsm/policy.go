package fsm

import (
	"strings"
	"unicode/utf8"
)

// UserPolicy is a policy that is written into a user.
type UserPolicy struct {
	Meta
	Name     string `cbor:"1,keyasint"`
	Document string `cbor:"2,keyasint"` // JSON, as it was given
}

// PolicyAttachment attaches a managed policy to a user.
type PolicyAttachment struct {
	Meta
	ARN string `cbor:"1,keyasint"`
}

// userPolicyKey is an account, a zero byte, a user's id, a zero byte and a policy's name or ARN.
type userPolicyKey string

func keyOfUserPolicy(account AccountID, user EntityID, name string) userPolicyKey {
	return userPolicyKey(Key(string(account), string(user), name))
}

var (
	userPolicies = Table[userPolicyKey, UserPolicy]{Name: "iam-user-policy"}
	attachments  = Table[userPolicyKey, PolicyAttachment]{Name: "iam-user-attachment"}
)

// UserPolicyOf is a user's inline policy of that name.
func UserPolicyOf(v *View, account AccountID, user EntityID, name string) (UserPolicy, bool) {
	return userPolicies.Get(v, keyOfUserPolicy(account, user, name))
}

// UserPoliciesOf are a user's inline policies in order of name.
func UserPoliciesOf(v *View, account AccountID, user EntityID) []UserPolicy {
	var out []UserPolicy
	for _, p := range userPolicies.Scan(v, keyOfUserPolicy(account, user, "")) {
		out = append(out, p)
	}
	return out
}

// AttachedPoliciesOf are the managed policies attached to a user, in order of ARN.
func AttachedPoliciesOf(v *View, account AccountID, user EntityID) []PolicyAttachment {
	var out []PolicyAttachment
	for _, a := range attachments.Scan(v, keyOfUserPolicy(account, user, "")) {
		out = append(out, a)
	}
	return out
}

// PolicyAttachments counts the users of an account to whom each managed policy is attached.
func PolicyAttachments(v *View, account AccountID) map[string]int {
	out := map[string]int{}
	for _, a := range attachments.Scan(v, userPolicyKey(Key(string(account), ""))) {
		out[a.ARN]++
	}
	return out
}

// PutUserPolicy writes an inline policy into a user, over one of the same name.
type PutUserPolicy struct {
	Account AccountID  `cbor:"1,keyasint"`
	User    EntityID   `cbor:"2,keyasint"`
	Policy  UserPolicy `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *PutUserPolicy) Kind() Kind { return 207 }

// Check refuses a user that is not there (ErrNotFound) and text beyond MaxInlineUserPolicyText (ErrLimit).
func (c *PutUserPolicy) Check(v *View) error {
	if !validIAM(c.Policy.Name, maxIAMName) {
		return Errorf(ErrInvalid, "user-policy/"+c.Policy.Name)
	}
	user, ok := UserByID(v, c.Account, c.User)
	if !ok {
		return Errorf(ErrNotFound, "user/"+string(c.User))
	}
	size := policyText(c.Policy.Document)
	for _, p := range UserPoliciesOf(v, c.Account, c.User) {
		if p.Name != c.Policy.Name {
			size += policyText(p.Document)
		}
	}
	if size > MaxInlineUserPolicyText {
		return Errorf(ErrLimit, "policy-size/"+user.Name)
	}
	return nil
}

// policyText is how many characters of a document count: all but JSON's white space.
func policyText(doc string) int {
	return utf8.RuneCountInString(doc) - strings.Count(doc, " ") - strings.Count(doc, "\t") -
		strings.Count(doc, "\r") - strings.Count(doc, "\n")
}

// Record writes the policy.
func (c *PutUserPolicy) Record(w *Writer) {
	userPolicies.Put(w, keyOfUserPolicy(c.Account, c.User, c.Policy.Name), c.Policy)
}

// DeleteUserPolicy removes an inline policy from a user.
type DeleteUserPolicy struct {
	Account AccountID `cbor:"1,keyasint"`
	User    EntityID  `cbor:"2,keyasint"`
	Name    string    `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteUserPolicy) Kind() Kind { return 208 }

// Check refuses a policy that the user does not have (ErrNotFound).
func (c *DeleteUserPolicy) Check(v *View) error {
	if !userPolicies.Has(v, keyOfUserPolicy(c.Account, c.User, c.Name)) {
		return Errorf(ErrNotFound, "user-policy/"+c.Name)
	}
	return nil
}

// Record removes the policy.
func (c *DeleteUserPolicy) Record(w *Writer) {
	userPolicies.Delete(w, keyOfUserPolicy(c.Account, c.User, c.Name))
}

// AttachUserPolicy attaches a managed policy to a user. Attaching it again changes nothing. That the
// policy exists is the proposer's knowledge: the policies that AWS manages are no records.
type AttachUserPolicy struct {
	Account AccountID `cbor:"1,keyasint"`
	User    EntityID  `cbor:"2,keyasint"`
	ARN     string    `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *AttachUserPolicy) Kind() Kind { return 209 }

// Check refuses a user that is not there (ErrNotFound) and one policy too many (ErrLimit).
func (c *AttachUserPolicy) Check(v *View) error {
	if !validIAM(c.ARN, maxPolicyARN) || !strings.HasPrefix(c.ARN, "arn:") {
		return Errorf(ErrInvalid, "attachment/"+c.ARN)
	}
	if !users.Has(v, keyOfUser(c.Account, c.User)) {
		return Errorf(ErrNotFound, "user/"+string(c.User))
	}
	if attachments.Has(v, keyOfUserPolicy(c.Account, c.User, c.ARN)) {
		return nil
	}
	if len(AttachedPoliciesOf(v, c.Account, c.User)) >= MaxAttachedUserPolicies {
		return Errorf(ErrLimit, "quota/PoliciesPerUser: %d", MaxAttachedUserPolicies)
	}
	return nil
}

// maxPolicyARN is AWS's limit on the length of an ARN in IAM.
const maxPolicyARN = 2048

// Record writes the attachment.
func (c *AttachUserPolicy) Record(w *Writer) {
	key := keyOfUserPolicy(c.Account, c.User, c.ARN)
	if !attachments.Has(&w.View, key) {
		attachments.Put(w, key, PolicyAttachment{ARN: c.ARN})
	}
}

// DetachUserPolicy takes a managed policy from a user.
type DetachUserPolicy struct {
	Account AccountID `cbor:"1,keyasint"`
	User    EntityID  `cbor:"2,keyasint"`
	ARN     string    `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *DetachUserPolicy) Kind() Kind { return 210 }

// Check refuses a policy that is not attached to the user (ErrNotFound).
func (c *DetachUserPolicy) Check(v *View) error {
	if !attachments.Has(v, keyOfUserPolicy(c.Account, c.User, c.ARN)) {
		return Errorf(ErrNotFound, "attachment/"+c.ARN)
	}
	return nil
}

// Record removes the attachment.
func (c *DetachUserPolicy) Record(w *Writer) {
	attachments.Delete(w, keyOfUserPolicy(c.Account, c.User, c.ARN))
}
