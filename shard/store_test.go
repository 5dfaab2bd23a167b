package shard

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"hive/fsm"
	"hive/internal/fsmtest"
	"hive/internal/vfs"
)

// rig is a cluster of stores in one process, with real state machines and faults on demand.
type rig struct {
	t       testing.TB
	ids     []fsm.NodeID
	stores  map[fsm.NodeID]*Store
	disks   map[fsm.NodeID]*vfs.Mem
	mu      sync.RWMutex // guards direct, where a store is replaced while others use it
	direct  Direct
	http    bool
	servers map[fsm.NodeID]*httptest.Server
	control *fsmtest.Group
	index   *fsmtest.Group
	faults  *faults
	clock   *clock
	tune    func(*Config)
	fs      func(node fsm.NodeID, mem *vfs.Mem) vfs.FS
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// faults decides what happens to requests between nodes.
type faults struct {
	mu     sync.Mutex
	down   map[fsm.NodeID]bool                                 // refuses connections
	hung   map[fsm.NodeID]bool                                 // accepts, never answers
	before map[fsm.NodeID]func(op string, p *Put, g Get) error // sees every request
	asked  map[fsm.NodeID]int
}

func newFaults() *faults {
	return &faults{
		down: map[fsm.NodeID]bool{}, hung: map[fsm.NodeID]bool{}, asked: map[fsm.NodeID]int{},
		before: map[fsm.NodeID]func(string, *Put, Get) error{},
	}
}

func (f *faults) set(m map[fsm.NodeID]bool, node fsm.NodeID, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m[node] = on
}

func (f *faults) count(node fsm.NodeID) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[node]
}

func (f *faults) meet(ctx context.Context, node fsm.NodeID, op string, p *Put, g Get) error {
	f.mu.Lock()
	f.asked[node]++
	down, hung, before := f.down[node], f.hung[node], f.before[node]
	f.mu.Unlock()
	if down {
		return errors.New("connection refused")
	}
	if hung {
		<-ctx.Done()
		return ctx.Err()
	}
	if before != nil {
		return before(op, p, g)
	}
	return nil
}

// faultyPeers puts faults in front of a transport.
type faultyPeers struct {
	Peers
	f *faults
}

func (p faultyPeers) Put(ctx context.Context, node fsm.NodeID, put *Put) error {
	if err := p.f.meet(ctx, node, "put", put, Get{}); err != nil {
		return err
	}
	return p.Peers.Put(ctx, node, put)
}

func (p faultyPeers) Get(ctx context.Context, node fsm.NodeID, g Get) (Pieces, error) {
	if err := p.f.meet(ctx, node, "get", nil, g); err != nil {
		return nil, err
	}
	return p.Peers.Get(ctx, node, g)
}

func (p faultyPeers) Delete(ctx context.Context, node fsm.NodeID, dels []Deletion) error {
	if err := p.f.meet(ctx, node, "delete", nil, Get{}); err != nil {
		return err
	}
	return p.Peers.Delete(ctx, node, dels)
}

func (p faultyPeers) Held(ctx context.Context, node fsm.NodeID, ids []ID) ([][]Held, error) {
	if err := p.f.meet(ctx, node, "held", nil, Get{}); err != nil {
		return nil, err
	}
	return p.Peers.Held(ctx, node, ids)
}

func (p faultyPeers) Ping(ctx context.Context, node fsm.NodeID) error {
	if err := p.f.meet(ctx, node, "ping", nil, Get{}); err != nil {
		return err
	}
	return p.Peers.Ping(ctx, node)
}

// replaceable is Direct to stores that may be replaced.
type replaceable struct{ r *rig }

func (p replaceable) now() Direct {
	p.r.mu.RLock()
	defer p.r.mu.RUnlock()
	return maps.Clone(p.r.direct)
}

func (p replaceable) Put(ctx context.Context, node fsm.NodeID, put *Put) error {
	return p.now().Put(ctx, node, put)
}

func (p replaceable) Get(ctx context.Context, node fsm.NodeID, g Get) (Pieces, error) {
	return p.now().Get(ctx, node, g)
}

func (p replaceable) Delete(ctx context.Context, node fsm.NodeID, dels []Deletion) error {
	return p.now().Delete(ctx, node, dels)
}

