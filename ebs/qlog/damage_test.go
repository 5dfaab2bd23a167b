package qlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"hive/fsm"
	"hive/internal/vfs"
)

// written is the disks of n nodes that hold the same 9 records, all synced, in more than one segment.
func written(t testing.TB, n int) map[fsm.NodeID]*vfs.Mem {
	b := newBed(t, n)
	b.segment = 4 << 10
	l, _ := b.owner("n-a", 1)
	for i := range 9 {
		add(t, l, i, 500)
		mustSync(t, l)
	}
	for _, id := range b.ids() {
		waitSynced(t, l, id)
	}
	b.close(l)
	disks := map[fsm.NodeID]*vfs.Mem{}
	for _, id := range b.ids() {
		b.stop(id)
		disks[id] = b.nodes[id].fs.(*vfs.Mem)
	}
	return disks
}

// files is where each byte of a volume's files is.
func files(t testing.TB, disk vfs.FS) map[string]int64 {
	t.Helper()
	dir := "/logs/" + string(testVolume)
	names, err := disk.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	for _, name := range names {
		b, err := vfs.ReadFile(disk, path.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		out[path.Join(dir, name)] = int64(len(b))
	}
	return out
}

// reopened is nodes over clones of disks; those not in up are down.
func reopened(t testing.TB, disks map[fsm.NodeID]*vfs.Mem, up ...fsm.NodeID) *bed {
	b := newBed(t, 0)
	b.segment = 4 << 10
	for id, disk := range disks {
		b.nodes[id] = &node{id: id, fs: disk.CrashClone(nil)}
		if slices.Contains(up, id) {
			b.start(id)
		}
	}
	return b
}

// eachDamage calls do with every seventh byte of a node's files and a bit of it.
func eachDamage(t testing.TB, disk *vfs.Mem, do func(name string, off int64, bit uint)) {
	for name, size := range files(t, disk) {
		for off := int64(0); off < size; off += 7 {
			do(name, off, uint(off/7)%8)
		}
	}
}

func TestABitFlippedOnOneCopyLosesNothingThatAnotherHas(t *testing.T) {
	disks := written(t, 3)
	eachDamage(t, disks["n-b"], func(name string, off int64, bit uint) {
		b := reopened(t, disks, "n-b", "n-c")
		if err := b.nodes["n-b"].fs.(*vfs.Mem).Flip(name, off, bit); err != nil {
			t.Fatal(err)
		}
		b.stop("n-b") // a store reads a log when it is asked for, so this changes nothing but is sure
		b.start("n-b")
		l, records, err := b.tryOwner(b.config([]fsm.NodeID{"n-b", "n-c"}[off/7%2], 2))
		if err != nil {
			t.Fatalf("%s, bit %d of byte %d: %v", name, bit, off, err)
		}
		mustHold(t, records, 0, 9, 500)
		waitSynced(t, l, "n-b")
		waitSynced(t, l, "n-c")
		b.close(l)
		b.stop("n-c") // and the damaged copy is whole again: it alone, as if the others were gone
		r, err := b.nodes["n-b"].store.replica(testVolume)
		if err != nil {
			t.Fatal(err)
		}
		for seq, end := r.begin(), r.end(); seq < end; seq++ {
			if _, _, err := r.chunk(nil, seq, seq, chunkSize); err != nil {
				t.Fatalf("%s, bit %d of byte %d: not mended: %v", name, bit, off, err)
			}
		}
		b.stop("n-b")
	})
}

func TestABitFlippedOnTheOnlyCopyIsNeverReadAsDataAndNeverCutsTheLog(t *testing.T) {
	disks := written(t, 1)
	corrupt := 0
	eachDamage(t, disks["n-a"], func(name string, off int64, bit uint) {
		b := reopened(t, disks)
		if err := b.nodes["n-a"].fs.(*vfs.Mem).Flip(name, off, bit); err != nil {
			t.Fatal(err)
		}
		b.start("n-a")
		defer b.stop("n-a")
		l, records, err := b.tryOwner(b.config("n-a", 2))
		if errors.Is(err, ErrCorrupt) {
			if s := err.Error(); !strings.Contains(s, "record ") || !strings.Contains(s, string(testVolume)) || !strings.Contains(s, "n-a") {
				t.Fatalf("the error does not name volume, node and record: %v", err)
			}
			corrupt++
			return
		}
		if err != nil {
			t.Fatalf("%s, bit %d of byte %d: %v", name, bit, off, err)
		}
		mustHold(t, records, 0, 9, 500)
		b.close(l)
	})
	if corrupt == 0 {
		t.Fatal("no flip was found")
	}
}

func TestWiderDamageIsMendedFromAnotherCopy(t *testing.T) {
	disks := written(t, 3)
	for name, size := range files(t, disks["n-b"]) {
		if strings.HasSuffix(name, stateName) {
			continue // see the test of a copy that remembers nothing
		}
		for off := int64(0); off < size; off += 512 {
			b := reopened(t, disks)
			f, err := b.nodes["n-b"].fs.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(make([]byte, min(1024, size-off)), off); err != nil {
				t.Fatal(err)
			}
			b.start("n-b")
			b.start("n-c")
			l, records := b.owner("n-b", 2)
			mustHold(t, records, 0, 9, 500)
			waitSynced(t, l, "n-c")
			b.close(l)
			b.stop("n-b")
			b.stop("n-c")
		}
	}
}

func TestACopyThatRemembersNothingDoesNotOutvoteOneThatDoes(t *testing.T) {
	disks := written(t, 3)
	for _, what := range []string{"state", "disk"} {
		b := reopened(t, disks)
		mem := b.nodes["n-b"].fs.(*vfs.Mem)
		for name := range files(t, mem) {
			if what == "disk" || strings.HasSuffix(name, stateName) {
				if err := mem.Remove(name); err != nil {
					t.Fatal(err)
				}
			}
		}
		b.start("n-b")
		b.start("n-c")
		if _, _, err := b.tryOwner(b.config("n-b", 2)); !errors.Is(err, ErrNoQuorum) || !strings.Contains(err.Error(), "n-a") {
			t.Fatal(err)
		}
		b.start("n-a")
		l, records := b.owner("n-b", 3)
		mustHold(t, records, 0, 9, 500)
		waitSynced(t, l, "n-b")
		waitSynced(t, l, "n-a")
		b.close(l)
		b.stop("n-a")
		b.stop("n-c")
		b.start("n-c")
		l, records = b.owner("n-b", 4) // it counts again
		mustHold(t, records, 0, 9, 500)
		b.close(l)
		b.stop("n-b")
		b.stop("n-c")
	}
}

func TestDamageFoundWhileReadingIsMended(t *testing.T) {
	b := newBed(t, 2)
	l, _ := b.owner("n-a", 1)
	at := []Position{add(t, l, 0, 5000), add(t, l, 1, 300<<10), add(t, l, 2, 70)}
	mustSync(t, l)
	name := path.Join("/logs", string(testVolume), segmentName(at[0].Segment))
	for i, size := range []int{5000, 300 << 10, 70} {
		for _, off := range []int64{3, 60, 66, int64(headerSize + 30 + size/3)} {
			segment := path.Join(path.Dir(name), segmentName(at[i].Segment))
			if err := b.nodes["n-a"].fs.(*vfs.Mem).Flip(segment, int64(at[i].Offset)+off, 2); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, size)
			if err := l.ReadAt(got, at[i], 0); err != nil || !bytes.Equal(got, content(i, size)) {
				t.Fatalf("record %d, byte %d: %v", i, off, err)
			}
		}
	}
	b.part("n-a", "n-b", true)
	if err := b.nodes["n-a"].fs.(*vfs.Mem).Flip(name, int64(at[0].Offset)+100, 2); err != nil {
		t.Fatal(err)
	}
	if err := l.ReadAt(make([]byte, 5000), at[0], 0); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	b.part("n-a", "n-b", false)
	got := make([]byte, 5000)
	if err := l.ReadAt(got, at[0], 0); err != nil || !bytes.Equal(got, content(0, 5000)) {
		t.Fatal(err)
	}
	b.close(l)
}

