package node

import (
	"context"
	"errors"
	"sync"

	"hive/fsm"
	"hive/internal/admin"
	"hive/internal/cluster"
	"hive/raftnode"
)

// status is what this node knows; it needs no leader.
func (n *Node) status() (admin.Status, error) {
	out := admin.Status{
		ClusterID: n.cfg.ClusterID, Region: n.cfg.Region, Node: n.cfg.Node, Version: Version,
		Epoch: n.epoch.Load(), Serving: n.serving.list(),
	}
	for _, g := range n.groups {
		s, err := g.status()
		if err != nil {
			return out, err
		}
		out.Groups = append(out.Groups, admin.Group{
			Group: g.id, State: s.State, Leader: s.Leader, Term: s.Term, Commit: s.Commit, Applied: s.Applied,
		})
	}
	servers, err := n.control.Servers()
	if err != nil {
		return out, err
	}
	err = n.control.View(func(v *fsm.View) error {
		c, ok := fsm.TheCluster(v)
		out.Formed, out.TargetSize = c.Formed, c.TargetSize
		if !ok {
			out.Warnings = append(out.Warnings, "this node has not caught up with its cluster yet: is a member reachable?")
		}
		for _, m := range fsm.Members.Scan(v, "") {
			out.Members = append(out.Members, n.memberStatus(m, servers))
		}
		out.Guests = n.guestStatus(v)
		return nil
	})
	if err == nil {
		err = n.repairStatus(&out.Repair)
	}
	if store := n.blobs.store.Load(); store != nil {
		if trouble := store.Trouble(); trouble != nil {
			out.Warnings = append(out.Warnings, "this node takes no writes: "+trouble.Error())
		}
	}
	if errors.Is(err, raftnode.ErrReplaying) { // control, or an index group
		out.Warnings = append(out.Warnings, "this node builds its state again and shows it once a leader tells how far it must go")
		return out, nil
	}
	return out, err
}

func (n *Node) memberStatus(m fsm.Member, servers []cluster.Server) admin.Member {
	out := admin.Member{
		Node: m.ID, Addr: m.Addr, Zone: m.Zone, Caps: m.Caps, Version: m.Version, Epoch: m.Acked, Health: n.health(m.ID),
	}
	for _, s := range servers {
		if s.Node == m.ID {
			out.Suffrage = suffrageName(s.Voter)
		}
	}
	leader, ok := n.control.Leader()
	out.Leader = ok && leader == m.ID
	return out
}

func suffrageName(voter bool) string {
	if voter {
		return "Voter"
	}
	return "Nonvoter"
}

func (n *Node) repairStatus(out *admin.Repair) error {
	for _, g := range n.index {
		err := g.View(func(v *fsm.View) error {
			for _, count := range fsm.OwedNodes(v, maxCount) {
				out.Owed += count
			}
			fsm.GarbageFrom(v, fsm.BlobID{}, func(fsm.Garbage) bool {
				out.Garbage++
				return out.Garbage < maxCount
			})
			return nil
		})
		if err != nil {
			return err
		}
	}
	if store := n.blobs.store.Load(); store != nil {
		out.Rotten, out.Unsafe = len(store.Damage()), int(store.Progress().Failed)
	}
	return nil
}

// maxCount bounds what a status counts.
const maxCount = 100_000

// peers asks every server of every group how far it is.
func (n *Node) peers(ctx context.Context) ([]admin.PeerGroup, error) {
	var out []admin.PeerGroup
	for _, g := range n.groups {
		servers, err := g.Servers()
		if err != nil {
			return nil, err
		}
		row := admin.PeerGroup{Group: g.id, Peers: make([]admin.Peer, len(servers))}
		var work sync.WaitGroup
		for i, s := range servers {
			work.Go(func() { row.Peers[i] = g.peer(ctx, s) })
		}
		work.Wait()
		row.FillLag()
		out = append(out, row)
	}
	return out, nil
}

// digests asks every server of every group for its state's digest.
func (n *Node) digests(ctx context.Context) ([]admin.Digest, error) {
	var out []admin.Digest
	for _, g := range n.groups {
		servers, err := g.Servers()
		if err != nil {
			return nil, err
		}
		rows := make([]admin.Digest, len(servers))
		var work sync.WaitGroup
		for i, s := range servers {
			work.Go(func() { rows[i] = n.digestOf(ctx, g.id, s.Node) })
		}
		work.Wait()
		out = append(out, rows...)
	}
	return out, nil
}
