package shard

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hive/internal/vfs"
)

// damaged is a store of a few segments with what was written to it.
func damaged(t *testing.T) (*vfs.Mem, map[slot]int) {
	t.Helper()
	fs := vfs.NewMem(1 << 30)
	cfg := testDiskConfig(t, fs)
	cfg.segmentSize = 6000
	d, err := openDisk(cfg)
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[slot]int{}
	for i := range 12 {
		n := 300 + i*100
		s := slotOf(testID(i), 0, 0)
		if err := d.putSync(makeRecord(d.cfg.pools, s.id, 0, 0, true, n)); err != nil {
			t.Fatal(err)
		}
		sizes[s] = n
	}
	if err := d.deleteSync(deletion{id: testID(3), shard: wholeBlob, k: 2, m: 1, size: sizeUnknown}); err != nil {
		t.Fatal(err)
	}
	delete(sizes, slotOf(testID(3), 0, 0))
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	return fs, sizes
}

// survey opens a store that may be damaged and reads everything: what it answers is right, and
// what is missing is known to be.
func survey(t *testing.T, fs *vfs.Mem, sizes map[slot]int) (missing int, d *disk) {
	t.Helper()
	cfg := testDiskConfig(t, fs)
	cfg.segmentSize = 6000
	d, err := openDisk(cfg)
	if err != nil {
		if errors.Is(err, errForeign) || errors.Is(err, errFormat) {
			return len(sizes), nil // refused and told
		}
		t.Fatal(err)
	}
	for s, n := range sizes {
		got, err := readShard(d, s.id, s.shard(), 0, int64(n))
		if err == nil && bytes.Equal(got, fill(s, n)) {
			continue
		}
		if err == nil {
			t.Fatalf("wrong bytes of %v", s.id)
		}
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotFound) {
			t.Fatalf("%v: %v", s.id, err)
		}
		missing++
	}
	return missing, d
}

func TestNoFlippedBitIsEverAnswered(t *testing.T) {
	origin, sizes := damaged(t)
	names, err := origin.List("/shards")
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	flips, losses := 0, 0
	for _, name := range names {
		content, err := vfs.ReadFile(origin, "/shards/"+name)
		if err != nil {
			t.Fatal(err)
		}
		for off := 0; off < len(content); off += 1 + rng.IntN(6) {
			for _, sidecars := range []bool{true, false} {
				fs := origin.CrashClone(nil)
				for _, n := range names { // sidecars are not synced: the clone has them empty
					restore(t, origin, fs, n, sidecars)
				}
				if !sidecars && strings.HasSuffix(name, ".idx") {
					continue
				}
				if err := fs.Flip("/shards/"+name, int64(off), uint(rng.IntN(8))); err != nil {
					t.Fatal(err)
				}
				missing, d := survey(t, fs, sizes)
				flips++
				losses += missing
				if strings.HasSuffix(name, ".idx") && missing > 0 {
					t.Fatalf("a flip at %d of %s lost %d records", off, name, missing)
				}
				if d == nil {
					continue
				}
				if missing > 0 && len(d.damage) == 0 && len(d.rotten) == 0 {
					t.Fatalf("a flip at %d of %s lost %d records and nothing tells", off, name, missing)
				}
				if off >= fileHeaderSize && missing > 2 {
					t.Fatalf("a flip at %d of %s lost %d records", off, name, missing)
				}
			}
		}
	}
	t.Logf("%d flips, %d records lost and told", flips, losses)
}

// restore makes a clone's file what it was, with or without the sidecars.
func restore(t *testing.T, from, to *vfs.Mem, name string, sidecars bool) {
	t.Helper()
	if !strings.HasSuffix(name, ".idx") {
		return
	}
	path := "/shards/" + name
	if err := to.Remove(path); err != nil && !vfs.IsNotExist(err) {
		t.Fatal(err)
	}
	if !sidecars {
		return
	}
	content, err := vfs.ReadFile(from, path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := to.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
}

func TestSegmentsThatAreCutMissingOrRenamedAreTold(t *testing.T) {
	first, second := "/shards/"+segmentName(1), "/shards/"+segmentName(2)
	for name, harm := range map[string]func(*testing.T, *vfs.Mem){
		"cut in a record": func(t *testing.T, fs *vfs.Mem) { cut(t, fs, first, -100) },
		"cut to nothing":  func(t *testing.T, fs *vfs.Mem) { cut(t, fs, first, 0) },
		"last one cut":    func(t *testing.T, fs *vfs.Mem) { cut(t, fs, lastSegment(t, fs), -8) },
		"removed": func(t *testing.T, fs *vfs.Mem) {
			if err := fs.Remove(second); err != nil {
				t.Fatal(err)
			}
		},
		"renamed": func(t *testing.T, fs *vfs.Mem) {
			if err := fs.Rename(first, "/shards/"+segmentName(100)); err != nil {
				t.Fatal(err)
			}
		},
		"swapped": func(t *testing.T, fs *vfs.Mem) {
			if err := errors.Join(fs.Rename(first, "/x"), fs.Rename(second, first), fs.Rename("/x", second)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs, sizes := damaged(t)
			harm(t, fs)
			missing, d := survey(t, fs, sizes)
			if d == nil || len(d.damage) == 0 || missing == 0 && name != "last one cut" {
				t.Fatalf("missing %d: %+v", missing, d)
			}
			if err := d.putSync(makeRecord(d.cfg.pools, testID(500), 0, 0, true, 10)); err != nil {
				t.Fatal(err)
			}
			d.mended()
			checkRecord(t, mustOpen(t, fs), slotOf(testID(500), 0, 0), 10)
		})
	}
}

func lastSegment(t *testing.T, fs *vfs.Mem) string {
	t.Helper()
	names, err := fs.List("/shards")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".bin") })
	return "/shards/" + names[len(names)-1]
}

