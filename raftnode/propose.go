package raftnode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"hive/fsm"
)

// maxEntry bounds one command: what does not fit is not a decision but data.
const maxEntry = 4 << 20

// resendFor is how long a proposal is sent again to the leader of one term; inbox remembers longer.
const resendFor = 8 * time.Second

// raftView is who leads, as this node sees it.
type raftView struct {
	leader fsm.NodeID // "" when nobody is known to
	term   uint64
}

func look(r *raft.Raft) raftView {
	_, leader := r.LeaderWithID()
	return raftView{fsm.NodeID(leader), r.CurrentTerm()}
}

// leadingTerm is the term in which this node leads. The term does not change while the state is read
// between two looks at it that agree.
func leadingTerm(r *raft.Raft) (uint64, bool) {
	term := r.CurrentTerm()
	return term, r.State() == raft.Leader && r.CurrentTerm() == term
}

// leader waits for a leader to be known.
func (g *Group) leader(ctx context.Context, l *live) (raftView, error) {
	for {
		changed := g.leaders.wait()
		if v := look(l.raft); v.leader != "" {
			return v, nil
		}
		select {
		case <-changed:
		case <-g.stopped:
			return raftView{}, ErrStopped
		case <-ctx.Done():
			return raftView{}, fmt.Errorf("%w: %w", ErrNoLeader, ctx.Err())
		}
	}
}

// Propose has cmd recorded by the group, through its leader, and returns once the local state contains it:
// nil, or the refusal of the command's Check (an *fsm.Error). While leaders change it tries again as long
// as the command has certainly not been recorded. ErrNoLeader: nothing was recorded. ErrUnknownOutcome:
// ctx ended, or this node was given a snapshot, before it could be known.
func (g *Group) Propose(ctx context.Context, cmd fsm.Command) error {
	entry, err := fsm.EncodeCommand(cmd)
	if err != nil {
		return err
	}
	if len(entry) > maxEntry {
		return fsm.Errorf(fsm.ErrLimit, "command of %d bytes", len(entry))
	}
	l, err := g.wait(ctx)
	if err != nil {
		return err
	}
	p := &proposal{entry: entry, answer: make(chan error, 1)}
	for {
		v, err := g.leader(ctx, l)
		if err != nil {
			return err
		}
		again, err := g.proposeTo(ctx, l, v, p)
		if !again {
			return g.told(err)
		}
	}
}

// told makes a failure of the machine, which is no answer to the command, an unknown outcome.
func (g *Group) told(err error) error {
	refusal := (*fsm.Error)(nil)
	if err == nil || errors.As(err, &refusal) {
		g.nowReady()
		return err
	}
	if g.machine.Failure() == nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
}

// proposeTo sees p through under one leader. It asks to be called again, with the leader of the moment,
// when p was certainly not recorded.
func (g *Group) proposeTo(ctx context.Context, l *live, v raftView, p *proposal) (again bool, err error) {
	id := g.applier.register(p)
	defer g.applier.forget(id)
	for until := time.Now().Add(resendFor); ; {
		changed := g.leaders.wait()
		item := newOutgoing(id, p.entry)
		if v.leader == g.cfg.Node {
			item = l.inbox.accept(v.term, []*outgoing{item})[0]
		} else {
			l.outbox.put(v, item)
		}
		got, err := g.await(ctx, l, v, p, item)
		if err != nil || got.status == isRecorded {
			return false, err
		}
		if got.status == isRefused {
			g.pause(ctx, changed)
			return true, nil
		}
		if got.status == isInvalid {
			return false, fmt.Errorf("%s refuses the command: %s", v.leader, got.resource)
		}
		// The leader, or the way to it, was lost: what became of the proposal is known once a leader of a later
		// term has answered a read, or, while the same one leads, by asking it again.
		settled, term, err := g.settle(ctx, l, p)
		if settled || err != nil {
			return false, err
		}
		if term > v.term {
			return true, nil
		}
		if time.Now().After(until) || got.status == isForgotten {
			return false, fmt.Errorf("%w: %s does not answer", ErrUnknownOutcome, v.leader)
		}
	}
}

// await waits for p's answer: from the local state, or from the leader when it knows that there will be
// none. It answers a verdict of isRecorded with p's own error.
func (g *Group) await(ctx context.Context, l *live, v raftView, p *proposal, item *outgoing) (verdict, error) {
	for {
		changed := g.leaders.wait()
		if look(l.raft).term > v.term {
			return verdict{status: isUnknown}, nil
		}
		select {
		case err := <-p.answer:
			return verdict{status: isRecorded}, err
		case <-item.done:
			if item.verdict.status != isRecorded {
				return item.verdict, nil
			}
			return item.verdict, g.reach(ctx, p, item.verdict)
		case <-changed:
		case <-g.stopped:
			return verdict{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, ErrStopped)
		case <-ctx.Done():
			return verdict{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
		}
	}
}

// reach waits for the local state to contain a recorded proposal. Where a snapshot has brought it, the
// leader's answer stands for the local one.
func (g *Group) reach(ctx context.Context, p *proposal, got verdict) error {
	if err := g.machine.Wait(ctx, got.index); err != nil {
		return fmt.Errorf("%w: recorded, but not here yet: %w", ErrUnknownOutcome, err)
	}
	g.applier.settled()
	select {
	case err := <-p.answer:
		return err
	default:
		return got.refusal()
	}
}

// settle finds out, by a strong read, whether p has come by. term is that of the leader who answered.
func (g *Group) settle(ctx context.Context, l *live, p *proposal) (settled bool, term uint64, err error) {
	at, err := g.readPoint(ctx, l)
	if err == nil {
		err = g.machine.Wait(ctx, at.index)
	}
	if err != nil {
		// Not %w: of a proposal that may be recorded, errors.Is must not find ErrNoLeader.
		return false, 0, fmt.Errorf("%w: %v", ErrUnknownOutcome, err) //nolint:errorlint // see above
	}
	g.applier.settled()
	select {
	case err := <-p.answer:
		return true, at.term, err
	default:
	}
	if p.restores != g.applier.restores.Load() {
		return false, 0, fmt.Errorf("%w: this node was given a snapshot meanwhile", ErrUnknownOutcome)
	}
	return false, at.term, nil
}
