package fsm_test

import (
	"slices"
	"testing"

	"hive/fsm"
	"hive/internal/fsmtest"
)

// owedGroup is an empty index group.
func owedGroup(t *testing.T) *fsmtest.Group {
	t.Helper()
	return fsmtest.New(t, fsm.Index)
}

func TestSettlingUnknownBlobsChangesNothing(t *testing.T) {
	g := owedGroup(t)
	for _, cmd := range []fsm.Command{
		&fsm.SettleOwed{Settled: []fsm.Settled{{Blob: fsm.BlobID{1}, Shard: 2, Node: "n-a"}}},
		&fsm.SweepGarbage{Blobs: []fsm.BlobID{{1}}},
	} {
		if err := g.Propose(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	err := g.View(func(v *fsm.View) error {
		if n := fsm.OwedNodes(v, 10); len(n) != 0 {
			t.Errorf("owed nodes %v", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func owedTo(v *fsm.View, node fsm.NodeID, after fsm.BlobID) (ids []fsm.BlobID) {
	fsm.OwedTo(v, node, after, func(row fsm.OwedShards) bool {
		ids = append(ids, row.Ref.ID)
		return true
	})
	return ids
}

func TestOwedShardsAreFoundByNodeUntilSettledOrGivenUp(t *testing.T) {
	db := fsm.NewScratch(t)
	a, b := fsm.BlobID{0, 1}, fsm.BlobID{0xff}
	keepers := []fsm.NodeID{"n-k"}
	db.Write(func(w *fsm.Writer) {
		fsm.RecordOwed(w, fsm.BlobRef{ID: a, K: 3, M: 2, Size: 9}, []fsm.Owed{{Shard: 1, Node: "n-a", Keepers: keepers}, {Shard: 2, Node: "n-b", Keepers: keepers}})
		fsm.RecordOwed(w, fsm.BlobRef{ID: b, K: 3, M: 2, Size: 9}, []fsm.Owed{{Shard: 0, Node: "n-a", Keepers: keepers}})
	})
	db.Write(func(w *fsm.Writer) {
		v := &w.View
		if got := owedTo(v, "n-a", fsm.BlobID{}); !slices.Equal(got, []fsm.BlobID{a, b}) {
			t.Errorf("owed to n-a: %v", got)
		}
		if got := owedTo(v, "n-a", a); !slices.Equal(got, []fsm.BlobID{b}) {
			t.Errorf("owed to n-a after a: %v", got)
		}
		if n := fsm.OwedNodes(v, 10); n["n-a"] != 2 || n["n-b"] != 1 || len(n) != 2 {
			t.Errorf("nodes %v", n)
		}
		(&fsm.SettleOwed{Settled: []fsm.Settled{{Blob: a, Shard: 1, Node: "n-a"}}}).Record(w)
		if got := owedTo(v, "n-a", fsm.BlobID{}); !slices.Equal(got, []fsm.BlobID{b}) {
			t.Errorf("owed to n-a after settling: %v", got)
		}
		fsm.RecordGarbage(w, fsm.BlobRef{ID: a, K: 3, M: 2, Size: 9}, 77)
		fsm.RecordGarbage(w, fsm.BlobRef{ID: fsm.BlobID{5}}, 77)
		if n := fsm.OwedNodes(v, 10); len(n) != 1 {
			t.Errorf("nodes after a was given up: %v", n)
		}
		var rows []fsm.Garbage
		fsm.GarbageFrom(v, fsm.BlobID{}, func(g fsm.Garbage) bool { rows = append(rows, g); return true })
		if len(rows) != 1 || rows[0].Ref.ID != a || rows[0].Since != 77 || len(rows[0].Owed) != 1 || rows[0].Owed[0].Node != "n-b" {
			t.Errorf("garbage %+v", rows)
		}
		(&fsm.SweepGarbage{Blobs: []fsm.BlobID{a}}).Record(w)
		fsm.GarbageFrom(v, fsm.BlobID{}, func(g fsm.Garbage) bool { t.Errorf("left %+v", g); return true })
	})
}
