package fsm

import "slices"

// clusterKinds are the commands about the cluster itself: settings, members, join tokens.
var clusterKinds = []KindEntry{
	{1, Control, func() Command { return new(InitCluster) }},
	{2, Control, func() Command { return new(AdmitMember) }},
	{3, Control, func() Command { return new(UpdateMember) }},
	{4, Control, func() Command { return new(RemoveMember) }},
	{5, Control, func() Command { return new(AckEpoch) }},
	{6, Control, func() Command { return new(CreateToken) }},
	{7, Control, func() Command { return new(RevokeToken) }},
	{8, Control, func() Command { return new(ChangeSettings) }},
}

// Cluster is the one record of the cluster: who it is and what its settings are.
type Cluster struct {
	Meta
	ID             ClusterID `cbor:"1,keyasint"`
	Region         string    `cbor:"2,keyasint"`
	TargetSize     int       `cbor:"3,keyasint"`
	CA             []byte    `cbor:"4,keyasint"` // certificate, PEM
	CAKey          []byte    `cbor:"5,keyasint"` // sealed private key
	SigningKey     []byte    `cbor:"6,keyasint"` // ed25519 public key, 32 bytes
	SigningPrivate []byte    `cbor:"7,keyasint"` // sealed ed25519 seed
	GossipKey      []byte    `cbor:"8,keyasint"` // sealed, 32 bytes
	IndexGroups    int       `cbor:"9,keyasint"`
	Partitions     int       `cbor:"10,keyasint"`
	Created        int64     `cbor:"11,keyasint"` // Unix seconds
	Formed         bool      `cbor:"12,keyasint,omitempty"`
	Settings       Settings  `cbor:"13,keyasint"`
}

// Settings is a signed settings bundle. Its bytes are what every node writes as cluster.json.
type Settings struct {
	Epoch  uint64 `cbor:"1,keyasint"`
	Bundle []byte `cbor:"2,keyasint"`
}

// Suffrages that an operator can fix for a member; "" leaves it to the cluster.
const (
	SuffrageAuto     = ""
	SuffrageVoter    = "voter"
	SuffrageNonvoter = "nonvoter"
	SuffrageNone     = "none" // taken out of the Raft groups, still a member
)

// Member is a node that was admitted.
type Member struct {
	Meta
	ID       NodeID   `cbor:"1,keyasint"`
	Addr     string   `cbor:"2,keyasint"` // host:port of its cluster port
	Gossip   string   `cbor:"3,keyasint"` // host:port of its gossip port
	Zone     string   `cbor:"4,keyasint"`
	Caps     []string `cbor:"5,keyasint"`
	Version  string   `cbor:"6,keyasint"`
	Joined   int64    `cbor:"7,keyasint"` // Unix seconds
	KeyHash  []byte   `cbor:"8,keyasint"` // SHA-256 of its public key (SPKI)
	Acked    uint64   `cbor:"9,keyasint,omitempty"`
	Suffrage string   `cbor:"10,keyasint,omitempty"`
}

// Token lets nodes join. Its secret is known to its holders only.
type Token struct {
	Meta
	ID       string   `cbor:"1,keyasint"`
	Hash     []byte   `cbor:"2,keyasint"` // SHA-256 of the secret
	Created  int64    `cbor:"3,keyasint"` // Unix seconds
	Expires  int64    `cbor:"4,keyasint"` // Unix seconds
	UsesLeft int      `cbor:"5,keyasint"`
	Caps     []string `cbor:"6,keyasint,omitempty"` // that a joiner may have; none means all
	Revoked  bool     `cbor:"7,keyasint,omitempty"`
}

// Tables of the control group.
var (
	clusters = Table[string, Cluster]{Name: "cluster"}
	Members  = Table[NodeID, Member]{Name: "members", Watch: watchMember}
	Tokens   = Table[string, Token]{Name: "tokens"}
)

const theCluster = "cluster"

// TheCluster is the cluster's record; there is none before the first node's first start, and on
// a joiner before its log has caught up.
func TheCluster(v *View) (Cluster, bool) { return clusters.Get(v, theCluster) }

