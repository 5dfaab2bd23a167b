package qlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hive/fsm"
	"hive/internal/vfs"
)

const testVolume fsm.VolumeID = "vol-0123456789abcdef0"

// bed is some nodes with stores, joined by loopback connections that can be cut.
type bed struct {
	t       testing.TB
	segment int64
	log     *slog.Logger
	said    lines

	mu    sync.Mutex // guards what is below
	nodes map[fsm.NodeID]*node
	cut   map[[2]fsm.NodeID]bool
	conns map[net.Conn][2]fsm.NodeID
}

// lines is the last that was logged.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(b))
	l.all = l.all[max(0, len(l.all)-60):]
	return len(b), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, "")
}

// node is one of them. store is nil while it is down.
type node struct {
	id     fsm.NodeID
	fs     vfs.FS
	store  *Store
	addr   string
	cancel context.CancelFunc
	served chan error
}

func newBed(t testing.TB, n int) *bed {
	b := &bed{
		t: t, segment: 16 << 10, nodes: map[fsm.NodeID]*node{}, cut: map[[2]fsm.NodeID]bool{}, conns: map[net.Conn][2]fsm.NodeID{},
	}
	b.log = slog.New(slog.NewTextHandler(&b.said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for i := range n {
		id := fsm.NodeID(fmt.Sprintf("n-%c", 'a'+i))
		b.nodes[id] = &node{id: id, fs: vfs.NewMem(1 << 32)}
		b.start(id)
	}
	t.Cleanup(func() {
		for _, id := range b.ids() {
			b.stop(id)
		}
	})
	return b
}

func (b *bed) ids() (out []fsm.NodeID) {
	for id := range b.nodes {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// start opens the node's store on what its disk holds and serves it.
func (b *bed) start(id fsm.NodeID) {
	b.t.Helper()
	n := b.nodes[id]
	store, err := OpenStore(StoreConfig{Dir: "/logs", FS: n.fs, SegmentSize: b.segment, Log: b.log.With("store", id), Settle: time.Millisecond})
	if err != nil {
		b.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- store.Serve(ctx, l) }()
	b.mu.Lock()
	defer b.mu.Unlock()
	n.store, n.addr, n.cancel, n.served = store, l.Addr().String(), cancel, served
}

// stop ends the node's store as a process would end: what it wrote is in its file system.
func (b *bed) stop(id fsm.NodeID) {
	b.t.Helper()
	n := b.nodes[id]
	if n.store == nil {
		return
	}
	b.mu.Lock()
	store := n.store
	n.store = nil
	b.mu.Unlock()
	n.cancel()
	if err := <-n.served; err != nil {
		b.t.Error(err)
	}
	if err := store.Close(); err != nil && !errors.Is(err, ErrFailed) {
		b.t.Error(err)
	}
}

// lose is a loss of power: the disk keeps what was synced and perhaps some of the rest.
func (b *bed) lose(id fsm.NodeID, torn *rand.Rand) {
	n := b.nodes[id]
	left := n.fs.(*vfs.Mem).CrashClone(torn)
	b.stop(id)
	n.fs = left
}

// dial is how a node reaches the others.
func (b *bed) dial(from fsm.NodeID) func(context.Context, fsm.NodeID) (net.Conn, error) {
	return func(ctx context.Context, to fsm.NodeID) (net.Conn, error) {
		b.mu.Lock()
		n, cut := b.nodes[to], b.cut[[2]fsm.NodeID{from, to}]
		addr, up := n.addr, n.store != nil
		b.mu.Unlock()
		if cut || !up {
			return nil, fmt.Errorf("%s cannot reach %s", from, to)
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.cut[[2]fsm.NodeID{from, to}] {
			return nil, errors.Join(errors.New("cut"), conn.Close())
		}
		b.conns[conn] = [2]fsm.NodeID{from, to}
		return conn, nil
	}
}

// part cuts or joins the two nodes.
func (b *bed) part(x, y fsm.NodeID, cut bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, pair := range [][2]fsm.NodeID{{x, y}, {y, x}} {
		b.cut[pair] = cut
		for conn, ends := range b.conns {
			if cut && ends == pair {
				_ = conn.Close()
				delete(b.conns, conn)
			}
		}
	}
}

func (b *bed) config(self fsm.NodeID, generation uint64) Config {
	return Config{
		Volume: testVolume, Generation: generation, Self: self, Replicas: b.ids(), Store: b.nodes[self].store,
		Dial: b.dial(self), Log: b.log.With("owner", self), retry: backoffMin,
	}
}

// owner opens the log and answers the records it was given.
func (b *bed) owner(self fsm.NodeID, generation uint64) (*Log, []Record) {
	b.t.Helper()
	l, records, err := b.tryOwner(b.config(self, generation))
	if err != nil {
		b.t.Fatal(err)
	}
	return l, records
}

func (b *bed) tryOwner(cfg Config) (*Log, []Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var records []Record
	l, err := Open(ctx, cfg, func(r Record) error {
		r.Data = bytes.Clone(r.Data)
		records = append(records, r)
		return nil
	})
	return l, records, err
}

func (b *bed) close(l *Log) {
	b.t.Helper()
	if err := l.Close(); err != nil && !errors.Is(err, ErrFailed) {
		b.t.Fatal(err)
	}
}

// content is the data of the i-th record of tests.
func content(i, size int) []byte {
	src := rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), byte(i >> 16)})
	out := make([]byte, size)
	_, _ = src.Read(out)
	return out
}

func add(t testing.TB, l *Log, i, size int) Position {
	t.Helper()
	at, err := l.Append(Write, int64(i)*4096, int64(size), content(i, size))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// failer is a test's or a property's T.
type failer interface {
	Helper()
	Fatal(...any)
}

func mustSync(t failer, l *Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := l.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}

// mustHold fails unless the records are those that add made, from first on, n of them.
func mustHold(t testing.TB, records []Record, first, n, size int) {
	t.Helper()
	if len(records) != n {
		t.Fatalf("%d records, want %d", len(records), n)
	}
	for i, r := range records {
		if r.Kind != Write || r.Offset != int64(first+i)*4096 || !bytes.Equal(r.Data, content(first+i, size)) {
			t.Fatalf("record %d of %d (seq %d) is not what was appended", i, n, r.Seq)
		}
	}
}

func TestANewOwnerSeesEverySyncedRecord(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			b := newBed(t, n)
			l, records := b.owner("n-a", 1)
			mustHold(t, records, 0, 0, 0)
			for i := range 50 {
				add(t, l, i, 3000)
			}
			mustSync(t, l)
			b.close(l)
			l, records = b.owner(b.ids()[n-1], 2)
			mustHold(t, records, 0, 50, 3000)
			add(t, l, 50, 3000)
			mustSync(t, l)
			b.close(l)
			l, records = b.owner("n-a", 3)
			mustHold(t, records, 0, 51, 3000)
			b.close(l)
		})
	}
}

