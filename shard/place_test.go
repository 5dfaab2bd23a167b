package shard

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"hive/fsm"
	"hive/internal/fsmtest"
)

func nodesIn(zones ...string) (out []Node) {
	for i, z := range zones {
		out = append(out, Node{ID: fsm.NodeID(fmt.Sprintf("n-%02d", i)), Zone: z})
	}
	return out
}

func install(t testing.TB, g *fsmtest.Group, nodes []Node, p Profile, partitions int) *Table {
	t.Helper()
	cmd, err := PlanTable(nodes, p, partitions)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Propose(t.Context(), cmd); err != nil {
		t.Fatal(err)
	}
	return load(t, g)
}

func load(t testing.TB, g *fsmtest.Group) (table *Table) {
	t.Helper()
	err := g.View(func(v *fsm.View) (err error) { table, err = LoadTable(v); return err })
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestPartitionsAreSpreadByWeight(t *testing.T) {
	nodes := nodesIn("a", "a", "a", "a", "a", "a", "a", "a")
	nodes[0].Weight, nodes[1].Weight = 2, 1
	for i := range nodes[2:] {
		nodes[2+i].Weight = 1
	}
	plan, err := PlanTable(nodes, Profile{1, 0}, 8192)
	if err != nil {
		t.Fatal(err)
	}
	count := map[uint16]int{}
	for _, n := range plan.Rows {
		count[n]++
	}
	for i := range nodes {
		want := 8192.0 / 9
		if i == 0 {
			want *= 2
		}
		if got := float64(count[uint16(i)]); math.Abs(got-want) > want/5 {
			t.Errorf("node %d has %v partitions, its share is %.0f", i, got, want)
		}
	}
}

func TestZonesAreKeptApart(t *testing.T) {
	plan, err := PlanTable(nodesIn("a", "a", "b", "b", "c", "c", "c"), Profile{3, 2}, 1024)
	if err != nil {
		t.Fatal(err)
	}
	zones := map[uint16]string{0: "a", 1: "a", 2: "b", 3: "b", 4: "c", 5: "c", 6: "c"}
	for row := range slices.Chunk(plan.Rows, 5) {
		count := map[string]int{}
		for _, n := range row {
			count[zones[n]]++
		}
		if len(count) != 3 || count["c"] > 2 {
			t.Fatalf("row %v: %v", row, count)
		}
	}
}

func TestPlansThatCannotBeAreRefused(t *testing.T) {
	for name, err := range map[string]error{
		"too few nodes": second(PlanTable(nodesIn("a", "b"), Profile{2, 1}, 16)),
		"no data":       second(PlanTable(nodesIn("a", "b"), Profile{0, 1}, 16)),
		"no power of 2": second(PlanTable(nodesIn("a", "b"), Profile{1, 1}, 17)),
		"no partitions": second(PlanTable(nodesIn("a", "b"), Profile{1, 1}, 0)),
	} {
		if !errors.Is(err, fsm.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestAPlanIsTheSameWhateverTheOrderOfNodes(t *testing.T) {
	nodes := nodesIn("a", "b", "c", "a", "b")
	one, err := PlanTable(nodes, Profile{3, 2}, 64)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(nodes)
	two, err := PlanTable(nodes, Profile{3, 2}, 64)
	if err != nil || !slices.Equal(one.Rows, two.Rows) || !slices.Equal(one.Nodes, two.Nodes) {
		t.Fatalf("%v %v %v", one, two, err)
	}
}

func TestANewNodeMovesItsShareAndNoMore(t *testing.T) {
	g := fsmtest.New(t, fsm.Control)
	nodes := nodesIn("", "", "", "", "")
	table := install(t, g, nodes, Profile{2, 1}, 1024)
	move, err := PlanMove(table, append(nodes, Node{ID: "n-new"}))
	if err != nil {
		t.Fatal(err)
	}
	if share := move.Of / 6; move.Shards < share*8/10 || move.Shards > share*12/10 || move.Of != 3072 {
		t.Fatalf("%d of %d places move, the share is %d", move.Shards, move.Of, share)
	}
	for _, m := range move.Command.Moves {
		for j, node := range m.Nodes {
			if old := table.Rows[m.Partition].Nodes; node != "n-new" && old[j] != node {
				t.Fatalf("partition %d: %v becomes %v", m.Partition, old, m.Nodes)
			}
		}
	}
	if err := g.Propose(t.Context(), move.Command); err != nil {
		t.Fatal(err)
	}
	again, err := PlanMove(load(t, g), append(nodes, Node{ID: "n-new"}))
	if err != nil || again.Shards != 0 {
		t.Fatalf("the same plan again moves %d, %v", again.Shards, err)
	}
}

func TestTheTableIsReadAgainWhenItChanges(t *testing.T) {
	g := fsmtest.New(t, fsm.Control)
	c := tables{control: g}
	if _, err := c.get(); !errors.Is(err, ErrNoTable) {
		t.Fatal(err)
	}
	install(t, g, nodesIn("", "", ""), Profile{2, 1}, 16)
	one, err := c.get()
	if err != nil || one.Epoch != 1 {
		t.Fatal(one, err)
	}
	if again, err := c.get(); again != one || err != nil {
		t.Fatal("read again without a change")
	}
	to := []fsm.NodeID{"n-00", "n-01", "n-new"}
	if err := g.Propose(t.Context(), &fsm.MovePartitions{Epoch: 1, Moves: []fsm.PartitionMove{{Partition: 3, Nodes: to}}}); err != nil {
		t.Fatal(err)
	}
	two, err := c.get()
	if err != nil || two.Epoch != 2 || !slices.Equal(two.Rows[3].Nodes, to) {
		t.Fatal(two, err)
	}
}

// While a partition moves, blobs are found on its old nodes and on its new ones.
func TestBlobsAreReadWhileTheirPartitionMoves(t *testing.T) {
	r := newRig(t, 5)
	data := random(1, 300_000)
	ref := r.put("n-a", "k", data)
	table := load(t, r.control)
	row := slices.Clone(table.Rows[ref.Partition].Nodes)
	slices.Reverse(row) // every shard but the middle one has a new place
	r.propose(r.control, &fsm.MovePartitions{Epoch: 1, Moves: []fsm.PartitionMove{{Partition: ref.Partition, Nodes: row}}})
	for _, id := range r.ids {
		r.check(id, ref, data)
	}
	for _, id := range r.ids {
		if err := r.stores[id].Repair(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for shard, id := range row {
		if _, whole := r.stores[id].ownShard(ref, uint8(shard)); !whole {
			t.Errorf("shard %d is not on %s", shard, id)
		}
	}
}

func TestPartitionIsTheTopBitsOfTheKeysHash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.String().Draw(t, "key")
		fine, coarse := PartitionOf(key, 1<<15), PartitionOf(key, 16)
		if fine>>11 != coarse || coarse >= 16 || PartitionOf(key, 1) != 0 {
			t.Fatalf("%d of 32768, %d of 16", fine, coarse)
		}
	})
	// SHA-512("b/k") begins with these bytes: `printf b/k | sha512sum`
	if h := hashKey("b/k"); PartitionOf("b/k", 256) != uint16(h[0]) {
		t.Fatal("not the first byte")
	}
}

func TestShapesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := shape{k: rapid.IntRange(1, 10).Draw(t, "k"), size: rapid.Int64Range(1, 40<<20).Draw(t, "size")}
		var total int64
		for i := range s.stripes() {
			total += int64(s.block(i))
		}
		if total != s.shardSize() || total*int64(s.k) < s.size || (total-1)*int64(s.k) >= s.size {
			t.Fatalf("%+v: shard of %d bytes, sum %d", s, s.shardSize(), total)
		}
		var groups int64
		for seq := range s.groups() {
			groups += int64(s.group(seq))
		}
		if groups != total {
			t.Fatalf("%+v: groups sum up to %d of %d", s, groups, total)
		}
	})
}
