package fsm

import (
	"fmt"
	"slices"
	"strings"
)

// ManagedPolicy is a policy that an account manages itself. Its documents are PolicyVersions.
type ManagedPolicy struct {
	Meta
	Account     AccountID `cbor:"1,keyasint"`
	ID          EntityID  `cbor:"2,keyasint"`
	Name        string    `cbor:"3,keyasint"` // in the case it was given
	Path        string    `cbor:"4,keyasint"` // begins and ends with a slash
	Description string    `cbor:"5,keyasint,omitempty"`
	Created     int64     `cbor:"6,keyasint"`            // Unix seconds
	Updated     int64     `cbor:"7,keyasint"`            // when the newest version was made; Unix seconds
	Default     int       `cbor:"8,keyasint"`            // number of the version that counts
	Versions    int       `cbor:"9,keyasint"`            // how many there are
	Latest      int       `cbor:"10,keyasint"`           // the highest number that was ever given
	Tags        []Tag     `cbor:"11,keyasint,omitempty"` // keys are one per policy whatever their case
}

// PolicyVersion is one text of a managed policy.
type PolicyVersion struct {
	Meta
	Number   int    `cbor:"1,keyasint"` // 3 of "v3"
	Document string `cbor:"2,keyasint"` // JSON, as it was given
	Created  int64  `cbor:"3,keyasint"` // Unix seconds
}

// Entity is what a managed policy has as every entity has it.
func (p ManagedPolicy) Entity() Entity { return Entity{p.Account, p.ID, p.Name, p.Path} }

// ARN is arn:aws:iam::ACCOUNT:policy/PATH/NAME.
func (p ManagedPolicy) ARN() string { return p.Entity().ARN() }

var policies = entities[ManagedPolicy]{
	kind:    PolicyEntity,
	records: Table[entityKey, ManagedPolicy]{Name: "iam-policy", Watch: watchEntity[ManagedPolicy](QuotaPolicies, "Policy")},
	names:   Table[entityNameKey, EntityID]{Name: "iam-policy-name"},
	quota:   QuotaPolicies, limit: "PoliciesPerAccount",
}

// VersionsInUse is what UsedOf calls the versions of an account's managed policies. AWS's quota of them is far.
const VersionsInUse = "policy-versions"

var policyVersions = Table[pairKey, PolicyVersion]{Name: "iam-policy-version", Watch: watchVersion}

func watchVersion(w *Writer, key pairKey, old, now *PolicyVersion) {
	account, _, _ := strings.Cut(string(key), "\x00")
	w.count(AccountID(account), VersionsInUse, one(now)-one(old))
}

func keyOfVersion(account AccountID, policy EntityID, number int) pairKey {
	return keyOfPair(account, string(policy), fmt.Sprintf("%010d", number))
}

// ManagedPolicyByID is a managed policy of an account.
func ManagedPolicyByID(v *View, account AccountID, id EntityID) (ManagedPolicy, bool) {
	return policies.byID(v, account, id)
}

// ManagedPolicyByARN is the managed policy of an account that has exactly that ARN, its path included.
func ManagedPolicyByARN(v *View, account AccountID, arn string) (ManagedPolicy, bool) {
	return policies.byARN(v, account, arn)
}

// ManagedPoliciesFrom yields the managed policies of an account as UsersFrom yields users.
func ManagedPoliciesFrom(v *View, account AccountID, start string, yield func(ManagedPolicy) bool) {
	policies.from(v, account, start, yield)
}

// PolicyVersionOf is the version of a managed policy with that number.
func PolicyVersionOf(v *View, account AccountID, policy EntityID, number int) (PolicyVersion, bool) {
	return policyVersions.Get(v, keyOfVersion(account, policy, number))
}

// PolicyVersionsOf are the versions of a managed policy, the newest first.
func PolicyVersionsOf(v *View, account AccountID, policy EntityID) []PolicyVersion {
	var out []PolicyVersion
	for _, version := range policyVersions.Scan(v, keyOfPair(account, string(policy), "")) {
		out = append(out, version)
	}
	slices.Reverse(out)
	return out
}