func TestReadAtAnswersAnyPartOfARecord(t *testing.T) {
	b := newBed(t, 1)
	l, _ := b.owner("n-a", 1)
	defer b.close(l)
	sizes := []int{1, 7, 4096, blockSize, blockSize + 1, 5*blockSize + 123, 1 << 20}
	var at []Position
	for i, size := range sizes {
		at = append(at, add(t, l, i, size))
	}
	for i, size := range sizes {
		want := content(i, size)
		for _, r := range [][2]int{{0, size}, {size - 1, 1}, {size / 2, size - size/2}, {size / 3, size / 3}, {0, min(size, blockSize)}} {
			got := make([]byte, r[1])
			if err := l.ReadAt(got, at[i], int64(r[0])); err != nil || !bytes.Equal(got, want[r[0]:r[0]+r[1]]) {
				t.Fatalf("record of %d bytes, %d at %d: %v", size, r[1], r[0], err)
			}
		}
		if err := l.ReadAt(make([]byte, 2), at[i], int64(size-1)); err == nil {
			t.Fatal("a read past a record's end is answered")
		}
	}
}

func TestAnOlderOwnerIsFenced(t *testing.T) {
	b := newBed(t, 3)
	old, _ := b.owner("n-a", 1)
	add(t, old, 0, 100)
	mustSync(t, old)
	add(t, old, 1, 100)
	l, records := b.owner("n-b", 2)
	if len(records) < 1 || len(records) > 2 {
		t.Fatalf("%d records", len(records))
	}
	<-old.Lost()
	if err := old.Err(); !errors.Is(err, ErrFenced) {
		t.Fatal(err)
	}
	if err := old.Sync(context.Background()); !errors.Is(err, ErrFenced) {
		t.Fatal(err)
	}
	if _, err := old.Append(Write, 0, 1, []byte{1}); !errors.Is(err, ErrFenced) {
		t.Fatal(err)
	}
	if _, _, err := b.tryOwner(b.config("n-a", 1)); !errors.Is(err, ErrFenced) {
		t.Fatal(err)
	}
	add(t, l, 2, 100)
	mustSync(t, l)
	b.close(old)
	b.close(l)
}

