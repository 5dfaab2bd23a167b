// Package events tells the world what has changed: it reads the notices that the groups' states keep and publishes them
// as EventBridge-shaped JSON to NATS, embedded (events/natsd) or somewhere else, and to an operator who asks. It reads
// committed state and proposes only how far it has come; no request ever waits for it.
package events

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"hive/events/natsd"
	"hive/fsm"
)

// Node is a member of the cluster as the bridge sees it.
type Node struct {
	ID      fsm.NodeID
	Alive   bool   // this node itself always is
	Serves  bool   // has the capability nats
	Route   string // host:port of its NATS server for other servers
	Clients string // host:port of its NATS server for clients
}

// Config is what a Bridge needs.
type Config struct {
	Node    fsm.NodeID
	Realm   Realm
	Groups  []Group                                  // all of the node's, the control group first
	Propose func(context.Context, fsm.Command) error // on the control group
	Nodes   func() []Node                            // all members, with this node
	Serve   bool                                     // this node has the capability nats: run a server, publish when it is its turn
	Secret  []byte                                   // of the cluster, at least 16 bytes: passwords are derived from it
	CA      []byte                                   // PEM that clients check the servers by, shown with credentials

	Listen, RouteListen       string // host:port of the server for clients and for other servers
	Advertise, RouteAdvertise string // as they reach it; "" for what it listens on
	Certificate               func() *tls.Certificate
	Roots                     *x509.CertPool

	// External is the URL of a NATS elsewhere ("nats://user:password@host:4222", tls:// for TLS; several with commas)
	// instead of the embedded servers; "" is none. It may change. Who may read there is its operator's matter.
	External    func() string
	ExternalTLS *tls.Config // may be nil

	Clock func() time.Time
	Rand  io.Reader
	Log   *slog.Logger

	Timing Timing
}

// Timing may be left zero.
type Timing struct {
	Look   time.Duration // how often the nodes are looked at; 1 s
	Settle time.Duration // how long a NATS that has just come back is left to its clients before they are sent to; 4 s
	Hold   time.Duration // how long a cursor stays behind what was sent, for messages that die with a server; 5 s
	Sync   time.Duration // how long the other servers may take to say that they have a message; 2 s
	Retry  time.Duration // between attempts to reach NATS, or to start it; 1 s
}

func (t *Timing) fill() {
	for _, f := range []struct {
		at *time.Duration
		by time.Duration
	}{{&t.Look, time.Second}, {&t.Settle, 4 * time.Second}, {&t.Hold, 5 * time.Second}, {&t.Sync, 2 * time.Second}, {&t.Retry, time.Second}} {
		if *f.at == 0 {
			*f.at = f.by
		}
	}
}

// minSecret is the least that a password may be derived from.
const minSecret = 16

// Bridge is a node's part in telling the world.
type Bridge struct {
	cfg        Config
	keys       keys
	server     *natsd.Server // nil when this node does not serve
	elsewhere  atomic.Pointer[string]
	publishing atomic.Bool
	sent       atomic.Uint64
}

// New checks cfg. Nothing begins before Run.
func New(cfg Config) (*Bridge, error) {
	if len(cfg.Groups) == 0 || cfg.Groups[0].ID != fsm.ControlGroup {
		return nil, errors.New("events: the first group must be control")
	}
	if len(cfg.Secret) < minSecret {
		return nil, fmt.Errorf("events: a secret of %d bytes, less than %d", len(cfg.Secret), minSecret)
	}
	cfg.Timing.fill()
	b := &Bridge{cfg: cfg, keys: keys{realm: cfg.Realm, secret: cfg.Secret, view: cfg.Groups[0].View}}
	b.elsewhere.Store(new(string))
	if !cfg.Serve {
		return b, nil
	}
	var err error
	b.server, err = natsd.New(natsd.Config{
		Name: string(cfg.Node), Cluster: string(cfg.Realm.Cluster), Export: Root + ".>",
		Listen: cfg.Listen, RouteListen: cfg.RouteListen, Advertise: cfg.Advertise, RouteAdvertise: cfg.RouteAdvertise,
		ClientTLS: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cfg.Certificate(), nil },
		},
		RouteTLS: natsd.RouteTLS(cfg.Certificate, cfg.Roots, b.member), Routes: b.routes,
		Member: b.member, Tenants: &b.keys, Rand: cfg.Rand, Clock: cfg.Clock, Log: cfg.Log,
	})
	return b, err
}

