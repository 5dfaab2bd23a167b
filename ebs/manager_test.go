package ebs

import (
	"context"
	"testing"

	"hive/fsm"
)

func TestVolumeIsAttachedWrittenFrozenClonedAndDetached(t *testing.T) {
	r := newRig(t, 1, nil)
	ctx := context.Background()
	id := r.volume(2, "")
	e, g := r.attach(id, "n-a")
	if again, err := r.node("n-a").Attach(ctx, id, g); err != nil || again != e {
		t.Fatalf("attached again: %+v, %v", again, err)
	}
	c := connect(t, e)
	data := pattern(1, 3<<20)
	c.write(512, data)
	c.flush()
	snap := r.snapshot(id)
	if err := r.node("n-a").Freeze(ctx, snap); err != nil {
		t.Fatal(err)
	}
	c.write(4096, pattern(9, 8192))
	r.completed(snap)

	got := make([]byte, len(data))
	if err := r.node("n-a").ReadSnapshot(ctx, snap, got, 512); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "snapshot", got, data)

	clone := r.volume(3, snap)
	e2, _ := r.attach(clone, "n-a")
	c2 := connect(t, e2)
	wantBytes(t, "clone", c2.read(512, int64(len(data))), data)
	c2.write(0, pattern(5, 4096))
	copy(data[4096-512:], pattern(9, 8192))
	wantBytes(t, "volume beside its clone", c.read(512, int64(len(data))), data)
	c.bye()
	if err := r.node("n-a").Detach(ctx, id, g); err != nil {
		t.Fatal(err)
	}
	r.released(id)
	e, _ = r.attach(id, "n-a")
	wantBytes(t, "after settling", connect(t, e).read(512, int64(len(data))), data)
}

func TestSnapshotIsBuiltFromAnyNode(t *testing.T) {
	r := newRig(t, 3, nil)
	ctx := context.Background()
	snap := fsm.SnapshotID("snap-00000000000000b01")
	builder := fsm.Volume{
		ID: "vol-00000000000000b01", Account: account, Size: 1, Lineage: "vol-00000000000000b01", Replicas: r.ids, Owner: "n-b",
		Builder: snap,
	}
	r.propose(&fsm.CreateSnapshot{Snapshot: fsm.Snapshot{ID: snap, Account: account, Volume: builder.ID}, Builder: &builder})
	data := pattern(3, 1<<20)
	for i, node := range r.ids {
		if err := r.node(node).WriteBuilder(ctx, snap, data[i*4096:], int64(i)*4096); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.node("n-c").ReadSnapshot(ctx, snap, make([]byte, 512), 0); err == nil {
		t.Error("read a snapshot that is pending")
	}
	if err := r.node("n-c").FinishBuilder(ctx, snap); err != nil {
		t.Fatal(err)
	}
	if err := r.node("n-a").FinishBuilder(ctx, snap); err != nil {
		t.Errorf("finished again: %v", err)
	}
	got := make([]byte, len(data)+4096)
	if err := r.node("n-a").ReadSnapshot(ctx, snap, got, 0); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "built", got[:len(data)], data)
	var extents []int64
	if err := r.node("n-b").SnapshotExtents(ctx, snap, 0, 1<<30, func(n int64, data bool) bool {
		if !data {
			n = -n
		}
		extents = append(extents, n)
		return true
	}); err != nil || len(extents) != 2 || extents[0] != 1<<20 || extents[1] != -(1<<30-1<<20) {
		t.Errorf("extents %v, %v", extents, err)
	}
}
