// Package raftnode runs one Raft group on this node: its log, votes, snapshots and state, its connections
// to the other nodes, proposals and strong reads from any node, and its membership. It decides nothing
// about what a command means (fsm does) nor who should be a member; it never shows a state older than one
// that it has shown, and never acknowledges what a majority has not on disk.
//
// DESIGN.md beside this file tells how a proposal and a read travel, and where hashicorp/raft is not
// relied upon.
package raftnode

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"hive/fsm"
)

// Group is a Raft group on this node. Open opens its files; Run takes part in the group until its context
// ends; Close closes the files.
type Group struct {
	cfg     Config
	store   *logStore
	snaps   *raft.FileSnapshotStore
	machine *fsm.Machine
	applier *applier

	leaders signal        // fires when the leader or the state of raft changes
	started chan struct{} // closed when live is set
	stopped chan struct{} // closed when Run has ended
	ready   chan struct{} // closed when View may show the state: see nowReady
	live    *live         // set before started is closed

	readyOnce sync.Once

	failOnce sync.Once
	failed   chan struct{} // closed when failure is set
	failure  error

	mu      sync.Mutex // guards what is below
	running bool
	closed  bool
	cancel  context.CancelFunc
}

// live is what a group has while Run runs.
type live struct {
	ctx   context.Context // of Run
	raft  *raft.Raft
	trans *transport
	wg    sync.WaitGroup // goroutines that Run waits for

	reign  atomic.Pointer[reign] // the latest term in which this node could answer reads
	unwell sync.Map              // fsm.NodeID -> struct{}: whom the leader's heartbeats do not reach

	inbox    *inbox        // proposals that this node accepts as the leader
	outbox   *outbox       // proposals on their way to another leader
	lead     *rounds       // strong reads while this node leads
	ask      *rounds       // strong reads while another does
	changing chan struct{} // has room for one: a change of membership is being made
	told     perNode       // commit notices on their way
	beats    perNode       // heartbeats on their way, for strong reads
}

// reign is a term that this node leads, and the index of its barrier: everything before is applied.
type reign struct{ term, barrier uint64 }

// Open opens the group's files in cfg.Dir and checks them whole: the log to its last entry, the newest
// snapshot, and the state. An empty directory becomes a new member's. See the errors of this package for
// what it refuses.
func Open(cfg Config) (*Group, error) {
	cfg.defaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("raft group %s: %w", cfg.Group, err)
	}
	g := &Group{
		cfg: cfg, started: make(chan struct{}), stopped: make(chan struct{}),
		ready: make(chan struct{}), failed: make(chan struct{}),
	}
	g.leaders.init()
	if err := g.open(); err != nil {
		return nil, fmt.Errorf("raft group %s in %s: %w", cfg.Group, cfg.Dir, err)
	}
	return g, nil
}

func (g *Group) fail(err error) {
	g.failOnce.Do(func() {
		g.failure = err
		close(g.failed)
	})
}

// Run takes part in the group until ctx ends or the group cannot go on; then it answers why. It hands
// leadership over before it ends, where it can. It can run once.
func (g *Group) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := g.begin(cancel); err != nil {
		return err
	}
	defer close(g.stopped)
	// raft's connections outlive ctx: they carry leadership to another node.
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	conns := newStreams(inner, &g.cfg)
	l, err := g.start(inner, conns)
	if err != nil {
		return errors.Join(fmt.Errorf("raft group %s: %w", g.cfg.Group, err), conns.Close())
	}
	select {
	case <-ctx.Done():
		g.handOver(l)
	case <-g.machine.Failed():
		err = g.machine.Failure()
	case <-g.failed:
		err = g.failure
	}
	stop()
	end := l.raft.Shutdown()
	err = errors.Join(err, l.trans.Close(), end.Error()) // the connections first: requests hang in them
	l.wg.Wait()
	if err != nil {
		return fmt.Errorf("raft group %s: %w", g.cfg.Group, err)
	}
	return nil
}

func (g *Group) begin(cancel context.CancelFunc) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.running {
		return ErrStopped
	}
	g.running, g.cancel = true, cancel
	return nil
}