// InitCluster founds the cluster with its first member and first token.
type InitCluster struct {
	Cluster Cluster `cbor:"1,keyasint"`
	Member  Member  `cbor:"2,keyasint"`
	Token   Token   `cbor:"3,keyasint"`
}

// Kind is 1.
func (c *InitCluster) Kind() Kind { return 1 }

// Check refuses a second founding with ErrExists.
func (c *InitCluster) Check(v *View) error {
	if have, ok := TheCluster(v); ok {
		return Errorf(ErrExists, string(have.ID))
	}
	return nil
}

// Record writes the three records.
func (c *InitCluster) Record(w *Writer) {
	c.Cluster.Formed = c.Cluster.TargetSize <= 1
	clusters.Put(w, theCluster, c.Cluster)
	Members.Put(w, c.Member.ID, c.Member)
	Tokens.Put(w, c.Token.ID, c.Token)
}

// AdmitMember makes a node a member, at the cost of one use of a token, under new settings that
// list it.
type AdmitMember struct {
	Member   Member   `cbor:"1,keyasint"`
	TokenID  string   `cbor:"2,keyasint"`
	Now      int64    `cbor:"3,keyasint"` // Unix seconds, the proposer's clock
	Settings Settings `cbor:"4,keyasint"`
}

// Kind is 2.
func (c *AdmitMember) Kind() Kind { return 2 }

// Check refuses a stale epoch (ErrConflict), a name that is taken (ErrExists) and a token that
// does not allow it (ErrDenied; the resource says why).
func (c *AdmitMember) Check(v *View) error {
	if err := c.Settings.next(v); err != nil {
		return err
	}
	if Members.Has(v, c.Member.ID) {
		return Errorf(ErrExists, string(c.Member.ID))
	}
	token, ok := Tokens.Get(v, c.TokenID)
	if !ok {
		return Errorf(ErrDenied, "join token is not known")
	}
	if state := token.State(c.Now); state != TokenValid {
		return Errorf(ErrDenied, "join token is "+state)
	}
	if extra := token.Forbids(c.Member.Caps); extra != "" {
		return Errorf(ErrDenied, "join token does not permit capability "+extra)
	}
	return nil
}

// Record writes the member, the token and the settings; at target size the cluster is formed.
func (c *AdmitMember) Record(w *Writer) {
	Members.Put(w, c.Member.ID, c.Member)
	token, _ := Tokens.Get(&w.View, c.TokenID)
	token.UsesLeft--
	Tokens.Put(w, token.ID, token)
	cluster, _ := TheCluster(&w.View)
	count := 0
	for range Members.Scan(&w.View, "") {
		count++
	}
	cluster.Formed = cluster.Formed || count >= cluster.TargetSize
	cluster.Settings = c.Settings
	clusters.Put(w, theCluster, cluster)
}

// States of a token.
const (
	TokenValid   = "valid"
	TokenExpired = "expired"
	TokenUsedUp  = "used up"
	TokenRevoked = "revoked"
)

// State is the token's state at the time now (Unix seconds).
func (t Token) State(now int64) string {
	switch {
	case t.Revoked:
		return TokenRevoked
	case now >= t.Expires:
		return TokenExpired
	case t.UsesLeft <= 0:
		return TokenUsedUp
	default:
		return TokenValid
	}
}

// Forbids is the first of caps that the token does not permit, or "".
func (t Token) Forbids(caps []string) string {
	if len(t.Caps) == 0 {
		return ""
	}
	for _, c := range caps {
		if !slices.Contains(t.Caps, c) {
			return c
		}
	}
	return ""
}

// next checks that s follows the settings in force.
func (s Settings) next(v *View) error {
	cluster, ok := TheCluster(v)
	if !ok {
		return Errorf(ErrNotFound, theCluster)
	}
	if s.Epoch != cluster.Settings.Epoch+1 {
		return Errorf(ErrConflict, "settings epoch %d", cluster.Settings.Epoch)
	}
	return nil
}

// install makes s the settings in force.
func (s Settings) install(w *Writer) {
	cluster, _ := TheCluster(&w.View)
	cluster.Settings = s
	clusters.Put(w, theCluster, cluster)
}

