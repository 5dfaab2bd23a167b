package shard

import (
	"fmt"
	"sync"

	"hive/fsm"
)

// Table is the partition table at one epoch.
type Table struct {
	fsm.Partitioning
	Rows []fsm.Partition // by partition
}

// LoadTable reads the table. It answers ErrNoTable before the cluster is formed.
func LoadTable(v *fsm.View) (*Table, error) {
	head, ok := fsm.PartitioningOf(v)
	if !ok {
		return nil, ErrNoTable
	}
	t := &Table{Partitioning: head, Rows: make([]fsm.Partition, head.Count)}
	for i := range t.Rows {
		if t.Rows[i], ok = fsm.PartitionOf(v, uint16(i)); !ok {
			return nil, fmt.Errorf("partition %d has no record: %w", i, fsm.ErrStateCorrupt)
		}
	}
	return t, nil
}

// Viewer is what the control group offers.
type Viewer interface {
	View(fn func(*fsm.View) error) error
	Changed() <-chan struct{}
}

// tables keeps the table until the control group's state says that there is a newer one.
type tables struct {
	control Viewer

	mu      sync.Mutex // guards what is below
	table   *Table
	changed <-chan struct{} // as it was before table was read
}

// get is the table as of this node's state.
func (c *tables) get() (*Table, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.table != nil {
		select {
		case <-c.changed:
		default:
			return c.table, nil
		}
	}
	changed := c.control.Changed()
	err := c.control.View(func(v *fsm.View) error {
		head, ok := fsm.PartitioningOf(v)
		if ok && c.table != nil && c.table.Epoch == head.Epoch {
			return nil
		}
		table, err := LoadTable(v)
		if err == nil {
			c.table = table
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	c.changed = changed
	return c.table, nil
}

// places is where a blob's shards are and may be.
type places struct {
	nodes []fsm.NodeID // by shard number
	also  []fsm.NodeID // others that may hold some
}

// of is where the partition's shards lie, of a blob with that many.
func (t *Table) of(partition uint16, width int) (places, error) {
	if int(partition) >= len(t.Rows) {
		return places{}, fmt.Errorf("partition %d of %d: %w", partition, len(t.Rows), ErrNotFound)
	}
	row := t.Rows[partition]
	if len(row.Nodes) < width {
		return places{}, fmt.Errorf("partition %d has %d nodes for %d shards: %w", partition, len(row.Nodes), width, ErrNotFound)
	}
	return places{nodes: row.Nodes[:width], also: row.Old}, nil
}
