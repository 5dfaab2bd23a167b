package raftnode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"hive/fsm"
)

// Configuration is a group's membership.
type Configuration struct {
	Index   uint64 // of the log entry that made it
	Servers []Server
}

// Server is a member as Raft knows it.
type Server struct {
	Node     fsm.NodeID
	Suffrage Suffrage
}

// Bootstrap makes this node the group's first voter. Only the first node of a cluster is bootstrapped, the
// others join. A group that this node is a member of already stays as it is.
func (g *Group) Bootstrap(ctx context.Context) error {
	conf := raft.Configuration{Servers: []raft.Server{{
		ID: raft.ServerID(g.cfg.Node), Address: raft.ServerAddress(g.cfg.Node), Suffrage: raft.Voter,
	}}}
	err := g.store.contain(func() error {
		select {
		case <-g.started:
			return g.live.raft.BootstrapCluster(conf).Error()
		default:
			return raft.BootstrapCluster(g.cfg.raft(), g.store, g.store, g.snaps, nil, conf)
		}
	})
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("bootstrap group %s: %w", g.cfg.Group, err)
	}
	return ctx.Err()
}

// Configuration is the membership as this node's log has it; it may not be committed yet.
func (g *Group) Configuration(ctx context.Context) (Configuration, error) {
	l, err := g.wait(ctx)
	if err != nil {
		return Configuration{}, err
	}
	return g.configuration(l), nil
}

func (g *Group) configuration(l *live) Configuration {
	conf := Configuration{Index: g.store.config()} // first: at worst it is that of an older one
	for _, s := range l.raft.GetConfiguration().Configuration().Servers {
		suffrage := Nonvoter
		if s.Suffrage == raft.Voter {
			suffrage = Voter
		}
		conf.Servers = append(conf.Servers, Server{fsm.NodeID(s.ID), suffrage})
	}
	return conf
}

// Members is the membership with who seems alive, as this node sees it; it is told best by the leader.
func (g *Group) Members(ctx context.Context) ([]Member, error) {
	l, err := g.wait(ctx)
	if err != nil {
		return nil, err
	}
	return g.members(l, g.configuration(l)), nil
}

func (g *Group) members(l *live, conf Configuration) []Member {
	out := make([]Member, len(conf.Servers))
	for i, s := range conf.Servers {
		out[i] = Member{s.Node, s.Suffrage, s.Node == g.cfg.Node || g.alive(l, s.Node)}
	}
	return out
}

func (g *Group) alive(l *live, node fsm.NodeID) bool {
	if _, unwell := l.unwell.Load(node); unwell {
		return false
	}
	return g.cfg.Alive == nil || g.cfg.Alive(node)
}

// AddNonvoter adds a node that follows the group without a vote.
func (g *Group) AddNonvoter(ctx context.Context, node fsm.NodeID) error {
	return g.Change(ctx, Change{Op: OpAddNonvoter, Node: node})
}

// AddVoter gives a node a vote. It should be a nonvoter that has caught up: see WaitCaughtUp.
func (g *Group) AddVoter(ctx context.Context, node fsm.NodeID) error {
	return g.Change(ctx, Change{Op: OpAddVoter, Node: node})
}

// DemoteVoter takes a node's vote.
func (g *Group) DemoteVoter(ctx context.Context, node fsm.NodeID) error {
	return g.Change(ctx, Change{Op: OpDemote, Node: node})
}

// RemoveServer takes a node out of the group.
func (g *Group) RemoveServer(ctx context.Context, node fsm.NodeID) error {
	return g.Change(ctx, Change{Op: OpRemove, Node: node})
}

// Change has the leader check a change (CheckChange) and make it, and returns once it is committed.
func (g *Group) Change(ctx context.Context, c Change) error {
	return g.askMembership(ctx, membershipRequest{Op: string(c.Op), Node: c.Node, At: c.At})
}

const opTransfer = "transfer"

// TransferLeadership makes another voter the leader: node, or, when it is "", the one that is furthest.
func (g *Group) TransferLeadership(ctx context.Context, node fsm.NodeID) error {
	return g.askMembership(ctx, membershipRequest{Op: opTransfer, Node: node})
}

