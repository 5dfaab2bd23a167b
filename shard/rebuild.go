package shard

import (
	"context"
	"fmt"

	"hive/fsm"
)

// rebuilding is a shard to be made again from k others and stored on a node.
type rebuilding struct {
	ref   Ref
	key   keyHash
	shard uint8
	to    fsm.NodeID
	kind  recordKind
}

// rebuildAdmitted is rebuild within the bounds of memory, for callers that hold none of it yet.
func (s *Store) rebuildAdmitted(ctx context.Context, r rebuilding) error {
	weight := int64(r.ref.K+3)*(readAhead+1)*blockSize + groupSize
	if err := s.memory.Acquire(ctx, weight); err != nil {
		return fmt.Errorf("wait for memory: %w", err)
	}
	defer s.memory.Release(weight)
	return s.rebuild(ctx, r)
}

// rebuild makes a shard again, record by record, and stores it. The node's own copy and that of
// the shard's own node are not used.
func (s *Store) rebuild(ctx context.Context, r rebuilding) error {
	shape := shapeOf(r.ref)
	spec := gatherSpec{ref: r.ref, want: make([]bool, shape.k+shape.m), last: shape.stripes() - 1}
	spec.want[r.shard] = true
	spec.hi = shape.block(0)
	p, err := s.partition(r.ref)
	if err != nil {
		return err
	}
	spec.skip = []origin{{r.shard, r.to}, {r.shard, p.nodes[r.shard]}}
	g, err := s.gather(ctx, spec)
	if err != nil {
		return err
	}
	defer g.close()
	for seq := range shape.groups() {
		if err := s.rebuildGroup(ctx, r, g, seq); err != nil {
			return err
		}
	}
	return nil
}

// rebuildGroup makes and stores one record.
func (s *Store) rebuildGroup(ctx context.Context, r rebuilding, g *gatherer, seq uint32) error {
	n := g.shape.group(seq)
	p := &Put{buf: s.pools.get(n)}
	defer p.buf.release()
	b := p.buf.payload(n)
	blocks := make([]piece, len(g.want))
	for at := 0; at < n; {
		if err := g.collect(blocks); err != nil {
			g.free(blocks)
			return err
		}
		block := blocks[r.shard].b
		copy(b[at:], block)
		p.sums = append(p.sums, checksum(block))
		at += len(block)
		g.advance(blocks)
	}
	p.header = header{
		kind: r.kind, shard: r.shard, k: r.ref.K, m: r.ref.M, id: r.ref.ID, key: r.key, size: sizeUnknown,
		seq: seq, final: seq+1 == g.shape.groups(), length: uint32(n),
	}
	if p.final {
		p.size = r.ref.Size
	}
	return s.put(ctx, r.to, p)
}
