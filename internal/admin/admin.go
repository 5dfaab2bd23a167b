// Package admin is what a node's operator can ask of it over the node's own unix socket: the
// types that cross it and the client. It never reaches another machine: the node asks its peers.
package admin

import (
	"time"

	"hive/fsm"
)

// Socket is the file name of the admin socket in the node's directory.
const Socket = "admin.sock"

// Status is GET /v1/status. It is answered without a leader too, from what this node has.
type Status struct {
	ClusterID  fsm.ClusterID `json:"cluster_id"`
	Region     string        `json:"region"`
	Node       fsm.NodeID    `json:"node_id"`
	Version    string        `json:"version"`
	Formed     bool          `json:"formed"`
	TargetSize int           `json:"target_size"`
	Epoch      uint64        `json:"epoch"` // of the settings bundle that this node has written
	Serving    []string      `json:"serving"`
	Groups     []Group       `json:"groups"`
	Members    []Member      `json:"members"`
	Repair     Repair        `json:"repair"`
	Guests     *Guests       `json:"guests,omitempty"` // of this node, when it runs instances
	Warnings   []string      `json:"warnings,omitempty"`
}

// Group is this node's view of one Raft group.
type Group struct {
	Group   fsm.GroupID `json:"group"`
	State   string      `json:"state"` // Leader, Follower, Candidate, Shutdown
	Leader  fsm.NodeID  `json:"leader,omitempty"`
	Term    uint64      `json:"term"`
	Commit  uint64      `json:"commit_index"`
	Applied uint64      `json:"applied_index"`
}

// Member is one node of the cluster as this node knows it.
type Member struct {
	Node     fsm.NodeID `json:"node_id"`
	Addr     string     `json:"addr"`
	Zone     string     `json:"zone"`
	Caps     []string   `json:"caps"`
	Version  string     `json:"version"`
	Suffrage string     `json:"suffrage"` // Voter, Nonvoter, or "" while not in the control group
	Leader   bool       `json:"leader"`   // of the control group
	Epoch    uint64     `json:"epoch"`    // acknowledged by it
	Health   string     `json:"health"`   // alive, suspect, dead, unknown
}

// Repair is the state of the blob layer on the whole cluster, as this node knows it.
type Repair struct {
	Owed    int `json:"owed_shards"`   // shards that a node has missed and others keep for it
	Garbage int `json:"garbage_blobs"` // blobs that wait for their deletion on all nodes
	Rotten  int `json:"rotten_shards"` // found on this node and not yet repaired
	Unsafe  int `json:"rewrite_blobs"` // blobs that have fewer shards than their profile
}

// Guests is what a node gives to instances.
type Guests struct {
	Accel     string `json:"accel"` // what guests run by and why: "tcg: …"
	VCPUs     int    `json:"vcpus"` // that instances may be promised
	MemoryMiB int64  `json:"memory_mib"`
	UsedVCPUs int    `json:"used_vcpus"` // that they are promised
	UsedMiB   int64  `json:"used_memory_mib"`
	Network   string `json:"network,omitempty"` // why guests cannot have a network here
}

// Instance is a row of GET /v1/instances: an instance of any account, as the cluster's state has it.
type Instance struct {
	ID      fsm.InstanceID `json:"instance_id"`
	Account fsm.AccountID  `json:"account"`
	Name    string         `json:"name,omitempty"` // its tag Name
	Type    string         `json:"type"`
	State   string         `json:"state"`
	Node    fsm.NodeID     `json:"node_id"`
	Zone    string         `json:"zone"`
	Address string         `json:"address,omitempty"`
	Accel   string         `json:"accel,omitempty"`
}

// TokenRequest is POST /v1/tokens.
type TokenRequest struct {
	Expiry time.Duration `json:"expiry"`         // from now; 0 is 24 hours
	Uses   int           `json:"uses"`           // 0 is 1
	Caps   []string      `json:"caps,omitempty"` // that a joiner may have; none means all
}

// NewToken is its answer: the only time that the token is shown.
type NewToken struct {
	Token       string `json:"token"`
	JoinCommand string `json:"join_command"`
	Info        Token  `json:"info"`
}

