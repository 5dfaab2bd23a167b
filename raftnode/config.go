package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/raft"

	"hive/fsm"
)

// Config is what a Group needs.
type Config struct {
	Group fsm.GroupID
	Class fsm.Class
	Node  fsm.NodeID
	Dir   string // of this group alone; made if need be
	// BootID is the machine's boot id: see fsm.Config.
	BootID string
	// Dial opens a raw connection to a node for a group; the node is authenticated.
	Dial func(ctx context.Context, node fsm.NodeID, group fsm.GroupID) (net.Conn, error)
	// Listener gives the raw connections of other nodes for this group; they are authenticated. Run closes it.
	Listener net.Listener
	// HTTP reaches other nodes' Handlers at https://<node-id>/raft/<group>/.
	HTTP *http.Client
	// Alive tells whether a node seems alive, for what a change does to quorum. A leader also knows whom it
	// reaches itself; nil means that only.
	Alive     func(fsm.NodeID) bool
	Log       *slog.Logger
	Timing    Timing
	Snapshots Snapshots
}

// Timing is how patient a group is. What is zero takes its default.
type Timing struct {
	// Heartbeat is how long a follower waits for its leader before it asks for votes, times 1 to 2 at random.
	Heartbeat time.Duration
	// Lease is how long a leader goes on without reaching a majority.
	Lease time.Duration
	// Commit is how often an idle leader repeats the commit index; a commit is also told at once.
	Commit time.Duration
	// RPC is the deadline of one request between nodes; a follower's disk lies within it.
	RPC time.Duration
}

// Snapshots is when the log is cut. What is zero takes its default.
type Snapshots struct {
	Threshold uint64        // entries since the last one
	Interval  time.Duration // between looks at the threshold, times 1 to 2 at random
	// Trailing is how many entries are kept behind a snapshot, so that a node that was away a short time, or
	// whose newest snapshot is damaged, can do without it.
	Trailing uint64
	Retain   int // how many are kept
}

func (c *Config) defaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.Timing.Heartbeat, 600*time.Millisecond)
	set(&c.Timing.Lease, c.Timing.Heartbeat)
	set(&c.Timing.Commit, 100*time.Millisecond)
	set(&c.Timing.RPC, 5*time.Second)
	set(&c.Snapshots.Interval, 30*time.Second)
	if c.Snapshots.Threshold == 0 {
		c.Snapshots.Threshold = 16 << 10
	}
	if c.Snapshots.Trailing == 0 {
		c.Snapshots.Trailing = 2 * c.Snapshots.Threshold
	}
	if c.Snapshots.Retain == 0 {
		c.Snapshots.Retain = 2
	}
}

func (c *Config) validate() error {
	switch {
	case c.Group == "" || c.Node == "" || c.Dir == "" || c.BootID == "":
		return errors.New("group, node, directory and boot id must be given")
	case c.Dial == nil || c.Listener == nil || c.HTTP == nil || c.Log == nil:
		return errors.New("dial, listener, HTTP client and log must be given")
	}
	if err := raft.ValidateConfig(c.raft()); err != nil {
		return fmt.Errorf("timing: %w", err)
	}
	return nil
}

// maxBatch is how many entries go into one append, one message and one transaction.
const maxBatch = 128

func (c *Config) raft() *raft.Config {
	return &raft.Config{
		ProtocolVersion: raft.ProtocolVersionMax, LocalID: raft.ServerID(c.Node),
		HeartbeatTimeout: c.Timing.Heartbeat, ElectionTimeout: c.Timing.Heartbeat,
		LeaderLeaseTimeout: c.Timing.Lease, CommitTimeout: c.Timing.Commit,
		MaxAppendEntries: maxBatch, BatchApplyCh: true,
		SnapshotInterval: c.Snapshots.Interval, SnapshotThreshold: c.Snapshots.Threshold,
		TrailingLogs: c.Snapshots.Trailing, NoSnapshotRestoreOnStart: true,
		NoLegacyTelemetry: true, Logger: newHclog(c.Log),
	}
}
