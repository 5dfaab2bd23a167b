package ebs

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"hive/ebs/qlog"
	"hive/fsm"
	"hive/internal/fsmtest"
	"hive/internal/vfs"
)

// memBlobs is a blob layer in memory.
type memBlobs struct {
	mu     sync.Mutex
	blobs  map[fsm.BlobID][]byte
	writes int
	bytes  int64
}

func newMemBlobs() *memBlobs { return &memBlobs{blobs: map[fsm.BlobID][]byte{}} }

func (m *memBlobs) Write(ctx context.Context, _ string, r io.Reader, size int64) (fsm.BlobRef, []fsm.Owed, error) {
	b, err := io.ReadAll(r)
	if err = errors.Join(err, ctx.Err()); err != nil {
		return fsm.BlobRef{}, nil, err
	}
	if int64(len(b)) != size {
		return fsm.BlobRef{}, nil, fmt.Errorf("%d bytes of %d", len(b), size)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	m.bytes += size
	ref := fsm.BlobRef{K: 1, Size: size}
	if _, err := crand.Read(ref.ID[:]); err != nil {
		return fsm.BlobRef{}, nil, err
	}
	m.blobs[ref.ID] = b
	return ref, nil, nil
}

func (m *memBlobs) Read(_ context.Context, ref fsm.BlobRef, off, n int64) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.blobs[ref.ID]
	if !ok {
		return nil, fmt.Errorf("no blob %v", ref.ID)
	}
	if off < 0 || n < 0 || off+n > int64(len(b)) {
		return nil, fmt.Errorf("range %d+%d of %d", off, n, len(b))
	}
	return io.NopCloser(bytes.NewReader(b[off : off+n])), nil
}

