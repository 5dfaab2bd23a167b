package fsm

import (
	"encoding/binary"
	"slices"
)

// Partitioning is how blobs are cut into shards and how many partitions they are spread over.
// There is one, from the cluster's formation on.
type Partitioning struct {
	Meta
	Count uint16 `cbor:"1,keyasint"` // a power of two, at most 32,768
	K     uint8  `cbor:"2,keyasint"` // data shards of a new blob
	M     uint8  `cbor:"3,keyasint,omitempty"`
	// Epoch grows with every change of a partition: a table read at another epoch is stale.
	Epoch uint64 `cbor:"4,keyasint"`
}

// Partition names the nodes that hold its blobs.
type Partition struct {
	Meta
	// Nodes are where new shards go, by shard number: K+M of them, all different.
	Nodes []NodeID `cbor:"1,keyasint"`
	// Old are nodes that may still hold shards which Nodes do not have yet: readers and deleters
	// ask them too. Empty unless the partition is being moved.
	Old   []NodeID `cbor:"2,keyasint,omitempty"`
	Epoch uint64   `cbor:"3,keyasint"` // of the table when this partition last changed
}

type partitionKey string

const partitioningKey = "table"

var (
	partitioningTable = Table[string, Partitioning]{Name: "partitioning"}
	partitionTable    = Table[partitionKey, Partition]{Name: "partition"}
)

func keyOfPartition(n uint16) partitionKey {
	return partitionKey(binary.BigEndian.AppendUint16(nil, n))
}

// PartitioningOf is the cluster's partitioning, and whether there is one yet.
func PartitioningOf(v *View) (Partitioning, bool) { return partitioningTable.Get(v, partitioningKey) }

// PartitionOf is the partition of that number.
func PartitionOf(v *View, n uint16) (Partition, bool) {
	return partitionTable.Get(v, keyOfPartition(n))
}

// InstallPartitions records the first table, when the cluster is formed.
type InstallPartitions struct {
	K     uint8    `cbor:"1,keyasint"`
	M     uint8    `cbor:"2,keyasint,omitempty"`
	Nodes []NodeID `cbor:"3,keyasint"`
	// Rows are indexes into Nodes, K+M for each partition.
	Rows []uint16 `cbor:"4,keyasint"`
}

// Kind is the command's number in the log.
func (InstallPartitions) Kind() Kind { return 100 }

// Check refuses a second table and one that is not well formed.
func (c *InstallPartitions) Check(v *View) error {
	if _, ok := PartitioningOf(v); ok {
		return Errorf(ErrExists, "partition table")
	}
	width := int(c.K) + int(c.M)
	if c.K == 0 || len(c.Rows) == 0 || len(c.Rows)%width != 0 || !validCount(len(c.Rows)/width) {
		return Errorf(ErrInvalid, "partition table of %d places for %d+%d shards", len(c.Rows), c.K, c.M)
	}
	for i := 0; i < len(c.Rows); i += width {
		row := c.Rows[i : i+width]
		for j, n := range row {
			if int(n) >= len(c.Nodes) || slices.Contains(row[:j], n) {
				return Errorf(ErrInvalid, "partition %d", i/width)
			}
		}
	}
	return nil
}

func validCount(n int) bool { return n > 0 && n <= 1<<15 && n&(n-1) == 0 }

// Record writes the table at epoch 1.
func (c *InstallPartitions) Record(w *Writer) {
	width := int(c.K) + int(c.M)
	count := len(c.Rows) / width
	partitioningTable.Put(w, partitioningKey, Partitioning{Count: uint16(count), K: c.K, M: c.M, Epoch: 1})
	for i := range count {
		nodes := make([]NodeID, width)
		for j, n := range c.Rows[i*width : (i+1)*width] {
			nodes[j] = c.Nodes[n]
		}
		partitionTable.Put(w, keyOfPartition(uint16(i)), Partition{Nodes: nodes, Epoch: 1})
	}
}

// MovePartitions gives partitions new nodes. New blobs go there at once; readers look at the old
// ones too until SettlePartitions.
type MovePartitions struct {
	Epoch uint64          `cbor:"1,keyasint"` // that the move was planned at
	Moves []PartitionMove `cbor:"2,keyasint"`
}

// PartitionMove is the new node list of one partition, by shard number.
type PartitionMove struct {
	Partition uint16   `cbor:"1,keyasint,omitempty"`
	Nodes     []NodeID `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (MovePartitions) Kind() Kind { return 101 }

// Check refuses a plan that was made on another epoch, and node lists that are not well formed.
func (c *MovePartitions) Check(v *View) error {
	table, ok := PartitioningOf(v)
	if !ok {
		return Errorf(ErrNotFound, "partition table")
	}
	if table.Epoch != c.Epoch {
		return Errorf(ErrConflict, "partition table at epoch %d", table.Epoch)
	}
	for _, m := range c.Moves {
		if m.Partition >= table.Count || len(m.Nodes) != int(table.K)+int(table.M) {
			return Errorf(ErrInvalid, "partition %d", m.Partition)
		}
		for j, n := range m.Nodes {
			if n == "" || slices.Contains(m.Nodes[:j], n) {
				return Errorf(ErrInvalid, "partition %d", m.Partition)
			}
		}
	}
	return nil
}

// Record writes the new lists under the next epoch. Nodes that a partition was to leave already
// stay among its old ones.
func (c *MovePartitions) Record(w *Writer) {
	table, _ := PartitioningOf(&w.View)
	table.Epoch++
	partitioningTable.Put(w, partitioningKey, table)
	for _, m := range c.Moves {
		p, _ := PartitionOf(&w.View, m.Partition)
		for _, n := range p.Nodes {
			if !slices.Contains(p.Old, n) {
				p.Old = append(p.Old, n)
			}
		}
		p.Nodes, p.Epoch = m.Nodes, table.Epoch
		partitionTable.Put(w, keyOfPartition(m.Partition), p)
	}
}

// SettlePartitions notes that partitions' shards are all on their nodes: the old ones need not be
// asked any more.
type SettlePartitions struct {
	Settled []SettledPartition `cbor:"1,keyasint"`
}

// SettledPartition is a partition and its epoch when its shards were looked at.
type SettledPartition struct {
	Partition uint16 `cbor:"1,keyasint,omitempty"`
	Epoch     uint64 `cbor:"2,keyasint"`
}

// Kind is the command's number in the log.
func (SettlePartitions) Kind() Kind { return 102 }

// Check refuses when one of the partitions has been moved again.
func (c *SettlePartitions) Check(v *View) error {
	for _, s := range c.Settled {
		p, ok := PartitionOf(v, s.Partition)
		if !ok {
			return Errorf(ErrNotFound, "partition %d", s.Partition)
		}
		if p.Epoch != s.Epoch {
			return Errorf(ErrConflict, "partition %d", s.Partition)
		}
	}
	return nil
}

// Record forgets the old nodes, under the next epoch.
func (c *SettlePartitions) Record(w *Writer) {
	table, _ := PartitioningOf(&w.View)
	table.Epoch++
	partitioningTable.Put(w, partitioningKey, table)
	for _, s := range c.Settled {
		p, _ := PartitionOf(&w.View, s.Partition)
		p.Old, p.Epoch = nil, table.Epoch
		partitionTable.Put(w, keyOfPartition(s.Partition), p)
	}
}

var partitionKinds = []KindEntry{
	{Kind: 100, Class: Control, New: func() Command { return &InstallPartitions{} }},
	{Kind: 101, Class: Control, New: func() Command { return &MovePartitions{} }},
	{Kind: 102, Class: Control, New: func() Command { return &SettlePartitions{} }},
}
