package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"hive/fsm"
)

// Write stores a blob of size bytes (-1 if nobody knows) under key. When it returns nil the blob
// is durable on all nodes of its partition or, where some are away, as owed says: on enough others
// that one more loss leaves it readable. The record that the caller commits must hold the Ref and
// note what is owed; without such a record the blob is garbage.
//
// Errors: what r returned, ErrDiskFull, ErrUnavailable, ErrNoTable, ctx's.
func (s *Store) Write(ctx context.Context, key string, r io.Reader, size int64) (Ref, []Owed, error) {
	table, err := s.tables.get()
	if err != nil {
		return Ref{}, nil, err
	}
	w := &writer{s: s, key: hashKey(key), size: size}
	w.ref = Ref{Partition: w.key.partition(table.Count), K: table.K, M: table.M}
	if _, err := io.ReadFull(s.cfg.Rand, w.ref.ID[:]); err != nil {
		return Ref{}, nil, fmt.Errorf("blob id: %w", err)
	}
	p, err := table.of(w.ref.Partition, int(table.K)+int(table.M))
	if err != nil {
		return Ref{}, nil, err
	}
	w.nodes = p.nodes
	w.enc = encoder{
		src: &source{r: r}, coders: s.coders, pools: s.pools,
		shape: shape{k: int(table.K), m: int(table.M), size: size},
	}
	if empty, err := w.empty(); empty || err != nil {
		return w.ref, nil, err
	}
	weight := w.weight()
	if err := s.memory.Acquire(ctx, weight); err != nil {
		return Ref{}, nil, fmt.Errorf("wait for memory: %w", err)
	}
	defer s.memory.Release(weight)
	owed, err := w.run(ctx)
	if err != nil {
		w.abandon()
		return Ref{}, nil, err
	}
	return w.ref, owed, nil
}

// writer is one blob on its way.
type writer struct {
	s     *Store
	key   keyHash
	ref   Ref
	size  int64
	nodes []fsm.NodeID // by shard
	enc   encoder
	lanes []*lane
	begun bool // something was sent
	// doubtful tells that too few nodes were believed up, so that all are asked.
	doubtful bool
}

// lane is a shard's way to a node.
type lane struct {
	shard  uint8
	node   fsm.NodeID
	kind   recordKind
	err    error // why nothing goes there any more
	busy   bool  // a record is under way
	ctx    context.Context
	cancel context.CancelFunc
}

// errPassedOver is a node that was not asked.
var errPassedOver = errors.New("node was known not to answer")

// empty tells whether the body has no bytes at all: then nothing is stored.
func (w *writer) empty() (bool, error) {
	if w.size > 0 {
		return false, nil
	}
	more, err := w.enc.src.more()
	if err == nil && more && w.size == 0 {
		err = w.enc.src.end()
	}
	return !more, err
}

// weight is the memory that the write will hold: two groups, or what there is of them.
func (w *writer) weight() int64 {
	per, groups := groupSize, uint32(2)
	if w.size >= 0 {
		per, groups = w.enc.shape.group(0), min(groups, w.enc.shape.groups())
	}
	return int64(len(w.nodes)) * int64(per) * int64(groups)
}

// run sends one group while it reads the next.
func (w *writer) run(ctx context.Context) ([]Owed, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.open(ctx)
	var sent *sending
	for seq := uint32(0); ; seq++ {
		g, err := w.enc.next(seq)
		if err == nil && g.final {
			w.ref.Size = w.enc.shape.size
		}
		if sent != nil {
			err = errors.Join(err, sent.wait(ctx))
			sent.g.release()
		}
		if err != nil {
			if g != nil {
				g.release()
			}
			return nil, err
		}
		sent = w.send(g)
		if g.final {
			defer g.release()
			if err := sent.wait(ctx); err != nil {
				return nil, err
			}
			return w.settle(ctx, g)
		}
	}
}

