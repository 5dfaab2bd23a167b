package raftnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hive/fsm"
)

// member is a node of a test's group.
type member struct {
	*Group
	id     fsm.NodeID
	dir    string
	boot   string
	server *http.Server
	gone   *atomic.Bool // it was killed: it reaches nobody
	done   chan error   // Run's answer
}

// rig is a group of nodes in this process.
type rig struct {
	t     testing.TB
	net   *network
	class fsm.Class
	tune  func(*Config)

	mu    sync.Mutex // guards nodes
	nodes map[fsm.NodeID]*member
}

func newRig(t testing.TB, tune func(*Config)) *rig {
	r := &rig{t: t, net: newNetwork(), class: fsm.Index, tune: tune, nodes: make(map[fsm.NodeID]*member)}
	t.Cleanup(r.closeAll)
	return r
}

// start runs a node on dir. The boot id says which run of the machine it is on.
func (r *rig) start(id fsm.NodeID, dir, boot string) *member {
	r.t.Helper()
	m, err := r.open(id, dir, boot)
	if err != nil {
		r.t.Fatal(err)
	}
	r.run(m)
	return m
}

func (r *rig) open(id fsm.NodeID, dir, boot string) (*member, error) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	gone := new(atomic.Bool)
	dial := func(ctx context.Context, to fsm.NodeID, what string) (net.Conn, error) {
		if gone.Load() {
			return nil, &net.OpError{Op: "dial", Err: errCut}
		}
		return r.net.dial(ctx, id, to, what)
	}
	cfg := Config{
		Group: "index-0", Class: r.class, Node: id, Dir: dir, BootID: boot, Listener: raw,
		Dial: func(ctx context.Context, to fsm.NodeID, _ fsm.GroupID) (net.Conn, error) {
			return dial(ctx, to, "raw")
		},
		HTTP: &http.Client{Transport: &http.Transport{
			DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
				return dial(ctx, fsm.NodeID(strings.TrimSuffix(addr, ":443")), "api")
			},
			MaxIdleConnsPerHost: 32,
		}},
		Log: testLog(r.t, id),
	}
	if r.tune != nil {
		r.tune(&cfg)
	}
	g, err := Open(cfg)
	if err != nil {
		return nil, errors.Join(err, raw.Close(), api.Close())
	}
	m := &member{Group: g, id: id, dir: dir, boot: boot, gone: gone, done: make(chan error, 1)}
	m.server = &http.Server{Handler: g.Handler()}
	go m.server.Serve(api)
	r.net.publish(id, "raw", raw.Addr().String())
	r.net.publish(id, "api", api.Addr().String())
	return m, nil
}

func (r *rig) run(m *member) {
	go func() { m.done <- m.Run(context.Background()) }()
	select {
	case <-m.started:
	case <-m.stopped: // m.done says why
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes[m.id] = m
}

// form starts n nodes as voters, and waits until each has caught up.
func (r *rig) form(n int) []*member {
	r.t.Helper()
	ctx := testContext(r.t, 60*time.Second)
	var out []*member
	for i := range n {
		id := fsm.NodeID(fmt.Sprintf("n-%d", i+1))
		m, err := r.open(id, filepath.Join(r.t.TempDir(), string(id)), "boot")
		if err != nil {
			r.t.Fatal(err)
		}
		if i == 0 {
			if err := m.Bootstrap(ctx); err != nil {
				r.t.Fatal(err)
			}
		}
		r.run(m)
		out = append(out, m)
		if i > 0 {
			r.join(ctx, out[0], id)
		}
	}
	return out
}

func (r *rig) join(ctx context.Context, via *member, id fsm.NodeID) {
	r.t.Helper()
	if err := via.AddNonvoter(ctx, id); err != nil {
		r.t.Fatal(err)
	}
	if err := via.WaitCaughtUp(ctx, id, nil); err != nil {
		r.t.Fatal(err)
	}
	if err := via.AddVoter(ctx, id); err != nil {
		r.t.Fatal(err)
	}
}

// kill ends a node as kill -9 does: from one instant on it writes nothing and says nothing. It answers a
// copy of the directory as it was then.
func (r *rig) kill(m *member) (dir string) {
	r.t.Helper()
	r.mu.Lock()
	delete(r.nodes, m.id)
	r.mu.Unlock()
	m.gone.Store(true)
	m.store.mu.Lock()
	m.applier.applying.Lock()
	r.net.publish(m.id, "raw", "")
	r.net.publish(m.id, "api", "")
	m.server.Close()
	r.net.mu.Lock()
	var broken []*link
	for l := range r.net.conns {
		if l.from == m.id || l.to == m.id {
			broken = append(broken, l)
		}
	}
	r.net.mu.Unlock()
	for _, l := range broken {
		l.Close()
	}
	dir = filepath.Join(r.t.TempDir(), string(m.id))
	if err := os.CopyFS(dir, os.DirFS(m.dir)); err != nil {
		r.t.Fatal(err)
	}
	// The zombie goes on where nobody sees it.
	m.cfg.Listener.Close()
	m.store.mu.Unlock()
	m.applier.applying.Unlock()
	go func() {
		m.Close()
		<-m.done
	}()
	return dir
}

// forget lets a node that has stopped by itself go.
func (r *rig) forget(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.nodes, m.id)
	m.server.Close()
}

