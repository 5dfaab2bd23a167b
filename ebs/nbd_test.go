package ebs

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// client is an NBD client with one request at a time, or many from many goroutines, one connection each.
type client struct {
	t    testing.TB
	mu   sync.Mutex
	conn net.Conn
	next uint64
}

const (
	nbdRead  = 0
	nbdWrite = 1
	nbdFlush = 3
	nbdTrim  = 4
	nbdZero  = 6
	nbdFUA   = 1
)

func dialNBD(e Export) (*client, error) {
	conn, err := net.Dial("unix", e.Socket)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn}
	if err := c.handshake(e.Name); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func connect(t testing.TB, e Export) *client {
	t.Helper()
	c, err := dialNBD(e)
	if err != nil {
		t.Fatal(err)
	}
	c.t = t
	t.Cleanup(func() { c.conn.Close() })
	return c
}

// handshake asks for the export by its old name option: no replies to parse.
func (c *client) handshake(name string) error {
	head := make([]byte, 18)
	if _, err := io.ReadFull(c.conn, head); err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint32(nil, 3) // fixed newstyle, no zeroes
	b = append(b, "IHAVEOPT"...)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, uint32(len(name)))
	if _, err := c.conn.Write(append(b, name...)); err != nil {
		return err
	}
	_, err := io.ReadFull(c.conn, make([]byte, 10))
	return err
}

// do sends a request and waits for its answer.
func (c *client) do(flags, kind uint16, off, n int64, data []byte) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	b := binary.BigEndian.AppendUint32(nil, 0x25609513)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint64(b, c.next)
	b = binary.BigEndian.AppendUint64(b, uint64(off))
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	if _, err := c.conn.Write(append(b, data...)); err != nil {
		return nil, err
	}
	head := make([]byte, 16)
	if _, err := io.ReadFull(c.conn, head); err != nil {
		return nil, err
	}
	if code := binary.BigEndian.Uint32(head[4:]); code != 0 {
		return nil, fmt.Errorf("nbd error %d", code)
	}
	if kind != nbdRead {
		return nil, nil
	}
	out := make([]byte, n)
	_, err := io.ReadFull(c.conn, out)
	return out, err
}

func (c *client) write(off int64, data []byte) {
	c.t.Helper()
	if _, err := c.do(0, nbdWrite, off, int64(len(data)), data); err != nil {
		c.t.Fatalf("write %d at %d: %v", len(data), off, err)
	}
}

func (c *client) read(off, n int64) []byte {
	c.t.Helper()
	b, err := c.do(0, nbdRead, off, n, nil)
	if err != nil {
		c.t.Fatalf("read %d at %d: %v", n, off, err)
	}
	return b
}

func (c *client) flush() {
	c.t.Helper()
	if _, err := c.do(0, nbdFlush, 0, 0, nil); err != nil {
		c.t.Fatalf("flush: %v", err)
	}
}

func (c *client) zero(kind uint16, off, n int64) {
	c.t.Helper()
	if _, err := c.do(0, kind, off, n, nil); err != nil {
		c.t.Fatalf("zero %d at %d: %v", n, off, err)
	}
}

// bye ends the connection in order.
func (c *client) bye() {
	c.t.Helper()
	b := binary.BigEndian.AppendUint32(nil, 0x25609513)
	b = append(b, 0, 0, 0, 2)
	if _, err := c.conn.Write(append(b, make([]byte, 20)...)); err != nil {
		c.t.Fatal(err)
	}
	c.conn.Close()
}