type membershipRequest struct {
	Op   string     `cbor:"1,keyasint"`
	Node fsm.NodeID `cbor:"2,keyasint,omitempty"`
	At   uint64     `cbor:"3,keyasint,omitempty"`
}

// membershipResponse says what became of a request. Its numbers never change meaning.
type membershipResponse struct {
	Cause   uint8  `cbor:"1,keyasint,omitempty"`
	Message string `cbor:"2,keyasint,omitempty"`
}

// membershipCauses are the answers that a caller can act on; 255 is any other.
var membershipCauses = []error{1: errNotLeader, 2: ErrQuorum, 3: ErrStale, 4: ErrNotMember, 5: ErrUnknownOutcome}

const otherCause = 255

// remoteError is a leader's answer: its message, and a cause for errors.Is.
type remoteError struct {
	message string
	cause   error
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.cause }

func (r membershipResponse) err() error {
	switch {
	case r.Cause == 0:
		return nil
	case int(r.Cause) < len(membershipCauses):
		return &remoteError{r.Message, membershipCauses[r.Cause]}
	default:
		return errors.New(r.Message)
	}
}

func respond(err error) membershipResponse {
	if err == nil {
		return membershipResponse{}
	}
	for i, cause := range membershipCauses {
		if cause != nil && errors.Is(err, cause) {
			return membershipResponse{uint8(i), err.Error()}
		}
	}
	return membershipResponse{otherCause, err.Error()}
}

// askMembership asks the leader of the moment until one has taken the request. Where the outcome of one
// attempt is not known, the next finds out: a change that stands is not made again.
func (g *Group) askMembership(ctx context.Context, req membershipRequest) error {
	l, err := g.wait(ctx)
	if err != nil {
		return err
	}
	var first fsm.NodeID
	for unknown := false; ; {
		v, err := g.leader(ctx, l)
		if err != nil {
			return err
		}
		changed := g.leaders.wait()
		if req.Op == opTransfer && unknown && v.leader != first && (req.Node == "" || req.Node == v.leader) {
			return nil
		}
		first = cmp.Or(first, v.leader)
		if err = g.askLeaderMembership(ctx, l, v, req); err == nil {
			return nil
		}
		switch {
		case unknown && req.Op == string(OpRemove) && errors.Is(err, ErrNotMember):
			return nil
		case errors.Is(err, ErrUnknownOutcome) && req.At == 0 && ctx.Err() == nil:
			unknown = true
		case !errors.Is(err, errNotLeader) && !certainlyNot(err):
			return err
		case ctx.Err() != nil && unknown:
			return fmt.Errorf("%w: %v", ErrUnknownOutcome, err) //nolint:errorlint // not ErrNoLeader
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w: %w", ErrNoLeader, ctx.Err(), err)
		}
		g.pause(ctx, changed)
	}
}

func (g *Group) askLeaderMembership(ctx context.Context, l *live, v raftView, req membershipRequest) error {
	if v.leader == g.cfg.Node {
		return g.changeMembership(ctx, l, req)
	}
	var resp membershipResponse
	err := g.call(ctx, v, "membership", req, &resp)
	switch {
	case err == nil:
		return resp.err()
	case certainlyNot(err):
		return err
	default:
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
}

func (g *Group) serveMembership(r *http.Request, l *live, body []byte) (any, error) {
	var req membershipRequest
	if err := wire.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	return respond(g.changeMembership(r.Context(), l, req)), nil
}

// changeMembership makes a change as the leader.
func (g *Group) changeMembership(ctx context.Context, l *live, req membershipRequest) error {
	term, leads := leadingTerm(l.raft)
	if !leads || l.reign.Load().term != term {
		return errNotLeader
	}
	if req.Op == opTransfer {
		return g.transfer(ctx, l, req.Node)
	}
	// One change after the other: each is checked against the membership that it changes.
	select {
	case l.changing <- struct{}{}:
		defer func() { <-l.changing }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errNotLeader, ctx.Err())
	}
	conf := g.configuration(l)
	if req.At != 0 && req.At != conf.Index {
		return fmt.Errorf("%w: configuration %d, now %d", ErrStale, req.At, conf.Index)
	}
	c := Change{Op: Op(req.Op), Node: req.Node}
	effect, err := CheckChange(g.members(l, conf), c)
	if err != nil {
		return err
	}
	if have := (Server{c.Node, wanted(c.Op)}); slices.Contains(conf.Servers, have) {
		return nil
	}
	if err := g.outcome(ctx, g.startChange(l, c)); err != nil {
		return err
	}
	g.cfg.Log.Info("membership changed", "group", g.cfg.Group, "change", c.Op, "node", c.Node, "effect", effect.String())
	return nil
}

