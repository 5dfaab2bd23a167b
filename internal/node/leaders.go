package node

import (
	"context"
	"errors"
	"time"

	"hive/fsm"
)

// leadersEvery is how often a node looks whether it has come to lead a group.
const leadersEvery = time.Second

// recordLeaders records of each group that this node leads that it does, so that a change of leadership is an event.
func (n *Node) recordLeaders(ctx context.Context) error {
	tick := time.NewTicker(leadersEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		for _, g := range n.groups {
			if !g.IsLeader() {
				continue
			}
			status, err := g.status()
			if err != nil {
				n.log.Debug("who leads is not recorded", "group", g.id, "err", err)
				continue
			}
			known, term := fsm.NodeID(""), uint64(0)
			err = n.control.View(func(v *fsm.View) error { known, term = fsm.LeaderKnown(v, g.id); return nil })
			if err != nil {
				return err
			}
			if known == n.cfg.Node || term >= status.Term {
				continue
			}
			short, cancel := context.WithTimeout(ctx, proposePatience)
			err = n.control.Propose(short, &fsm.RecordLeader{Group: g.id, Node: n.cfg.Node, Term: status.Term})
			cancel()
			if err != nil && ctx.Err() == nil && !errors.Is(err, fsm.ErrConflict) {
				n.log.Warn("who leads is not recorded", "group", g.id, "err", err)
			}
		}
	}
}
