package raftnode

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"hive/fsm"
)

// readPoint is an index that the local state must have reached to be read strongly, and the term of the
// leader who said so.
type readPoint struct {
	index uint64
	term  uint64
}

// ReadIndex returns once the local state contains every write that was acknowledged, on any node, before
// the call. It asks the leader, together with whoever else asks at the moment, and waits for the local
// state. ErrNoLeader when no leader with a majority behind it answers before ctx ends.
func (g *Group) ReadIndex(ctx context.Context) error {
	l, err := g.wait(ctx)
	if err != nil {
		return err
	}
	return g.readIndex(ctx, l)
}

func (g *Group) readIndex(ctx context.Context, l *live) error {
	at, err := g.readPoint(ctx, l)
	if err != nil {
		return err
	}
	if err := g.machine.Wait(ctx, at.index); err != nil {
		return err
	}
	g.nowReady()
	return nil
}

// readPoint asks until a leader answers.
func (g *Group) readPoint(ctx context.Context, l *live) (readPoint, error) {
	for {
		v, err := g.leader(ctx, l)
		if err != nil {
			return readPoint{}, err
		}
		changed := g.leaders.wait()
		from := l.ask
		if v.leader == g.cfg.Node {
			from = l.lead
		}
		at, err := from.join(ctx)
		if err == nil {
			return at, nil
		}
		if ctx.Err() != nil {
			return readPoint{}, fmt.Errorf("%w: %w: %w", ErrNoLeader, ctx.Err(), err)
		}
		select {
		case <-g.stopped:
			return readPoint{}, ErrStopped
		default:
			g.pause(ctx, changed)
		}
	}
}

// rounds lets callers that ask at the same time share an answer. Each answer was asked for after its
// callers came: who comes while a round is under way waits for the next.
type rounds struct {
	ask  func(context.Context) (readPoint, error)
	wake chan struct{} // has room for one

	mu   sync.Mutex // guards next
	next *round
}

type round struct {
	done chan struct{}
	at   readPoint
	err  error
}

func newRounds(ask func(context.Context) (readPoint, error)) *rounds {
	return &rounds{ask: ask, wake: make(chan struct{}, 1), next: newRound()}
}

func newRound() *round { return &round{done: make(chan struct{})} }

func (r *rounds) join(ctx context.Context) (readPoint, error) {
	r.mu.Lock()
	mine := r.next
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	select {
	case <-mine.done:
		return mine.at, mine.err
	case <-ctx.Done():
		return readPoint{}, ctx.Err()
	}
}

// run asks one round after the other until the group stops.
func (r *rounds) run(l *live) {
	for {
		select {
		case <-r.wake:
		case <-l.ctx.Done():
			r.end(func() (readPoint, error) { return readPoint{}, ErrStopped })
			return
		}
		r.end(func() (readPoint, error) { return r.ask(l.ctx) })
	}
}

func (r *rounds) end(ask func() (readPoint, error)) {
	r.mu.Lock()
	now := r.next
	r.next = newRound()
	r.mu.Unlock()
	now.at, now.err = ask()
	close(now.done)
}

// confirm is a round on the leader. Every write that was acknowledged before it began is committed, and so
// comes by here: those of earlier terms before this term's barrier, which is behind us; those of this term
// up to the commit index, which is waited for (a follower may acknowledge what it has applied before the
// leader has). What is left to know is that no later leader could have acknowledged any: a majority of
// voters answers, after the round began, that it knows no later term.
//
// raft's VerifyLeader is not used: it counts non-voters, and answers to heartbeats that were sent before it
// was called. raft's AppliedIndex is not used: what it counts may not be applied yet.
func (g *Group) confirm(ctx context.Context, l *live) (readPoint, error) {
	term, leads := leadingTerm(l.raft)
	now := l.reign.Load()
	if !leads || now.term != term {
		return readPoint{}, errNotLeader
	}
	commit := l.raft.CommitIndex()
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Timing.RPC)
	defer cancel()
	if err := g.askVoters(ctx, l, term); err != nil {
		return readPoint{}, err
	}
	if commit > now.barrier {
		if err := g.applier.wait(ctx, commit); err != nil {
			return readPoint{}, err
		}
	}
	if err := g.machine.Failure(); err != nil {
		return readPoint{}, err
	}
	return readPoint{index: g.machine.Applied(), term: term}, nil
}

// voters are the ids of the group's voters.
func (g *Group) voters(l *live) []fsm.NodeID {
	var out []fsm.NodeID
	for _, s := range l.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			out = append(out, fsm.NodeID(s.ID))
		}
	}
	return out
}

func (g *Group) askVoters(ctx context.Context, l *live, term uint64) error {
	voters := g.voters(l)
	need := len(voters)/2 + 1
	answers := make(chan bool, len(voters))
	for _, node := range voters {
		if node == g.cfg.Node {
			answers <- true
			continue
		}
		if !l.beats.claim(node) {
			answers <- false // the last ones hang
			continue
		}
		l.wg.Go(func() {
			defer l.beats.release(node)
			answers <- l.beat(g.cfg.Node, node, term)
		})
	}
	timeout := time.NewTimer(g.cfg.Timing.Lease)
	defer timeout.Stop()
	for range voters {
		select {
		case ok := <-answers:
			if ok {
				need--
			}
			if need == 0 {
				return nil
			}
		case <-timeout.C:
			return fmt.Errorf("%w: no majority answers", errNotLeader)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("%w: no majority answers", errNotLeader)
}

// beat sends a voter a heartbeat of term and tells whether it follows. It is one that raft might have sent.
func (l *live) beat(self, to fsm.NodeID, term uint64) bool {
	//lint:ignore SA1019 raft itself fills Leader in, for nodes of its protocol before 3
	req := raft.AppendEntriesRequest{RPCHeader: l.header(self), Term: term, Leader: []byte(self)}
	var resp raft.AppendEntriesResponse
	err := l.trans.AppendEntries(raft.ServerID(to), raft.ServerAddress(to), &req, &resp)
	return err == nil && resp.Success && resp.Term == term
}

func (l *live) header(self fsm.NodeID) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self), Addr: []byte(self)}
}

type readResponse struct {
	Index  uint64 `cbor:"1,keyasint"`
	Term   uint64 `cbor:"2,keyasint"`
	Refuse string `cbor:"3,keyasint,omitempty"`
}

// askLeader is a round on a follower: one request for all who wait here.
func (g *Group) askLeader(ctx context.Context, l *live) (readPoint, error) {
	v := look(l.raft)
	if v.leader == "" || v.leader == g.cfg.Node {
		return readPoint{}, errNotLeader
	}
	var resp readResponse
	if err := g.call(ctx, v, "readindex", nil, &resp); err != nil {
		return readPoint{}, err
	}
	if resp.Refuse != "" {
		return readPoint{}, fmt.Errorf("%w: %s: %s", errNotLeader, v.leader, resp.Refuse)
	}
	return readPoint{resp.Index, resp.Term}, nil
}