// ManagedDocument is the text that counts of the managed policy with that ARN, and whether the account has it.
func ManagedDocument(v *View, account AccountID, arn string) (string, bool) {
	policy, ok := ManagedPolicyByARN(v, account, arn)
	if !ok {
		return "", false
	}
	version, ok := PolicyVersionOf(v, account, policy.ID, policy.Default)
	return version.Document, ok
}

func checkPolicySize(doc string) error {
	if policyText(doc) > MaxManagedPolicyText {
		return Errorf(ErrLimit, "quota/PolicySize: %d", MaxManagedPolicyText)
	}
	return nil
}

// CreateManagedPolicy makes a managed policy with its first version.
type CreateManagedPolicy struct {
	Policy   ManagedPolicy `cbor:"1,keyasint"` // Default, Versions, Latest and Updated are set when it is recorded
	Document string        `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *CreateManagedPolicy) Kind() Kind { return 224 }

// Check refuses an unknown account (ErrNotFound), a name or id that is taken (ErrExists), one policy too many and a
// document that is too long (ErrLimit).
func (c *CreateManagedPolicy) Check(v *View) error {
	if err := policies.checkCreate(v, c.Policy); err != nil {
		return err
	}
	return checkPolicySize(c.Document)
}

// Record writes the policy and its version 1.
func (c *CreateManagedPolicy) Record(w *Writer) {
	p := c.Policy
	p.Default, p.Versions, p.Latest, p.Updated = 1, 1, 1, p.Created
	policies.put(w, p)
	putVersion(w, p, PolicyVersion{Number: 1, Document: c.Document, Created: p.Created})
}

func putVersion(w *Writer, p ManagedPolicy, version PolicyVersion) {
	policyVersions.Put(w, keyOfVersion(p.Account, p.ID, version.Number), version)
}

func removeVersion(w *Writer, p ManagedPolicy, number int) {
	policyVersions.Delete(w, keyOfVersion(p.Account, p.ID, number))
}

// UpdateManagedPolicy replaces a policy's tags. Policy.Rev is that of the record which the decision was made on.
type UpdateManagedPolicy struct {
	Policy ManagedPolicy `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *UpdateManagedPolicy) Kind() Kind { return 225 }

// Check refuses a policy that is gone (ErrNotFound) or was changed since (ErrConflict).
func (c *UpdateManagedPolicy) Check(v *View) error { return policies.checkUpdate(v, c.Policy) }

// Record writes the tags. All else stays.
func (c *UpdateManagedPolicy) Record(w *Writer) {
	have, _ := ManagedPolicyByID(&w.View, c.Policy.Account, c.Policy.ID)
	have.Tags = slices.Clone(c.Policy.Tags)
	policies.put(w, have)
}

