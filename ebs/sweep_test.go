package ebs

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"hive/ebs/qlog"
	"hive/fsm"
)

// Sweeps that run all the time take nothing from a volume that is written, checkpointed and frozen all the time, nor from its
// snapshots; whoever reads meanwhile sees none of it.
func TestSweepBesideCheckpointsTakesNothingThatIsNeeded(t *testing.T) {
	control, index := groups(t)
	b := newBench(t, control, index, "1")
	v := b.open(b.create(testGiB, ""), true)
	ctx := context.Background()
	now, frozen := newModel(), map[fsm.SnapshotID]model{}
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			if _, err := b.manager().Sweep(ctx); err != nil {
				t.Errorf("sweep: %v", err)
			}
			b.blobs.lose(t, index)
			select {
			case <-done:
				return
			default:
			}
		}
	})
	all.Go(func() {
		p := make([]byte, 16<<10)
		for i := int64(0); ; i++ {
			off := windowAt(int(i%3)) + i*16<<10%windowSize
			v.cache.forget(v.number, off, int64(len(p)))
			if err := v.read(ctx, p, off); err != nil {
				t.Errorf("read: %v", err)
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	random := rand.New(rand.NewPCG(1, 1))
	for i := range 150 {
		for range 3 {
			n := (random.Int64N(64) + 1) * sectorSize
			c := change{off: windowAt(random.IntN(3)) + random.Int64N((windowSize-n)/sectorSize)*sectorSize, n: n, data: pattern(byte(i), int(n))}
			if err := v.write(ctx, c.data, c.off, false); err != nil {
				t.Fatal(err)
			}
			now.apply(c)
		}
		if i%10 == 0 {
			id := fsm.SnapshotID(b.newID("snap"))
			b.propose(&fsm.CreateSnapshot{Snapshot: fsm.Snapshot{ID: id, Account: account, Volume: v.id}})
			if err := v.freeze(ctx, id); err != nil {
				t.Fatal(err)
			}
			frozen[id] = now.clone()
		}
		if _, err := v.checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	all.Wait()
	for v.pending() {
		if _, err := v.checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
	}
	v.cache.forget(v.number, 0, v.size)
	differ(t, "volume", contentOf(t, v), now)
	for id, want := range frozen {
		differ(t, string(id), snapshotContent(t, b, id), want)
	}
	if err := v.close(); err != nil {
		t.Fatal(err)
	}
}

// What an owner had begun to write before it was shut out is garbage; what its successor writes is not.
func TestSweepSparesTheOwnerAndNotItsPredecessor(t *testing.T) {
	control, index := groups(t)
	b := newBench(t, control, index, "1")
	id := b.create(1, "")
	v := b.open(id, true)
	ctx := context.Background()
	if err := v.write(ctx, pattern(1, 8192), 0, true); err != nil {
		t.Fatal(err)
	}
	b.faults.set(nil, func(cmd fsm.Command) error {
		if _, ok := cmd.(*fsm.CheckpointVolume); ok {
			return errInjected
		}
		return nil
	})
	if _, err := v.checkpoint(ctx); err == nil {
		t.Fatal("checkpoint without a control group")
	}
	sweep := func(want int) {
		t.Helper()
		if n, err := b.manager().Sweep(ctx); err != nil || n != want {
			t.Errorf("swept %d, %v; want %d", n, err, want)
		}
	}
	sweep(0)
	b.propose(&fsm.TakeVolume{ID: id, Generation: b.record(id).Generation, Node: "n-b"})
	sweep(3) // a chunk, a page, a root
	b.faults.set(nil, nil)
	if _, err := v.checkpoint(ctx); err == nil {
		t.Error("an owner that was shut out has made a checkpoint")
	}
	if err := v.write(ctx, pattern(1, 512), 0, false); err == nil {
		t.Error("an owner that was shut out writes")
	}
	if err := v.close(); err != nil {
		t.Fatal(err)
	}
	b.propose(&fsm.TakeVolume{ID: id, Generation: b.record(id).Generation, Node: "n-a"})
	v = b.open(id, false)
	got := make([]byte, 8192)
	if err := v.read(ctx, got, 0); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "after both", got, pattern(1, 8192))
	if err := v.zero(ctx, qlog.Trim, 0, 4096, true); err != nil {
		t.Fatal(err)
	}
	if err := v.close(); err != nil {
		t.Fatal(err)
	}
}
