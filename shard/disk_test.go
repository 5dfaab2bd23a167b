package shard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"hive/internal/vfs"
)

// byteSource is a reader of random bytes that are the same each time.
type byteSource struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func newByteSource(seed byte) *byteSource { return &byteSource{r: rand.NewChaCha8([32]byte{seed})} }

func (s *byteSource) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(p)
}

func testDiskConfig(t testing.TB, fs vfs.FS) diskConfig {
	return diskConfig{
		fs: fs, dir: "/shards", node: "n-a", pools: &pools{}, segmentSize: 64 << 10,
		reserve: func(vfs.Space) int64 { return 4 << 10 }, now: func() time.Time { return time.Unix(1e9, 0) },
		rand: newByteSource(1), log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func mustOpen(t testing.TB, fs vfs.FS) *disk {
	t.Helper()
	d, err := openDisk(testDiskConfig(t, fs))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// fill is the payload of a test's record: it depends on slot, so that a mix-up shows.
func fill(s slot, n int) []byte {
	b := make([]byte, n)
	var seed [32]byte
	copy(seed[:], s.id[:])
	seed[16], seed[17], seed[18] = byte(s.n), byte(s.n>>8), byte(s.n>>24)
	r := rand.NewChaCha8(seed)
	_, _ = r.Read(b)
	return b
}

func makeRecord(p *pools, id ID, shard uint8, seq uint32, final bool, n int) *record {
	buf := p.get(n)
	b := buf.payload(n)
	copy(b, fill(slotOf(id, shard, seq), n))
	r := &record{header: header{
		kind: putRecord, shard: shard, k: 2, m: 1, id: id, size: sizeUnknown, seq: seq, final: final, length: uint32(n),
	}, buf: buf}
	for at := 0; at < n; at += blockSize {
		r.sums = append(r.sums, checksum(b[at:min(n, at+blockSize)]))
	}
	return r
}

func (d *disk) putSync(r *record) error {
	m, err := d.put(r)
	if err == nil {
		err = d.sync(m)
	}
	r.buf.release()
	return err
}

func (d *disk) deleteSync(dels ...deletion) error {
	m, err := d.delete(dels)
	if err == nil {
		err = d.sync(m)
	}
	return err
}

func readShard(d *disk, id ID, shard uint8, from, to int64) ([]byte, error) {
	r, err := d.open(id, shard, from, to)
	if err != nil {
		return nil, err
	}
	var out []byte
	buf := make([]byte, PieceRoom)
	for {
		b, err := r.Next(buf)
		if errors.Is(err, io.EOF) {
			return out, r.Close()
		}
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		out = append(out, b...)
	}
}

func testID(n int) ID { return ID{0: byte(n), 1: byte(n >> 8), 15: 7} }

func checkRecord(t *testing.T, d *disk, s slot, n int) {
	t.Helper()
	from := int64(s.seq()) * groupSize
	got, err := readShard(d, s.id, s.shard(), from, from+int64(n))
	if err != nil || !bytes.Equal(got, fill(s, n)) {
		t.Fatalf("record %v/%d/%d: %d bytes, %v", s.id, s.shard(), s.seq(), len(got), err)
	}
}

func TestRecordsSurviveReopening(t *testing.T) {
	for _, clean := range []bool{true, false} {
		fs := vfs.NewMem(1 << 30)
		d := mustOpen(t, fs)
		sizes := map[slot]int{}
		for i := range 40 {
			n := []int{1, 7, 8, 4096, 70000, 131072, 5}[i%7]
			if err := d.putSync(makeRecord(d.cfg.pools, testID(i), uint8(i%3), 0, true, n)); err != nil {
				t.Fatal(err)
			}
			sizes[slotOf(testID(i), uint8(i%3), 0)] = n
		}
		if clean {
			if err := d.close(); err != nil {
				t.Fatal(err)
			}
		}
		d = mustOpen(t, fs)
		for s, n := range sizes {
			checkRecord(t, d, s, n)
		}
		if len(d.damage) > 0 || len(d.index) != len(sizes) {
			t.Fatalf("clean %v: damage %v, %d records", clean, d.damage, len(d.index))
		}
		if err := d.close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPartsOfAShardAreReadExactly(t *testing.T) {
	d := mustOpen(t, vfs.NewMem(1<<30))
	id := testID(1)
	whole := append(fill(slotOf(id, 1, 0), groupSize), fill(slotOf(id, 1, 1), 70000)...)
	for seq, n := range []int{groupSize, 70000} {
		if err := d.putSync(makeRecord(d.cfg.pools, id, 1, uint32(seq), seq == 1, n)); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range [][2]int64{{0, 1}, {65535, 65537}, {100, 590000}, {groupSize - 1, groupSize + 1}, {0, int64(len(whole))}, {groupSize + 65536, int64(len(whole))}} {
		got, err := readShard(d, id, 1, r[0], r[1])
		if err != nil || !bytes.Equal(got, whole[r[0]:r[1]]) {
			t.Fatalf("%v: %d bytes, %v", r, len(got), err)
		}
	}
	if _, err := d.open(id, 1, 0, int64(len(whole))+1); !errors.Is(err, ErrNotFound) {
		t.Fatalf("beyond the end: %v", err)
	}
	h := d.holds(id)
	if len(h) != 1 || h[0] != (Held{Shard: 1, Records: 2, Whole: true, Key: h[0].Key}) {
		t.Fatalf("%+v", h)
	}
}

// crashRun does what a store does to a disk and remembers what was acknowledged.
type crashRun struct {
	t    *testing.T
	d    *disk
	mu   sync.Mutex
	puts map[slot]int // acknowledged, by payload length
	dead map[ID]bool  // deletion acknowledged
	try  map[slot]int // ever begun
	gone map[ID]bool  // deletion begun
}

func (c *crashRun) put(i, n int) {
	s := slotOf(testID(i), uint8(i%3), 0)
	c.mu.Lock()
	c.try[s] = n
	c.mu.Unlock()
	if err := c.d.putSync(makeRecord(c.d.cfg.pools, s.id, s.shard(), 0, true, n)); err != nil {
		c.t.Error(err)
	}
	c.mu.Lock()
	c.puts[s] = n
	c.mu.Unlock()
}

func (c *crashRun) delete(i int) {
	c.mu.Lock()
	c.gone[testID(i)] = true
	c.mu.Unlock()
	if err := c.d.deleteSync(deletion{id: testID(i), shard: wholeBlob, k: 2, m: 1, size: sizeUnknown}); err != nil {
		c.t.Error(err)
	}
	c.mu.Lock()
	c.dead[testID(i)] = true
	c.mu.Unlock()
}

// crash is a file system after a loss of power and what must be on it.
type crash struct {
	name string
	fs   *vfs.Mem
	puts map[slot]int
	dead map[ID]bool
	try  map[slot]int
	gone map[ID]bool
	torn bool
}

func (c *crashRun) snapshot(name string, fs *vfs.Mem, torn *rand.Rand) crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	return crash{name, fs.CrashClone(torn), cloneMap(c.puts), cloneMap(c.dead), cloneMap(c.try), cloneMap(c.gone), torn != nil}
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	out := make(map[K]V, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// check opens what a loss of power left, looks for everything acknowledged, goes on with it, and
// loses power again.
func (c crash) check(t *testing.T) {
	t.Helper()
	d := mustOpen(t, c.fs)
	if len(d.damage) > 0 {
		t.Errorf("%s: damage %v", c.name, d.damage)
	}
	c.verify(t, d)
	extra := slotOf(testID(9999), 0, 0)
	if err := d.putSync(makeRecord(d.cfg.pools, extra.id, 0, 0, true, 100)); err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	for range 20 { // compaction after the crash must lose nothing either
		n, ok := d.compactable(true)
		if !ok {
			break
		}
		if err := d.compact(t.Context(), n); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
	}
	again := mustOpen(t, c.fs.CrashClone(nil))
	checkRecord(t, again, extra, 100)
	delete(again.index, extra)
	c.verify(t, again)
	if err := errors.Join(d.close(), again.close()); err != nil {
		t.Fatal(err)
	}
}

func (c crash) verify(t *testing.T, d *disk) {
	t.Helper()
	for s, n := range c.puts {
		if !c.gone[s.id] {
			checkRecord(t, d, s, n)
		}
	}
	for s := range d.index {
		if c.dead[s.id] {
			t.Fatalf("%s: deleted blob %v is back", c.name, s.id)
		}
		n, begun := c.try[s]
		if !begun && s.id != testID(9999) {
			t.Fatalf("%s: blob %v was never written", c.name, s.id)
		}
		if begun {
			checkRecord(t, d, s, n)
		}
	}
}

func TestPowerLossAfterEveryOperationLosesNothingAcknowledged(t *testing.T) {
	mem := vfs.NewMem(1 << 30)
	run := &crashRun{t: t, puts: map[slot]int{}, dead: map[ID]bool{}, try: map[slot]int{}, gone: map[ID]bool{}}
	var crashes []crash
	rng := rand.New(rand.NewPCG(1, 2))
	fs := vfs.Hooked(mem, func(op vfs.Op) error {
		if op.Name != "read" && op.Name != "space" {
			name := fmt.Sprintf("%d: before %v", len(crashes), op)
			crashes = append(crashes, run.snapshot(name, mem, nil), run.snapshot(name+", torn", mem, rng))
		}
		return nil
	})
	cfg := testDiskConfig(t, fs)
	cfg.segmentSize = 20 << 10
	var err error
	if run.d, err = openDisk(cfg); err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		run.put(i, 100+(i*977)%5000)
		if i%3 == 2 {
			run.delete(i - 1)
		}
		if i%7 == 6 {
			if n, ok := run.d.compactable(false); ok {
				if err := run.d.compact(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
		}
		if i == 30 {
			if err := run.d.close(); err != nil {
				t.Fatal(err)
			}
			if run.d, err = openDisk(cfg); err != nil {
				t.Fatal(err)
			}
		}
	}
	crashes = append(crashes, run.snapshot("end", mem, nil))
	t.Logf("%d losses of power", len(crashes))
	for _, c := range crashes {
		c.check(t)
		if t.Failed() {
			t.FailNow()
		}
	}
}

func TestConcurrentAppendsShareSyncsAndSurvivePowerLoss(t *testing.T) {
	mem := vfs.NewMem(1 << 30)
	run := &crashRun{t: t, puts: map[slot]int{}, dead: map[ID]bool{}, try: map[slot]int{}, gone: map[ID]bool{}}
	var mu sync.Mutex
	var crashes []crash
	syncs := 0
	rng := rand.New(rand.NewPCG(3, 4))
	fs := vfs.Hooked(mem, func(op vfs.Op) error {
		if op.Name == "datasync" {
			mu.Lock()
			defer mu.Unlock()
			syncs++
			if syncs%5 == 0 {
				crashes = append(crashes, run.snapshot(fmt.Sprintf("sync %d", syncs), mem, rng))
			}
		}
		return nil
	})
	run.d = mustOpen(t, fs)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 30 {
				run.put(w*100+i, 300)
			}
		})
	}
	wg.Wait()
	t.Logf("%d syncs for %d appends", syncs, len(run.puts))
	crashes = append(crashes, run.snapshot("end", mem, nil))
	for _, c := range crashes {
		c.torn = true
		d := mustOpen(t, c.fs)
		c.verify(t, d)
		if len(d.damage) > 0 {
			t.Errorf("%s: %v", c.name, d.damage)
		}
	}
}

func TestGroupCommitSyncsCoverOnlyWhatWasWrittenBeforeTheyBegan(t *testing.T) {
	var c committer
	end := uint32(0)
	var mu sync.Mutex
	var covered []uint32
	write := func(n uint32) uint32 {
		mu.Lock()
		defer mu.Unlock()
		end += n
		return end
	}
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 50 {
				pos := write(8)
				err := c.wait(pos, func() uint32 { mu.Lock(); defer mu.Unlock(); return end }, func() error {
					mu.Lock()
					covered = append(covered, end)
					mu.Unlock()
					return nil
				})
				if err != nil || c.position() < pos {
					t.Errorf("acknowledged %d, durable %d, %v", pos, c.position(), err)
				}
			}
		})
	}
	wg.Wait()
	if !slices.IsSorted(covered) || c.leading || c.next != nil {
		t.Fatalf("leading %v next %v", c.leading, c.next)
	}
}

func TestFailedSyncStopsWritesUntilReopened(t *testing.T) {
	mem := vfs.NewMem(1 << 30)
	boom := errors.New("boom")
	fail := false
	d := mustOpen(t, vfs.Hooked(mem, func(op vfs.Op) error {
		if fail && op.Name == "datasync" {
			return boom
		}
		return nil
	}))
	if err := d.putSync(makeRecord(d.cfg.pools, testID(1), 0, 0, true, 10)); err != nil {
		t.Fatal(err)
	}
	fail = true
	if err := d.putSync(makeRecord(d.cfg.pools, testID(2), 0, 0, true, 10)); !errors.Is(err, ErrFailed) || !errors.Is(err, boom) {
		t.Fatal(err)
	}
	fail = false
	if err := d.putSync(makeRecord(d.cfg.pools, testID(3), 0, 0, true, 10)); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	checkRecord(t, d, slotOf(testID(1), 0, 0), 10)
}

func TestFullDiskRefusesWritesButReadsAndDeletes(t *testing.T) {
	mem := vfs.NewMem(40 << 10) // of which 4 KiB are the reserve
	d := mustOpen(t, mem)
	var n int
	for ; ; n++ {
		err := d.putSync(makeRecord(d.cfg.pools, testID(n), 0, 0, true, 1000))
		if errors.Is(err, ErrDiskFull) {
			break
		}
		if err != nil || n > 100 {
			t.Fatal(n, err)
		}
	}
	if n < 20 {
		t.Fatalf("full after %d", n)
	}
	checkRecord(t, d, slotOf(testID(0), 0, 0), 1000)
	for i := range n - 1 {
		if err := d.deleteSync(deletion{id: testID(i), shard: wholeBlob, k: 2, m: 1, size: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	checkRecord(t, d, slotOf(testID(n-1), 0, 0), 1000)
	d.cfg.segmentSize = 1000 // so that the next append closes the segment
	mem.SetTotal(60 << 10)
	if err := d.putSync(makeRecord(d.cfg.pools, testID(1000), 0, 0, true, 10)); err != nil {
		t.Fatal(err)
	}
	compactAll(t, d)
	if u := d.usage(); u.bytes > 8<<10 {
		t.Fatalf("%d bytes after compaction", u.bytes)
	}
	checkRecord(t, d, slotOf(testID(n-1), 0, 0), 1000)
}

func compactAll(t testing.TB, d *disk) {
	t.Helper()
	for {
		n, ok := d.compactable(true)
		if !ok {
			return
		}
		if err := d.compact(context.Background(), n); err != nil {
			t.Fatal(err)
		}
	}
}

// A file system that fills up under the store, reserve or not.
func TestNoSpaceInTheMiddleOfARecordLeavesTheOthersWhole(t *testing.T) {
	mem := vfs.NewMem(1 << 30)
	d := mustOpen(t, mem)
	d.cfg.reserve = func(vfs.Space) int64 { return -1 << 30 }
	if err := d.putSync(makeRecord(d.cfg.pools, testID(1), 0, 0, true, 1000)); err != nil {
		t.Fatal(err)
	}
	mem.SetTotal(int64(d.active.end.Load()) + 500)
	if err := d.putSync(makeRecord(d.cfg.pools, testID(2), 0, 0, true, 1000)); !errors.Is(err, ErrDiskFull) {
		t.Fatal(err)
	}
	if err := d.putSync(makeRecord(d.cfg.pools, testID(3), 0, 0, true, 100)); err != nil {
		t.Fatal(err)
	}
	d = mustOpen(t, mem)
	checkRecord(t, d, slotOf(testID(1), 0, 0), 1000)
	checkRecord(t, d, slotOf(testID(3), 0, 0), 100)
	if len(d.damage) > 0 || len(d.index) != 2 {
		t.Fatalf("%v, %d records", d.damage, len(d.index))
	}
}
