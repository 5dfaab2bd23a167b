package node

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"hive/ebs"
	"hive/ec2"
	"hive/fsm"
	"hive/gossip"
	"hive/iam/trail"
	"hive/internal/cluster"
	"hive/internal/peer"
	"hive/internal/seal"
	"hive/raftnode"
	"hive/s3"
)

// Options are what `hive run` is told.
type Options struct {
	Dir             string
	Bind, Advertise string   // instead of what node.json says: the machine has another address
	Caps            []string // start only these services of the node's capabilities
	Log             *slog.Logger
	Ready           func() // called once the services run; may be nil
}

// Node is a running node. It wires the rooms and owns nothing that one of them could own.
type Node struct {
	dir      Dir
	cfg      Config
	opts     Options
	log      *slog.Logger
	stop     context.CancelFunc // ends the node as a signal would
	unlock   func() error
	box      *seal.Box
	sealKey  []byte
	ca       []byte // PEM
	identity *peer.Identity
	port     *peer.Port
	gossip   *gossip.Gossip
	groups   []*group // control first, then index-0, index-1, …
	control  *group
	index    []*group
	registry *cluster.Registry
	blobs    blobHolder
	guests   guests

	awsAsRoot lateHandler // the AWS API for whoever can open the admin socket
	serving   services
	epoch     atomic.Uint64 // of the settings that this node has written
	tuning    atomic.Pointer[cluster.Tuning]

	events   eventBridge
	who      *access
	trail    *trail.Trail
	machines atomic.Pointer[ec2.Service] // once the services run
	objects  atomic.Pointer[s3.Service]
}

// protoRaft is the ALPN of a Raft group's raw connections.
func protoRaft(id fsm.GroupID) string { return "hive-raft/" + string(id) }

// Run is the daemon. It returns when ctx ends and everything is closed, or when the node cannot
// go on.
func Run(ctx context.Context, opts Options) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	n := &Node{dir: Dir(opts.Dir), opts: opts, log: opts.Log, stop: stop}
	if err := n.open(); err != nil {
		return errors.Join(err, n.close())
	}
	n.log.Info("node", "id", n.cfg.Node, "cluster", n.cfg.ClusterID, "version", Version, "dir", opts.Dir)
	// The port comes first and goes last: everything else speaks through it. Raft ends after all
	// that proposes, and gossip before it, so that the others hear of the farewell in time.
	err := runStages(ctx, n.log, []stage{
		{"cluster port", func(ctx context.Context) error { return n.port.Run(ctx, n.peerHandler()) }},
		{"raft", n.runGroups},
		{"gossip", func(ctx context.Context) error { return n.gossip.Run(ctx, n.seeds) }},
		{"admin socket", n.serveAdmin},
		{"membership", n.runMembership},
		{"services", n.runServices},
	})
	return errors.Join(err, n.close())
}

// open reads the directory and opens what the stages run, in the order in which they need each
// other.
func (n *Node) open() error {
	if err := n.lock(); err != nil {
		return err
	}
	if err := n.loadIdentity(); err != nil {
		return err
	}
	if err := n.listen(); err != nil {
		return err
	}
	if err := n.openGroups(); err != nil {
		return err
	}
	return n.openGossip()
}

func (n *Node) close() error {
	var errs []error
	for _, g := range n.groups {
		errs = append(errs, g.Close())
	}
	if n.unlock != nil {
		errs = append(errs, n.unlock())
	}
	return errors.Join(errs...)
}

// lock keeps a second daemon out of the directory.
func (n *Node) lock() error {
	f, err := os.OpenFile(n.dir.path(fileLock), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is not a node's directory: begin with `hive init` or `hive join`", n.opts.Dir)
	}
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("%w: another daemon runs on %s", ErrUsed, n.opts.Dir), f.Close())
	}
	n.unlock = f.Close
	return nil
}