// open makes the lanes: one to each shard's node and, for nodes known to be away, to the keepers.
// Where too few nodes are believed up, all are asked.
func (w *writer) open(ctx context.Context) {
	var live []int
	for j, node := range w.nodes {
		l := w.lane(ctx, j, node, putRecord)
		if node != w.s.cfg.Node && !w.s.health.up(node) {
			l.err = errPassedOver
		} else {
			live = append(live, j)
		}
	}
	if len(live) == len(w.nodes) {
		return
	}
	plan := keepers(w.enc.shape.k, len(w.nodes), live)
	if plan == nil { // better to ask those that hung a moment ago than to fail without asking
		w.doubtful = true
		for _, l := range w.lanes {
			l.err = nil
		}
	}
	for shard, kept := range plan {
		for _, keeper := range kept {
			w.lane(ctx, shard, w.nodes[keeper], hintRecord)
		}
	}
}

func (w *writer) lane(ctx context.Context, shard int, node fsm.NodeID, kind recordKind) *lane {
	l := &lane{shard: uint8(shard), node: node, kind: kind}
	l.ctx, l.cancel = context.WithCancel(ctx)
	w.lanes = append(w.lanes, l)
	return l
}

// sending is a group under way.
type sending struct {
	w       *writer
	g       *group
	results chan result
	busy    int
}

type result struct {
	lane *lane
	err  error
}

// send starts a group on all lanes.
func (w *writer) send(g *group) *sending {
	w.begun = true
	sent := &sending{w: w, g: g, results: make(chan result, len(w.lanes))}
	for _, l := range w.lanes {
		if l.err != nil {
			continue
		}
		l.busy = true
		sent.busy++
		p := w.record(g, l.shard, l.kind)
		p.buf.retain()
		go func() {
			err := w.s.put(l.ctx, l.node, p)
			p.buf.release()
			sent.results <- result{l, err}
		}()
	}
	return sent
}

// record is a group's record of one shard.
func (w *writer) record(g *group, shard uint8, kind recordKind) *Put {
	p := &Put{sums: g.sums[shard], buf: g.bufs[shard]}
	p.header = header{
		kind: kind, shard: shard, k: w.ref.K, m: w.ref.M, id: w.ref.ID, key: w.key, size: sizeUnknown,
		seq: g.seq, final: g.final, length: uint32(g.n),
	}
	if g.final {
		p.size = w.ref.Size
	}
	return p
}

// patience is how many times WriteHedge a request waits when too few nodes have answered to do
// without the others.
const patience = 13