func wanted(op Op) Suffrage {
	switch op {
	case OpAddVoter:
		return Voter
	case OpAddNonvoter, OpDemote:
		return Nonvoter
	default:
		return ""
	}
}

func (g *Group) startChange(l *live, c Change) raft.Future {
	id, addr := raft.ServerID(c.Node), raft.ServerAddress(c.Node)
	switch c.Op {
	case OpAddNonvoter:
		return l.raft.AddNonvoter(id, addr, 0, g.cfg.Timing.RPC)
	case OpAddVoter:
		return l.raft.AddVoter(id, addr, 0, g.cfg.Timing.RPC)
	case OpDemote:
		return l.raft.DemoteVoter(id, 0, g.cfg.Timing.RPC)
	default:
		return l.raft.RemoveServer(id, 0, g.cfg.Timing.RPC)
	}
}

// outcome waits for one of raft's futures, which know no context.
func (g *Group) outcome(ctx context.Context, f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }() // ends with leadership, or with raft
	select {
	case err := <-done:
		switch {
		case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
			return errNotLeader
		case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrRaftShutdown):
			return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
		}
		return err
	case <-g.stopped:
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, ErrStopped)
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
	}
}

// transferTries is how often raft is asked to transfer leadership: it gives up after one heartbeat's time,
// which a slow disk may need.
const transferTries = 5

func (g *Group) transfer(ctx context.Context, l *live, to fsm.NodeID) (err error) {
	if to == g.cfg.Node {
		return nil
	}
	if to != "" && !slices.Contains(g.configuration(l).Servers, Server{to, Voter}) {
		return fmt.Errorf("%w as a voter: %s", ErrNotMember, to)
	}
	for range transferTries {
		var f raft.Future
		if to == "" {
			f = l.raft.LeadershipTransfer()
		} else {
			f = l.raft.LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(to))
		}
		err = g.outcome(ctx, f)
		if _, leads := leadingTerm(l.raft); err == nil || !leads || ctx.Err() != nil {
			return err
		}
	}
	return fmt.Errorf("transfer leadership: %w", err)
}

// WaitCaughtUp returns once node has applied everything that the leader had committed when it was asked,
// last within one heartbeat's time: then it can be promoted without holding up the group. progress, if
// given, is told the node's applied index and the leader's commit index.
func (g *Group) WaitCaughtUp(ctx context.Context, node fsm.NodeID, progress func(have, want uint64)) error {
	l, err := g.wait(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var want uint64
	var asked time.Time
	for last := error(nil); ; {
		have, err := g.statusOf(ctx, l, node)
		switch {
		case err != nil:
			last = err
		case want > 0 && have.Applied >= want && time.Since(asked) < g.cfg.Timing.Heartbeat:
			return nil
		default:
			if progress != nil && want > 0 {
				progress(have.Applied, want)
			}
			if want == 0 || have.Applied >= want {
				var lead Status
				if lead, last = g.leaderStatus(ctx, l); last == nil {
					want, asked = lead.Commit, time.Now()
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s has not caught up: %w", node, errors.Join(ctx.Err(), last))
		}
	}
}

func (g *Group) leaderStatus(ctx context.Context, l *live) (Status, error) {
	v, err := g.leader(ctx, l)
	if err != nil {
		return Status{}, err
	}
	return g.statusOf(ctx, l, v.leader)
}