func (g *Group) start(ctx context.Context, conns *streams) (*live, error) {
	l := &live{ctx: ctx, trans: newTransport(conns, &g.store.terms), changing: make(chan struct{}, 1)}
	l.reign.Store(&reign{})
	l.told.limit, l.beats.limit = 1, 2
	l.outbox = newOutbox(g)
	l.lead = newRounds(func(ctx context.Context) (readPoint, error) { return g.confirm(ctx, l) })
	l.ask = newRounds(func(ctx context.Context) (readPoint, error) { return g.askLeader(ctx, l) })
	err := g.store.contain(func() (err error) {
		cache, err := raft.NewLogCache(4*maxBatch, g.store)
		if err == nil {
			l.raft, err = raft.NewRaft(g.cfg.raft(), g.applier, cache, g.store, g.snaps, l.trans)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, l.trans.Close())
	}
	l.inbox = &inbox{raft: l.raft, class: g.cfg.Class}
	g.live = l
	// Observers are called by raft as it happens; what they do is short and never waits.
	l.raft.RegisterObserver(raft.NewObserver(nil, false, func(o *raft.Observation) bool {
		g.observe(l, o.Data)
		return false
	}))
	close(g.started)
	for _, loop := range []func(*live){g.followLeadership, l.outbox.run, l.lead.run, l.ask.run, g.tellCommits, g.becomeReady} {
		l.wg.Go(func() { loop(l) })
	}
	return l, nil
}

func (g *Group) observe(l *live, data any) {
	switch o := data.(type) {
	case raft.LeaderObservation, raft.RaftState:
		g.leaders.fire()
	case raft.FailedHeartbeatObservation:
		l.unwell.Store(fsm.NodeID(o.PeerID), struct{}{})
	case raft.ResumedHeartbeatObservation:
		l.unwell.Delete(fsm.NodeID(o.PeerID))
	}
}

// handOver gives leadership away before this node goes, so that the others need not find out.
func (g *Group) handOver(l *live) {
	if l.raft.State() != raft.Leader || len(g.voters(l)) < 2 {
		return
	}
	if err := l.raft.LeadershipTransfer().Error(); err != nil {
		g.cfg.Log.Info("leadership was not handed over", "group", g.cfg.Group, "cause", err)
	}
}

// followLeadership makes each new leader apply what earlier terms left, before it answers reads.
func (g *Group) followLeadership(l *live) {
	var last raftView
	for l.ctx.Err() == nil {
		changed := g.leaders.wait()
		now := look(l.raft)
		if now != last {
			g.cfg.Log.Info("leader", "group", g.cfg.Group, "leader", now.leader, "term", now.term)
			last = now
		}
		if now.leader == g.cfg.Node && l.reign.Load().term < now.term && !g.takeOver(l, now.term) {
			g.pause(l.ctx, changed)
			continue // until it has worked, or leadership is gone
		}
		select {
		case <-changed:
		case <-l.ctx.Done():
			return
		}
	}
}

func (g *Group) takeOver(l *live, term uint64) bool {
	l.unwell.Clear()
	done := make(chan uint64, 1)
	go func() { done <- barrier(l.raft) }() // ends with leadership
	select {
	case index := <-done:
		now, leads := leadingTerm(l.raft)
		if index == 0 || !leads || now != term {
			return false
		}
		l.reign.Store(&reign{term, index})
		g.leaders.fire()
		return true
	case <-l.ctx.Done():
		return false
	}
}

// barrier is the index of a barrier that was applied, or 0.
func barrier(r *raft.Raft) uint64 {
	f := r.Barrier(0)
	if f.Error() != nil {
		return 0
	}
	at, ok := f.(raft.IndexFuture)
	if !ok {
		return 0
	}
	return at.Index()
}

// becomeReady lets View show a state that was built again once it has reached all that was committed.
func (g *Group) becomeReady(l *live) {
	select {
	case <-g.ready:
	default:
		_ = g.readIndex(l.ctx, l) // fails when the group stops
	}
}

// nowReady says that the state contains whatever was committed before this moment, and may be shown.
func (g *Group) nowReady() { g.readyOnce.Do(func() { close(g.ready) }) }

// Close ends Run, waits for it, and closes the files.
func (g *Group) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	g.closed = true
	running, cancel := g.running, g.cancel
	g.mu.Unlock()
	if running {
		cancel()
		<-g.stopped
	}
	return errors.Join(g.machine.Close(), g.store.bolt.Close())
}

// wait is what the group has once Run runs.
func (g *Group) wait(ctx context.Context) (*live, error) {
	select {
	case <-g.started:
	default:
		select {
		case <-g.started:
		case <-g.stopped:
			return nil, ErrStopped
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: the group has not started: %w", ErrNoLeader, ctx.Err())
		}
	}
	select {
	case <-g.stopped:
		return nil, ErrStopped
	default:
		return g.live, nil
	}
}

// Ready is closed when View shows the state: at once, unless the state had to be built again.
func (g *Group) Ready() <-chan struct{} { return g.ready }

// View runs fn on a consistent read of the local state. ErrReplaying before Ready.
func (g *Group) View(fn func(*fsm.View) error) error {
	select {
	case <-g.ready:
		return g.machine.View(fn)
	default:
		return ErrReplaying
	}
}

// Changed is closed when the next entries have been applied.
func (g *Group) Changed() <-chan struct{} { return g.machine.Changed() }

// Applied is the index of the last entry in the local state.
func (g *Group) Applied() uint64 { return g.machine.Applied() }

// Digest is the SHA-256 of the local state's dump and the index that it is of: two nodes at the same index
// have the same digest.
func (g *Group) Digest(ctx context.Context) (index uint64, sum [32]byte, err error) {
	if err := ctx.Err(); err != nil {
		return 0, sum, err
	}
	return g.machine.Digest()
}

// signal tells any number of waiters that something has changed.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

func (s *signal) init() { s.ch = make(chan struct{}) }

// perNode counts what is on its way to each node.
type perNode struct {
	limit int

	mu   sync.Mutex // guards busy
	busy map[fsm.NodeID]int
}

// claim tells whether one more may be on its way to node, and counts it.
func (n *perNode) claim(node fsm.NodeID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy[node] >= n.limit {
		return false
	}
	if n.busy == nil {
		n.busy = make(map[fsm.NodeID]int)
	}
	n.busy[node]++
	return true
}

func (n *perNode) release(node fsm.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.busy[node]--
}

// wait is closed at the next fire.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

func (s *signal) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ch)
	s.ch = make(chan struct{})
}

// pause waits for the group's leadership to change, or a moment.
func (g *Group) pause(ctx context.Context, changed <-chan struct{}) {
	t := time.NewTimer(20 * time.Millisecond)
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-g.stopped:
	case <-ctx.Done():
	}
}
