// Package peer is the cluster port: one mutual-TLS 1.3 listener for everything that nodes say to
// each other, told apart by ALPN, and the client side of it, which knows nodes by id and not by
// address. It decides who is at the other end; it never decides what they may ask.
package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"hive/fsm"
)

// ProtoHTTP is the ALPN of the internal HTTP API.
const ProtoHTTP = "http/1.1"

// Errors of the port.
var (
	ErrUnknownNode = errors.New("no address is known for the node")
	ErrWrongNode   = errors.New("the certificate at the other end is not that node's")
)

// Identity is a node's certificate and the authority that it trusts. It can be renewed in place.
type Identity struct {
	Node  fsm.NodeID
	Roots *x509.CertPool
	cert  atomic.Pointer[tls.Certificate]
}

// NewIdentity holds cert for node. The chain of cert includes the authority, so that a joiner
// can compare it with the pin in its token.
func NewIdentity(node fsm.NodeID, cert tls.Certificate, roots *x509.CertPool) *Identity {
	id := &Identity{Node: node, Roots: roots}
	id.cert.Store(&cert)
	return id
}

// Renew replaces the certificate for new connections.
func (id *Identity) Renew(cert tls.Certificate) { id.cert.Store(&cert) }

// Certificate is the one in force.
func (id *Identity) Certificate() *tls.Certificate { return id.cert.Load() }

// Config is what a Port needs.
type Config struct {
	Identity *Identity
	// Admit tells whether a node with a valid certificate is (still) a member.
	Admit func(fsm.NodeID) bool
	// Resolve is where a node's cluster port is now, host:port.
	Resolve func(fsm.NodeID) (string, bool)
	// Public are path prefixes of the HTTP API that need no client certificate.
	Public []string
	Log    *slog.Logger
}

// Port listens for peers and dials them.
type Port struct {
	cfg    Config
	tcp    net.Listener
	http   *stream
	client *http.Client

	mu      sync.Mutex // guards what is below
	streams map[string]*stream
}

const (
	handshakeTimeout = 10 * time.Second
	// maxHandshakes bounds the connections that have not yet said who they are.
	maxHandshakes = 256
)

// Listen binds addr. Connections are taken once Run runs.
func Listen(addr string, cfg Config) (*Port, error) {
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cluster port: %w", err)
	}
	p := &Port{cfg: cfg, tcp: tcp, http: newStream(tcp.Addr()), streams: map[string]*stream{}}
	p.client = p.newClient()
	return p, nil
}

// Addr is where the port listens.
func (p *Port) Addr() net.Addr { return p.tcp.Addr() }

// Stream is the listener for raw connections that ask for proto by ALPN.
func (p *Port) Stream(proto string) net.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := newStream(p.tcp.Addr())
	p.streams[proto] = s
	return s
}

// Run serves the port until ctx ends. Handler answers the internal HTTP API; requests outside of
// Config.Public reach it only from members.
func (p *Port) Run(ctx context.Context, handler http.Handler) error {
	server := &http.Server{
		Handler:           p.authenticated(handler),
		ReadHeaderTimeout: handshakeTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(p.cfg.Log.Handler(), slog.LevelDebug),
	}
	var work sync.WaitGroup
	work.Go(func() {
		if err := server.Serve(p.http); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			p.cfg.Log.Error("cluster port's HTTP server ended", "err", err)
		}
	})
	work.Go(func() { p.accept(ctx) })
	<-ctx.Done()
	err := errors.Join(p.tcp.Close(), server.Close())
	p.closeStreams()
	p.client.CloseIdleConnections()
	work.Wait()
	return err
}

func (p *Port) closeStreams() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.streams {
		s.shut()
	}
	p.http.shut()
}

func (p *Port) accept(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	slots := make(chan struct{}, maxHandshakes)
	for {
		conn, err := p.tcp.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			p.cfg.Log.Warn("cluster port", "err", err) // out of file descriptors, say
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			conn.Close()
			return
		}
		work.Go(func() {
			defer func() { <-slots }()
			if err := p.greet(ctx, conn); err != nil {
				p.cfg.Log.Debug("connection refused", "from", conn.RemoteAddr(), "err", err)
				conn.Close()
			}
		})
	}
}

// greet shakes hands and passes the connection on to whom it asked for.
func (p *Port) greet(ctx context.Context, raw net.Conn) error {
	conn := tls.Server(raw, p.serverTLS())
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	proto := conn.ConnectionState().NegotiatedProtocol
	if proto == ProtoHTTP || proto == "" {
		return p.http.give(ctx, conn)
	}
	node, ok := peerOf(conn.ConnectionState())
	if !ok || !p.cfg.Admit(node) {
		return fmt.Errorf("%q is not a member", node)
	}
	p.mu.Lock()
	s := p.streams[proto]
	p.mu.Unlock()
	return s.give(ctx, conn)
}

func (p *Port) serverTLS() *tls.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	protos := []string{ProtoHTTP}
	for proto := range p.streams {
		protos = append(protos, proto)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: protos,
		ClientAuth: tls.VerifyClientCertIfGiven,
		ClientCAs:  p.cfg.Identity.Roots,
		// Tickets would let a removed node's old session in without a look at its certificate.
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return p.cfg.Identity.Certificate(), nil
		},
	}
}

func peerOf(state tls.ConnectionState) (fsm.NodeID, bool) {
	if len(state.VerifiedChains) == 0 {
		return "", false
	}
	return fsm.NodeID(state.PeerCertificates[0].Subject.CommonName), true
}
