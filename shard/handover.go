package shard

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"hive/fsm"
)

// owedTo tells whether some index group notes that this node is owed a shard.
func (s *Store) owedTo(id ID, shard uint8) (owed bool, err error) {
	for _, group := range s.cfg.Index {
		err = errors.Join(err, group.View(func(v *fsm.View) error {
			row, _ := fsm.OwedOf(v, id)
			owed = owed || slices.ContainsFunc(row.Owed, func(o Owed) bool { return o.Node == s.cfg.Node && o.Shard == shard })
			return nil
		}))
	}
	return owed, err
}

// handOver gives the nodes that answer again what this node keeps for them, and has the index
// note it.
func (s *Store) handOver(ctx context.Context) error {
	var errs []error
	for _, group := range s.cfg.Index {
		errs = append(errs, s.handOverIn(ctx, group))
	}
	return errors.Join(errs...)
}

func (s *Store) handOverIn(ctx context.Context, group Index) error {
	var nodes map[fsm.NodeID]int
	err := group.View(func(v *fsm.View) error { nodes = fsm.OwedNodes(v, 1); return nil })
	if err != nil {
		return err
	}
	for node := range nodes {
		if node == s.cfg.Node || s.health.up(node) {
			if err := s.handOverTo(ctx, group, node); err != nil {
				return fmt.Errorf("hand over to %s: %w", node, err)
			}
		}
	}
	return nil
}

// handOverTo goes over what is owed to a node, a batch at a time.
func (s *Store) handOverTo(ctx context.Context, group Index, node fsm.NodeID) error {
	var after ID
	for {
		var rows []fsm.OwedShards
		err := group.View(func(v *fsm.View) error {
			fsm.OwedTo(v, node, after, func(row fsm.OwedShards) bool {
				rows = append(rows, row)
				return len(rows) < maxBatch
			})
			return nil
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		after = rows[len(rows)-1].Ref.ID
		if err := s.handOverRows(ctx, group, node, rows); err != nil {
			return err
		}
	}
}

func (s *Store) handOverRows(ctx context.Context, group Index, node fsm.NodeID, rows []fsm.OwedShards) error {
	settled := &fsm.SettleOwed{}
	var drops []drop
	var failed error
	for _, row := range rows {
		for _, o := range row.Owed {
			if o.Node != node || !s.myTurn(o) {
				continue
			}
			if err := s.handOverShard(ctx, row.Ref, o); err != nil {
				failed = err
				continue
			}
			settled.Settled = append(settled.Settled, fsm.Settled{Blob: row.Ref.ID, Shard: o.Shard, Node: node})
			drops = append(drops, drop{row.Ref, o})
		}
		if err := ctx.Err(); err != nil || failed != nil && !s.health.up(node) && node != s.cfg.Node {
			break
		}
	}
	if len(settled.Settled) > 0 {
		if err := group.Propose(ctx, settled); err != nil {
			return fmt.Errorf("settle: %w", err)
		}
		s.log.Info("shards handed over", "node", node, "shards", len(settled.Settled))
		s.dropHints(ctx, drops)
	}
	return failed
}

// drop is a hint that is not needed any more.
type drop struct {
	ref Ref
	Owed
}

// myTurn tells whether it is this node's to hand a shard over: the first keeper that is up does.
// The node itself does it where it finds that it has the shard, or that no keeper is up.
func (s *Store) myTurn(o Owed) bool {
	for _, keeper := range o.Keepers {
		if keeper == s.cfg.Node {
			return true
		}
		if s.health.up(keeper) {
			return false
		}
	}
	return o.Node == s.cfg.Node
}

// handOverShard makes sure that the node has its shard: from this node's hint or, where that is
// rotten or gone, rebuilt.
func (s *Store) handOverShard(ctx context.Context, ref Ref, o Owed) error {
	p, err := s.partition(ref)
	if err != nil {
		return err
	}
	if int(o.Shard) >= len(p.nodes) {
		return fmt.Errorf("shard %d of %v: %w", o.Shard, ref.ID, ErrNotFound)
	}
	o.Node = p.nodes[o.Shard] // another one than the shard was owed to, where the partition has moved
	held, err := s.heldOn(ctx, o.Node, []ID{ref.ID})
	if err != nil {
		return err
	}
	groups := shapeOf(ref).groups()
	for _, h := range held[0] {
		if h.Shard == o.Shard && h.Whole && h.Records == groups && !h.Hint {
			return nil
		}
	}
	if _, whole := s.ownShard(ref, o.Shard); whole && o.Node != s.cfg.Node {
		if err := s.push(ctx, ref, o); err == nil || !errors.Is(err, ErrCorrupt) {
			return err
		}
	}
	key, err := s.keyOf(ctx, ref, p)
	if err != nil {
		return err
	}
	return s.rebuildAdmitted(ctx, rebuilding{ref: ref, key: key, shard: o.Shard, to: o.Node, kind: putRecord})
}

// push sends the hint that this node keeps to the node that it is for.
func (s *Store) push(ctx context.Context, ref Ref, o Owed) error {
	shape := shapeOf(ref)
	for seq := range shape.groups() {
		p, err := s.local.disk.record(slotOf(ref.ID, o.Shard, seq), s.pools)
		if err != nil {
			return err
		}
		p.kind = putRecord
		err = s.put(ctx, o.Node, p)
		p.buf.release()
		if err != nil {
			return err
		}
	}
	return nil
}

// record reads a whole record and verifies it. Its buffer is the caller's to release.
func (d *disk) record(id slot, from *pools) (*Put, error) {
	p, ok := d.lookup(id)
	if !ok {
		return nil, fmt.Errorf("record %d of shard %d of %v: %w", id.seq(), id.shard(), id.id, ErrNotFound)
	}
	s, ok := d.pin(p.segment)
	if !ok {
		return nil, fmt.Errorf("segment %d: %w", p.segment, ErrNotFound)
	}
	r, err := s.load(p, from)
	if errors.Is(err, ErrCorrupt) {
		d.spoil(id, p, err)
	}
	return r, errors.Join(err, s.drop())
}

// load reads and verifies the record at p.
func (s *segment) load(p place, from *pools) (*Put, error) {
	n := int(p.length())
	r := &Put{buf: from.get(n)}
	h, table, err := s.readHeader(p.off, p.length(), make([]byte, recordRoom))
	if err == nil {
		r.header = h
		err = s.readFull(r.payload(), int64(p.off)+int64(len(table)))
	}
	for i := 0; err == nil && i < h.blocks(); i++ {
		r.sums = append(r.sums, blockSum(table, i))
		if checksum(r.payload()[i*blockSize:min(n, (i+1)*blockSize)]) != r.sums[i] {
			err = fmt.Errorf("block %d of the record at %d of segment %d: %w", i, p.off, s.number, ErrCorrupt)
		}
	}
	if err != nil {
		r.buf.release()
		return nil, err
	}
	return r, nil
}

// dropHints deletes hints that were handed over. Those that cannot be reached now are found by
// the collection of orphans.
func (s *Store) dropHints(ctx context.Context, drops []drop) {
	byNode := map[fsm.NodeID][]Deletion{}
	for _, d := range drops {
		for _, keeper := range d.Keepers {
			byNode[keeper] = append(byNode[keeper], Deletion{Ref: d.ref, Shard: d.Shard})
		}
	}
	for node, dels := range byNode {
		if err := s.deleteEverywhere(ctx, []fsm.NodeID{node}, dels); err != nil {
			s.log.Info("hints stay until garbage collection", "node", node, "hints", len(dels), "cause", err)
		}
	}
}