func (n *Node) loadIdentity() error {
	cfg, err := n.dir.LoadConfig()
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is not a node's directory, for it has no %s: begin with `hive init` or `hive join`", n.opts.Dir, fileNode)
	}
	if err != nil {
		return err
	}
	if err := n.override(&cfg); err != nil {
		return err
	}
	n.cfg = cfg
	if n.sealKey, err = n.dir.readKey(fileSeal); err != nil {
		return err
	}
	if n.box, err = seal.New(n.sealKey, rand.Reader); err != nil {
		return err
	}
	var key, cert []byte
	for _, f := range []struct {
		to   *[]byte
		name string
	}{{&n.ca, fileCA}, {&key, fileKey}, {&cert, fileCert}} {
		if *f.to, err = os.ReadFile(n.dir.path(f.name)); err != nil {
			return err
		}
	}
	chain, err := cluster.Chain(cert, key, n.ca)
	if err != nil {
		return fmt.Errorf("%s: %w", n.dir.path(fileCert), err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(n.ca) {
		return fmt.Errorf("%s is damaged", n.dir.path(fileCA))
	}
	n.identity = peer.NewIdentity(cfg.Node, chain, roots)
	return n.checkCertificate(roots)
}

// checkCertificate refuses a certificate that no peer would believe. Its age is another matter: an
// old one is renewed.
func (n *Node) checkCertificate(roots *x509.CertPool) error {
	leaf := n.identity.Certificate().Leaf
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: leaf.NotBefore.Add(time.Hour)})
	if err == nil && leaf.Subject.CommonName != string(n.cfg.Node) {
		err = fmt.Errorf("it is of %s", leaf.Subject.CommonName)
	}
	if err != nil {
		return fmt.Errorf("%s is damaged: %w", n.dir.path(fileCert), err)
	}
	return nil
}

// override applies the options of this run to what node.json says.
func (n *Node) override(cfg *Config) error {
	if err := checkBind(n.opts.Bind); err != nil {
		return err
	}
	if n.opts.Bind != "" {
		cfg.Bind, cfg.Advertise = n.opts.Bind, ""
	}
	if n.opts.Advertise != "" {
		cfg.Advertise = n.opts.Advertise
	}
	var err error
	cfg.Advertise, err = advertised(cfg.Bind, cfg.Advertise)
	return err
}

func (n *Node) listen() error {
	var err error
	n.port, err = peer.Listen(net.JoinHostPort(n.cfg.Bind, ClusterPort), peer.Config{
		Identity: n.identity, Admit: n.admit, Resolve: n.resolve, Public: []string{cluster.JoinPath}, Log: n.log,
	})
	if err != nil {
		return err
	}
	n.guests.connects, n.guests.logs = n.port.Stream(protoConnect), n.port.Stream(ebs.Proto)
	return nil
}

// admit tells whether a node with a certificate of ours may speak. Before this node knows its
// members, which come to it through the log, a certificate is enough.
func (n *Node) admit(node fsm.NodeID) bool {
	admitted := true
	err := n.control.View(func(v *fsm.View) error {
		if admitted = fsm.Members.Has(v, node); !admitted { // read first: it is asked for every request of a peer
			_, known := fsm.TheCluster(v)
			admitted = !known
		}
		return nil
	})
	return admitted || err != nil
}

// resolve is where a node is: as it says itself by gossip, else as the settings say.
func (n *Node) resolve(node fsm.NodeID) (addr string, ok bool) {
	if addr, ok = n.gossip.ClusterAddr(node); ok {
		return addr, true
	}
	err := n.control.View(func(v *fsm.View) error {
		m, known := fsm.Members.Get(v, node)
		addr, ok = m.Addr, known
		return nil
	})
	return addr, ok && err == nil
}

