package fsm

import (
	"bytes"
	"iter"
	"slices"
	"strings"
)

// ResourceTags are the tags of one EC2 resource.
type ResourceTags struct {
	Meta
	Account  AccountID `cbor:"1,keyasint"`
	Resource string    `cbor:"2,keyasint"` // its id
	Tags     []Tag     `cbor:"3,keyasint"` // in order of key, at most MaxResourceTags
}

// MaxResourceTags is how many tags a resource can have.
const MaxResourceTags = 50

var resourceTags = Table[string, ResourceTags]{Name: "resource-tags"}

// TagsOf are a resource's tags in order of key.
func TagsOf(v *View, resource string) []Tag {
	t, _ := resourceTags.Get(v, resource)
	return t.Tags
}

// TaggedResources are the resources that have tags, in order of id.
func TaggedResources(v *View) iter.Seq2[string, ResourceTags] { return resourceTags.Scan(v, "") }

func putTags(w *Writer, account AccountID, resource string, tags []Tag) {
	if len(tags) == 0 {
		return
	}
	resourceTags.Put(w, resource, ResourceTags{Account: account, Resource: resource, Tags: mergeTags(nil, tags)})
}

func mergeTags(have, add []Tag) []Tag {
	out := slices.Clone(have)
	for _, t := range add {
		if i := slices.IndexFunc(out, func(o Tag) bool { return o.Key == t.Key }); i >= 0 {
			out[i] = t
		} else {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b Tag) int { return strings.Compare(a.Key, b.Key) })
	return out
}

var tagKinds = []KindEntry{
	{570, Control, func() Command { return new(AddTags) }},
	{571, Control, func() Command { return new(RemoveTags) }},
	{572, Control, func() Command { return new(PruneClientTokens) }},
}

