package raftnode

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"hive/fsm"
)

// streams gives raft's network transport its connections: those that the cluster port has accepted for
// this group, and those that it dials by node id. A node's address for raft is its id, so that a node may
// come back at another address.
type streams struct {
	ctx context.Context // of Group.Run
	cfg *Config

	mu     sync.Mutex // guards what is below
	open   map[*stream]struct{}
	closed bool
}

// stream is a connection that ends with the group.
type stream struct {
	net.Conn
	of *streams
}

func newStreams(ctx context.Context, cfg *Config) *streams {
	return &streams{ctx: ctx, cfg: cfg, open: make(map[*stream]struct{})}
}

// Accept is the next connection from another node.
func (s *streams) Accept() (net.Conn, error) {
	conn, err := s.cfg.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return s.track(conn)
}

// Dial opens a connection to the node whose id is address.
func (s *streams) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	conn, err := s.cfg.Dial(ctx, fsm.NodeID(address), s.cfg.Group)
	if err != nil {
		return nil, err
	}
	return s.track(conn)
}

func (s *streams) track(conn net.Conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	st := &stream{Conn: conn, of: s}
	s.open[st] = struct{}{}
	return st, nil
}

// Close ends Accept and every connection.
func (s *streams) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.cfg.Listener.Close()
	for st := range s.open {
		st.Conn.Close() //nolint:errcheck // nothing is owed to the other end
	}
	clear(s.open)
	return err
}

// Close closes the connection.
func (st *stream) Close() error {
	st.of.mu.Lock()
	delete(st.of.open, st)
	st.of.mu.Unlock()
	return st.Conn.Close()
}

// nodeAddr is a node id as a net.Addr.
type nodeAddr fsm.NodeID

func (a nodeAddr) Network() string { return "raft" }
func (a nodeAddr) String() string  { return string(a) }

// Addr is this node's id, by which the others dial it.
func (s *streams) Addr() net.Addr { return nodeAddr(s.cfg.Node) }

// transport is raft's network transport with heartbeats held by the term gate.
type transport struct {
	*raft.NetworkTransport
	terms *termGate
}

var errOtherTerm = errors.New("heartbeat of another term")

// SetHeartbeatHandler lets handle see only heartbeats of the current term. The others are refused: an old
// leader learns of its successor, and a new one is learned of, by the next AppendEntries, which goes
// through raft's main goroutine.
func (t *transport) SetHeartbeatHandler(handle func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		beat, ok := rpc.Command.(*raft.AppendEntriesRequest)
		if !ok || !t.terms.hold(beat.Term, func() { handle(rpc) }) {
			rpc.Respond(nil, errOtherTerm)
		}
	})
}

func newTransport(s *streams, terms *termGate) *transport {
	return &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: s, MaxPool: maxPool, Timeout: s.cfg.Timing.RPC, Logger: newHclog(s.cfg.Log),
			MsgpackUseNewTimeFormat: true,
		}),
		terms: terms,
	}
}

// maxPool is how many idle connections are kept to a node: heartbeats, votes, probes and commit notices.
const maxPool = 4
