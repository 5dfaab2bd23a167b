package ebs

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hive/fsm"
	"hive/internal/fsmtest"
	"hive/internal/vfs"
	"hive/shard"
)

// rig is a cluster's volumes in one process: real logs over loopback, real shard stores, groups without Raft.
type rig struct {
	t       testing.TB
	ids     []fsm.NodeID
	control *fsmtest.Group
	index   *fsmtest.Group
	tune    func(*Config)

	mu    sync.Mutex // guards what follows
	nodes map[fsm.NodeID]*rigNode
	dead  map[fsm.NodeID]bool // gossip's opinion
	count int
}

// rigNode is one node.
type rigNode struct {
	*Manager
	rig      *rig
	id       fsm.NodeID
	dir      string
	run      string
	store    *shard.Store
	listener net.Listener
	server   *httptest.Server
	faults   faults
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// faults decides what goes wrong on a node; nil functions let everything pass.
type faults struct {
	mu      sync.Mutex
	blobs   func(op string) error // "write", "read"
	propose func(fsm.Command) error
}

func (f *faults) set(blobs func(string) error, propose func(fsm.Command) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blobs, f.propose = blobs, propose
}

func (f *faults) blob(op string) error {
	f.mu.Lock()
	fn := f.blobs
	f.mu.Unlock()
	if fn == nil {
		return nil
	}
	return fn(op)
}

// faultyBlobs puts faults in front of the blob layer.
type faultyBlobs struct {
	Blobs
	f *faults
}

func (b faultyBlobs) Write(ctx context.Context, key string, r io.Reader, size int64) (fsm.BlobRef, []fsm.Owed, error) {
	if err := b.f.blob("write"); err != nil {
		return fsm.BlobRef{}, nil, err
	}
	return b.Blobs.Write(ctx, key, r, size)
}

func (b faultyBlobs) Read(ctx context.Context, ref fsm.BlobRef, off, n int64) (io.ReadCloser, error) {
	if err := b.f.blob("read"); err != nil {
		return nil, err
	}
	return b.Blobs.Read(ctx, ref, off, n)
}

// faultyGroup puts faults in front of a group.
type faultyGroup struct {
	*fsmtest.Group
	f *faults
}

func (g faultyGroup) Propose(ctx context.Context, cmd fsm.Command) error {
	g.f.mu.Lock()
	fn := g.f.propose
	g.f.mu.Unlock()
	if fn != nil {
		if err := fn(cmd); err != nil {
			return err
		}
	}
	return g.Group.Propose(ctx, cmd)
}

// shardIndex is an index group that this node leads or not.
type shardIndex struct {
	*fsmtest.Group
	leads bool
}

func (i shardIndex) Leader() bool { return i.leads }

func newRig(t testing.TB, nodes int, tune func(*Config)) *rig {
	r := &rig{
		t: t, control: fsmtest.New(t, fsm.Control), index: fsmtest.New(t, fsm.Index), tune: tune,
		nodes: map[fsm.NodeID]*rigNode{}, dead: map[fsm.NodeID]bool{},
	}
	var plan []shard.Node
	for i := range nodes {
		id := fsm.NodeID(fmt.Sprintf("n-%c", 'a'+i))
		r.ids = append(r.ids, id)
		plan = append(plan, shard.Node{ID: id})
	}
	table, err := shard.PlanTable(plan, shard.ProfileFor(nodes), 16)
	if err != nil {
		t.Fatal(err)
	}
	r.propose(table)
	r.form()
	for _, id := range r.ids {
		run, err := os.MkdirTemp("", "x")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(run); err != nil {
				t.Error(err)
			}
		})
		r.nodes[id] = &rigNode{rig: r, id: id, dir: t.TempDir(), run: run}
	}
	for _, id := range r.ids {
		r.start(id)
	}
	t.Cleanup(func() {
		for _, id := range r.ids {
			r.halt(id)
		}
	})
	return r
}

func (r *rig) propose(cmd fsm.Command) {
	r.t.Helper()
	if err := r.control.Propose(context.Background(), cmd); err != nil {
		r.t.Fatalf("%T: %v", cmd, err)
	}
}

func (r *rig) node(id fsm.NodeID) *rigNode {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodes[id]
}

// alive tells whether gossip believes a node alive.
func (r *rig) alive(id fsm.NodeID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.dead[id]
}

func (r *rig) setDead(id fsm.NodeID, dead bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead[id] = dead
}

// RoundTrip carries the internal HTTP API.
func (r *rig) RoundTrip(req *http.Request) (*http.Response, error) {
	n := r.node(fsm.NodeID(req.URL.Host))
	r.mu.Lock()
	server := n.server
	r.mu.Unlock()
	if server == nil {
		return nil, errors.New("connection refused")
	}
	req.URL.Scheme, req.URL.Host = "http", server.Listener.Addr().String()
	return http.DefaultTransport.RoundTrip(req)
}