func TestDamageOnTheOwnersDiskIsNotSentToACopyThatCatchesUp(t *testing.T) {
	b := newBed(t, 3)
	l, _ := b.owner("n-a", 1)
	b.part("n-a", "n-c", true)
	var at []Position
	for i := range 20 {
		at = append(at, add(t, l, i, 900))
	}
	mustSync(t, l)
	for _, i := range []int{0, 7, 8, 19} {
		name := path.Join("/logs", string(testVolume), segmentName(at[i].Segment))
		if err := b.nodes["n-a"].fs.(*vfs.Mem).Flip(name, int64(at[i].Offset)+40, 1); err != nil {
			t.Fatal(err)
		}
	}
	b.part("n-a", "n-c", false)
	waitSynced(t, l, "n-c")
	b.close(l)
	b.stop("n-a")
	b.stop("n-b")
	b.start("n-b")
	l, records := b.owner("n-c", 2)
	mustHold(t, records, 0, 20, 900)
	b.close(l)
}

func TestATornEndIsCut(t *testing.T) {
	for seed := range uint64(200) {
		b := newBed(t, 1)
		b.segment = 4 << 10
		l, _ := b.owner("n-a", 1)
		for i := range 3 {
			add(t, l, i, 600)
		}
		mustSync(t, l)
		for i := 3; i < 12; i++ {
			add(t, l, i, 600)
		}
		b.lose("n-a", rand.New(rand.NewPCG(seed, 1)))
		b.close(l)
		b.start("n-a")
		l, records := b.owner("n-a", 2)
		if len(records) < 3 {
			t.Fatalf("%d records", len(records))
		}
		mustHold(t, records, 0, len(records), 600)
		add(t, l, len(records), 600)
		mustSync(t, l)
		b.close(l)
		b.stop("n-a")
	}
}