// UpdateMember replaces a member's record (its address, capabilities or suffrage) under new
// settings.
type UpdateMember struct {
	Member   Member   `cbor:"1,keyasint"` // with the Rev that was read
	Settings Settings `cbor:"2,keyasint"`
}

// Kind is 3.
func (c *UpdateMember) Kind() Kind { return 3 }

// Check refuses a stale epoch (ErrConflict) and an unknown member (ErrNotFound).
func (c *UpdateMember) Check(v *View) error {
	if !Members.Has(v, c.Member.ID) {
		return Errorf(ErrNotFound, string(c.Member.ID))
	}
	return c.Settings.next(v)
}

// Record writes the member, with what it acknowledged meanwhile, and the settings.
func (c *UpdateMember) Record(w *Writer) {
	have, _ := Members.Get(&w.View, c.Member.ID)
	c.Member.Acked = have.Acked
	Members.Put(w, c.Member.ID, c.Member)
	c.Settings.install(w)
}

// RemoveMember takes a node out of the cluster under new settings without it.
type RemoveMember struct {
	Node     NodeID   `cbor:"1,keyasint"`
	Settings Settings `cbor:"2,keyasint"`
}

// Kind is 4.
func (c *RemoveMember) Kind() Kind { return 4 }

// Check refuses a stale epoch (ErrConflict) and an unknown member (ErrNotFound).
func (c *RemoveMember) Check(v *View) error {
	if !Members.Has(v, c.Node) {
		return Errorf(ErrNotFound, string(c.Node))
	}
	return c.Settings.next(v)
}

// Record deletes the member and writes the settings.
func (c *RemoveMember) Record(w *Writer) {
	Members.Delete(w, c.Node)
	c.Settings.install(w)
}

// AckEpoch says that a node has verified and written the settings of an epoch.
type AckEpoch struct {
	Node  NodeID `cbor:"1,keyasint"`
	Epoch uint64 `cbor:"2,keyasint"`
}

// Kind is 5.
func (c *AckEpoch) Kind() Kind { return 5 }

// Check refuses an unknown member (ErrNotFound) and an epoch that is not in force yet (ErrInvalid).
func (c *AckEpoch) Check(v *View) error {
	if !Members.Has(v, c.Node) {
		return Errorf(ErrNotFound, string(c.Node))
	}
	if cluster, _ := TheCluster(v); c.Epoch > cluster.Settings.Epoch {
		return Errorf(ErrInvalid, "epoch %d", c.Epoch)
	}
	return nil
}

// Record raises the member's acknowledged epoch; it never lowers it.
func (c *AckEpoch) Record(w *Writer) {
	member, _ := Members.Get(&w.View, c.Node)
	if c.Epoch > member.Acked {
		member.Acked = c.Epoch
		Members.Put(w, c.Node, member)
	}
}

// CreateToken adds a join token.
type CreateToken struct {
	Token Token `cbor:"1,keyasint"`
}

// Kind is 6.
func (c *CreateToken) Kind() Kind { return 6 }

// Check refuses an id that is taken (ErrExists).
func (c *CreateToken) Check(v *View) error {
	if Tokens.Has(v, c.Token.ID) {
		return Errorf(ErrExists, c.Token.ID)
	}
	return nil
}

// Record writes the token.
func (c *CreateToken) Record(w *Writer) { Tokens.Put(w, c.Token.ID, c.Token) }

// RevokeToken ends a join token. Its record stays, so that a use of it can be told why.
type RevokeToken struct {
	ID string `cbor:"1,keyasint"`
}

// Kind is 7.
func (c *RevokeToken) Kind() Kind { return 7 }

// Check refuses an unknown token (ErrNotFound).
func (c *RevokeToken) Check(v *View) error {
	if !Tokens.Has(v, c.ID) {
		return Errorf(ErrNotFound, c.ID)
	}
	return nil
}

// Record marks the token.
func (c *RevokeToken) Record(w *Writer) {
	token, _ := Tokens.Get(&w.View, c.ID)
	token.Revoked = true
	Tokens.Put(w, c.ID, token)
}