// Token is a row of GET /v1/tokens. DELETE /v1/tokens/{id} revokes it.
type Token struct {
	ID       string    `json:"id"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
	UsesLeft int       `json:"uses_left"`
	Caps     []string  `json:"caps,omitempty"`
	State    string    `json:"state"` // valid, expired, used up, revoked
}

// PeerGroup is a row of GET /v1/raft/peers: one group as all its servers report it.
type PeerGroup struct {
	Group fsm.GroupID `json:"group"`
	Peers []Peer      `json:"peers"`
}

// Peer is one server of a group.
type Peer struct {
	Node     fsm.NodeID `json:"node_id"`
	Suffrage string     `json:"suffrage"`
	State    string     `json:"state"` // or "unreachable"
	Term     uint64     `json:"term"`
	Commit   uint64     `json:"commit_index"`
	Applied  uint64     `json:"applied_index"`
	Lag      uint64     `json:"lag"` // entries behind the leader's commit index
	Error    string     `json:"error,omitempty"`
}

// Actions of a Change.
const (
	Promote            = "promote"             // non-voter to voter
	Demote             = "demote"              // voter to non-voter
	RemovePeer         = "remove-peer"         // out of the Raft groups; the node stays a member
	TransferLeadership = "transfer-leadership" // of the named groups, to Node when it is given
	RemoveNode         = "remove-node"         // out of the cluster: groups, members, settings
)

// Change is POST /v1/change. With DryRun the answer is an Effect; otherwise the answer is a
// stream of Progress, one JSON object a line, the last with Done set.
type Change struct {
	Action string      `json:"action"`
	Node   fsm.NodeID  `json:"node_id"`
	Group  fsm.GroupID `json:"group,omitempty"` // transfer-leadership: one group; else all
	Force  bool        `json:"force,omitempty"` // remove-node: also when it still holds shards that others lack
	DryRun bool        `json:"dry_run,omitempty"`
}

// Effect is what a change would do to quorum, per group.
type Effect struct {
	Lines   []string `json:"lines"`             // in plain words
	Refused string   `json:"refused,omitempty"` // why it would not be done
}

// Progress is one step of a long job.
type Progress struct {
	Step    string `json:"step"`
	Percent int    `json:"percent,omitempty"`
	Done    bool   `json:"done,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Digest is a row of GET /v1/digests: the state of one group on one node.
type Digest struct {
	Group fsm.GroupID `json:"group"`
	Node  fsm.NodeID  `json:"node_id"`
	Index uint64      `json:"index"`
	Sum   string      `json:"sha256"`
	Error string      `json:"error,omitempty"`
}

// Scrub is the answer of POST /v1/scrub: every shard of this node read again.
type Scrub struct {
	Records int64 `json:"records"` // read and verified
	Bytes   int64 `json:"bytes"`
	Rotten  int64 `json:"rotten"`  // records whose checksum was wrong
	Missing int64 `json:"missing"` // shards that the state wants here and that were not
	Mended  int64 `json:"mended"`  // shards made whole from the other nodes
	Failed  int64 `json:"failed"`  // shards that could not be mended now
}

// Error is the body of an answer that is not 2xx.
type Error struct {
	Message string `json:"error"`
}

// FillLag computes each peer's lag behind the highest commit index that any of them reports.
func (g *PeerGroup) FillLag() {
	var commit uint64
	for _, p := range g.Peers {
		commit = max(commit, p.Commit)
	}
	for i := range g.Peers {
		if p := &g.Peers[i]; p.Error == "" && commit > p.Applied {
			p.Lag = commit - p.Applied
		}
	}
}

// Account is a row of GET /v1/accounts, and GET /v1/accounts/{id or name}.
type Account struct {
	ID        fsm.AccountID `json:"account_id"`
	Name      string        `json:"name,omitempty"`
	Created   time.Time     `json:"created"`
	State     string        `json:"state"` // active, suspended
	RootKeys  []string      `json:"root_access_keys,omitempty"`
	Resources []string      `json:"resources,omitempty"` // what it has: "3 instances"
	Quotas    []Quota       `json:"quotas,omitempty"`
}

// Quota is one limit of an account.
type Quota struct {
	Name    string `json:"name"`
	Used    int64  `json:"used"`
	Limit   int64  `json:"limit"`
	Default bool   `json:"default"`
}

// NewAccount is POST /v1/accounts; what is empty is drawn.
type NewAccount struct {
	Name string        `json:"name"`
	ID   fsm.AccountID `json:"account_id,omitempty"`
}

// RootKey is an access key of an account's root user: the only time that its secret is shown.
type RootKey struct {
	AccountID fsm.AccountID `json:"account_id"`
	Name      string        `json:"name,omitempty"`
	AccessKey string        `json:"access_key_id"`
	Secret    string        `json:"secret_access_key"`
}

// AccountChange is PATCH /v1/accounts/{id or name}. What is nil stays.
type AccountChange struct {
	Suspended *bool            `json:"suspended,omitempty"`
	Quotas    map[string]int64 `json:"quotas,omitempty"` // -1: the default again
}

// ProviderKeys is PUT /v1/accounts/{id or name}/oidc-keys: the keys of an identity provider, which is never asked for them.
type ProviderKeys struct {
	Provider string `json:"provider"` // its ARN or URL
	JWKS     string `json:"jwks"`     // RFC 7517, section 5
}

// ProviderKeysTaken is its answer.
type ProviderKeysTaken struct {
	Provider string `json:"provider"`
	Keys     int    `json:"keys"`
}

// Settings is GET /v1/settings and, with those that change, PATCH /v1/settings.
type Settings struct {
	Epoch  uint64    `json:"epoch"`
	Values []Setting `json:"values"`
}

// Setting is one of them; an empty value is the default.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}
