package fsm

import "encoding/hex"

// BlobID names a blob for ever: random, never used again.
type BlobID [16]byte

// String is the id in 32 hex digits.
func (id BlobID) String() string { return hex.EncodeToString(id[:]) }

func (id BlobID) key() blobKey { return blobKey(id[:]) }

// blobKey is the 16 bytes of a BlobID as a table's key.
type blobKey string

// BlobRef is what an index record keeps of a blob: enough to find its shards, no node names, so
// that repair and rebalance never rewrite the index.
type BlobRef struct {
	ID        BlobID `cbor:"1,keyasint"`
	Partition uint16 `cbor:"2,keyasint,omitempty"`
	K         uint8  `cbor:"3,keyasint,omitempty"` // data shards
	M         uint8  `cbor:"4,keyasint,omitempty"` // parity shards
	Size      int64  `cbor:"5,keyasint,omitempty"` // bytes
}

// Owed is a shard that Node should have and that Keepers hold for it.
type Owed struct {
	Shard   uint8    `cbor:"1,keyasint,omitempty"`
	Node    NodeID   `cbor:"2,keyasint"`
	Keepers []NodeID `cbor:"3,keyasint"`
}

// OwedShards is a blob of which some nodes lack their shard.
type OwedShards struct {
	Meta
	Ref  BlobRef `cbor:"1,keyasint"`
	Owed []Owed  `cbor:"2,keyasint"`
}

// Garbage is a blob that no record refers to any more: its shards are to be deleted.
type Garbage struct {
	Meta
	Ref   BlobRef `cbor:"1,keyasint"`
	Owed  []Owed  `cbor:"2,keyasint,omitempty"` // keepers that may hold shards of it
	Since int64   `cbor:"3,keyasint,omitempty"` // unix milliseconds by the proposer's clock
}

var (
	owedTable = Table[blobKey, OwedShards]{Name: "owed"}
	// owedByNode has a row for each node and blob that it lacks a shard of: the node, a zero
	// byte, the blob's id.
	owedByNode   = Table[string, struct{}]{Name: "owed-by-node"}
	garbageTable = Table[blobKey, Garbage]{Name: "garbage"}
)

func owedByNodeKey(node NodeID, id BlobID) string { return Key(string(node), string(id[:])) }

// RecordOwed notes what is owed of a blob, in the command that records the blob.
func RecordOwed(w *Writer, ref BlobRef, owed []Owed) {
	if len(owed) == 0 {
		return
	}
	owedTable.Put(w, ref.ID.key(), OwedShards{Ref: ref, Owed: owed})
	for _, o := range owed {
		owedByNode.Put(w, owedByNodeKey(o.Node, ref.ID), struct{}{})
	}
}

// RecordGarbage gives a blob up, in the command that removes or replaces the record which
// referred to it. since is unix milliseconds by the proposer's clock. An empty blob has no
// shards and leaves no row.
func RecordGarbage(w *Writer, ref BlobRef, since int64) {
	if ref.Size == 0 {
		return
	}
	row, _ := owedTable.Get(&w.View, ref.ID.key())
	dropOwed(w, row)
	garbageTable.Put(w, ref.ID.key(), Garbage{Ref: ref, Owed: row.Owed, Since: since})
}

func dropOwed(w *Writer, row OwedShards) {
	owedTable.Delete(w, row.Ref.ID.key())
	for _, o := range row.Owed {
		owedByNode.Delete(w, owedByNodeKey(o.Node, row.Ref.ID))
	}
}

// OwedOf is what is owed of a blob, and whether anything is.
func OwedOf(v *View, id BlobID) (OwedShards, bool) { return owedTable.Get(v, id.key()) }

// OwedTo yields the blobs of which node lacks a shard, in order of id, beginning after the given
// one (the zero id for all), until yield answers false.
func OwedTo(v *View, node NodeID, after BlobID, yield func(OwedShards) bool) {
	prefix := Key(string(node), "")
	start := owedByNodeKey(node, after)
	for key := range owedByNode.From(v, start) {
		if len(key) != len(prefix)+len(after) || key[:len(prefix)] != prefix {
			return
		}
		if key == start && after != (BlobID{}) {
			continue
		}
		row, ok := owedTable.Get(v, blobKey(key[len(prefix):]))
		if ok && !yield(row) {
			return
		}
	}
}

// OwedNodes are the nodes to which shards are owed, with the number of blobs up to limit each.
func OwedNodes(v *View, limit int) map[NodeID]int {
	out := map[NodeID]int{}
	start := ""
	for {
		node, found := nextOwedNode(v, start)
		if !found {
			return out
		}
		for range owedByNode.Scan(v, Key(string(node), "")) {
			if out[node]++; out[node] >= limit {
				break
			}
		}
		start = string(node) + "\x01"
	}
}

func nextOwedNode(v *View, start string) (NodeID, bool) {
	for key := range owedByNode.From(v, start) {
		return NodeID(key[:len(key)-len(BlobID{})-1]), true
	}
	return "", false
}

// GarbageFrom yields the blobs given up, in order of id, beginning after the given one (the zero
// id for all), until yield answers false.
func GarbageFrom(v *View, after BlobID, yield func(Garbage) bool) {
	start := after.key()
	if after == (BlobID{}) {
		start = ""
	}
	for key, row := range garbageTable.From(v, start) {
		if key == after.key() {
			continue
		}
		if !yield(row) {
			return
		}
	}
}

// SettleOwed notes that shards have been handed over to the nodes that lacked them.
type SettleOwed struct {
	Settled []Settled `cbor:"1,keyasint"`
}

// Settled is one shard that its node has now.
type Settled struct {
	Blob  BlobID `cbor:"1,keyasint"`
	Shard uint8  `cbor:"2,keyasint,omitempty"`
	Node  NodeID `cbor:"3,keyasint"`
}

// Kind is the command's number in the log.
func (SettleOwed) Kind() Kind { return 1100 }

// Check accepts: what is not owed any more is passed over.
func (SettleOwed) Check(*View) error { return nil }

// Record removes what was settled.
func (c *SettleOwed) Record(w *Writer) {
	for _, s := range c.Settled {
		row, ok := owedTable.Get(&w.View, s.Blob.key())
		if !ok {
			continue
		}
		dropOwed(w, row)
		left := make([]Owed, 0, len(row.Owed))
		for _, o := range row.Owed {
			if o.Shard != s.Shard || o.Node != s.Node {
				left = append(left, o)
			}
		}
		RecordOwed(w, row.Ref, left)
	}
}

// SweepGarbage notes that no node has shards of these blobs any more.
type SweepGarbage struct {
	Blobs []BlobID `cbor:"1,keyasint"`
}

// Kind is the command's number in the log.
func (SweepGarbage) Kind() Kind { return 1101 }

// Check accepts: what was swept already is passed over.
func (SweepGarbage) Check(*View) error { return nil }

// Record forgets the blobs.
func (c *SweepGarbage) Record(w *Writer) {
	for _, id := range c.Blobs {
		garbageTable.Delete(w, id.key())
	}
}

var blobKinds = []KindEntry{
	{Kind: 1100, Class: Index, New: func() Command { return &SettleOwed{} }},
	{Kind: 1101, Class: Index, New: func() Command { return &SweepGarbage{} }},
}
