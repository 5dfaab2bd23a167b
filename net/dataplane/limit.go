package dataplane

import (
	"net"
	"net/netip"
	"sync"
)

// maxConns is how many connections one guest can have to one server: more would be descriptors that others lack.
const maxConns = 64

// limited is a listener that hangs up at once on a guest that has maxConns.
type limited struct {
	*net.TCPListener
	mu    sync.Mutex // guards conns
	conns map[netip.Addr]int
}

func limit(l *net.TCPListener) *limited {
	return &limited{TCPListener: l, conns: map[netip.Addr]int{}}
}

// Accept waits for a connection that may stay.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
		if l.add(from) {
			return &limitedConn{TCPConn: conn, end: sync.OnceFunc(func() { l.done(from) })}, nil
		}
		_ = conn.Close() // it has nothing to lose
	}
}

func (l *limited) add(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns[from] >= maxConns {
		return false
	}
	l.conns[from]++
	return true
}

func (l *limited) done(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns[from]--; l.conns[from] == 0 {
		delete(l.conns, from)
	}
}

type limitedConn struct {
	*net.TCPConn
	end func()
}

// Close makes room for another.
func (c *limitedConn) Close() error {
	defer c.end()
	return c.TCPConn.Close()
}
