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

// gatherer collects blocks of a blob's stripes, one stripe after the other, from as few nodes as
// will do: the shards that are wanted or, where they are missing, slow or rotten, any k others to
// rebuild them from. A node that is slow is not waited for: another one is asked too, and whoever
// comes first counts.
type gatherer struct {
	s     *Store
	ctx   context.Context
	ref   Ref
	shape shape
	nodes []fsm.NodeID // by shard
	all   []fsm.NodeID // that may hold shards
	want  []bool       // by shard
	wants int
	// lo and hi are the bytes of each block that count, when there is one stripe only; else all.
	lo, hi      int
	first, last int64 // stripes

	stripe   int64 // the current one
	events   chan event
	feeds    []*feed
	tried    map[origin]bool
	extras   []origin // found by asking all nodes
	asked    bool
	since    time.Time // the current stripe is waited for
	cancel   context.CancelFunc
	timer    *time.Timer
	failures []error
}

// gatherSpec is what to gather.
type gatherSpec struct {
	ref         Ref
	want        []bool
	first, last int64 // stripes, inclusive
	lo, hi      int   // bytes of the block, if first == last
	skip        []origin
}

func (s *Store) gather(ctx context.Context, spec gatherSpec) (*gatherer, error) {
	p, err := s.partition(spec.ref)
	if err != nil {
		return nil, err
	}
	g := &gatherer{
		s: s, ref: spec.ref, shape: shapeOf(spec.ref), nodes: p.nodes, all: p.everywhere(), want: spec.want,
		lo: spec.lo, hi: spec.hi, first: spec.first, last: spec.last, stripe: spec.first,
		tried: make(map[origin]bool, len(p.nodes)),
	}
	g.events = make(chan event, len(p.nodes)*(readAhead+1))
	for _, want := range spec.want {
		if want {
			g.wants++
		}
	}
	for _, o := range spec.skip {
		g.tried[o] = true
	}
	g.ctx, g.cancel = context.WithCancel(ctx)
	return g, nil
}

func shapeOf(ref Ref) shape { return shape{k: int(ref.K), m: int(ref.M), size: ref.Size} }

// close ends what is under way.
func (g *gatherer) close() {
	g.cancel()
	for _, f := range g.feeds {
		f.drop(f.next + int64(len(f.ready)))
	}
	if g.timer != nil {
		g.timer.Stop()
	}
}

// collect waits until the current stripe can be had and answers its blocks by shard: the wanted
// ones, rebuilt where necessary. They are valid until advance.
func (g *gatherer) collect(blocks []piece) error {
	if len(g.feeds) == 0 {
		if err := g.begin(); err != nil {
			return err
		}
	}
	g.since = time.Now()
	for {
		if g.complete(blocks) {
			return g.rebuild(blocks)
		}
		if err := g.await(); err != nil {
			return err
		}
	}
}

// complete fills in what has arrived, and tells whether it is enough.
func (g *gatherer) complete(blocks []piece) bool {
	clear(blocks)
	wanted, any := 0, 0
	for _, f := range g.feeds {
		f.drop(g.stripe)
		p, ok := f.block(g.stripe)
		if !ok || blocks[f.shard].buf != nil {
			continue
		}
		blocks[f.shard] = p
		any++
		if g.want[f.shard] {
			wanted++
		}
	}
	return wanted == g.wants || any >= g.shape.k
}

// rebuild computes the wanted blocks that have not arrived. Their buffers are the caller's.
func (g *gatherer) rebuild(blocks []piece) error {
	var raw [][]byte
	var need []bool
	for j, want := range g.want {
		if !want || blocks[j].buf != nil {
			continue
		}
		if raw == nil {
			raw, need = make([][]byte, len(blocks)), make([]bool, len(blocks))
			for i := range blocks {
				raw[i] = blocks[i].b
			}
		}
		n := g.length()
		blocks[j].buf = g.s.pools.get(n)
		blocks[j].b = blocks[j].buf.payload(n)
		raw[j], need[j] = blocks[j].b[:0], true
	}
	if raw == nil {
		return nil
	}
	return g.s.coders.rebuild(raw, g.shape.k, need)
}

// length is how many bytes of each block of the current stripe count.
func (g *gatherer) length() int {
	if g.first == g.last {
		return g.hi - g.lo
	}
	return g.shape.block(g.stripe)
}