// stop ends a node in order.
func (r *rig) stop(m *member) {
	r.t.Helper()
	r.mu.Lock()
	delete(r.nodes, m.id)
	r.mu.Unlock()
	if err := m.Close(); err != nil {
		r.t.Error(err)
	}
	if err := <-m.done; err != nil {
		r.t.Error(err)
	}
	m.server.Close()
}

func (r *rig) members() []*member {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*member
	for _, m := range r.nodes {
		out = append(out, m)
	}
	return out
}

// compare waits until all nodes are at one index and compares their digests.
func (r *rig) compare() {
	r.t.Helper()
	ctx := testContext(r.t, 20*time.Second)
	for _, m := range r.members() {
		if err := m.ReadIndex(ctx); err != nil {
			r.t.Fatalf("%s: %v", m.id, err)
		}
	}
	for {
		sums := map[uint64]map[[32]byte][]fsm.NodeID{}
		for _, m := range r.members() {
			index, sum, err := m.Digest(ctx)
			if err != nil {
				r.t.Fatal(err)
			}
			if sums[index] == nil {
				sums[index] = map[[32]byte][]fsm.NodeID{}
			}
			sums[index][sum] = append(sums[index][sum], m.id)
		}
		for index, same := range sums {
			if len(same) > 1 {
				r.t.Fatalf("digests differ at %d: %x", index, same)
			}
		}
		if len(sums) == 1 {
			return
		}
		select { // what was given up by its proposer may still come
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			r.t.Fatalf("indices stay apart: %x", sums)
		}
	}
}

func (r *rig) closeAll() {
	for _, m := range r.members() {
		r.stop(m)
	}
}

// leader waits for a leader that can answer reads.
func (r *rig) leader(ctx context.Context) *member {
	r.t.Helper()
	for {
		for _, m := range r.members() {
			if m.IsLeader() {
				return m
			}
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			r.t.Fatal("no leader")
		}
	}
}

func (r *rig) follower(ctx context.Context) *member {
	r.t.Helper()
	lead := r.leader(ctx)
	for _, m := range r.members() {
		if m != lead {
			return m
		}
	}
	r.t.Fatal("no follower")
	return nil
}

func testContext(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// testLog keeps a node's log and shows it when the test fails.
func testLog(t testing.TB, id fsm.NodeID) *slog.Logger {
	if os.Getenv("RAFT_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	var mu sync.Mutex
	var buf bytes.Buffer
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		if t.Failed() {
			t.Log(buf.String())
		}
	})
	return slog.New(slog.NewTextHandler(lockedWriter{&mu, &buf}, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", id)
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

// set makes a register of a gate: any value may follow any other.
func set(name string, value uint64) *fsm.OpenGate {
	return &fsm.OpenGate{Name: fsm.BucketName(name), Owner: "123456789012", Born: value, Seq: 1}
}

func get(t testing.TB, m *member, name string) uint64 {
	t.Helper()
	v, err := lookup(m, name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func lookup(m *member, name string) (value uint64, err error) {
	err = m.View(func(v *fsm.View) error {
		gate, _ := fsm.Gates.Get(v, fsm.BucketName(name))
		value = gate.Born
		return nil
	})
	return value, err
}

// until waits for a node's status to be as wanted.
func (m *member) until(ctx context.Context, t testing.TB, want func(Status) bool) Status {
	t.Helper()
	for {
		s, err := m.Status(ctx)
		if err != nil {
			t.Fatalf("%s: %v", m.id, err)
		}
		if want(s) {
			return s
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s stays %+v", m.id, s)
		}
	}
}

// others are all nodes but m.
func (r *rig) others(m *member) []*member {
	var out []*member
	for _, o := range r.members() {
		if o != m {
			out = append(out, o)
		}
	}
	return out
}

func ids(nodes []*member) []fsm.NodeID {
	var out []fsm.NodeID
	for _, m := range nodes {
		out = append(out, m.id)
	}
	return out
}
