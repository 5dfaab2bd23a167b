package raftnode

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"hive/fsm"
)

// network joins the nodes of a test over loopback TCP, and can cut any way between two of them.
type network struct {
	mu    sync.Mutex // guards what is below
	addrs map[string]string
	cut   map[[2]fsm.NodeID]bool
	hung  map[fsm.NodeID]chan struct{} // closed when the node goes on
	conns map[*link]struct{}
}

func newNetwork() *network {
	return &network{
		addrs: make(map[string]string), cut: make(map[[2]fsm.NodeID]bool),
		hung: make(map[fsm.NodeID]chan struct{}), conns: make(map[*link]struct{}),
	}
}

// link is a connection that a cut closes, and on which nothing moves while an end of it hangs.
type link struct {
	net.Conn
	net      *network
	from, to fsm.NodeID
	closed   chan struct{}
	once     sync.Once
	deadline [2]atomic.Int64 // of reading and writing, Unix nanoseconds; 0 for none
}

func (l *link) Close() error {
	l.net.mu.Lock()
	delete(l.net.conns, l)
	l.net.mu.Unlock()
	l.once.Do(func() { close(l.closed) })
	return l.Conn.Close()
}

func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if wait := l.pass(0); wait != nil {
		return 0, wait
	}
	return n, err
}

func (l *link) Write(p []byte) (int, error) {
	if err := l.pass(1); err != nil {
		return 0, err
	}
	return l.Conn.Write(p)
}

func (l *link) SetDeadline(t time.Time) error {
	return errors.Join(l.SetReadDeadline(t), l.SetWriteDeadline(t))
}

func (l *link) SetReadDeadline(t time.Time) error {
	l.deadline[0].Store(unixNano(t))
	return l.Conn.SetReadDeadline(t)
}

func (l *link) SetWriteDeadline(t time.Time) error {
	l.deadline[1].Store(unixNano(t))
	return l.Conn.SetWriteDeadline(t)
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// pass waits while an end of the link hangs.
func (l *link) pass(direction int) error {
	for _, node := range []fsm.NodeID{l.from, l.to} {
		l.net.mu.Lock()
		hung := l.net.hung[node]
		l.net.mu.Unlock()
		if hung == nil {
			continue
		}
		var timeout <-chan time.Time
		if at := l.deadline[direction].Load(); at != 0 {
			timeout = time.After(time.Until(time.Unix(0, at)))
		}
		select {
		case <-hung:
		case <-timeout:
			return os.ErrDeadlineExceeded
		case <-l.closed:
			return net.ErrClosed
		}
	}
	return nil
}

// hang stops everything on the way from and to a node, as if its process were stopped, until resume.
func (n *network) hang(node fsm.NodeID) (resume func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ch := make(chan struct{})
	n.hung[node] = ch
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.hung, node)
		close(ch)
	}
}

var errCut = errors.New("no route")

func (n *network) dial(ctx context.Context, from, to fsm.NodeID, what string) (net.Conn, error) {
	n.mu.Lock()
	addr, cut := n.addrs[string(to)+what], n.cut[[2]fsm.NodeID{from, to}]
	n.mu.Unlock()
	if addr == "" || cut {
		return nil, &net.OpError{Op: "dial", Err: errCut}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	l := &link{Conn: conn, net: n, from: from, to: to, closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut[[2]fsm.NodeID{from, to}] {
		conn.Close()
		return nil, &net.OpError{Op: "dial", Err: errCut}
	}
	n.conns[l] = struct{}{}
	return l, nil
}

// split cuts all ways between the nodes of different sides; a node on no side is left alone.
func (n *network) split(sides ...[]fsm.NodeID) {
	n.mu.Lock()
	n.cut = make(map[[2]fsm.NodeID]bool)
	for i, a := range sides {
		for j, b := range sides {
			for _, from := range a {
				for _, to := range b {
					if i != j {
						n.cut[[2]fsm.NodeID{from, to}] = true
					}
				}
			}
		}
	}
	var broken []*link
	for l := range n.conns {
		if n.cut[[2]fsm.NodeID{l.from, l.to}] {
			broken = append(broken, l)
		}
	}
	n.mu.Unlock()
	for _, l := range broken {
		l.Close()
	}
}

func (n *network) heal() { n.split() }

func (n *network) publish(node fsm.NodeID, what, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs[string(node)+what] = addr
}