// AddTags gives tags to resources, replacing those of the same key.
type AddTags struct {
	Account   AccountID `cbor:"1,keyasint"`
	Resources []string  `cbor:"2,keyasint"`
	Tags      []Tag     `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (c *AddTags) Kind() Kind { return 570 }

// Check refuses a resource that is none of the account's (ErrNotFound) and more tags than one can have (ErrLimit).
func (c *AddTags) Check(v *View) error {
	for _, r := range c.Resources {
		if !ResourceExists(v, c.Account, r) {
			return Errorf(ErrNotFound, r)
		}
		if len(mergeTags(TagsOf(v, r), c.Tags)) > MaxResourceTags {
			return Errorf(ErrLimit, r)
		}
	}
	return nil
}

// Record writes the tags.
func (c *AddTags) Record(w *Writer) {
	for _, r := range c.Resources {
		resourceTags.Put(w, r, ResourceTags{Account: c.Account, Resource: r, Tags: mergeTags(TagsOf(&w.View, r), c.Tags)})
	}
}

// RemoveTags takes tags from resources: those of a key, and of a value where one is given; all of them without any key.
type RemoveTags struct {
	Account   AccountID  `cbor:"1,keyasint"`
	Resources []string   `cbor:"2,keyasint"`
	Tags      []TagMatch `cbor:"3,keyasint,omitempty"`
}

// TagMatch is a tag's key and, if it is not nil, its value.
type TagMatch struct {
	Key   string  `cbor:"1,keyasint"`
	Value *string `cbor:"2,keyasint,omitempty"`
}

// Kind is the command's number in the log.
func (c *RemoveTags) Kind() Kind { return 571 }

// Check refuses a resource that is none of the account's (ErrNotFound).
func (c *RemoveTags) Check(v *View) error {
	for _, r := range c.Resources {
		if !ResourceExists(v, c.Account, r) {
			return Errorf(ErrNotFound, r)
		}
	}
	return nil
}

// Record removes the tags.
func (c *RemoveTags) Record(w *Writer) {
	for _, r := range c.Resources {
		left := slices.DeleteFunc(slices.Clone(TagsOf(&w.View, r)), func(t Tag) bool {
			return len(c.Tags) == 0 || slices.ContainsFunc(c.Tags, func(m TagMatch) bool {
				return m.Key == t.Key && (m.Value == nil || *m.Value == t.Value)
			})
		})
		if len(left) == 0 {
			resourceTags.Delete(w, r)
		} else {
			resourceTags.Put(w, r, ResourceTags{Account: c.Account, Resource: r, Tags: left})
		}
	}
}

// ResourceExists tells whether an account has the EC2 resource of an id.
func ResourceExists(v *View, account AccountID, id string) bool {
	kind, _, _ := strings.Cut(id, "-")
	var owner AccountID
	switch kind {
	case "i":
		r, _ := Instances.Get(v, InstanceID(id))
		owner = r.Account
	case "vol":
		if r, _ := Volumes.Get(v, VolumeID(id)); r.Builder == "" {
			owner = r.Account
		}
	case "snap":
		r, _ := Snapshots.Get(v, SnapshotID(id))
		owner = r.Account
	case "ami":
		r, _ := Images.Get(v, ImageID(id))
		owner = r.Account
	case "vpc":
		r, _ := VPCs.Get(v, VPCID(id))
		owner = r.Account
	case "subnet":
		r, _ := Subnets.Get(v, SubnetID(id))
		owner = r.Account
	case "sg":
		r, _ := SecurityGroups.Get(v, SecurityGroupID(id))
		owner = r.Account
	case "eni":
		r, _ := Interfaces.Get(v, InterfaceID(id))
		owner = r.Account
	case "import":
		r, _ := ImportTasks.Get(v, id)
		owner = r.Account
	case "key":
		for _, k := range KeyPairsOf(v, account) {
			if k.ID == id {
				owner = account
			}
		}
	}
	return owner == account
}

// ClientToken makes a command idempotent: the same one again is found by its name, with what it made.
type ClientToken struct {
	Meta
	Account AccountID `cbor:"1,keyasint"`
	Op      string    `cbor:"2,keyasint"` // the operation's name
	Token   string    `cbor:"3,keyasint"`
	Hash    []byte    `cbor:"4,keyasint"` // SHA-256 of the other parameters
	IDs     []string  `cbor:"5,keyasint"` // what it made
	Created int64     `cbor:"6,keyasint"` // Unix ms
}

var clientTokens = Table[string, ClientToken]{Name: "client-token"}

func (t *ClientToken) key() string { return Key(string(t.Account), t.Op, t.Token) }

// TokenUsed is what a client token has made, if it was used.
func TokenUsed(v *View, account AccountID, op, token string) (ClientToken, bool) {
	return clientTokens.Get(v, Key(string(account), op, token))
}

// Same tells whether a token was used with the same parameters.
func (t *ClientToken) Same(hash []byte) bool { return bytes.Equal(t.Hash, hash) }

// ClientTokens are all client tokens, in order of account, operation and token.
func ClientTokens(v *View) iter.Seq2[string, ClientToken] { return clientTokens.Scan(v, "") }

// check refuses a token that is used already (ErrConflict): its user reads what it has made. None is always free.
func (t *ClientToken) check(v *View) error {
	if t != nil && clientTokens.Has(v, t.key()) {
		return Errorf(ErrConflict, "client-token/"+t.Token)
	}
	return nil
}

func (t *ClientToken) put(w *Writer) {
	if t != nil {
		clientTokens.Put(w, t.key(), *t)
	}
}

// PruneClientTokens removes the named tokens (keys as ClientTokens yields them) that are older than Before.
type PruneClientTokens struct {
	Keys   []string `cbor:"1,keyasint"`
	Before int64    `cbor:"2,keyasint"` // Unix ms
}

// Kind is the command's number in the log.
func (c *PruneClientTokens) Kind() Kind { return 572 }

// Check accepts all.
func (c *PruneClientTokens) Check(*View) error { return nil }

// Record removes them.
func (c *PruneClientTokens) Record(w *Writer) {
	for _, k := range c.Keys {
		if t, ok := clientTokens.Get(&w.View, k); ok && t.Created < c.Before {
			clientTokens.Delete(w, k)
		}
	}
}