// advance goes to the next stripe; the current one's blocks are given back.
func (g *gatherer) advance(blocks []piece) {
	g.free(blocks)
	g.stripe++
}

// free gives back rebuilt blocks; those that came from feeds are theirs.
func (g *gatherer) free(blocks []piece) {
	for j := range blocks {
		if blocks[j].buf != nil && !g.fed(blocks[j]) {
			blocks[j].buf.release()
		}
		blocks[j] = piece{}
	}
}

func (g *gatherer) fed(p piece) bool {
	for _, f := range g.feeds {
		if len(f.ready) > 0 && f.ready[0].buf == p.buf {
			return true
		}
	}
	return false
}

// begin asks the first nodes: those of the wanted shards if all of them are up, else any k.
func (g *gatherer) begin() error {
	order := g.order()
	count := g.shape.k
	if g.wants < count && g.wants <= len(order) && !slices.ContainsFunc(order[:g.wants], func(c origin) bool { return !g.want[c.shard] || !g.up(c.node) }) {
		count = g.wants
	}
	for _, c := range order[:min(count, len(order))] {
		g.start(c)
	}
	if len(g.feeds) == 0 {
		return g.replace()
	}
	return nil
}

// order is the shards' own nodes that were not asked yet, best first: nodes that are up, then wanted shards (when not all
// k data shards are wanted anyway), this node, data shards.
func (g *gatherer) order() []origin {
	type rated struct {
		origin
		rate int
	}
	all := make([]rated, 0, len(g.nodes))
	for j, node := range g.nodes {
		r := rated{origin{uint8(j), node}, 0}
		if g.tried[r.origin] {
			continue
		}
		if !g.up(node) {
			r.rate += 8
		}
		if g.wants < g.shape.k && !g.want[j] {
			r.rate += 4
		}
		if node != g.s.cfg.Node {
			r.rate += 2
		}
		if j >= g.shape.k {
			r.rate++
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b rated) int { return a.rate - b.rate })
	out := make([]origin, len(all))
	for i := range all {
		out[i] = all[i].origin
	}
	return out
}

func (g *gatherer) up(node fsm.NodeID) bool { return node == g.s.cfg.Node || g.s.health.up(node) }

// start opens a feed from the current stripe on.
func (g *gatherer) start(c origin) {
	f := &feed{origin: c, next: g.stripe, begun: time.Now(), room: blockSize, events: g.events}
	g.tried[c] = true
	f.get = Get{Blob: g.ref.ID, Shard: c.shard, From: g.stripe * blockSize, To: g.last*blockSize + int64(g.shape.block(g.last))}
	if g.first == g.last {
		f.get.From, f.get.To = g.stripe*blockSize+int64(g.lo), g.stripe*blockSize+int64(g.hi)
		f.room = g.shape.block(g.stripe)
	} else {
		f.credit = make(chan struct{}, readAhead)
		for range readAhead {
			f.credit <- struct{}{}
		}
	}
	var ctx context.Context
	ctx, f.cancel = context.WithCancel(g.ctx)
	g.feeds = append(g.feeds, f)
	go g.s.feed(ctx, f)
}

// await waits for the next event, or until another node should be asked too.
func (g *gatherer) await() error {
	select {
	case e := <-g.events:
		return g.handle(e)
	default:
	}
	if g.timer == nil {
		g.timer = time.NewTimer(g.s.pace.delay())
	} else {
		g.timer.Reset(g.s.pace.delay())
	}
	select {
	case e := <-g.events:
		return g.handle(e)
	case <-g.ctx.Done():
		return g.ctx.Err()
	case <-g.timer.C:
		return g.hedge()
	}
}

func (g *gatherer) handle(e event) error {
	f := e.feed
	if e.err == nil {
		if f.next == g.first && len(f.ready) == 0 {
			g.s.pace.saw(time.Since(f.begun))
		}
		g.s.health.good(f.node)
		f.ready = append(f.ready, e.piece)
		return nil
	}
	f.done = true
	if errors.Is(e.err, io.EOF) {
		return nil
	}
	g.failures = append(g.failures, fmt.Errorf("shard %d on node %s: %w", f.shard, f.node, e.err))
	g.missed(f, e.err)
	return g.replace()
}