func (p replaceable) Held(ctx context.Context, node fsm.NodeID, ids []ID) ([][]Held, error) {
	return p.now().Held(ctx, node, ids)
}

func (p replaceable) Mend(ctx context.Context, node fsm.NodeID, refs []Ref) error {
	return p.now().Mend(ctx, node, refs)
}

func (p replaceable) Ping(ctx context.Context, node fsm.NodeID) error {
	return p.now().Ping(ctx, node)
}

// indexOf is an index group with a leader.
type indexOf struct {
	*fsmtest.Group
	leads bool
}

func (i indexOf) Leader() bool { return i.leads }

func newRig(t testing.TB, nodes int, set ...func(*rig)) *rig {
	r := &rig{
		t: t, stores: map[fsm.NodeID]*Store{}, disks: map[fsm.NodeID]*vfs.Mem{}, direct: Direct{},
		servers: map[fsm.NodeID]*httptest.Server{}, control: fsmtest.New(t, fsm.Control), index: fsmtest.New(t, fsm.Index),
		faults: newFaults(), clock: &clock{now: time.Unix(1e9, 0)}, tune: func(*Config) {},
		fs: func(_ fsm.NodeID, mem *vfs.Mem) vfs.FS { return mem },
	}
	for _, s := range set {
		s(r)
	}
	var plan []Node
	for i := range nodes {
		id := fsm.NodeID(fmt.Sprintf("n-%c", 'a'+i))
		r.ids = append(r.ids, id)
		r.disks[id] = vfs.NewMem(1 << 40)
		plan = append(plan, Node{ID: id})
	}
	table, err := PlanTable(plan, ProfileFor(nodes), 16)
	if err != nil {
		t.Fatal(err)
	}
	r.propose(r.control, table)
	r.propose(r.index, &fsm.OpenGate{Name: "b", Owner: "123456789012", Born: 1, Seq: 1})
	for _, id := range r.ids {
		r.open(id)
	}
	t.Cleanup(func() {
		for id := range r.stores {
			r.close(id)
		}
		for _, s := range r.servers {
			s.Close()
		}
	})
	return r
}

func (r *rig) propose(g *fsmtest.Group, cmd fsm.Command) {
	r.t.Helper()
	if err := g.Propose(context.Background(), cmd); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) peers() Peers {
	if !r.http {
		return replaceable{r}
	}
	dialer := &net.Dialer{}
	return NewHTTPPeers(&http.Client{Transport: &http.Transport{
		DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			node, _, _ := strings.Cut(addr, ":")
			srv := r.servers[fsm.NodeID(node)]
			return (&tls.Dialer{NetDialer: dialer, Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", srv.Listener.Addr().String())
		},
		MaxIdleConnsPerHost: 64, DisableCompression: true,
	}})
}

func (r *rig) open(id fsm.NodeID) *Store {
	r.t.Helper()
	cfg := Config{
		Node: id, FS: r.fs(id, r.disks[id]), Dir: "/shards", Control: r.control, Index: []Index{indexOf{r.index, id == r.ids[0]}},
		Peers: faultyPeers{r.peers(), r.faults}, Live: r.live, Now: r.clock.Now, Rand: newByteSource(byte(len(id)) + id[len(id)-1]),
		Log:        slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})),
		WriteHedge: 3 * time.Second, ReadHedge: 50 * time.Millisecond, SegmentSize: 4 << 20, Reserve: 1, ScrubRate: 1 << 40,
	}
	r.tune(&cfg)
	s, err := Open(context.Background(), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.stores[id] = s
	r.mu.Lock()
	r.direct[id] = s
	r.mu.Unlock()
	if r.http {
		r.servers[id] = httptest.NewUnstartedServer(s.Handler())
		r.servers[id].Config.ErrorLog = slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug)
		r.servers[id].StartTLS()
	}
	return s
}

func (r *rig) close(id fsm.NodeID) {
	if s := r.stores[id]; s != nil {
		delete(r.stores, id)
		if err := s.Close(); err != nil {
			r.t.Errorf("close %s: %v", id, err)
		}
	}
}

