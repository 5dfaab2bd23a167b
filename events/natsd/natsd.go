// Package natsd is the NATS server that a node runs inside itself: clustered with those of the other nodes over mutual
// TLS, one NATS account per tenant, every tenant subscribe-only. It carries messages and knows neither events nor state;
// it never stores one, and whatever happens to it happens to nobody else.
package natsd

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Grant is what a user may have: messages below Prefix in the account of that name, as long as it is still allowed.
type Grant struct {
	Account    string // also the name of the NATS account
	Prefix     string // of the subjects, without the last dot: "hive.eu-1.123456789012"
	Generation string // of its password: a grant of another one is over
}

// Tenants says who may subscribe. Both functions are asked often and must not wait for anything.
type Tenants interface {
	// Grant is what user gets with password; false refuses it.
	Grant(user, password string) (Grant, bool)
	// Holds tells whether a grant that was given is still good.
	Holds(Grant) bool
}

// Config is what a Server needs.
type Config struct {
	Name    string // of this server, unique in the cluster
	Cluster string // name of the cluster
	Listen  string // host:port for clients; port 0 chooses one
	// RouteListen is host:port for the other servers.
	RouteListen string
	// Advertise and RouteAdvertise are host:port as clients and other servers reach this one; "" for what it listens on.
	Advertise, RouteAdvertise string
	ClientTLS                 *tls.Config // of the server's side
	RouteTLS                  *tls.Config // of both sides: it must ask for and verify certificates on both
	// Routes are host:port of the other servers by name, asked when the server begins.
	Routes func() map[string]string
	// Member tells whether a node whose certificate was verified may be a server of the cluster.
	Member  func(name string) bool
	Tenants Tenants
	// Export is the subject below which the tenants' subjects lie: "hive.>".
	Export string
	Rand   io.Reader // for the password of this process itself; nil is crypto/rand
	Clock  func() time.Time
	Log    *slog.Logger
}

// Bounds of what clients can cost: at most MaxClients times maxPending of memory, and that only until writeDeadline.
const (
	// MaxClients is how many connections a server takes.
	MaxClients = 1024
	// MaxClientsPerTenant is how many of them one tenant may have.
	MaxClientsPerTenant = 64
	// MaxPayload is the longest message in bytes.
	MaxPayload = 512 << 10

	maxPending       = 4 << 20 // bytes that wait for a client; one with more is cut
	writeDeadline    = 2 * time.Second
	maxSubscriptions = 256 // of one client
	maxClosed        = 64  // closed clients that the server remembers
	authTimeout      = 3   // seconds
	reportEvery      = 60  // failed attempts to reach another server that are one line in the log
	startTimeout     = 10 * time.Second
	startLook        = 100 * time.Millisecond
	bridgeAccount    = "HIVE"
	bridgeUser       = "hive-bridge"
)

// ErrDown is a server that does not run now.
var ErrDown = errors.New("the NATS server of this node does not run")

// Server is one node's NATS server.
type Server struct {
	cfg      Config
	password string // of this process's own connections

	mu     sync.Mutex        // guards what is below
	begun  *server.Server    // takes connections, or will in a moment
	live   *server.Server    // runs
	since  time.Time         // when live began
	routes map[string]string // that live was given
	conns  map[uint64]Grant  // of tenants, by the connection's id in live; closed ones too until swept
	up     chan struct{}     // closed while live is not nil
	again  bool              // live was ended by Restart
}

// New checks a configuration. The server begins with Run.
func New(cfg Config) (*Server, error) {
	if cfg.ClientTLS == nil || cfg.RouteTLS == nil {
		return nil, errors.New("NATS server: TLS is not optional, neither for clients nor for routes")
	}
	for _, addr := range []string{cfg.Listen, cfg.RouteListen} {
		if _, _, err := hostPort(addr); err != nil {
			return nil, fmt.Errorf("NATS server: %w", err)
		}
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	var secret [32]byte
	if _, err := io.ReadFull(cfg.Rand, secret[:]); err != nil {
		return nil, fmt.Errorf("NATS server: %w", err)
	}
	return &Server{cfg: cfg, password: hex.EncodeToString(secret[:]), up: make(chan struct{})}, nil
}

func hostPort(addr string) (string, int, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if port == 0 {
		return host, server.RANDOM_PORT, err
	}
	return host, int(port), err
}

// Run runs one life of the server: it returns when ctx ends, with nil, or when the server could not begin or has ended.
func (s *Server) Run(ctx context.Context) error {
	routes := s.cfg.Routes()
	opts, err := s.options(routes)
	if err != nil {
		return err
	}
	live, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("NATS server: %w", err)
	}
	log := &logger{log: s.cfg.Log}
	live.SetLoggerV2(log, false, false, false)
	if err := prepare(live, s.cfg.Export); err != nil {
		return err
	}
	s.begin(live)
	live.Start()
	ended := make(chan struct{})
	go func() { live.WaitForShutdown(); close(ended) }()
	defer func() { live.Shutdown(); <-ended }()
	if err := ready(live, log); err != nil {
		return err
	}
	s.set(live, routes)
	defer s.set(nil, nil)
	s.cfg.Log.Info("NATS server", "clients", live.Addr(), "routes", live.ClusterAddr())
	select {
	case <-ctx.Done():
		return nil
	case <-ended:
	}
	if s.restarting() {
		return nil
	}
	return errors.Join(errors.New("NATS server ended"), log.failure())
}

