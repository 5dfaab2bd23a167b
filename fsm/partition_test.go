package fsm_test

import (
	"errors"
	"slices"
	"testing"

	"hive/fsm"
	"hive/internal/fsmtest"
)

func install(t *testing.T, g *fsmtest.Group) {
	t.Helper()
	cmd := &fsm.InstallPartitions{K: 2, M: 1, Nodes: []fsm.NodeID{"n-a", "n-b", "n-c"}, Rows: []uint16{0, 1, 2, 2, 1, 0}}
	if err := g.Propose(t.Context(), cmd); err != nil {
		t.Fatal(err)
	}
}

func partition(t *testing.T, g *fsmtest.Group, n uint16) (p fsm.Partition, table fsm.Partitioning) {
	t.Helper()
	err := g.View(func(v *fsm.View) error {
		var ok, ok2 bool
		p, ok = fsm.PartitionOf(v, n)
		table, ok2 = fsm.PartitioningOf(v)
		if !ok || !ok2 {
			t.Fatalf("partition %d: %v %v", n, ok, ok2)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, table
}

func TestPartitionTableIsInstalledOnce(t *testing.T) {
	g := fsmtest.New(t, fsm.Control)
	install(t, g)
	p, table := partition(t, g, 1)
	if !slices.Equal(p.Nodes, []fsm.NodeID{"n-c", "n-b", "n-a"}) || table.Count != 2 || table.Epoch != 1 {
		t.Fatalf("%+v %+v", p, table)
	}
	err := g.Propose(t.Context(), &fsm.InstallPartitions{K: 1, Nodes: []fsm.NodeID{"n-a"}, Rows: []uint16{0}})
	if !errors.Is(err, fsm.ErrExists) {
		t.Fatalf("second install: %v", err)
	}
}

func TestMalformedPartitionTablesAreRefused(t *testing.T) {
	g := fsmtest.New(t, fsm.Control)
	ab := []fsm.NodeID{"n-a", "n-b"}
	for name, cmd := range map[string]*fsm.InstallPartitions{
		"no shards":          {Nodes: ab, Rows: []uint16{0, 1}},
		"no rows":            {K: 1, Nodes: ab},
		"ragged":             {K: 2, Nodes: ab, Rows: []uint16{0, 1, 0}},
		"three partitions":   {K: 1, Nodes: ab, Rows: []uint16{0, 1, 0}},
		"unknown node":       {K: 1, Nodes: ab, Rows: []uint16{2}},
		"one node for a row": {K: 2, Nodes: ab, Rows: []uint16{1, 1}},
	} {
		if err := g.Propose(t.Context(), cmd); !errors.Is(err, fsm.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMovedPartitionRemembersOldNodesUntilSettled(t *testing.T) {
	g := fsmtest.New(t, fsm.Control)
	install(t, g)
	to := []fsm.NodeID{"n-d", "n-b", "n-a"}
	move := &fsm.MovePartitions{Epoch: 1, Moves: []fsm.PartitionMove{{Partition: 1, Nodes: to}}}
	if err := g.Propose(t.Context(), move); err != nil {
		t.Fatal(err)
	}
	if err := g.Propose(t.Context(), move); !errors.Is(err, fsm.ErrConflict) {
		t.Fatalf("the same plan twice: %v", err)
	}
	p, table := partition(t, g, 1)
	if !slices.Equal(p.Nodes, to) || !slices.Equal(p.Old, []fsm.NodeID{"n-c", "n-b", "n-a"}) || table.Epoch != 2 || p.Epoch != 2 {
		t.Fatalf("%+v %+v", p, table)
	}
	stale := &fsm.SettlePartitions{Settled: []fsm.SettledPartition{{Partition: 1, Epoch: 1}}}
	if err := g.Propose(t.Context(), stale); !errors.Is(err, fsm.ErrConflict) {
		t.Fatalf("stale settle: %v", err)
	}
	if err := g.Propose(t.Context(), &fsm.SettlePartitions{Settled: []fsm.SettledPartition{{Partition: 1, Epoch: 2}}}); err != nil {
		t.Fatal(err)
	}
	if p, table = partition(t, g, 1); len(p.Old) != 0 || table.Epoch != 3 {
		t.Fatalf("%+v %+v", p, table)
	}
}