// wait returns when every lane has answered, or when those that have not can be done without and
// were given their time.
func (sent *sending) wait(ctx context.Context) error {
	w := sent.w
	timer := time.NewTimer(w.patience())
	defer timer.Stop()
	hedged := false
	for sent.busy > 0 {
		select {
		case r := <-sent.results:
			sent.busy--
			r.lane.busy, r.lane.err = false, r.err
			if errors.Is(r.err, ErrDiskFull) {
				return fmt.Errorf("node %s: %w", r.lane.node, r.err)
			}
			if !hedged && sent.busy > 0 && w.spare() {
				hedged = true
				timer.Reset(w.hedge())
			}
		case <-timer.C:
			sent.giveUp()
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// patience is how long the write waits while too few nodes have answered.
func (w *writer) patience() time.Duration {
	if w.doubtful {
		return 2 * w.s.cfg.WriteHedge
	}
	return patience * w.s.cfg.WriteHedge
}

// spare tells whether the write could do without the lanes that have not answered.
func (w *writer) spare() bool {
	live := w.live(func(l *lane) bool { return l.err == nil && !l.busy })
	return len(live) == len(w.nodes) || keepers(w.enc.shape.k, len(w.nodes), live) != nil
}

// live are the shards that are on their own nodes.
func (w *writer) live(ok func(*lane) bool) (out []int) {
	for _, l := range w.lanes {
		if l.kind == putRecord && ok(l) {
			out = append(out, int(l.shard))
		}
	}
	return out
}

// hedge is how long to wait for nodes once the others are done: less for those that have hung a
// moment ago.
func (w *writer) hedge() time.Duration {
	for _, l := range w.lanes {
		if l.busy && !w.s.health.shaky(l.node) {
			return w.s.cfg.WriteHedge
		}
	}
	return w.s.cfg.WriteHedge / 5
}

// giveUp takes the lanes that have not answered out of the write.
func (sent *sending) giveUp() {
	for _, l := range sent.w.lanes {
		if !l.busy {
			continue
		}
		l.busy, l.err = false, context.DeadlineExceeded
		l.cancel()
		if l.node != sent.w.s.cfg.Node {
			sent.w.s.health.trip(l.node, context.DeadlineExceeded)
		}
	}
}

// settle makes sure that the shards of nodes that fell out are kept by others, and says what is
// owed.
func (w *writer) settle(ctx context.Context, last *group) ([]Owed, error) {
	have := map[[2]int]bool{} // shard, keeper's shard
	for _, l := range w.lanes {
		if l.kind == hintRecord && l.err == nil {
			have[[2]int{int(l.shard), slices.Index(w.nodes, l.node)}] = true
		}
	}
	for range w.nodes {
		live := w.live(func(l *lane) bool { return l.err == nil })
		if len(live) == len(w.nodes) {
			return nil, nil
		}
		plan := keepers(w.enc.shape.k, len(w.nodes), live)
		if plan == nil {
			break
		}
		if w.keep(ctx, last, plan, have) {
			return w.owed(plan), nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrUnavailable, w.failures())
}

// keep brings the planned shards to their keepers. A keeper that fails is out of the write, and
// the answer is false.
func (w *writer) keep(ctx context.Context, last *group, plan map[int][]int, have map[[2]int]bool) bool {
	ctx, cancel := context.WithTimeout(ctx, patience*w.s.cfg.WriteHedge)
	defer cancel()
	var todo [][2]int
	for shard, kept := range plan {
		for _, keeper := range kept {
			if !have[[2]int{shard, keeper}] {
				todo = append(todo, [2]int{shard, keeper})
			}
		}
	}
	errs := make([]error, len(todo))
	var wg sync.WaitGroup
	for i, hint := range todo {
		wg.Go(func() { errs[i] = w.bring(ctx, last, uint8(hint[0]), w.nodes[hint[1]]) })
	}
	wg.Wait()
	for i, hint := range todo {
		if errs[i] != nil {
			w.lanes[hint[1]].err = errs[i] // lanes begin with the shards' own, in order
			continue
		}
		have[hint] = true
	}
	return errors.Join(errs...) == nil
}

// bring stores a shard as a hint on a keeper: from memory if the blob is one group, else rebuilt
// from what the other nodes have.
func (w *writer) bring(ctx context.Context, last *group, shard uint8, keeper fsm.NodeID) error {
	if last.seq == 0 {
		return w.s.put(ctx, keeper, w.record(last, shard, hintRecord))
	}
	return w.s.rebuild(ctx, rebuilding{ref: w.ref, key: w.key, shard: shard, to: keeper, kind: hintRecord})
}

// owed is the plan as the index notes it.
func (w *writer) owed(plan map[int][]int) (out []Owed) {
	for shard := range w.nodes {
		kept, missing := plan[shard]
		if !missing {
			continue
		}
		o := Owed{Shard: uint8(shard), Node: w.nodes[shard]}
		for _, keeper := range kept {
			o.Keepers = append(o.Keepers, w.nodes[keeper])
		}
		out = append(out, o)
	}
	return out
}

func (w *writer) failures() error {
	var errs []error
	for _, l := range w.lanes {
		if l.err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", l.node, l.err))
		}
	}
	return errors.Join(errs...)
}

// abandon deletes what a failed write has stored, as far as nodes answer; the rest is found as
// orphans later.
func (w *writer) abandon() {
	if !w.begun {
		return
	}
	ref := w.ref
	ref.Size = sizeUnknown
	w.s.background.Go(func() {
		err := w.s.deleteEverywhere(w.s.stopped, w.nodes, []Deletion{{Ref: ref, Shard: WholeBlob}})
		if err != nil {
			w.s.log.Info("shards of a failed write stay until garbage collection", "blob", ref.ID, "cause", err)
		}
	})
}
