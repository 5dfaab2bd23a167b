package raftnode

import (
	"github.com/hashicorp/raft"

	"hive/fsm"
)

// Followers are told of a commit at once. raft itself tells them with the next entries or after
// Timing.Commit, which on an idle group is what a proposal made through a follower would wait for.
//
// A notice is an AppendEntries without entries, one that raft might have sent: it names the committed entry
// as the one before, so that a follower believes it only if it has that very entry.

// tellCommits sends notices while this node leads.
func (g *Group) tellCommits(l *live) {
	for {
		select {
		case <-g.applier.notice:
		case <-l.ctx.Done():
			return
		}
		term, leads := leadingTerm(l.raft)
		if !leads {
			continue
		}
		for _, s := range l.raft.GetConfiguration().Configuration().Servers {
			if node := fsm.NodeID(s.ID); node != g.cfg.Node && l.told.claim(node) {
				l.wg.Go(func() { g.tell(l, node, term) })
			}
		}
	}
}

// tell sends node notices until it has been told of the last entry that is applied here.
func (g *Group) tell(l *live, node fsm.NodeID, term uint64) {
	for ok := true; ok; {
		last := g.applier.last.Load()
		ok = l.notify(g.cfg.Node, node, term, last)
		l.told.release(node)
		ok = ok && g.applier.last.Load() != last && l.told.claim(node)
	}
}

func (l *live) notify(self, to fsm.NodeID, term uint64, last *raft.Log) bool {
	req := raft.AppendEntriesRequest{
		//lint:ignore SA1019 raft itself fills Leader in, for nodes of its protocol before 3
		RPCHeader: l.header(self), Term: term, Leader: []byte(self),
		PrevLogEntry: last.Index, PrevLogTerm: last.Term, LeaderCommitIndex: last.Index,
	}
	var resp raft.AppendEntriesResponse
	err := l.trans.AppendEntries(raft.ServerID(to), raft.ServerAddress(to), &req, &resp)
	return err == nil && resp.Success
}