// lose removes the blobs that the index group knew and has given up.
func (m *memBlobs) lose(t fatal, index *fsmtest.Group) {
	var gone []fsm.BlobID
	err := index.View(func(v *fsm.View) error {
		fsm.GarbageFrom(v, fsm.BlobID{}, func(g fsm.Garbage) bool {
			gone = append(gone, g.Ref.ID)
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range gone {
		delete(m.blobs, id)
	}
}

// fatal is what a test and a property's iteration have in common.
type fatal interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// bench is volumes without a manager: a real log on a file system that can lose power, groups that may refuse.
type bench struct {
	t       fatal
	control *fsmtest.Group
	index   *fsmtest.Group
	blobs   *memBlobs
	faults  faults
	shared  *shared
	fs      *vfs.Mem
	logs    *qlog.Store
	cfg     Config
	number  uint32
	prefix  string
	ids     int
}

func newBench(t fatal, control, index *fsmtest.Group, prefix string) *bench {
	b := &bench{t: t, control: control, index: index, blobs: newMemBlobs(), fs: vfs.NewMem(1 << 40), prefix: prefix}
	b.cfg = Config{
		Node: "n-a", Dir: "/log", RunDir: "/none", FS: b.fs, Control: faultyGroup{control, &b.faults}, Index: []IndexGroup{faultyGroup{index, &b.faults}},
		Blobs: faultyBlobs{b.blobs, &b.faults}, Clock: time.Now, Log: slog.New(slog.DiscardHandler), CacheBytes: 16 << 20,
		CheckpointAt: 1 << 40, DirtyMax: 1 << 41, IdleAfter: time.Hour, SegmentSize: 256 << 10,
	}
	b.boot()
	return b
}

// boot opens the logs, with nothing in memory.
func (b *bench) boot() {
	b.t.Helper()
	b.cfg.FS = b.fs
	b.shared = newShared(&b.cfg)
	logs, err := qlog.OpenStore(qlog.StoreConfig{Dir: b.cfg.Dir, FS: b.fs, Log: b.cfg.Log, SegmentSize: b.cfg.SegmentSize})
	if err != nil {
		b.t.Fatal(err)
	}
	b.logs = logs
}

func (b *bench) propose(cmd fsm.Command) {
	b.t.Helper()
	if err := b.control.Propose(context.Background(), cmd); err != nil {
		b.t.Fatalf("%T: %v", cmd, err)
	}
}

func (b *bench) newID(kind string) string {
	b.ids++
	return fmt.Sprintf("%s-%s%08x", kind, b.prefix, b.ids)
}

func (b *bench) create(gib int64, from fsm.SnapshotID) fsm.VolumeID {
	b.t.Helper()
	id := fsm.VolumeID(b.newID("vol"))
	x := fsm.Volume{ID: id, Account: account, Size: gib, Lineage: string(id), Replicas: []fsm.NodeID{"n-a"}, Snapshot: from}
	if from != "" {
		x.Lineage = b.snapshotRecord(from).Lineage
	}
	b.propose(&fsm.CreateVolume{Volume: x})
	return id
}

func (b *bench) record(id fsm.VolumeID) (x fsm.Volume) {
	b.t.Helper()
	if err := b.control.View(func(v *fsm.View) error { x, _ = fsm.Volumes.Get(v, id); return nil }); err != nil {
		b.t.Fatal(err)
	}
	return x
}

func (b *bench) snapshotRecord(id fsm.SnapshotID) (x fsm.Snapshot) {
	b.t.Helper()
	if err := b.control.View(func(v *fsm.View) error { x, _ = fsm.Snapshots.Get(v, id); return nil }); err != nil {
		b.t.Fatal(err)
	}
	return x
}

// open opens a volume under a new generation, or under the same when it was open before.
func (b *bench) open(id fsm.VolumeID, takeover bool) *volume {
	b.t.Helper()
	if x := b.record(id); takeover || x.Owner == "" {
		b.propose(&fsm.TakeVolume{ID: id, Generation: x.Generation, Node: "n-a"})
	}
	b.number++
	pending := func(s fsm.SnapshotID) bool {
		ok, err := isPending(b.control, s)
		return ok || err != nil
	}
	v, err := openVolume(context.Background(), b.shared, b.number, b.record(id), pending,
		func(ctx context.Context, x fsm.Volume, replay func(qlog.Record) error) (journal, error) {
			log, err := qlog.Open(ctx, qlog.Config{
				Volume: x.ID, Generation: x.Generation, Self: "n-a", Replicas: x.Replicas, Store: b.logs, From: x.Map.Seq + 1, Log: b.cfg.Log,
				Dial: func(context.Context, fsm.NodeID) (net.Conn, error) { return nil, errors.New("alone") },
			}, replay)
			if err != nil {
				return nil, err
			}
			return log, nil
		})
	if err != nil {
		b.t.Fatalf("open %s: %v", id, err)
	}
	return v
}

// crash loses power: what was not synced may be gone, or not. The caller opens its volumes again.
func (b *bench) crash(random *rand.Rand) {
	b.t.Helper()
	old, oldLogs := b.fs, b.logs
	b.fs = old.CrashClone(random)
	if err := oldLogs.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.boot()
}

// manager is a manager for its sweep.
func (b *bench) manager() *Manager { return &Manager{cfg: b.cfg, shared: b.shared} }

// windows are the parts of a volume that tests look at: at its start, over the border of two pages, at its end.
const (
	testGiB    = 2
	windowSize = 192 << 10
)

func windowAt(i int) int64 {
	return []int64{0, 1<<30 - windowSize/2, testGiB<<30 - windowSize}[i]
}

// model is the content of the windows.
type model [3][]byte

func newModel() (m model) {
	for i := range m {
		m[i] = make([]byte, windowSize)
	}
	return m
}

func (m model) clone() model {
	for i := range m {
		m[i] = bytes.Clone(m[i])
	}
	return m
}

// change is one write; data nil is zeroes.
type change struct {
	off, n int64
	data   []byte
}

// apply lays a change over the windows that it touches.
func (m model) apply(c change) {
	for i := range m {
		start := windowAt(i)
		from, to := max(c.off, start), min(c.off+c.n, start+windowSize)
		if from >= to {
			continue
		}
		if c.data == nil {
			clear(m[i][from-start : to-start])
		} else {
			copy(m[i][from-start:to-start], c.data[from-c.off:])
		}
	}
}

func (m model) equal(o model) bool {
	for i := range m {
		if !bytes.Equal(m[i], o[i]) {
			return false
		}
	}
	return true
}

// contentOf reads the windows of an open volume.
func contentOf(t fatal, v *volume) model {
	t.Helper()
	m := newModel()
	for i := range m {
		if err := v.read(context.Background(), m[i], windowAt(i)); err != nil {
			t.Fatalf("read %s: %v", v.id, err)
		}
	}
	return m
}

// snapshotContent reads the windows of a completed snapshot.
func snapshotContent(t fatal, b *bench, id fsm.SnapshotID) model {
	t.Helper()
	m := newModel()
	for i := range m {
		if err := b.manager().ReadSnapshot(context.Background(), id, m[i], windowAt(i)); err != nil {
			t.Fatalf("read %s: %v", id, err)
		}
	}
	return m
}

func differ(t fatal, what string, got, want model) {
	t.Helper()
	for i := range got {
		for s := 0; s < windowSize; s += sectorSize {
			if g, w := got[i][s:s+sectorSize], want[i][s:s+sectorSize]; !bytes.Equal(g, w) {
				t.Fatalf("%s: window %d, sector %d is %d…, want %d…", what, i, s/sectorSize, g[:4], w[:4])
			}
		}
	}
}

func groups(t *testing.T) (control, index *fsmtest.Group) {
	return fsmtest.New(t, fsm.Control), fsmtest.New(t, fsm.Index)
}