func (r *rig) live(_ context.Context, yield func(Ref) bool) error {
	return r.index.View(func(v *fsm.View) error {
		for _, o := range fsm.Objects.Scan(v, "") {
			if o.Blob != nil && !yield(*o.Blob) {
				return nil
			}
		}
		return nil
	})
}

// put writes an object through a node, as a service does.
func (r *rig) put(via fsm.NodeID, key string, data []byte) Ref {
	r.t.Helper()
	ref, owed, err := r.stores[via].Write(context.Background(), "b/"+key, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		r.t.Fatalf("write %s: %v", key, err)
	}
	r.record(key, ref, owed)
	return ref
}

func (r *rig) record(key string, ref Ref, owed []Owed) {
	r.t.Helper()
	r.propose(r.index, &fsm.PutObject{Bucket: "b", Born: 1, Key: key, Object: fsm.Object{
		ObjectHead: fsm.ObjectHead{Size: ref.Size, Modified: r.clock.Now().UnixMilli()}, Blob: &ref,
	}, Owed: owed})
}

func (r *rig) remove(key string) {
	r.t.Helper()
	r.propose(r.index, &fsm.DeleteObjects{Bucket: "b", Born: 1, Keys: []string{key}, Now: r.clock.Now().UnixMilli()})
}

// check reads a blob through a node in a few ways.
func (r *rig) check(via fsm.NodeID, ref Ref, data []byte) {
	r.t.Helper()
	ranges := [][2]int64{{0, -1}, {0, 1}, {int64(len(data)) / 2, 10}, {int64(len(data)) / 3, int64(len(data)) / 2}}
	for _, x := range ranges {
		got, err := r.read(via, ref, x[0], x[1])
		want := data[x[0]:]
		if x[1] >= 0 {
			want = want[:min(int64(len(want)), x[1])]
		}
		if err != nil || !bytes.Equal(got, want) {
			r.t.Fatalf("read %v of %d bytes via %s: %d bytes, %v", x, len(data), via, len(got), err)
		}
	}
}

func (r *rig) read(via fsm.NodeID, ref Ref, off, n int64) ([]byte, error) {
	body, err := r.stores[via].Read(context.Background(), ref, off, n)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if off%2 == 0 {
		_, err = io.Copy(&out, body)
	} else {
		_, err = io.Copy(&out, struct{ io.Reader }{body})
	}
	return out.Bytes(), errors.Join(err, body.Close())
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	_, _ = rand.NewChaCha8(s).Read(b)
	return b
}

func overHTTP(r *rig) { r.http = true }

// transports runs a test over every way to reach peers.
func transports(t *testing.T, nodes int, test func(t *testing.T, r *rig)) {
	t.Run("direct", func(t *testing.T) { test(t, newRig(t, nodes)) })
	t.Run("http", func(t *testing.T) { test(t, newRig(t, nodes, overHTTP)) })
}

func TestBlobsOfEverySizeReadBackThroughEveryNode(t *testing.T) {
	for _, nodes := range []int{1, 2, 3, 5} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			transports(t, nodes, func(t *testing.T, r *rig) {
				for i, n := range []int{1, 2, 3, 4096, 65536, 65537, 131072, 131073, 1 << 20, 1<<20 + 1, 3<<20 - 7} {
					data := random(uint64(i), n)
					ref := r.put(r.ids[i%nodes], fmt.Sprint("k", i), data)
					for _, via := range r.ids {
						r.check(via, ref, data)
					}
				}
			})
		})
	}
}

func TestBodyOfUnknownLengthIsStored(t *testing.T) {
	r := newRig(t, 3)
	for i, n := range []int{0, 1, 4096, 131072, 1 << 20, 1<<20 + 1, 2 << 20, 2<<20 + 200_001} {
		data := random(uint64(i), n)
		ref, owed, err := r.stores["n-a"].Write(t.Context(), "k", struct{ io.Reader }{bytes.NewReader(data)}, -1)
		if err != nil || len(owed) > 0 || ref.Size != int64(n) {
			t.Fatalf("%d: %+v %v %v", n, ref, owed, err)
		}
		if n > 0 {
			r.check("n-b", ref, data)
		}
	}
}