func (b *Bridge) member(name string) bool {
	return slices.ContainsFunc(b.cfg.Nodes(), func(n Node) bool { return string(n.ID) == name })
}

// Run serves and, when it is this node's turn, publishes until ctx ends. NATS failing is never an error of the node's.
func (b *Bridge) Run(ctx context.Context) error {
	if !b.cfg.Serve {
		<-ctx.Done()
		return nil
	}
	for ctx.Err() == nil {
		url := b.cfg.External()
		b.elsewhere.Store(&url)
		b.serve(ctx, url)
	}
	return nil
}

// embedded tells whether NATS is in the cluster's nodes.
func (b *Bridge) embedded() bool { return *b.elsewhere.Load() == "" }

// serve runs as long as NATS is at url.
func (b *Bridge) serve(ctx context.Context, url string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	if url == "" {
		work.Go(func() { b.keepServer(ctx) })
		work.Go(func() { b.keepAnswering(ctx) })
		work.Go(func() { b.keepWatch(ctx) })
	}
	work.Go(func() { b.takeTurns(ctx) })
	for b.cfg.External() == url && ctx.Err() == nil {
		select {
		case <-time.After(b.cfg.Timing.Look):
		case <-ctx.Done():
		}
	}
	cancel()
	work.Wait()
}

// keepServer starts the server again whenever it has ended.
func (b *Bridge) keepServer(ctx context.Context) {
	said := ""
	for ctx.Err() == nil {
		began := b.cfg.Clock()
		err := b.server.Run(ctx)
		if err != nil && (err.Error() != said || b.cfg.Clock().Sub(began) > time.Minute) {
			said = err.Error()
			b.cfg.Log.Warn("NATS is down on this node; it is started again", "err", err)
		}
		b.pause(ctx)
	}
}

func (b *Bridge) pause(ctx context.Context) {
	select {
	case <-time.After(b.cfg.Timing.Retry):
	case <-ctx.Done():
	}
}

// keepWatch ends connections of accounts that may have none any more.
func (b *Bridge) keepWatch(ctx context.Context) {
	wake := make(chan struct{}, 1)
	var work sync.WaitGroup
	work.Go(func() { wakes(ctx, b.cfg.Groups[:1], wake) })
	defer work.Wait()
	for {
		select {
		case <-wake:
		case <-time.After(b.cfg.Timing.Look):
		case <-ctx.Done():
			return
		}
		b.server.Recheck(ctx)
		select { // not for every entry of a busy log
		case <-time.After(b.cfg.Timing.Look / 4):
		case <-ctx.Done():
			return
		}
	}
}

// takeTurns publishes while this node is the one to do it: the lowest of those alive that serve. It must have been so at
// two looks: a node that has just come up sees itself alone at first.
func (b *Bridge) takeTurns(ctx context.Context) {
	stop := func() {}
	defer func() { stop() }()
	for turns, missed := 0, 0; ; {
		missed = b.checkRoutes(missed)
		switch chosen := b.chosen(); {
		case !chosen:
			turns = 0
			stop()
			stop = func() {}
		case turns < 2:
			if turns++; turns == 2 {
				stop = b.begin(ctx)
			}
		}
		select {
		case <-time.After(b.cfg.Timing.Look):
		case <-ctx.Done():
			return
		}
	}
}

// begin publishes until the function that it answers is called, which waits for the end.
func (b *Bridge) begin(ctx context.Context) func() {
	own, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	b.cfg.Log.Info("this node publishes the events")
	b.publishing.Store(true)
	go func() {
		defer close(done)
		b.publish(own)
	}()
	return func() {
		cancel()
		<-done
		b.publishing.Store(false)
		b.cfg.Log.Info("this node does not publish the events any more")
	}
}

// chosen tells whether it is this node's turn. A node that does not find itself among the members knows too little to say.
func (b *Bridge) chosen() bool {
	itself := false
	for _, n := range b.cfg.Nodes() {
		if n.Serves && n.Alive && n.ID < b.cfg.Node {
			return false
		}
		itself = itself || n.ID == b.cfg.Node
	}
	return itself
}