func TestTheSameGenerationIsOpenedAgain(t *testing.T) {
	b := newBed(t, 3)
	old, _ := b.owner("n-a", 7)
	add(t, old, 0, 100)
	mustSync(t, old)
	l, records := b.owner("n-a", 7)
	mustHold(t, records, 0, 1, 100)
	<-old.Lost()
	b.close(old)
	b.stop("n-a")
	b.close(l)
	b.start("n-a")
	l, records = b.owner("n-a", 7)
	mustHold(t, records, 0, 1, 100)
	b.close(l)
}

func TestWithoutAMajorityNothingIsSyncedAndNothingLost(t *testing.T) {
	b := newBed(t, 3)
	l, _ := b.owner("n-a", 1)
	b.part("n-a", "n-b", true)
	b.part("n-a", "n-c", true)
	add(t, l, 0, 100)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Sync(ctx); !errors.Is(err, ErrNoQuorum) {
		t.Fatal(err)
	}
	if err := l.Err(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.tryOwner(b.config("n-a", 2)); !errors.Is(err, ErrNoQuorum) {
		t.Fatal(err)
	}
	b.close(l)
	b.part("n-a", "n-b", false)
	l, _ = b.owner("n-a", 3)
	add(t, l, 1, 100)
	mustSync(t, l)
	b.close(l)
}

func TestAReplicaThatWasAwayCatchesUpWhileWritesGoOn(t *testing.T) {
	b := newBed(t, 3)
	l, _ := b.owner("n-a", 1)
	n := 0
	for range 20 {
		add(t, l, n, 2000)
		n++
	}
	mustSync(t, l)
	b.stop("n-c")
	for range 100 {
		add(t, l, n, 2000)
		n++
	}
	mustSync(t, l)
	b.start("n-c")
	for range 20 {
		add(t, l, n, 2000)
		n++
	}
	waitSynced(t, l, "n-c")
	b.close(l)
	b.stop("n-a")
	b.stop("n-b")
	b.start("n-b")
	l, records := b.owner("n-c", 2)
	mustHold(t, records, 0, n, 2000)
	b.close(l)
}

// waitSynced waits until a node's copy has synced everything and is a member.
func waitSynced(t testing.TB, l *Log, id fsm.NodeID) {
	t.Helper()
	if err := awaitCopy(l, id); err != nil {
		t.Fatal(err)
	}
}

func awaitCopy(l *Log, id fsm.NodeID) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := l.Sync(ctx); err != nil {
		return err
	}
	end := l.r.end() - 1
	for _, k := range l.links {
		if k.node != id {
			continue
		}
		if err := l.await(ctx, func() bool { return k.acked >= end && k.member }); err != nil {
			return fmt.Errorf("the copy on %s does not catch up to %d: %w", id, end, err)
		}
	}
	return nil
}

func TestCutDropsSegmentsEverywhere(t *testing.T) {
	b := newBed(t, 3)
	l, _ := b.owner("n-a", 1)
	var at []Position
	for i := range 100 {
		at = append(at, add(t, l, i, 2000))
	}
	mustSync(t, l)
	if err := l.Cut(context.Background(), at[80].Seq); err != nil {
		t.Fatal(err)
	}
	if err := l.ReadAt(make([]byte, 1), at[0], 0); !errors.Is(err, ErrCut) {
		t.Fatal(err)
	}
	got := make([]byte, 2000)
	if err := l.ReadAt(got, at[80], 0); err != nil || !bytes.Equal(got, content(80, 2000)) {
		t.Fatal(err)
	}
	add(t, l, 100, 2000)
	mustSync(t, l)
	b.close(l)
	cfg := b.config("n-b", 2)
	cfg.From = at[80].Seq
	l, records, err := b.tryOwner(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mustHold(t, records, 80, 21, 2000)
	waitSynced(t, l, "n-a")
	waitSynced(t, l, "n-c")
	b.close(l)
	for _, id := range b.ids() {
		names, err := b.nodes[id].fs.List("/logs/" + string(testVolume))
		if err != nil || len(names) > 9 {
			t.Fatalf("%s: %v %v", id, names, err)
		}
	}
}

func TestRemoveLeavesNothing(t *testing.T) {
	b := newBed(t, 1)
	l, _ := b.owner("n-a", 1)
	add(t, l, 0, 100)
	b.close(l)
	store := b.nodes["n-a"].store
	if got, err := store.Volumes(); err != nil || len(got) != 1 || got[0] != testVolume {
		t.Fatal(got, err)
	}
	if err := store.Remove(testVolume); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Volumes(); err != nil || len(got) != 0 {
		t.Fatal(got, err)
	}
	l, records := b.owner("n-a", 1)
	mustHold(t, records, 0, 0, 0)
	b.close(l)
}
