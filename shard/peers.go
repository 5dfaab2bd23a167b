package shard

import (
	"context"
	"fmt"
	"io"

	"hive/fsm"
)

// Peers reaches the shard stores of other nodes. Whatever it answers was verified: bytes that the
// network changed are an error. Errors wrap this package's where the other node said so; any
// other error means that the node did not answer.
type Peers interface {
	// Put stores one record of a shard. When it returns nil for a final record, the whole shard
	// is durable there.
	Put(ctx context.Context, node fsm.NodeID, p *Put) error
	// Get reads a part of a shard.
	Get(ctx context.Context, node fsm.NodeID, g Get) (Pieces, error)
	// Delete removes blobs or shards; they are gone for good when it returns nil.
	Delete(ctx context.Context, node fsm.NodeID, dels []Deletion) error
	// Held asks which shards the node has, of each blob.
	Held(ctx context.Context, node fsm.NodeID, blobs []ID) ([][]Held, error)
	// Mend asks the node to look after its shards of the blobs, which somebody missed there.
	Mend(ctx context.Context, node fsm.NodeID, blobs []Ref) error
	// Ping returns nil if the node's shard store answers.
	Ping(ctx context.Context, node fsm.NodeID) error
}

// Put is one record on its way to a node. The payload's memory belongs to the writer, who keeps it
// until Put has returned; a transport that still reads it later retains it.
type Put struct {
	header
	sums []uint32
	buf  *buffer
}

// payload is the record's bytes.
func (p *Put) payload() []byte { return p.buf.payload(int(p.length)) }

// Get names bytes From to To of a blob's shard.
type Get struct {
	Blob     ID
	Shard    uint8
	From, To int64
}

// Pieces is a shard's bytes as they come, in pieces that end where blocks do.
type Pieces interface {
	// Next reads the following piece into buf, which has PieceRoom bytes; what it answers is
	// part of buf. After the last piece it answers io.EOF.
	Next(buf []byte) ([]byte, error)
	io.Closer
}

// PieceRoom is the room that Pieces.Next needs, in bytes.
const PieceRoom = recordRoom + blockSize

// Deletion is what to delete: a shard of a blob, or all of it.
type Deletion struct {
	Ref   Ref
	Shard uint8 // WholeBlob for all
}

// WholeBlob in a Deletion means every shard.
const WholeBlob = wholeBlob

// Held is a shard that a node has.
type Held struct {
	Shard   uint8
	Records uint32
	Whole   bool     // durable up to its last record, none known to be rotten
	Hint    bool     // kept for another node
	Key     [32]byte // first half of SHA-512 of the blob's key
}

// local is what a node does with its own disk, for itself and for others.
type local struct {
	disk *disk
	mend func(Ref)
}

// put stores a record. It syncs when the record is a shard's last, after making sure that the
// others are there: they may have been lost with the power since they were taken.
func (l *local) put(p *Put) error {
	m, err := l.disk.put(p)
	if err != nil || !p.final {
		return err
	}
	if p.seq > 0 && !l.disk.complete(p.id, p.shard, p.seq) {
		return fmt.Errorf("shard %d of %v has gaps: %w", p.shard, p.id, ErrNotFound)
	}
	return l.disk.sync(m)
}

// complete tells whether the records before last are there.
func (d *disk) complete(id ID, shard uint8, last uint32) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for seq := range last {
		if _, ok := d.index[slotOf(id, shard, seq)]; !ok {
			return false
		}
	}
	return true
}

func (l *local) get(g Get) (Pieces, error) {
	if g.From < 0 || g.From >= g.To || g.Shard >= maxShards || g.To > int64(maxSeq)*groupSize {
		return nil, fmt.Errorf("bytes %d to %d of shard %d: %w", g.From, g.To, g.Shard, fsm.ErrInvalid)
	}
	r, err := l.disk.open(g.Blob, g.Shard, g.From, g.To)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (l *local) delete(dels []Deletion) error {
	raw := make([]deletion, len(dels))
	for i, d := range dels {
		raw[i] = deletion{id: d.Ref.ID, shard: d.Shard, k: d.Ref.K, m: d.Ref.M, size: d.Ref.Size}
	}
	m, err := l.disk.delete(raw)
	if err != nil {
		return err
	}
	return l.disk.sync(m)
}

func (l *local) held(blobs []ID) [][]Held {
	out := make([][]Held, len(blobs))
	for i, id := range blobs {
		out[i] = l.disk.holds(id)
	}
	return out
}

// Direct reaches stores in the same process: for tests, and as the plainest of the transports.
type Direct map[fsm.NodeID]*Store

func (d Direct) to(ctx context.Context, node fsm.NodeID) (*local, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, ok := d[node]
	if !ok || s == nil {
		return nil, fmt.Errorf("node %s: %w", node, io.ErrClosedPipe)
	}
	return &s.local, nil
}

// Put stores a record on node.
func (d Direct) Put(ctx context.Context, node fsm.NodeID, p *Put) error {
	l, err := d.to(ctx, node)
	if err != nil {
		return err
	}
	// The header's room in the buffer is the writer's: the other node gets its own.
	buf := newBuffer(int(p.length))
	copy(buf.payload(int(p.length)), p.payload())
	return l.put(&Put{header: p.header, sums: p.sums, buf: buf})
}

// Get reads from node.
func (d Direct) Get(ctx context.Context, node fsm.NodeID, g Get) (Pieces, error) {
	l, err := d.to(ctx, node)
	if err != nil {
		return nil, err
	}
	return l.get(g)
}

// Delete deletes on node.
func (d Direct) Delete(ctx context.Context, node fsm.NodeID, dels []Deletion) error {
	l, err := d.to(ctx, node)
	if err != nil {
		return err
	}
	return l.delete(dels)
}

// Held asks node.
func (d Direct) Held(ctx context.Context, node fsm.NodeID, blobs []ID) ([][]Held, error) {
	l, err := d.to(ctx, node)
	if err != nil {
		return nil, err
	}
	return l.held(blobs), nil
}

// Mend asks node.
func (d Direct) Mend(ctx context.Context, node fsm.NodeID, blobs []Ref) error {
	l, err := d.to(ctx, node)
	if err != nil {
		return err
	}
	for _, ref := range blobs {
		l.mend(ref)
	}
	return nil
}

// Ping asks node.
func (d Direct) Ping(ctx context.Context, node fsm.NodeID) error {
	_, err := d.to(ctx, node)
	return err
}