// routes are where the other servers are.
func (b *Bridge) routes() map[string]string {
	out := map[string]string{}
	for _, n := range b.cfg.Nodes() {
		if n.Serves && n.ID != b.cfg.Node && n.Route != "" {
			out[string(n.ID)] = n.Route
		}
	}
	return out
}

// routeLooks is for how many looks a server may be out of reach that this one does not even try to reach.
const routeLooks = 30

// checkRoutes starts the server again when it does not know where another is. That is rare: of two servers the one that
// began later knows the other, and one way is enough. NATS takes new routes into a running server only by closing the
// connections of all clients too.
func (b *Bridge) checkRoutes(missed int) int {
	if !b.embedded() {
		return 0
	}
	for _, n := range b.cfg.Nodes() {
		if n.Serves && n.Alive && n.ID != b.cfg.Node && n.Route != "" && !b.server.Reaches(string(n.ID), n.Route) {
			if missed++; missed < routeLooks {
				return missed
			}
			b.cfg.Log.Info("NATS server of this node begins again to reach another", "node", n.ID, "addr", n.Route)
			b.server.Restart()
			return 0
		}
	}
	return 0
}

// others are the nodes beside this one that serve and are alive.
func (b *Bridge) others() map[fsm.NodeID]bool {
	out := map[fsm.NodeID]bool{}
	for _, n := range b.cfg.Nodes() {
		if n.Serves && n.Alive && n.ID != b.cfg.Node {
			out[n.ID] = true
		}
	}
	return out
}

// Status is what an operator asks first.
type Status struct {
	Publishing bool         `json:"publishing"`         // this node's turn
	Sent       uint64       `json:"sent"`               // events, since the node began
	External   bool         `json:"external,omitempty"` // NATS is elsewhere
	Server     *natsd.Stats `json:"server,omitempty"`   // of this node, while it runs
}

// Status is this node's part now.
func (b *Bridge) Status() Status {
	s := Status{Publishing: b.publishing.Load(), Sent: b.sent.Load(), External: b.cfg.Serve && !b.embedded()}
	if b.server != nil {
		if stats, ok := b.server.Stats(); ok {
			s.Server = &stats
		}
	}
	return s
}

// dial opens a connection to NATS that ends for good when it breaks: closed is closed then.
func (b *Bridge) dial(ctx context.Context) (conn *nats.Conn, closed <-chan struct{}, err error) {
	ended := make(chan struct{})
	end := sync.OnceFunc(func() { close(ended) })
	opts := []nats.Option{
		nats.Name("hive " + string(b.cfg.Node)), nats.NoReconnect(), nats.Timeout(dialTimeout), nats.FlusherTimeout(dialTimeout),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(2), nats.ClosedHandler(func(*nats.Conn) { end() }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { b.cfg.Log.Debug("NATS", "err", err) }),
	}
	if !b.embedded() {
		if b.cfg.ExternalTLS != nil {
			opts = append(opts, nats.Secure(b.cfg.ExternalTLS))
		}
		conn, err = connectWithin(ctx, *b.elsewhere.Load(), opts)
		return conn, ended, err
	}
	select {
	case <-b.server.Up():
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	conn, err = b.server.Connect(opts...)
	return conn, ended, err
}

// connectWithin connects to a server elsewhere. The end of ctx ends an attempt also where the other side is silent.
func connectWithin(ctx context.Context, url string, opts []nats.Option) (*nats.Conn, error) {
	stop := func() bool { return true }
	dial := func(network, addr string) (net.Conn, error) {
		d := net.Dialer{Timeout: dialTimeout}
		conn, err := d.DialContext(ctx, network, addr)
		if err == nil {
			stop()
			stop = context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	}
	conn, err := nats.Connect(url, append(opts, nats.SetCustomDialer(dialer(dial)))...)
	stop()
	return conn, err
}

type dialer func(network, addr string) (net.Conn, error)

// Dial opens a connection for NATS.
func (d dialer) Dial(network, addr string) (net.Conn, error) { return d(network, addr) }

const (
	dialTimeout = 5 * time.Second
	pingEvery   = 10 * time.Second
)
