// Package gossip says who seems to be alive, where, and what it can run: memberlist with encryption.
// It never decides who is a member of the cluster; only the replicated state does.
package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"hive/fsm"
)

// Config is what gossip needs.
type Config struct {
	Node      fsm.NodeID
	Bind      string   // host:port to listen on
	Advertise string   // host:port that others reach
	Keys      [][]byte // 32 bytes each; the first encrypts, all decrypt
	Meta      Meta
	Log       *slog.Logger
}

// Member is a node as gossip knows it.
type Member struct {
	Node  fsm.NodeID
	Addr  string // host:port of its gossip port
	Meta  Meta
	State State
}

// State is how alive a node seems.
type State string

// States of a node.
const (
	Alive   State = "alive"
	Suspect State = "suspect"
	Dead    State = "dead"
)

// Gossip is this node's part in the gossip.
type Gossip struct {
	cfg  Config
	list *memberlist.Memberlist
	ring *memberlist.Keyring

	mu      sync.Mutex // guards what is below
	meta    []byte
	members map[fsm.NodeID]Member
	changed chan struct{} // closed at the next change
}

const (
	// leaveTimeout bounds the farewell when the node stops.
	leaveTimeout = time.Second
	// updateTimeout bounds the spreading of new metadata.
	updateTimeout = 2 * time.Second
)

// New listens. A dead node's place is given to whoever comes back under its id, at another address
// too; a live node's is not.
func New(cfg Config) (*Gossip, error) {
	meta, err := cfg.Meta.encode()
	if err != nil {
		return nil, err
	}
	g := &Gossip{cfg: cfg, meta: meta, members: map[fsm.NodeID]Member{}, changed: make(chan struct{})}
	conf, err := g.memberlistConfig()
	if err != nil {
		return nil, err
	}
	if g.list, err = memberlist.Create(conf); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	return g, nil
}

func (g *Gossip) memberlistConfig() (*memberlist.Config, error) {
	conf := memberlist.DefaultLANConfig()
	conf.Name = string(g.cfg.Node)
	bind, err := splitAddr(g.cfg.Bind)
	if err != nil {
		return nil, err
	}
	conf.BindAddr, conf.BindPort = bind.host, bind.port
	if conf.BindAddr == "" {
		conf.BindAddr = "0.0.0.0"
	}
	advertise, err := splitAddr(g.cfg.Advertise)
	if err != nil {
		return nil, err
	}
	ips, err := net.LookupIP(advertise.host)
	if err != nil {
		return nil, fmt.Errorf("gossip: advertised host %q: %w", advertise.host, err)
	}
	conf.AdvertiseAddr, conf.AdvertisePort = ips[0].String(), advertise.port
	if len(g.cfg.Keys) == 0 {
		return nil, errors.New("gossip: no key")
	}
	if g.ring, err = memberlist.NewKeyring(g.cfg.Keys, g.cfg.Keys[0]); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	conf.Keyring = g.ring
	// A killed process is suspected within a second or two and dead within five.
	conf.ProbeInterval, conf.ProbeTimeout = 500*time.Millisecond, 300*time.Millisecond
	conf.SuspicionMult, conf.SuspicionMaxTimeoutMult = 3, 2
	conf.GossipInterval = 100 * time.Millisecond
	conf.PushPullInterval = 10 * time.Second
	conf.TCPTimeout = 3 * time.Second
	conf.DeadNodeReclaimTime = time.Millisecond
	conf.GossipToTheDeadTime = 30 * time.Second
	conf.Delegate, conf.Events, conf.Conflict = (*delegate)(g), (*events)(g), (*conflicts)(g)
	conf.Logger = slog.NewLogLogger(g.cfg.Log.Handler(), slog.LevelDebug)
	return conf, nil
}

type hostPort struct {
	host string
	port int
}

func splitAddr(addr string) (hostPort, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return hostPort{}, fmt.Errorf("gossip: address %q: %w", addr, err)
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return hostPort{}, fmt.Errorf("gossip: port of %q", addr)
	}
	return hostPort{host, port}, nil
}

// Addr is where it listens, host:port.
func (g *Gossip) Addr() string { return g.list.LocalNode().Address() }

// rejoinEvery is how often a node that sees nobody asks the known addresses again.
const rejoinEvery = 2 * time.Second

