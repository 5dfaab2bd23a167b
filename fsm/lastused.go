package fsm

// LastUsed is when an access key or a role was last used, and for what. It is a record of its own, so that using a thing
// never makes a conflict for whoever changes it.
type LastUsed struct {
	Meta
	Time    int64  `cbor:"1,keyasint"`           // Unix seconds
	Region  string `cbor:"2,keyasint,omitempty"` // "eu-north-1"
	Service string `cbor:"3,keyasint,omitempty"` // signing name: "s3"
}

// Use says that an access key, or else a role, was used.
type Use struct {
	Account AccountID   `cbor:"1,keyasint"`
	Key     AccessKeyID `cbor:"2,keyasint,omitempty"`
	Role    EntityID    `cbor:"3,keyasint,omitempty"`
	Last    LastUsed    `cbor:"4,keyasint"`
}

// maxUses bounds one command.
const maxUses = 20_000

// lastUsedKey is an account, a zero byte, "key" or "role", a zero byte and an id.
type lastUsedKey string

func (u Use) key() lastUsedKey {
	if u.Role != "" {
		return keyOfUse(u.Account, "role", string(u.Role))
	}
	return keyOfUse(u.Account, "key", string(u.Key))
}

func keyOfUse(account AccountID, kind, id string) lastUsedKey {
	return lastUsedKey(Key(string(account), kind, id))
}

var lastUses = Table[lastUsedKey, LastUsed]{Name: "iam-last-used"}

// KeyLastUsed is when an access key was last used, and whether it ever was.
func KeyLastUsed(v *View, account AccountID, id AccessKeyID) (LastUsed, bool) {
	return lastUses.Get(v, keyOfUse(account, "key", string(id)))
}

// RoleLastUsed is when a session of a role last asked for something, and whether one ever did.
func RoleLastUsed(v *View, account AccountID, id EntityID) (LastUsed, bool) {
	return lastUses.Get(v, keyOfUse(account, "role", string(id)))
}

var sessionKinds = []KindEntry{
	{260, Control, func() Command { return new(RecordUses) }},
}

// RecordUses notes what was used since the proposing node last said so. What is gone meanwhile is passed over.
type RecordUses struct {
	Uses []Use `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (c *RecordUses) Kind() Kind { return 260 }

// Check refuses too many uses at once, and ids that cannot be (ErrInvalid).
func (c *RecordUses) Check(*View) error {
	if len(c.Uses) > maxUses {
		return Errorf(ErrInvalid, "uses/%d", len(c.Uses))
	}
	for _, u := range c.Uses {
		id := string(u.Key) + string(u.Role)
		if !u.Account.Valid() || (u.Key == "") == (u.Role == "") || !validIAM(id, maxIAMName) || len(u.Last.Region)+len(u.Last.Service) > maxIAMName {
			return Errorf(ErrInvalid, "use/"+id)
		}
	}
	return nil
}

// Record writes the uses that are newer than what is known.
func (c *RecordUses) Record(w *Writer) {
	for _, u := range c.Uses {
		if have, ok := lastUses.Get(&w.View, u.key()); ok && have.Time >= u.Last.Time {
			continue
		}
		if u.there(&w.View) {
			lastUses.Put(w, u.key(), u.Last)
		}
	}
}

// there tells whether what was used is still there.
func (u Use) there(v *View) bool {
	if u.Role != "" {
		return roles.has(v, u.Account, u.Role)
	}
	owner, ok := accessKeyOwners.Get(v, u.Key)
	return ok && owner.Account == u.Account
}