func (n *Node) openGossip() error {
	key, err := n.dir.readKey(fileGossip)
	if err != nil {
		return err
	}
	limits, err := n.cfg.Limits.fill()
	if err != nil {
		return err
	}
	n.gossip, err = gossip.New(gossip.Config{
		Node: n.cfg.Node, Bind: net.JoinHostPort(n.cfg.Bind, GossipPort), Advertise: net.JoinHostPort(n.cfg.Advertise, GossipPort),
		Keys: [][]byte{key}, Log: n.log,
		Meta: gossip.Meta{
			Addr: net.JoinHostPort(n.cfg.Advertise, ClusterPort), Caps: n.cfg.Caps, Version: Version, Zone: n.cfg.Zone,
			Kinds: len(fsm.KnownKinds()), CPUs: runtime.NumCPU(), VCPUs: limits.VCPUs, Guests: limits.MemoryMiB, VXLAN: limits.VXLANPort,
		},
	})
	return err
}

// seeds are the gossip addresses of the members known.
func (n *Node) seeds() []string {
	out := n.cfg.Seeds
	err := n.control.View(func(v *fsm.View) error {
		if _, known := fsm.TheCluster(v); known {
			out = nil
		}
		for _, m := range fsm.Members.Scan(v, "") {
			out = append(out, m.Gossip)
		}
		return nil
	})
	if err != nil && !errors.Is(err, raftnode.ErrReplaying) {
		n.log.Warn("members cannot be read", "err", err)
	}
	return out
}

func (n *Node) alive(node fsm.NodeID) bool { return n.gossip.Alive(node) }

// Health of a member that was never seen, and of one that is gone.
const (
	healthUnknown = "unknown"
	healthDead    = string(gossip.Dead)
)

func (n *Node) health(node fsm.NodeID) string {
	m, ok := n.gossip.Member(node)
	switch {
	case node == n.cfg.Node:
		return string(gossip.Alive)
	case !ok:
		return healthUnknown
	default:
		return string(m.State)
	}
}

// bootID tells one run of the machine from another: see fsm.Config.
func bootID() (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw)), err
}

func (n *Node) openGroups() error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	for i := range n.cfg.IndexGroups + 1 {
		id, class := fsm.ControlGroup, fsm.Control
		if i > 0 {
			id, class = fsm.GroupID(fmt.Sprintf("index-%d", i-1)), fsm.Index
		}
		g, err := raftnode.Open(raftnode.Config{
			Group: id, Class: class, Node: n.cfg.Node, Dir: filepath.Join(n.opts.Dir, "raft", string(id)), BootID: boot,
			Dial: func(ctx context.Context, node fsm.NodeID, id fsm.GroupID) (net.Conn, error) {
				return n.port.Dial(ctx, node, protoRaft(id))
			},
			Listener: n.port.Stream(protoRaft(id)), HTTP: n.port.Client(), Alive: n.alive, Log: n.log,
		})
		if err != nil {
			return err
		}
		n.groups = append(n.groups, &group{g, id})
		// Only the founder makes a group; everyone else is taken into it.
		if n.dir.exists(fileGenesis) {
			if err := g.Bootstrap(context.Background()); err != nil {
				return err
			}
		}
	}
	n.control, n.index = n.groups[0], n.groups[1:]
	n.registry = &cluster.Registry{Group: n.control, Sealer: n.box, Clock: time.Now}
	n.tuning.Store(&cluster.Tuning{})
	n.who, n.trail = n.newAccess(), n.newTrail()
	return nil
}

func (n *Node) runGroups(ctx context.Context) error {
	parts := make([]func(context.Context) error, len(n.groups))
	for i, g := range n.groups {
		parts[i] = g.Run
	}
	return together(parts...)(ctx)
}

// peerHandler is the internal HTTP API: each room answers below its own path.
func (n *Node) peerHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+cluster.JoinPath, &cluster.Door{Registry: n.registry, Sealer: n.box, SealKey: n.sealKey})
	for _, g := range n.groups {
		mux.Handle("/raft/"+string(g.id)+"/", g.Handler())
	}
	mux.Handle("/shard/", http.HandlerFunc(n.blobs.ServeHTTP))
	mux.Handle("/volume/", &n.guests.volumeCalls)
	mux.Handle("/instance/", &n.guests.instanceCalls)
	mux.HandleFunc("GET /digest/{group}", n.serveDigest)
	return mux
}
