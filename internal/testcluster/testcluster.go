// Package testcluster starts real nodes in one process, on loopback addresses of their own and the
// standard ports, for tests of the whole node. It is never in the binary.
package testcluster

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hive/internal/admin"
	"hive/internal/node"
)

// Region of every test cluster.
const (
	Region = "ap-southeast-2"
	Zone   = Region + "a"
)

// Cluster is a cluster of nodes in this process. When the test ends, its nodes' states are compared
// and their shards read again.
type Cluster struct {
	t     testing.TB
	Nodes []*Node
	Init  node.Initialised
}

// Node is one node; it can be stopped and started again.
type Node struct {
	cluster *Cluster
	Name    string
	IP      string
	Dir     string
	Admin   *admin.Client

	mu     sync.Mutex // guards what is below
	cancel context.CancelFunc
	done   chan error
}

// Start forms a cluster of n nodes and waits until all of them serve.
func Start(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	base, err := os.MkdirTemp("", "tc") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	net := freeNet(t)
	for i := range n {
		name := fmt.Sprintf("node%d", i+1)
		dir := filepath.Join(base, name)
		c.Nodes = append(c.Nodes, &Node{
			cluster: c, Name: name, IP: fmt.Sprintf("%s.%d", net, i+1), Dir: dir, Admin: admin.NewClient(dir),
		})
	}
	first := c.Nodes[0]
	c.Init, err = node.Init(node.InitOptions{
		Dir: first.Dir, Name: first.Name, Region: Region, Zone: Zone, Nodes: n, Bind: first.IP, Partitions: 64,
	})
	if err != nil {
		t.Fatal(err)
	}
	first.Start()
	for _, other := range c.Nodes[1:] {
		_, err := node.Join(t.Context(), node.JoinOptions{
			Dir: other.Dir, Name: other.Name, Region: Region, Zone: Zone, Host: first.IP, Token: c.Init.Token, Bind: other.IP,
		})
		if err != nil {
			t.Fatal(err)
		}
		other.Start()
	}
	for _, node := range c.Nodes {
		node.WaitServing()
	}
	t.Cleanup(c.check)
	return c
}

// freeNet is a /24 of loopback addresses on which nobody listens: 127.x.y.
func freeNet(t testing.TB) string {
	t.Helper()
	for i := range 1 << 14 {
		n := (os.Getpid()*61 + i*257) & (1<<14 - 1)
		prefix := fmt.Sprintf("127.%d.%d", 64+n>>8, n&0xff)
		l, err := net.Listen("tcp", prefix+".1:"+node.ClusterPort)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return prefix
	}
	t.Fatal("no free loopback network")
	return ""
}

// Start runs the node until Stop or the end of the test.
func (n *Node) Start() {
	n.cluster.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.done = cancel, make(chan error, 1)
	log := slog.New(slog.NewTextHandler(testWriter{n.cluster.t, n.Name}, &slog.HandlerOptions{Level: slog.LevelInfo}))
	done := n.done
	go func() { done <- node.Run(ctx, node.Options{Dir: n.Dir, Log: log}) }()
	n.cluster.t.Cleanup(n.Stop)
}

// Stop ends the node as a signal would and waits for it.
func (n *Node) Stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cancel == nil {
		return
	}
	n.cancel()
	if err := <-n.done; err != nil {
		n.cluster.t.Errorf("%s: %v", n.Name, err)
	}
	n.cancel = nil
}

// Status is the node's own.
func (n *Node) Status() (admin.Status, error) {
	var s admin.Status
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := n.Admin.Do(ctx, "GET", "/v1/status", nil, &s)
	return s, err
}

// WaitServing waits until the node's services run.
func (n *Node) WaitServing() {
	n.cluster.t.Helper()
	n.Wait("serving", func(s admin.Status) bool { return len(s.Serving) > 0 })
}

// Wait waits until the node's status is as wanted.
func (n *Node) Wait(what string, want func(admin.Status) bool) {
	n.cluster.t.Helper()
	Eventually(n.cluster.t, n.Name+": "+what, func() error {
		s, err := n.Status()
		if err == nil && !want(s) {
			err = fmt.Errorf("status %+v", s)
		}
		return err
	})
}

// Patience is how long Eventually goes on.
const Patience = 60 * time.Second

// Eventually repeats cond until it answers nil.
func Eventually(t testing.TB, what string, cond func() error) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}

// check compares the states of all nodes and reads their shards again.
func (c *Cluster) check() {
	for _, n := range c.Nodes {
		n.mu.Lock()
		stopped := n.cancel == nil
		n.mu.Unlock()
		if stopped {
			n.Start()
		}
		n.WaitServing()
	}
	ctx := context.Background()
	Eventually(c.t, "the same state on all nodes", func() error {
		var rows []admin.Digest
		if err := c.Nodes[0].Admin.Do(ctx, "GET", "/v1/digests", nil, &rows); err != nil {
			return err
		}
		sums := map[string]string{}
		for _, r := range rows {
			if r.Error != "" {
				return fmt.Errorf("%s: %s", r.Node, r.Error)
			}
			if have, ok := sums[string(r.Group)]; ok && have != r.Sum {
				return fmt.Errorf("group %s differs: %+v", r.Group, rows)
			}
			sums[string(r.Group)] = r.Sum
		}
		return nil
	})
	for _, n := range c.Nodes {
		var s admin.Scrub
		if err := n.Admin.Do(ctx, "POST", "/v1/scrub", nil, &s); err != nil {
			c.t.Errorf("%s: scrub: %v", n.Name, err)
		}
		if s.Rotten+s.Missing+s.Failed > 0 {
			c.t.Errorf("%s: scrub %+v", n.Name, s)
		}
	}
}

// testWriter puts a node's log into the test's.
type testWriter struct {
	t    testing.TB
	name string
}

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s %s", w.name, p[:max(len(p)-1, 0)])
	return len(p), nil
}