func TestAFailedSyncIsFinalForItsCopyAndTheMajorityGoesOn(t *testing.T) {
	b := newBed(t, 3)
	var broken atomic.Bool
	fault := errors.New("the disk says no")
	for _, id := range []fsm.NodeID{"n-a", "n-c"} {
		b.stop(id)
		b.nodes[id].fs = vfs.Hooked(b.nodes[id].fs, func(op vfs.Op) error {
			if op.Name == "datasync" && id == "n-c" && broken.CompareAndSwap(true, false) {
				return fault // once: later ones would succeed, and mean nothing
			}
			return nil
		})
		b.start(id)
	}
	l, _ := b.owner("n-a", 1)
	for _, id := range b.ids() {
		waitSynced(t, l, id)
	}
	broken.Store(true)
	add(t, l, 0, 100)
	mustSync(t, l)
	for broken.Load() { // until n-c has been asked too
		add(t, l, 1, 100)
		mustSync(t, l)
	}
	r, err := b.nodes["n-c"].store.replica(testVolume)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.install(&session{term: term{9, 9}}); !errors.Is(err, ErrFailed) || !errors.Is(err, fault) {
		t.Fatal(err)
	}
	b.part("n-a", "n-b", true)
	add(t, l, 2, 100)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Sync(ctx); !errors.Is(err, ErrNoQuorum) {
		t.Fatal(err)
	}
	b.stop("n-c")
	b.start("n-c") // a restart reads what is there
	waitSynced(t, l, "n-c")
	b.close(l)
}

func TestAnOwnerWhoseDiskFailsToSyncLosesTheLog(t *testing.T) {
	b := newBed(t, 3)
	var broken atomic.Bool
	b.stop("n-a")
	b.nodes["n-a"].fs = vfs.Hooked(b.nodes["n-a"].fs, func(op vfs.Op) error {
		if op.Name == "datasync" && broken.Load() {
			return errors.New("the disk says no")
		}
		return nil
	})
	b.start("n-a")
	l, _ := b.owner("n-a", 1)
	broken.Store(true)
	add(t, l, 0, 100)
	if err := l.Sync(context.Background()); err != nil && !errors.Is(err, ErrFailed) {
		t.Fatal(err) // the two others may have been faster
	}
	<-l.Lost()
	if err := l.Err(); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	b.close(l)
}

func TestAFullDiskRefusesTheAppendAndKeepsTheLog(t *testing.T) {
	b := newBed(t, 1)
	b.segment = 4 << 10
	l, _ := b.owner("n-a", 1)
	add(t, l, 0, 1000)
	mem := b.nodes["n-a"].fs.(*vfs.Mem)
	mem.SetTotal(6000)
	var err error
	n := 1
	for ; err == nil; n++ {
		_, err = l.Append(Write, int64(n)*4096, 1000, content(n, 1000))
	}
	if !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatal(err)
	}
	mustSync(t, l)
	mem.SetTotal(1 << 30)
	n--
	add(t, l, n, 1000)
	mustSync(t, l)
	b.close(l)
	b.stop("n-a")
	b.start("n-a")
	l, records := b.owner("n-a", 2)
	mustHold(t, records, 0, n+1, 1000)
	b.close(l)
}

func TestACopyWithAMissingFileIsNamed(t *testing.T) {
	disks := written(t, 1)
	b := reopened(t, disks)
	name := path.Join("/logs", string(testVolume), segmentName(1))
	if err := b.nodes["n-a"].fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	b.start("n-a")
	if _, _, err := b.tryOwner(b.config("n-a", 2)); !errors.Is(err, ErrCorrupt) {
		t.Fatal(fmt.Sprint(err))
	}
}
