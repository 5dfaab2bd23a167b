package raftnode

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/raft"

	"hive/fsm"
)

// Status is what a node knows of a group and of itself in it. It is asked for without a leader too.
type Status struct {
	Group        fsm.GroupID   `cbor:"1,keyasint"`
	Node         fsm.NodeID    `cbor:"2,keyasint"`
	State        string        `cbor:"3,keyasint"` // "Leader", "Follower", "Candidate", "Shutdown"
	Term         uint64        `cbor:"4,keyasint"`
	Leader       fsm.NodeID    `cbor:"5,keyasint,omitempty"`
	LastLog      uint64        `cbor:"6,keyasint"`
	Commit       uint64        `cbor:"7,keyasint"`            // as far as this node has been told
	Applied      uint64        `cbor:"8,keyasint"`            // everything to here is in the state
	StateIndex   uint64        `cbor:"9,keyasint"`            // the last entry in the state that changed it: Group.Applied
	Snapshot     uint64        `cbor:"10,keyasint"`           // 0 for none
	LastContact  time.Duration `cbor:"11,keyasint"`           // since the leader was heard; 0 on the leader, -1 for never
	Ready        bool          `cbor:"12,keyasint"`           // View shows the state
	Config       uint64        `cbor:"13,keyasint"`           // Configuration.Index
	Servers      []Server      `cbor:"14,keyasint"`           // membership as this node's log has it
	Unwell       []fsm.NodeID  `cbor:"15,keyasint,omitempty"` // on the leader: whom its heartbeats do not reach
	Voters       int           `cbor:"16,keyasint"`
	FailureCause string        `cbor:"17,keyasint,omitempty"` // why the state machine has stopped
}

// Leader is the group's leader as this node sees it, and whether it sees one.
func (g *Group) Leader() (fsm.NodeID, bool) {
	select {
	case <-g.started:
		v := look(g.live.raft)
		return v.leader, v.leader != ""
	default:
		return "", false
	}
}

// IsLeader tells whether this node leads, as far as it knows, and can answer reads.
func (g *Group) IsLeader() bool {
	select {
	case <-g.started:
		term, leads := leadingTerm(g.live.raft)
		return leads && g.live.reign.Load().term == term
	default:
		return false
	}
}

// LeaderChanged is closed when the leader, or this node's part, changes.
func (g *Group) LeaderChanged() <-chan struct{} { return g.leaders.wait() }

// Status is this node's. ErrStopped after Run has ended.
func (g *Group) Status(ctx context.Context) (Status, error) {
	l, err := g.wait(ctx)
	if err != nil {
		return Status{}, err
	}
	return g.status(l), nil
}

// StatusOf asks a node of the group for its Status.
func (g *Group) StatusOf(ctx context.Context, node fsm.NodeID) (Status, error) {
	l, err := g.wait(ctx)
	if err != nil {
		return Status{}, err
	}
	return g.statusOf(ctx, l, node)
}

func (g *Group) statusOf(ctx context.Context, l *live, node fsm.NodeID) (s Status, err error) {
	if node == g.cfg.Node {
		return g.status(l), nil
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Timing.RPC)
	defer cancel()
	if err := g.post(ctx, node, "status", nil, &s); err != nil {
		return Status{}, fmt.Errorf("status: %w", err)
	}
	return s, nil
}

func (g *Group) serveStatus(_ *http.Request, l *live, _ []byte) (any, error) { return g.status(l), nil }

func (g *Group) status(l *live) Status {
	v, conf := look(l.raft), g.configuration(l)
	s := Status{
		Group: g.cfg.Group, Node: g.cfg.Node, State: l.raft.State().String(), Term: v.term, Leader: v.leader,
		LastLog: l.raft.LastIndex(), Commit: l.raft.CommitIndex(), StateIndex: g.machine.Applied(),
		Snapshot: snapshotIndexOf(l.raft), Config: conf.Index, Servers: conf.Servers,
	}
	s.Applied = g.appliedIndex(l)
	if s.State != raft.Leader.String() {
		s.LastContact = -1
		if last := l.raft.LastContact(); !last.IsZero() {
			s.LastContact = time.Since(last)
		}
	}
	for _, m := range conf.Servers {
		if m.Suffrage == Voter {
			s.Voters++
		}
		if _, unwell := l.unwell.Load(m.Node); unwell && s.State == raft.Leader.String() {
			s.Unwell = append(s.Unwell, m.Node)
		}
	}
	select {
	case <-g.ready:
		s.Ready = true
	default:
	}
	if err := g.machine.Failure(); err != nil {
		s.FailureCause = err.Error()
	}
	return s
}

// appliedIndex is the index up to which everything is in the state. raft counts what it has handed over to
// the state machine; what it never hands over (no-ops, barriers) counts as applied with what stands before.
func (g *Group) appliedIndex(l *live) uint64 {
	applied := max(g.machine.Applied(), snapshotIndexOf(l.raft))
	if last := g.applier.last.Load(); last != nil {
		applied = max(applied, last.Index)
	}
	for handed := l.raft.AppliedIndex(); applied < handed; applied++ {
		var entry raft.Log
		if err := g.store.readLog(applied+1, &entry); err != nil || entry.Type != raft.LogNoop && entry.Type != raft.LogBarrier {
			break
		}
	}
	return applied
}

func snapshotIndexOf(r *raft.Raft) uint64 {
	index, err := strconv.ParseUint(r.Stats()["last_snapshot_index"], 10, 64)
	if err != nil {
		return 0
	}
	return index
}

// Snapshot has this node take a snapshot now and cut its log.
func (g *Group) Snapshot(ctx context.Context) error {
	l, err := g.wait(ctx)
	if err != nil {
		return err
	}
	err = g.outcome(ctx, l.raft.Snapshot())
	if err != nil {
		return fmt.Errorf("snapshot of group %s: %w", g.cfg.Group, err)
	}
	return nil
}