// ready waits until the server takes connections, or has said why it cannot.
func ready(live *server.Server, log *logger) error {
	for range startTimeout / startLook {
		if live.ReadyForConnections(startLook) {
			return nil
		}
		if err := log.failure(); err != nil {
			return err
		}
	}
	return errors.New("NATS server did not begin")
}

func (s *Server) restarting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.again
}

// Restart ends the server that runs now, so that Run returns; the next one asks for its routes again. Clients look for
// another server meanwhile.
func (s *Server) Restart() {
	s.mu.Lock()
	live := s.live
	s.again = live != nil
	s.mu.Unlock()
	if live != nil {
		live.Shutdown()
	}
}

// Reaches tells whether the server has a route to another, or tries to have one at that address. True also while it does
// not run.
func (s *Server) Reaches(name, addr string) bool {
	s.mu.Lock()
	live, given := s.live, s.routes[name]
	s.mu.Unlock()
	if live == nil || given == addr {
		return true
	}
	all, err := live.Routez(nil)
	return err == nil && slices.ContainsFunc(all.Routes, func(r *server.RouteInfo) bool { return r.RemoteName == name })
}

// prepare makes the account that this process publishes in; those of tenants take their own part of it.
func prepare(live *server.Server, export string) error {
	acc, _ := live.LookupOrRegisterAccount(bridgeAccount)
	if err := acc.AddStreamExport(export, server.IsPublicExport); err != nil {
		return fmt.Errorf("NATS server: export: %w", err)
	}
	return nil
}

// begin is before the first client can be there: one that is refused twice does not come again.
func (s *Server) begin(live *server.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun, s.conns = live, map[uint64]Grant{}
}

func (s *Server) set(live *server.Server, routes map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live, s.routes, s.again = live, routes, s.again && live == nil
	if live == nil {
		s.up = make(chan struct{})
		return
	}
	s.since = s.cfg.Clock()
	close(s.up)
}

func (s *Server) options(routes map[string]string) (*server.Options, error) {
	host, port, err := hostPort(s.cfg.Listen)
	if err != nil {
		return nil, err
	}
	routeHost, routePort, err := hostPort(s.cfg.RouteListen)
	if err != nil {
		return nil, err
	}
	opts := &server.Options{
		ServerName: s.cfg.Name, Host: host, Port: port, ClientAdvertise: s.cfg.Advertise, NoSigs: true, NoSystemAccount: true,
		MaxConn: MaxClients, MaxSubs: maxSubscriptions, MaxPayload: MaxPayload, MaxPending: maxPending, WriteDeadline: writeDeadline,
		MaxClosedClients: maxClosed, AuthTimeout: authTimeout, TLSTimeout: authTimeout, TLS: true, TLSConfig: s.cfg.ClientTLS,
		ConnectErrorReports: reportEvery, ReconnectErrorReports: reportEvery,
		CustomClientAuthentication: (*clientDoor)(s), CustomRouterAuthentication: (*routeDoor)(s),
		Cluster: server.ClusterOpts{
			Name: s.cfg.Cluster, Host: routeHost, Port: routePort, Advertise: s.cfg.RouteAdvertise, TLSConfig: s.cfg.RouteTLS,
			TLSTimeout: authTimeout,
			// One connection between two servers, so that what one publisher sends arrives in its order whatever the account.
			PoolSize: -1, Compression: server.CompressionOpts{Mode: server.CompressionOff},
		},
	}
	for _, r := range routes {
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats-route", Host: r})
	}
	return opts, nil
}

// Connect opens a connection of this process, which may publish and subscribe to everything.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	s.mu.Lock()
	live := s.live
	s.mu.Unlock()
	if live == nil {
		return nil, ErrDown
	}
	return nats.Connect("", append(opts, nats.InProcessServer(live), nats.UserInfo(bridgeUser, s.password))...)
}

// Up is closed while the server runs.
func (s *Server) Up() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up
}

// Since is when the server that runs now began.
func (s *Server) Since() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since
}

// Stats are what an operator asks first.
type Stats struct {
	Addr, RouteAddr string // that the server listens on
	Clients         int    // of tenants and of this process
	Routes          int    // connections to other servers
	Cut             int64  // clients that were cut because they were slow
}

// Stats are of the server that runs now; false when none does.
func (s *Server) Stats() (Stats, bool) {
	s.mu.Lock()
	live := s.live
	s.mu.Unlock()
	if live == nil {
		return Stats{}, false
	}
	clients, routes := live.Addr(), live.ClusterAddr()
	if clients == nil || routes == nil {
		return Stats{}, false // it has just ended
	}
	return Stats{
		Addr: clients.String(), RouteAddr: routes.String(),
		Clients: live.NumClients(), Routes: live.NumRoutes(), Cut: live.NumSlowConsumers(),
	}, true
}

// own tells whether credentials are those of this process.
func (s *Server) own(user, password string) bool {
	return user == bridgeUser && subtle.ConstantTimeCompare([]byte(password), []byte(s.password)) == 1
}
