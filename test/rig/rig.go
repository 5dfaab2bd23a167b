// Package rig runs the built program as clusters of real processes on this machine, for the whole-system tests and
// the benchmarks. It never links the program's rooms: what it knows, it asks the processes.
package rig

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"hive/internal/admin"
)

// Region of every cluster here.
const Region = "ap-southeast-2"

// Options say what cluster to form.
type Options struct {
	Bin   string // the program
	Dir   string // exists; nodes' directories and logs are made in it. Short: a unix socket's path has 107 bytes
	Nodes int
	Zones int                  // that the nodes are spread over; 0 is three
	IPs   []string             // of the nodes; nil draws a free part of 127.0.0.0/8
	Wrap  func(i int) []string // the command that node i (from 0) runs below, such as ip netns exec
	Init  []string             // more arguments of init
	Env   func(i int) []string // more environment of node i
	Place func(i int) string   // directory of node i; nil is Dir/node<i+1>
	Log   func(f string, a ...any)
}

// Cluster is a formed cluster. Its methods are safe to use at once as long as no two of them start or end the same node.
type Cluster struct {
	Nodes             []*Node
	AccessKey, Secret string
	Token             string
	CA                string // file
	opts              Options
	vxlan             int // the UDP port before node1's
}

// initAnswer is what the rig needs of `hive init --output json`.
type initAnswer struct {
	Token string            `json:"token"`
	Env   map[string]string `json:"env"`
}

// Form runs init and the joins, and waits until every node serves. On an error nothing is left running.
func Form(ctx context.Context, o Options) (*Cluster, error) {
	if o.IPs == nil {
		ips, err := Loopback(o.Nodes)
		if err != nil {
			return nil, err
		}
		o.IPs = ips
	}
	c := &Cluster{opts: o, vxlan: 20_000 + 100*rand.IntN(100)}
	for i := range o.Nodes {
		c.Nodes = append(c.Nodes, c.newNode(i))
	}
	err := c.form(ctx)
	if err != nil {
		err = errors.Join(err, errors.New(c.Logs(15)), c.Kill())
	}
	return c, err
}

func (c *Cluster) newNode(i int) *Node {
	n := &Node{Name: fmt.Sprintf("node%d", i+1), IP: c.opts.IPs[i], Bin: c.opts.Bin}
	n.Zone = Region + string("abcdef"[i%cmp.Or(c.opts.Zones, 3)])
	n.Dir = filepath.Join(c.opts.Dir, n.Name)
	if c.opts.Place != nil {
		n.Dir = c.opts.Place(i)
	}
	n.LogFile = filepath.Join(c.opts.Dir, n.Name+".log")
	if c.opts.Wrap != nil {
		n.Wrap = c.opts.Wrap(i)
	} else if c.vxlan > 0 {
		n.vxlan = c.vxlan + i + 1 // the nodes share this machine's network, also with other clusters
	}
	if c.opts.Env != nil {
		n.Env = c.opts.Env(i)
	}
	return n
}