func TestEmptyBlobTakesNothing(t *testing.T) {
	r := newRig(t, 3)
	ref := r.put("n-a", "k", nil)
	if got, err := r.read("n-b", ref, 0, -1); err != nil || len(got) != 0 {
		t.Fatalf("%v %v", got, err)
	}
	if done, err := r.stores["n-a"].Delete(t.Context(), ref); !done || err != nil {
		t.Fatal(done, err)
	}
	if u := r.stores["n-a"].local.disk.usage(); u.records != 0 {
		t.Fatalf("%+v", u)
	}
}

func TestRandomRangesAreExact(t *testing.T) {
	r := newRig(t, 5)
	rng := rand.New(rand.NewPCG(5, 6))
	for i, n := range []int{100, 70_000, 400_000, 2_500_000} {
		data := random(uint64(i), n)
		ref := r.put("n-a", fmt.Sprint(i), data)
		for range 60 {
			off := rng.IntN(n)
			length := 1 + rng.IntN(n-off)
			if rng.IntN(2) == 0 {
				length = min(length, 1+rng.IntN(100))
			}
			got, err := r.read(r.ids[rng.IntN(5)], ref, int64(off), int64(length))
			if err != nil || !bytes.Equal(got, data[off:off+length]) {
				t.Fatalf("%d+%d of %d: %d bytes, %v", off, length, n, len(got), err)
			}
		}
	}
}

func TestBytesOnDiskAreTheShardsAndLittleMore(t *testing.T) {
	r := newRig(t, 3)
	for i := range 50 {
		r.put("n-a", fmt.Sprint(i), random(1, 4096))
	}
	var total int64
	for _, s := range r.stores {
		total += s.local.disk.usage().bytes
	}
	if per := float64(total) / (50 * 4096); per > 1.65 {
		t.Fatalf("%.2f bytes on disk for each byte of 4 KiB objects", per)
	}
}

// endsWith is a body that verifies itself and does not like what it saw.
type endsWith struct {
	io.Reader
	err error
}

func (e endsWith) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = e.err
	}
	return n, err
}

func TestBodiesThatEndBadlyLeaveNothing(t *testing.T) {
	bad := errors.New("checksum mismatch")
	r := newRig(t, 3)
	for name, c := range map[string]struct {
		body io.Reader
		size int64
		want error
	}{
		"short":                        {bytes.NewReader(random(1, 5000)), 5001, errLength},
		"short and large":              {bytes.NewReader(random(1, 3<<20)), 3<<20 + 1, errLength},
		"long":                         {bytes.NewReader(random(1, 5000)), 4999, errLength},
		"not empty":                    {bytes.NewReader(random(1, 1)), 0, errLength},
		"not verified":                 {endsWith{bytes.NewReader(random(1, 3<<20)), bad}, 3 << 20, bad},
		"not verified, unknown length": {endsWith{bytes.NewReader(random(1, 3<<20)), bad}, -1, bad},
		"not verified, empty":          {endsWith{bytes.NewReader(nil), bad}, 0, bad},
	} {
		if _, _, err := r.stores["n-a"].Write(t.Context(), "k", c.body, c.size); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.stores["n-a"].background.Wait()
	for id, s := range r.stores {
		if u := s.local.disk.usage(); u.records != 0 {
			t.Errorf("%s holds %d records", id, u.records)
		}
	}
}

func TestReadsOutsideABlobAreRefused(t *testing.T) {
	r := newRig(t, 1)
	ref := r.put("n-a", "k", random(1, 100))
	for _, off := range []int64{-1, 101} {
		if _, err := r.stores["n-a"].Read(t.Context(), ref, off, 1); !errors.Is(err, fsm.ErrInvalid) {
			t.Errorf("%d: %v", off, err)
		}
	}
	if got, err := r.read("n-a", ref, 100, 1); err != nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
	gone := ref
	gone.ID[0]++
	if _, err := r.stores["n-a"].Read(t.Context(), gone, 0, 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func TestWritesWaitForThePartitionTable(t *testing.T) {
	s, err := Open(t.Context(), Config{
		Node: "n-a", FS: vfs.NewMem(1 << 30), Dir: "/s", Control: fsmtest.New(t, fsm.Control), Peers: Direct{},
		Now: time.Now, Rand: newByteSource(1), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Write(t.Context(), "k", bytes.NewReader([]byte{1}), 1); !errors.Is(err, ErrNoTable) {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