// missed has the node look after a shard that it should have.
func (g *gatherer) missed(f *feed, err error) {
	if (errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt)) && g.nodes[f.shard] == f.node {
		g.s.reportMissing(f.node, g.ref)
	}
}

// hedge asks others because of nodes that have not answered.
func (g *gatherer) hedge() error {
	for _, f := range g.feeds {
		if _, ok := f.block(g.stripe); !ok && !f.done && !f.slow {
			f.slow = true
			if f.node != g.s.cfg.Node {
				g.s.health.strike(f.node)
			}
		}
	}
	for g.hopeful(false) < g.shape.k {
		c, ok := g.candidate()
		if !ok {
			break
		}
		g.start(c)
	}
	if time.Since(g.since) > patience*g.s.cfg.WriteHedge {
		g.failures = append(g.failures, context.DeadlineExceeded)
		return g.lost(g.hopeful(false))
	}
	return nil
}

// hopeful counts the feeds that have the current block or may yet deliver it.
func (g *gatherer) hopeful(slow bool) (n int) {
	for _, f := range g.feeds {
		if _, ok := f.block(g.stripe); ok || !f.done && (slow || !f.slow) {
			n++
		}
	}
	return n
}

// wanted tells whether every wanted shard has a feed that is hopeful.
func (g *gatherer) wanted() bool {
	n := 0
	for _, f := range g.feeds {
		if _, ok := f.block(g.stripe); g.want[f.shard] && (ok || !f.done) {
			n++
		}
	}
	return n >= g.wants
}

// replace asks as many more nodes as it takes to have a chance.
func (g *gatherer) replace() error {
	for g.hopeful(true) < g.shape.k && !g.wanted() {
		c, ok := g.candidate()
		if !ok {
			return g.lost(g.hopeful(true))
		}
		g.start(c)
	}
	return nil
}

// candidate is the best source of a shard that nobody delivers yet. When the shards' own nodes
// are used up, all nodes are asked what they hold.
func (g *gatherer) candidate() (origin, bool) {
	if order := g.order(); len(order) > 0 {
		return order[0], true
	}
	if !g.asked {
		g.asked = true
		g.ask()
	}
	for _, c := range g.extras {
		if !g.tried[c] && !g.delivered(c.shard) {
			return c, true
		}
	}
	return origin{}, false
}

func (g *gatherer) delivered(shard uint8) bool {
	return slices.ContainsFunc(g.feeds, func(f *feed) bool {
		_, ok := f.block(g.stripe)
		return f.shard == shard && (ok || !f.done && !f.slow)
	})
}

// ask finds shards that lie on other nodes than their own: hints, and what is being moved.
func (g *gatherer) ask() {
	ctx, cancel := context.WithTimeout(g.ctx, g.s.cfg.WriteHedge)
	defer cancel()
	answers := make([][]Held, len(g.all))
	errs := make([]error, len(g.all))
	var wg sync.WaitGroup
	for i, node := range g.all {
		if !g.up(node) {
			continue
		}
		wg.Go(func() {
			held, err := g.s.heldOn(ctx, node, []ID{g.ref.ID})
			switch {
			case err == nil:
				answers[i] = held[0]
			case g.ctx.Err() == nil && ctx.Err() != nil:
				g.s.health.trip(node, err)
				fallthrough
			default:
				errs[i] = fmt.Errorf("node %s: %w", node, err)
			}
		})
	}
	wg.Wait()
	for i, node := range g.all {
		if errs[i] != nil {
			g.failures = append(g.failures, errs[i])
		}
		for _, h := range answers[i] {
			if int(h.Shard) < len(g.nodes) && h.Whole {
				g.extras = append(g.extras, origin{h.Shard, node})
			}
		}
	}
}

// lost is why a stripe cannot be had.
func (g *gatherer) lost(have int) error {
	cause, missing := ErrUnavailable, 0
	for _, err := range g.failures {
		if errors.Is(err, ErrNotFound) {
			missing++
		}
	}
	unanswered := slices.ContainsFunc(g.failures, func(err error) bool { return !answered(err) })
	switch {
	case unanswered:
	case have == 0 && missing == len(g.failures):
		cause = ErrNotFound
	default:
		cause = ErrLost
	}
	return fmt.Errorf("blob %v, %d of %d shards: %w: %w", g.ref.ID, have, g.shape.k, cause, errors.Join(g.failures...))
}