func (c *Cluster) form(ctx context.Context) error {
	first := c.Nodes[0]
	args := append(first.place("init"), "--nodes", fmt.Sprint(len(c.Nodes)), "--foreground", "--output", "json")
	out, err := first.launch(append(args, c.opts.Init...))
	if err != nil {
		return err
	}
	var made initAnswer
	if err := json.Unmarshal(out, &made); err != nil {
		return fmt.Errorf("init answered %q: %w", out, err)
	}
	c.Token, c.CA = made.Token, filepath.Join(first.Dir, "ca.pem")
	c.AccessKey, c.Secret = made.Env["AWS_ACCESS_KEY_ID"], made.Env["AWS_SECRET_ACCESS_KEY"]
	var g errgroup.Group
	for _, n := range c.Nodes[1:] {
		g.Go(func() error { return n.Join(first.IP, made.Token) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := c.Ready(ctx); err != nil {
		return err
	}
	return c.Voters(ctx)
}

// Voters waits until every node, or five of them, votes in every group: before that the cluster may not lose any.
func (c *Cluster) Voters(ctx context.Context) error {
	want := min(len(c.Nodes), 5)
	return Await(ctx, "the voters", func(ctx context.Context) error {
		var groups []admin.PeerGroup
		if err := c.Nodes[0].Admin().Do(ctx, "GET", "/v1/raft/peers", nil, &groups); err != nil {
			return err
		}
		for _, g := range groups {
			voters := 0
			for _, p := range g.Peers {
				if p.Suffrage == "Voter" && p.Error == "" {
					voters++
				}
			}
			if voters < want {
				return fmt.Errorf("%s has %d of %d: %+v", g.Group, voters, want, g.Peers)
			}
		}
		return nil
	})
}

// Made is the cluster that init and join have made in node1, node2, … of o.Dir by other means. None of its nodes runs.
func Made(o Options, accessKey, secret string) *Cluster {
	c := &Cluster{opts: o, AccessKey: accessKey, Secret: secret, CA: filepath.Join(o.Dir, "node1", "ca.pem")}
	for i := range o.Nodes {
		c.Nodes = append(c.Nodes, c.newNode(i))
	}
	return c
}

// Add joins one more node with the given token, and waits until it serves.
func (c *Cluster) Add(ctx context.Context, ip, token string) (*Node, error) {
	c.opts.IPs = append(c.opts.IPs, ip)
	n := c.newNode(len(c.Nodes))
	if err := n.Join(c.Nodes[0].IP, token); err != nil {
		return n, err
	}
	c.Nodes = append(c.Nodes, n)
	return n, n.Serves(ctx)
}

// Loopback draws n addresses of 127.0.0.0/8 on which nothing listens; never those of `hive dev`, 127.0.1.x.
func Loopback(n int) ([]string, error) {
	for range 100 {
		net3 := fmt.Sprintf("127.%d.%d.", 64+rand.IntN(128), rand.IntN(256))
		var ips []string
		for i := range n {
			ips = append(ips, fmt.Sprintf("%s%d", net3, i+1))
		}
		if !slices.ContainsFunc(ips, listened) {
			return ips, nil
		}
	}
	return nil, errors.New("no free loopback addresses")
}

func listened(ip string) bool {
	for _, port := range []string{"8443", "9999", "9001", "9002", "7946"} {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, port))
		if err != nil {
			return true
		}
		if l.Close() != nil {
			return true
		}
	}
	return false
}

// Ready waits until every running node serves and knows a leader of every group, and no member seems dead but those
// that do not run.
func (c *Cluster) Ready(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range c.Nodes {
		if n.Runs() {
			g.Go(func() error { return n.Serves(ctx) })
		}
	}
	return g.Wait()
}

// Leader is the node that leads a group ("control", "index-0") in the eyes of the nodes that run.
func (c *Cluster) Leader(ctx context.Context, group string) (*Node, error) {
	var leader *Node
	err := Await(ctx, "a leader of "+group, func(ctx context.Context) error {
		for _, n := range c.Nodes {
			if !n.Runs() {
				continue
			}
			s, err := n.Status(ctx)
			if err != nil {
				continue
			}
			for _, g := range s.Groups {
				if string(g.Group) == group && g.State == "Leader" {
					leader = n
					return nil
				}
			}
		}
		return errors.New("no node says that it leads")
	})
	return leader, err
}

// Follower is a running node that does not lead the group.
func (c *Cluster) Follower(ctx context.Context, group string) (*Node, error) {
	leader, err := c.Leader(ctx, group)
	if err != nil {
		return nil, err
	}
	for _, n := range c.Nodes {
		if n != leader && n.Runs() {
			return n, nil
		}
	}
	return nil, errors.New("no follower runs")
}

// Repaired waits until nothing is owed to any node, in the eyes of all.
func (c *Cluster) Repaired(ctx context.Context) error {
	return Await(ctx, "all shards where they belong", func(ctx context.Context) error {
		for _, n := range c.Nodes {
			s, err := n.Status(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", n.Name, err)
			}
			if s.Repair.Owed+s.Repair.Rotten+s.Repair.Unsafe > 0 {
				return fmt.Errorf("%s says %+v", n.Name, s.Repair)
			}
		}
		return nil
	})
}

// Check is what every cluster test ends with: all nodes run, owe each other nothing, have the same state of every group,
// and find every shard of theirs right.
func (c *Cluster) Check(ctx context.Context) error {
	for _, n := range c.Nodes {
		if !n.Runs() {
			return fmt.Errorf("%s does not run at the end", n.Name)
		}
	}
	if err := c.Ready(ctx); err != nil {
		return err
	}
	if err := c.Repaired(ctx); err != nil {
		return err
	}
	if err := c.SameStates(ctx); err != nil {
		return err
	}
	return c.Scrub(ctx)
}

// Scrub lets every node read all of its shards, and fails when one is rotten or missing.
func (c *Cluster) Scrub(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range c.Nodes {
		g.Go(func() error { return n.scrub(ctx) })
	}
	return g.Wait()
}

// SameStates compares the digests of every group on all nodes. They are asked for again while a node is only behind.
func (c *Cluster) SameStates(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return Await(ctx, "equal states", func(ctx context.Context) error {
		var digests []admin.Digest
		if err := c.Nodes[0].Admin().Do(ctx, "GET", "/v1/digests", nil, &digests); err != nil {
			return fmt.Errorf("digests: %w", err)
		}
		return sameDigests(digests, len(c.Nodes))
	})
}

func sameDigests(rows []admin.Digest, nodes int) error {
	byGroup := map[string][]admin.Digest{}
	for _, r := range rows {
		if r.Error != "" {
			return fmt.Errorf("digest of %s on %s: %s", r.Group, r.Node, r.Error)
		}
		byGroup[string(r.Group)] = append(byGroup[string(r.Group)], r)
	}
	if len(byGroup) < 2 {
		return fmt.Errorf("digests of %d groups, want control and at least one index group", len(byGroup))
	}
	for group, rows := range byGroup {
		if len(rows) != nodes {
			return fmt.Errorf("%d digests of %s, want %d", len(rows), group, nodes)
		}
		for _, r := range rows[1:] {
			if r.Sum != rows[0].Sum || r.Index != rows[0].Index {
				return fmt.Errorf("the states of %s differ: %+v", group, rows)
			}
		}
	}
	return nil
}

func (n *Node) scrub(ctx context.Context) error {
	var s admin.Scrub
	if err := n.Admin().Do(ctx, "POST", "/v1/scrub", nil, &s); err != nil {
		return fmt.Errorf("scrub of %s: %w", n.Name, err)
	}
	if s.Rotten+s.Missing+s.Failed > 0 {
		return fmt.Errorf("scrub of %s: %+v", n.Name, s)
	}
	return nil
}

// KillAll ends all nodes at once with SIGKILL, as a loss of power would, but for what the kernel holds.
func (c *Cluster) KillAll() error {
	for _, n := range c.Nodes {
		if n.Runs() {
			if err := n.proc.cmd.Process.Kill(); err != nil {
				return err
			}
		}
	}
	return c.Kill()
}

// Kill ends every node that still runs and waits for the ends.
func (c *Cluster) Kill() error {
	var errs []error
	for _, n := range c.Nodes {
		errs = append(errs, n.Kill())
	}
	return errors.Join(errs...)
}

// Stop ends every node that still runs as an operator does, and tells of those that did not end well.
func (c *Cluster) Stop(ctx context.Context) error {
	var g errgroup.Group
	for _, n := range c.Nodes {
		g.Go(func() error { return n.Stop(ctx) })
	}
	return g.Wait()
}

// StartAll starts every node that does not run, and waits until all serve.
func (c *Cluster) StartAll(ctx context.Context) error {
	for _, n := range c.Nodes {
		if n.Runs() {
			continue
		}
		if err := n.Start(); err != nil {
			return err
		}
	}
	return c.Ready(ctx)
}

// Logs are the last lines that each node has logged, without the requests that went well.
func (c *Cluster) Logs(lines int) string {
	var b strings.Builder
	for _, n := range c.Nodes {
		raw, err := os.ReadFile(n.LogFile)
		if err != nil {
			continue
		}
		all := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(raw)), "\n"), servedWell)
		fmt.Fprintf(&b, "--- %s, last of %d lines\n%s\n", n.Name, len(all), strings.Join(all[max(0, len(all)-lines):], "\n"))
	}
	return b.String()
}

func servedWell(line string) bool {
	return strings.Contains(line, " msg=request ") && !strings.Contains(line, " status=5")
}

// ErrEnded is a process that ended while something was waited for that only it could bring.
var ErrEnded = errors.New("the process has ended")

// Await repeats try until it answers nil, or tells what it still missed when ctx ended.
func Await(ctx context.Context, what string, try func(ctx context.Context) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if errors.Is(err, ErrEnded) {
			return fmt.Errorf("waited for %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, err)
		case <-tick.C:
		}
	}
}