func (r *rig) dial(ctx context.Context, node fsm.NodeID, proto string) (net.Conn, error) {
	if proto != Proto {
		return nil, fmt.Errorf("protocol %q", proto)
	}
	n := r.node(node)
	r.mu.Lock()
	l := n.listener
	r.mu.Unlock()
	if l == nil {
		return nil, errors.New("connection refused")
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", l.Addr().String())
}

// start starts a node on what it has on disk.
func (r *rig) start(id fsm.NodeID) {
	r.t.Helper()
	n := r.node(id)
	log := slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})).With("node", id)
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	var err error
	n.store, err = shard.Open(ctx, shard.Config{
		Node: id, FS: vfs.OS{}, Dir: filepath.Join(n.dir, "shard"), Control: r.control, Index: []shard.Index{shardIndex{r.index, id == r.ids[0]}},
		Peers: rigPeers{r}, Alive: r.alive, Now: time.Now, Rand: rand.Reader, Log: log, Reserve: 1, SegmentSize: 16 << 20,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := Config{
		Node: id, Dir: filepath.Join(n.dir, "log"), RunDir: n.run, FS: vfs.OS{}, Control: faultyGroup{r.control, &n.faults},
		Index: []IndexGroup{faultyGroup{r.index, &n.faults}}, Blobs: faultyBlobs{n.store, &n.faults},
		Client: &http.Client{Transport: r}, Dial: r.dial, Alive: r.alive, Leader: func() bool { return id == r.ids[0] },
		Clock: time.Now, Log: log, CacheBytes: 32 << 20, CheckpointAt: 8 << 20, SegmentSize: 1 << 20,
		IdleAfter: time.Hour, Tick: 50 * time.Millisecond, SweepEvery: time.Hour,
	}
	if r.tune != nil {
		r.tune(&cfg)
	}
	n.Manager, err = New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	logs, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	server := httptest.NewServer(n.Handler())
	r.mu.Lock()
	n.listener, n.server = logs, server
	r.mu.Unlock()
	n.running.Go(func() {
		if err := n.Serve(ctx, logs); err != nil && ctx.Err() == nil {
			r.t.Errorf("serve logs of %s: %v", id, err)
		}
	})
	n.running.Go(func() {
		if err := n.Run(ctx); err != nil {
			r.t.Errorf("run %s: %v", id, err)
		}
	})
}

// halt stops a node in order.
func (r *rig) halt(id fsm.NodeID) {
	r.t.Helper()
	n := r.node(id)
	if n.stop == nil {
		return
	}
	n.stop()
	r.mu.Lock()
	server := n.server
	n.listener, n.server = nil, nil
	r.mu.Unlock()
	server.Close()
	n.running.Wait()
	n.stop = nil
	if err := n.store.Close(); err != nil {
		r.t.Errorf("close the shard store of %s: %v", id, err)
	}
	r.mu.Lock()
	n.store = nil
	r.mu.Unlock()
}

// rigPeers reaches the shard stores that run.
type rigPeers struct{ r *rig }

func (p rigPeers) now() shard.Direct {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	out := shard.Direct{}
	for id, n := range p.r.nodes {
		if n.store != nil && n.listener != nil {
			out[id] = n.store
		}
	}
	return out
}

func (p rigPeers) Put(ctx context.Context, node fsm.NodeID, put *shard.Put) error {
	return p.now().Put(ctx, node, put)
}

func (p rigPeers) Get(ctx context.Context, node fsm.NodeID, g shard.Get) (shard.Pieces, error) {
	return p.now().Get(ctx, node, g)
}

func (p rigPeers) Delete(ctx context.Context, node fsm.NodeID, dels []shard.Deletion) error {
	return p.now().Delete(ctx, node, dels)
}

func (p rigPeers) Held(ctx context.Context, node fsm.NodeID, ids []shard.ID) ([][]shard.Held, error) {
	return p.now().Held(ctx, node, ids)
}

func (p rigPeers) Mend(ctx context.Context, node fsm.NodeID, refs []shard.Ref) error {
	return p.now().Mend(ctx, node, refs)
}

func (p rigPeers) Ping(ctx context.Context, node fsm.NodeID) error { return p.now().Ping(ctx, node) }

const account = "123456789012"

// volume makes a volume's record; from is the snapshot that it is a clone of, if any.
func (r *rig) volume(gib int64, from fsm.SnapshotID) fsm.VolumeID {
	r.t.Helper()
	r.count++
	id := fsm.VolumeID(fmt.Sprintf("vol-%017x", r.count))
	x := fsm.Volume{ID: id, Account: account, Zone: "z", Size: gib, Type: "gp3", Lineage: string(id), Replicas: r.ids[:min(len(r.ids), 3)], Snapshot: from}
	if from != "" {
		x.Lineage = r.snapshotRecord(from).Lineage
	}
	r.propose(&fsm.CreateVolume{Volume: x})
	return id
}

func (r *rig) record(id fsm.VolumeID) (x fsm.Volume) {
	r.t.Helper()
	err := r.control.View(func(v *fsm.View) error { x, _ = fsm.Volumes.Get(v, id); return nil })
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

func (r *rig) snapshotRecord(id fsm.SnapshotID) (x fsm.Snapshot) {
	r.t.Helper()
	err := r.control.View(func(v *fsm.View) error { x, _ = fsm.Snapshots.Get(v, id); return nil })
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

// form makes the records that instances need.
func (r *rig) form() {
	r.propose(&fsm.InitCluster{
		Cluster: fsm.Cluster{ID: "c-test", TargetSize: 1}, Member: fsm.Member{ID: r.ids[0], Zone: "z"},
		Token: fsm.Token{ID: "t", Expires: 1 << 40, UsesLeft: 100},
	})
	for i, id := range r.ids[1:] {
		r.propose(&fsm.AdmitMember{Member: fsm.Member{ID: id, Zone: "z"}, TokenID: "t", Now: 1, Settings: fsm.Settings{Epoch: uint64(i) + 1}})
	}
	r.propose(&fsm.RegisterImage{Image: fsm.Image{ID: "ami-1", Account: account, Name: "image"}})
}

// take has an instance with the volume run on a node, which owns the volume under the generation that it answers.
func (r *rig) take(id fsm.VolumeID, node fsm.NodeID) uint64 {
	r.t.Helper()
	capacity := []fsm.NodeCapacity{{Node: node, VCPUs: 1000, Memory: 1 << 30}}
	a := r.record(id).Attachment
	if a == nil {
		r.count++
		i := fsm.Instance{ID: fsm.InstanceID(fmt.Sprintf("i-%d", r.count)), Account: account, Image: "ami-1", Node: node, Zone: "z", VCPUs: 1, Memory: 8192}
		r.propose(&fsm.LaunchInstances{Instances: []fsm.Instance{i}, Capacity: capacity})
		r.propose(&fsm.ObserveInstance{ID: i.ID, Boot: 1, State: fsm.InstanceRunning})
		r.propose(&fsm.AttachVolume{ID: id, Account: account, Instance: i.ID, Device: "/dev/sdf"})
		return r.record(id).Generation
	}
	r.stopInstance(a.Instance)
	r.propose(&fsm.StartInstance{ID: a.Instance, Account: account, Rev: r.instance(a.Instance).Rev, Node: node, Capacity: capacity})
	return r.record(id).Generation
}

// stopInstance ends an instance as its controller does; its volumes are out of service then.
func (r *rig) stopInstance(id fsm.InstanceID) {
	r.t.Helper()
	r.propose(&fsm.StopInstance{ID: id, Account: account, Force: true})
	r.propose(&fsm.ObserveInstance{ID: id, Boot: r.instance(id).Boot, State: fsm.InstanceStopped})
}

func (r *rig) instance(id fsm.InstanceID) (x fsm.Instance) {
	r.t.Helper()
	err := r.control.View(func(v *fsm.View) error { x, _ = fsm.Instances.Get(v, id); return nil })
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

// snapshot begins a snapshot.
func (r *rig) snapshot(of fsm.VolumeID) fsm.SnapshotID {
	r.t.Helper()
	r.count++
	id := fsm.SnapshotID(fmt.Sprintf("snap-%017x", r.count))
	r.propose(&fsm.CreateSnapshot{Snapshot: fsm.Snapshot{ID: id, Account: account, Volume: of, Started: 1}})
	return id
}

// until waits for the control group's state to fit.
func (r *rig) until(what string, ok func(*fsm.View) bool) {
	r.t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		changed := r.control.Changed()
		var good bool
		if err := r.control.View(func(v *fsm.View) error { good = ok(v); return nil }); err != nil {
			r.t.Fatal(err)
		}
		if good {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			r.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// eventually waits for what tells nobody of its change.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	look, deadline := time.NewTicker(time.Millisecond), time.After(60*time.Second)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (r *rig) completed(id fsm.SnapshotID) {
	r.t.Helper()
	r.until("snapshot "+string(id), func(v *fsm.View) bool {
		s, _ := fsm.Snapshots.Get(v, id)
		return s.State == fsm.SnapshotCompleted
	})
}

func (r *rig) released(id fsm.VolumeID) {
	r.t.Helper()
	r.until("the release of "+string(id), func(v *fsm.View) bool {
		x, _ := fsm.Volumes.Get(v, id)
		return !x.Dirty
	})
}

// attach opens a volume on a node under a new generation.
func (r *rig) attach(id fsm.VolumeID, node fsm.NodeID) (Export, uint64) {
	r.t.Helper()
	g := r.take(id, node)
	e, err := r.node(node).Attach(context.Background(), id, g)
	if err != nil {
		r.t.Fatalf("attach %s on %s: %v", id, node, err)
	}
	return e, g
}

func pattern(seed byte, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(i>>9)*7 + byte(i)*3 + seed
	}
	return out
}

func wantBytes(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%s: byte %d (sector %d) is %d, want %d", what, i, i/sectorSize, got[i], want[i])
			}
		}
	}
}
