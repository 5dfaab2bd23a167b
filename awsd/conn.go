package awsd

import (
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// firstOfTLS is the first byte of a TLS connection: the type of a handshake record. No HTTP method begins
// with it.
const firstOfTLS = 0x16

// maxWrite is what one write deadline covers.
const maxWrite = 256 << 10

// connKey is the context key under which a request finds its *dualConn.
type connKey struct{}

// dualListener accepts connections that speak HTTP or HTTPS, as the client likes.
type dualListener struct {
	net.Listener
	tls      *tls.Config // nil: HTTP only
	patience time.Duration
}

// Accept never waits for a client to speak: what it speaks is found out by its connection's first read.
func (l *dualListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &dualConn{Conn: c, config: l.tls, patience: l.patience}, nil
}

// dualConn is a connection that becomes TLS if its first byte says so. A client that does not take what it
// is sent is ended.
type dualConn struct {
	net.Conn
	config   *tls.Config
	patience time.Duration
	sniffed  bool // only the first read, which nothing runs beside, looks
	secure   atomic.Pointer[tls.Conn]
}

// Read reads what the client says, decrypted.
func (c *dualConn) Read(p []byte) (int, error) {
	if t := c.secure.Load(); t != nil {
		return t.Read(p)
	}
	n, err := c.Conn.Read(p)
	if c.sniffed || n == 0 {
		return n, err
	}
	c.sniffed = true
	if p[0] != firstOfTLS || c.config == nil {
		return n, err
	}
	t := tls.Server(&replayConn{Conn: c.Conn, head: append([]byte(nil), p[:n]...)}, c.config)
	c.secure.Store(t)
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return t.Read(p)
}

// Write sends, with a deadline for every maxWrite bytes.
func (c *dualConn) Write(p []byte) (int, error) {
	var w net.Conn = c.Conn
	if t := c.secure.Load(); t != nil {
		w = t
	}
	total := 0
	for {
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
			return total, err
		}
		n, err := w.Write(p[:min(len(p), maxWrite)])
		total += n
		if p = p[n:]; err != nil || len(p) == 0 {
			return total, err
		}
	}
}

// Close closes, taking leave first where TLS asks for it.
func (c *dualConn) Close() error {
	if t := c.secure.Load(); t != nil {
		return t.Close()
	}
	return c.Conn.Close()
}

// CloseWrite lets net/http end its half and wait for the client to read the last answer.
func (c *dualConn) CloseWrite() error {
	if t := c.secure.Load(); t != nil {
		return t.CloseWrite()
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// replayConn gives what was read already once more.
type replayConn struct {
	net.Conn
	head []byte
}

func (c *replayConn) Read(p []byte) (int, error) {
	if len(c.head) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.head)
	c.head = c.head[n:]
	return n, nil
}