// DeleteManagedPolicy removes a policy that nobody uses, with its last version.
type DeleteManagedPolicy struct {
	Account AccountID `cbor:"1,keyasint"`
	ID      EntityID  `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeleteManagedPolicy) Kind() Kind { return 226 }

// Check refuses a policy that is not there (ErrNotFound) and one that is attached, bounds an entity or has several
// versions (ErrInUse; the resource says which).
func (c *DeleteManagedPolicy) Check(v *View) error {
	p, ok := ManagedPolicyByID(v, c.Account, c.ID)
	if !ok {
		return Errorf(ErrNotFound, "policy/"+string(c.ID))
	}
	if PolicyUseOf(v, c.Account, p.ARN()) != (PolicyUse{}) {
		return Errorf(ErrInUse, "policy-use/"+p.ARN())
	}
	if p.Versions > 1 {
		return Errorf(ErrInUse, "policy-versions/"+p.ARN())
	}
	return nil
}

// Record removes the policy.
func (c *DeleteManagedPolicy) Record(w *Writer) {
	p, _ := ManagedPolicyByID(&w.View, c.Account, c.ID)
	removeVersion(w, p, p.Default)
	policies.remove(w, p)
}

// CreatePolicyVersion gives a managed policy a new text.
type CreatePolicyVersion struct {
	Account AccountID     `cbor:"1,keyasint"`
	Policy  EntityID      `cbor:"2,keyasint"`
	Version PolicyVersion `cbor:"3,keyasint"`
	Default bool          `cbor:"4,keyasint,omitempty"` // it is the one that counts from now on
}

// Kind is the command's number in the log.
func (c *CreatePolicyVersion) Kind() Kind { return 227 }

// Check refuses a policy that is not there (ErrNotFound), a number that is not the next (ErrConflict), one version
// too many and a document that is too long (ErrLimit).
func (c *CreatePolicyVersion) Check(v *View) error {
	p, ok := ManagedPolicyByID(v, c.Account, c.Policy)
	switch {
	case !ok:
		return Errorf(ErrNotFound, "policy/"+string(c.Policy))
	case c.Version.Number != p.Latest+1:
		return Errorf(ErrConflict, "policy/"+p.ARN())
	case p.Versions >= MaxPolicyVersions:
		return Errorf(ErrLimit, "policy-versions/"+p.ARN())
	}
	return checkPolicySize(c.Version.Document)
}

// Record writes the version.
func (c *CreatePolicyVersion) Record(w *Writer) {
	p, _ := ManagedPolicyByID(&w.View, c.Account, c.Policy)
	p.Versions, p.Latest, p.Updated = p.Versions+1, c.Version.Number, c.Version.Created
	if c.Default {
		p.Default = c.Version.Number
	}
	policies.put(w, p)
	putVersion(w, p, c.Version)
}

// DeletePolicyVersion removes a version that does not count.
type DeletePolicyVersion struct {
	Account AccountID `cbor:"1,keyasint"`
	Policy  EntityID  `cbor:"2,keyasint"`
	Number  int       `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *DeletePolicyVersion) Kind() Kind { return 228 }

// Check refuses a policy or version that is not there (ErrNotFound) and the version that counts (ErrInUse).
func (c *DeletePolicyVersion) Check(v *View) error {
	p, err := checkVersion(v, c.Account, c.Policy, c.Number)
	if err == nil && p.Default == c.Number {
		err = Errorf(ErrInUse, "policy-default/"+p.ARN())
	}
	return err
}

func checkVersion(v *View, account AccountID, id EntityID, number int) (ManagedPolicy, error) {
	p, ok := ManagedPolicyByID(v, account, id)
	if !ok {
		return p, Errorf(ErrNotFound, "policy/"+string(id))
	}
	if !policyVersions.Has(v, keyOfVersion(account, id, number)) {
		return p, Errorf(ErrNotFound, "policy-version/%s version v%d", p.ARN(), number)
	}
	return p, nil
}

// Record removes the version.
func (c *DeletePolicyVersion) Record(w *Writer) {
	p, _ := ManagedPolicyByID(&w.View, c.Account, c.Policy)
	p.Versions--
	policies.put(w, p)
	removeVersion(w, p, c.Number)
}

// SetDefaultPolicyVersion says which version counts.
type SetDefaultPolicyVersion struct {
	Account AccountID `cbor:"1,keyasint"`
	Policy  EntityID  `cbor:"2,keyasint"`
	Number  int       `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *SetDefaultPolicyVersion) Kind() Kind { return 229 }

// Check refuses a policy or version that is not there (ErrNotFound).
func (c *SetDefaultPolicyVersion) Check(v *View) error {
	_, err := checkVersion(v, c.Account, c.Policy, c.Number)
	return err
}

// Record writes which one counts.
func (c *SetDefaultPolicyVersion) Record(w *Writer) {
	p, _ := ManagedPolicyByID(&w.View, c.Account, c.Policy)
	p.Default = c.Number
	policies.put(w, p)
}

// ownPolicy tells whether an ARN can only be that of a policy which the account manages itself.
func ownPolicy(account AccountID, arn string) bool {
	return strings.HasPrefix(arn, "arn:aws:iam::"+string(account)+":policy/")
}