// Run keeps this node in touch until ctx ends, then takes leave. Seeds are the gossip addresses of
// the members known, asked again whenever fewer nodes are alive than there are seeds.
func (g *Gossip) Run(ctx context.Context, seeds func() []string) error {
	tick := time.NewTicker(rejoinEvery)
	defer tick.Stop()
	for {
		if missing := g.missing(seeds()); len(missing) > 0 {
			if _, err := g.list.Join(missing); err != nil {
				g.cfg.Log.Debug("gossip: some seeds do not answer", "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			// Without the farewell the others find out by themselves.
			if err := g.list.Leave(leaveTimeout); err != nil {
				g.cfg.Log.Info("gossip: the farewell was not heard", "err", err)
			}
			return g.list.Shutdown()
		}
	}
}

// missing are the seeds at which no live member is.
func (g *Gossip) missing(seeds []string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(seeds), func(seed string) bool {
		if seed == g.cfg.Advertise {
			return true
		}
		for _, m := range g.members {
			if m.State != Dead && m.Addr == seed {
				return true
			}
		}
		return false
	})
}

// Members are all nodes that were ever seen, this one included, in the order of their ids.
func (g *Gossip) Members() []Member {
	suspects := g.suspects()
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Member, 0, len(g.members))
	for _, m := range g.members {
		if m.State == Alive && suspects[m.Node] {
			m.State = Suspect
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(string(a.Node), string(b.Node)) })
	return out
}

// Member is one node, and whether it was ever seen.
func (g *Gossip) Member(node fsm.NodeID) (Member, bool) {
	suspects := g.suspects()
	g.mu.Lock()
	defer g.mu.Unlock()
	m, ok := g.members[node]
	if m.State == Alive && suspects[node] {
		m.State = Suspect
	}
	return m, ok
}

// suspects are the nodes under suspicion, of which memberlist sends no event. It must not be
// called under mu: memberlist calls back, and so takes mu, under its own lock.
func (g *Gossip) suspects() map[fsm.NodeID]bool {
	out := map[fsm.NodeID]bool{}
	for _, n := range g.list.Members() {
		if n.State == memberlist.StateSuspect {
			out[fsm.NodeID(n.Name)] = true
		}
	}
	return out
}

// ClusterAddr is where a node's cluster port is, as the node itself last said.
func (g *Gossip) ClusterAddr(node fsm.NodeID) (string, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m, ok := g.members[node]
	return m.Meta.Addr, ok && m.Meta.Addr != ""
}

// Alive tells whether a node is believed to be up: a suspect still is.
func (g *Gossip) Alive(node fsm.NodeID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	m, ok := g.members[node]
	return node == g.cfg.Node || ok && m.State != Dead
}

// Changed is closed when a node came, went or changed its metadata.
func (g *Gossip) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// Update spreads new metadata of this node.
func (g *Gossip) Update(meta Meta) error {
	raw, err := meta.encode()
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.meta = raw
	g.mu.Unlock()
	if err := g.list.UpdateNode(updateTimeout); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	return nil
}

// SetKeys replaces the keys while the gossip goes on: the first encrypts, all decrypt. A key is rotated in
// three steps, each on all nodes before the next: add the new one behind, put it first, drop the old one.
func (g *Gossip) SetKeys(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("gossip: no key")
	}
	for _, key := range keys {
		if err := g.ring.AddKey(key); err != nil {
			return fmt.Errorf("gossip: %w", err)
		}
	}
	if err := g.ring.UseKey(keys[0]); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	for _, have := range g.ring.GetKeys() {
		if !slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, have) }) {
			if err := g.ring.RemoveKey(have); err != nil {
				return fmt.Errorf("gossip: %w", err)
			}
		}
	}
	return nil
}

func (g *Gossip) note(n *memberlist.Node, state State) {
	meta, err := decodeMeta(n.Meta)
	if err != nil {
		g.cfg.Log.Warn("gossip: a node's metadata cannot be read", "node", n.Name, "err", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	id := fsm.NodeID(n.Name)
	if was, ok := g.members[id]; !ok || was.State != state {
		g.cfg.Log.Info("gossip", "node", n.Name, "addr", n.Address(), "state", state)
	}
	g.members[id] = Member{Node: id, Addr: n.Address(), Meta: meta, State: state}
	close(g.changed)
	g.changed = make(chan struct{})
}

// The roles that memberlist calls back, kept apart so that they are not the package's interface.
type (
	events    Gossip
	conflicts Gossip
	delegate  Gossip
)

func (e *events) NotifyJoin(n *memberlist.Node)   { (*Gossip)(e).note(n, Alive) }
func (e *events) NotifyUpdate(n *memberlist.Node) { (*Gossip)(e).note(n, Alive) }
func (e *events) NotifyLeave(n *memberlist.Node)  { (*Gossip)(e).note(n, Dead) }

func (c *conflicts) NotifyConflict(existing, other *memberlist.Node) {
	(*Gossip)(c).cfg.Log.Error("gossip: two machines use one node id: stop one of them",
		"node", existing.Name, "addr", existing.Address(), "other", other.Address())
}

func (d *delegate) NodeMeta(limit int) []byte {
	g := (*Gossip)(d)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.meta) > limit { // encode has checked it against the same limit
		return nil
	}
	return g.meta
}

func (d *delegate) NotifyMsg([]byte)                {}
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (d *delegate) LocalState(bool) []byte          { return nil }
func (d *delegate) MergeRemoteState([]byte, bool)   {}
