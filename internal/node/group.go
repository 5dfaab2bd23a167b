package node

import (
	"context"
	"fmt"
	"time"

	"hive/fsm"
	"hive/internal/admin"
	"hive/internal/cluster"
	"hive/raftnode"
)

// group is a Raft group with its name, as membership, the operator and the blob layer see it.
type group struct {
	*raftnode.Group
	id fsm.GroupID
}

// localTimeout bounds a question to this node's own part of a group, which answers at once when
// it runs.
const localTimeout = 2 * time.Second

// status is this node's part in the group.
func (g *group) status() (raftnode.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), localTimeout)
	defer cancel()
	return g.Status(ctx)
}

// Servers is the group's configuration as this node's log has it.
func (g *group) Servers() ([]cluster.Server, error) {
	s, err := g.status()
	if err != nil {
		return nil, err
	}
	out := make([]cluster.Server, len(s.Servers))
	for i, have := range s.Servers {
		out[i] = cluster.Server{Node: have.Node, Voter: have.Suffrage == raftnode.Voter}
	}
	return out, nil
}

// Step makes one change of the configuration.
func (g *group) Step(ctx context.Context, s cluster.Step) error {
	switch s.Action {
	case cluster.AddNonvoter:
		return g.AddNonvoter(ctx, s.Node)
	case cluster.AddVoter:
		return g.AddVoter(ctx, s.Node)
	case cluster.DemoteVoter:
		return g.DemoteVoter(ctx, s.Node)
	case cluster.RemoveServer:
		return g.RemoveServer(ctx, s.Node)
	default:
		return fmt.Errorf("unknown step %q", s.Action)
	}
}

// Lag is how many entries a server is behind this node's commit index.
func (g *group) Lag(ctx context.Context, node fsm.NodeID) (uint64, error) {
	own, err := g.status()
	if err != nil {
		return 0, err
	}
	other, err := g.StatusOf(ctx, node)
	if err != nil {
		return 0, err
	}
	return own.Commit - min(own.Commit, other.Applied), nil
}

// peer is one server's part in the group, as it says itself.
func (g *group) peer(ctx context.Context, s cluster.Server) admin.Peer {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	out := admin.Peer{Node: s.Node, Suffrage: suffrageName(s.Voter), State: "unreachable"}
	have, err := g.StatusOf(ctx, s.Node)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.State, out.Term, out.Commit, out.Applied = have.State, have.Term, have.Commit, have.Applied
	return out
}

// indexGroup is an index group as the blob layer sees it.
type indexGroup struct{ *group }

// Leader tells whether this node leads the group.
func (g indexGroup) Leader() bool { return g.IsLeader() }