func cut(t *testing.T, fs *vfs.Mem, name string, to int64) {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	if to < 0 {
		to += size
	}
	if err := errors.Join(f.Truncate(to), f.Datasync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestASegmentOfAnotherNodeIsRefused(t *testing.T) {
	fs, _ := damaged(t)
	cfg := testDiskConfig(t, fs)
	cfg.node = "n-b"
	if _, err := openDisk(cfg); !errors.Is(err, errForeign) {
		t.Fatal(err)
	}
}

// A user's bytes that are a record, down to its checksum, must not become one when the scan has to
// search for the next record.
func TestAnObjectThatLooksLikeARecordIsNotTakenForOne(t *testing.T) {
	fs := vfs.NewMem(1 << 30)
	d := mustOpen(t, fs)
	fake := &header{kind: putRecord, k: 1, id: testID(666), final: true, length: 8, lsn: 1 << 60}
	payload := make([]byte, 4096)
	for off := 0; off+200 < len(payload); off += 200 {
		fake.put(payload[off:], at{number: 1, off: uint32(off)}, []uint32{checksum(make([]byte, 8))})
	}
	r := makeRecord(d.cfg.pools, testID(1), 0, 0, true, len(payload))
	copy(r.payload(), payload)
	r.sums[0] = checksum(payload)
	if err := errors.Join(d.putSync(r), d.putSync(makeRecord(d.cfg.pools, testID(2), 0, 0, true, 10)), fs.Flip("/shards/"+segmentName(1), fileHeaderSize+60, 1)); err != nil {
		t.Fatal(err)
	}
	d = mustOpen(t, fs)
	if _, ok := d.lookup(slotOf(testID(666), 0, 0)); ok || len(d.damage) != 1 || len(d.index) != 1 {
		t.Fatalf("%v, %d records", d.damage, len(d.index))
	}
}

// What a killed process has written and not synced is readable after it; it must not be
// acknowledged as durable before it is.
func TestWhatAKilledProcessLeftIsSyncedBeforeItCounts(t *testing.T) {
	fs := vfs.NewMem(1 << 30)
	d := mustOpen(t, fs)
	r := makeRecord(d.cfg.pools, testID(1), 0, 0, true, 1000)
	if _, err := d.put(r); err != nil {
		t.Fatal(err)
	}
	if h := d.holds(testID(1)); len(h) != 1 || h[0].Whole {
		t.Fatalf("not synced, yet %+v", h)
	}
	d = mustOpen(t, fs) // the process was killed, the machine was not
	if err := d.putSync(makeRecord(d.cfg.pools, testID(1), 0, 0, true, 1000)); err != nil {
		t.Fatal(err)
	}
	checkRecord(t, mustOpen(t, fs.CrashClone(nil)), slotOf(testID(1), 0, 0), 1000)
}

func TestTombstonesAreForgottenWithWhatTheyDelete(t *testing.T) {
	fs := vfs.NewMem(1 << 30)
	cfg := testDiskConfig(t, fs)
	cfg.segmentSize = 4000
	d, err := openDisk(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		if err := d.putSync(makeRecord(d.cfg.pools, testID(i), 0, 0, true, 500)); err != nil {
			t.Fatal(err)
		}
		if err := d.deleteSync(deletion{id: testID(i), shard: wholeBlob, k: 2, m: 1, size: 500}); err != nil {
			t.Fatal(err)
		}
		compactAll(t, d)
	}
	if u := d.usage(); u.bytes > 20_000 {
		t.Fatalf("%+v after everything was deleted", u)
	}
	d = mustOpen(t, fs)
	if len(d.index) != 0 {
		t.Fatalf("%d records are back", len(d.index))
	}
}

// The system calls of a store's life, as pebble lists them: a missing sync shows as a difference.
func TestSystemCallsOfAStoresLife(t *testing.T) {
	var calls strings.Builder
	fs := vfs.Hooked(vfs.NewMem(1<<30), func(op vfs.Op) error {
		calls.WriteString(op.String() + "\n")
		return nil
	})
	step := func(name string, fn func() error) {
		calls.WriteString("\n" + name + "\n")
		if err := fn(); err != nil {
			t.Fatal(name, err)
		}
	}
	cfg := testDiskConfig(t, fs)
	cfg.segmentSize = 2000
	var d *disk
	put := func(i, n int) func() error {
		return func() error { return d.putSync(makeRecord(d.cfg.pools, testID(i), 0, 0, true, n)) }
	}
	open := func() (err error) { d, err = openDisk(cfg); return err }
	step("open an empty store", open)
	step("put", put(1, 1000))
	step("put again", put(1, 1000))
	step("put, closing a segment", put(2, 1000))
	step("delete", func() error { return d.deleteSync(deletion{id: testID(1), shard: wholeBlob, k: 2, m: 1, size: 1000}) })
	step("compact", func() error { return d.compact(t.Context(), 1) })
	step("close", func() error { return d.close() })
	step("open", open)
	step("close", func() error { return d.close() })
	golden := filepath.Join("testdata", "syscalls.txt")
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != calls.String() {
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(golden, []byte(calls.String()), 0o644)); err != nil {
				t.Fatal(err)
			}
			return
		}
		t.Fatalf("%v; with UPDATE_GOLDEN=1 this becomes the listing:\n%s", err, calls.String())
	}
}
