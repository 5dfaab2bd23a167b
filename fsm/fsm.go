// Package fsm is the replicated state machine: every durable fact about the cluster, the only
// commands that change it, and the tables they live in. It is deterministic: it never reads a
// clock, draws a random number, opens a connection or starts a process; what a command decided
// was decided by its proposer.
package fsm

import "strings"

// Typed names, so that a swap does not compile.
type (
	// ClusterID names a cluster: "c-" and 8 hex digits.
	ClusterID string
	// NodeID names a node for its life, whatever its address: "n-" and the node's name.
	NodeID string
	// AccountID is the 12 digits of an AWS account.
	AccountID string
	// GroupID names a Raft group: "control", "index-0", …
	GroupID string
)

// ControlGroup holds settings, IAM and all resource records.
const ControlGroup GroupID = "control"

// Class tells which groups a command belongs to.
type Class uint8

// Classes of group. The numbers are written in state files and snapshots.
const (
	Control Class = 1 // the one group "control"
	Index   Class = 2 // the S3 index groups "index-0", …
)

// String is the class's name as messages show it.
func (c Class) String() string {
	switch c {
	case Control:
		return "control"
	case Index:
		return "index"
	default:
		return "unknown class"
	}
}

// Meta is embedded by every record.
type Meta struct {
	// Rev is the log index that last wrote the record: a decision made on an older one is stale.
	Rev uint64 `cbor:"0,keyasint,omitempty"`
}

func (m *Meta) setRev(rev uint64) { m.Rev = rev }

// Key joins the parts of a composite key with a zero byte, which no part contains.
func Key(parts ...string) string { return strings.Join(parts, "\x00") }
