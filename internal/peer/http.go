package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"hive/fsm"
)

const (
	dialTimeout = 3 * time.Second
	bufferSize  = 64 << 10 // of a connection of the internal HTTP API, each way
)

// Node is the member that sent a request of the internal HTTP API.
func Node(r *http.Request) (fsm.NodeID, bool) {
	if r.TLS == nil {
		return "", false
	}
	return peerOf(*r.TLS)
}

func (p *Port) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, prefix := range p.cfg.Public {
			if strings.HasPrefix(r.URL.Path, prefix) {
				next.ServeHTTP(w, r)
				return
			}
		}
		node, ok := Node(r)
		if !ok {
			http.Error(w, "this port is for the cluster's nodes: it needs a node's certificate", http.StatusUnauthorized)
			return
		}
		if !p.cfg.Admit(node) {
			http.Error(w, string(node)+" is not a member of this cluster", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Client speaks the internal HTTP API. The host of a URL is a node id: https://n-node1/path.
func (p *Port) Client() *http.Client { return p.client }

func (p *Port) newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return p.Dial(ctx, fsm.NodeID(host), ProtoHTTP)
		},
		MaxIdleConnsPerHost: 128,
		IdleConnTimeout:     time.Minute,
		WriteBufferSize:     bufferSize,
		ReadBufferSize:      bufferSize,
		DisableCompression:  true,
	}}
}

// Dial opens a connection to node for proto. It is the node's certificate that is believed, not
// the address at which it was found.
func (p *Port) Dial(ctx context.Context, node fsm.NodeID, proto string) (net.Conn, error) {
	addr, ok := p.cfg.Resolve(node)
	if !ok {
		return nil, fmt.Errorf("%s: %w", node, ErrUnknownNode)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", node, err)
	}
	conn := tls.Client(raw, p.clientTLS(node, proto))
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("%s at %s: %w", node, addr, err)
	}
	return conn, nil
}

func (p *Port) clientTLS(node fsm.NodeID, proto string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{proto},
		// Small records at the beginning would help a browser on a slow line to begin.
		DynamicRecordSizingDisabled: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return p.cfg.Identity.Certificate(), nil
		},
		// The standard check wants a host name; ours wants a node id, on a chain to our authority.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection below does the whole check
		VerifyConnection: func(state tls.ConnectionState) error {
			return p.verifyServer(state, node)
		},
	}
}

func (p *Port) verifyServer(state tls.ConnectionState, node fsm.NodeID) error {
	opts := x509.VerifyOptions{Roots: p.cfg.Identity.Roots, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := state.PeerCertificates[0].Verify(opts); err != nil {
		return err
	}
	if got := state.PeerCertificates[0].Subject.CommonName; got != string(node) {
		return fmt.Errorf("%w: want %s, got %s", ErrWrongNode, node, got)
	}
	return nil
}

// stream is a listener that is given its connections.
type stream struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newStream(addr net.Addr) *stream {
	return &stream{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (s *stream) give(ctx context.Context, conn net.Conn) error {
	select {
	case s.conns <- conn:
		return nil
	case <-s.done:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Accept is the next connection.
func (s *stream) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept; the port itself goes on.
func (s *stream) Close() error {
	s.shut()
	return nil
}

func (s *stream) shut() { s.once.Do(func() { close(s.done) }) }

// Addr is the cluster port's.
func (s *stream) Addr() net.Addr { return s.addr }
