package nbd_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

var be = binary.BigEndian

// client speaks the protocol byte by byte, right or wrong.
type client struct {
	t testing.TB
	*net.UnixConn
}

// dial connects and checks the server's greeting.
func (s *server) dial(t testing.TB) *client {
	t.Helper()
	nc, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t, nc.(*net.UnixConn)}
	t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if got := string(c.read(18)); got != "NBDMAGICIHAVEOPT\x00\x03" {
		t.Fatalf("greeting %q", got)
	}
	return c
}

func (c *client) read(n int) []byte {
	c.t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(c, p); err != nil {
		c.t.Fatalf("reading %d bytes: %v", n, err)
	}
	return p
}

func (c *client) write(p []byte) {
	c.t.Helper()
	if _, err := c.Write(p); err != nil {
		c.t.Fatal(err)
	}
}

// closed checks that the server ends the connection without another byte.
func (c *client) closed() {
	c.t.Helper()
	var p [1]byte
	n, err := c.Read(p[:])
	if n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("%d bytes and error %v where the connection should end", n, err)
	}
}

func u16(v uint16) []byte { return be.AppendUint16(nil, v) }
func u32(v uint32) []byte { return be.AppendUint32(nil, v) }

func str(s string) []byte { return append(u32(uint32(len(s))), s...) }

func join(parts ...[]byte) []byte {
	var p []byte
	for _, part := range parts {
		p = append(p, part...)
	}
	return p
}

func optionBytes(id uint32, data []byte) []byte {
	return join([]byte("IHAVEOPT"), u32(id), str(string(data)))
}

func (c *client) option(id uint32, data ...[]byte) {
	c.t.Helper()
	c.write(optionBytes(id, join(data...)))
}

// optReply receives one reply to an option.
func (c *client) optReply(id uint32) (kind uint32, data []byte) {
	c.t.Helper()
	head := c.read(20)
	if be.Uint64(head) != 0x3e889045565a9 || be.Uint32(head[8:]) != id {
		c.t.Fatalf("reply %x to option %d", head, id)
	}
	return be.Uint32(head[12:]), c.read(int(be.Uint32(head[16:])))
}

// wants receives replies, each of which must be of the given kind, and is their data.
func (c *client) wants(id uint32, kinds ...uint32) [][]byte {
	c.t.Helper()
	var all [][]byte
	for _, want := range kinds {
		kind, data := c.optReply(id)
		if kind != want {
			c.t.Fatalf("option %d: reply %#x %q, want %#x", id, kind, data, want)
		}
		all = append(all, data)
	}
	return all
}

const (
	optExportName, optAbort, optList, optStartTLS, optInfo, optGo       = 1, 2, 3, 5, 6, 7
	optStructured, optListMeta, optSetMeta                              = 8, 9, 10
	repAck, repServer, repInfo, repMeta                                 = 1, 2, 3, 4
	errUnsup, errPolicy, errInvalid, errUnknown, errTooBig              = 1<<31 | 1, 1<<31 | 2, 1<<31 | 3, 1<<31 | 6, 1<<31 | 9
	cmdRead, cmdWrite, cmdDisc, cmdFlush, cmdTrim, cmdCache, cmdZero, _ = 0, 1, 2, 3, 4, 5, 6, 0
	cmdStatus                                                           = 7
	flagFUA, flagNoHole, flagDF, flagOne, flagFast                      = 1, 2, 4, 8, 16
)

// enter goes through the handshake into the transmission phase of an export.
func (c *client) enter(name string, structured bool) *client {
	c.t.Helper()
	c.write(u32(3))
	if structured {
		c.option(optStructured)
		c.wants(optStructured, repAck)
		c.option(optSetMeta, str(name), u32(1), str("base:allocation"))
		c.wants(optSetMeta, repMeta, repAck)
	}
	c.option(optGo, str(name), u16(0))
	c.wants(optGo, repInfo, repInfo, repAck)
	return c
}

// ask is one request.
type ask struct {
	cmd, flags  uint16
	handle, off uint64
	n           uint32
	data        []byte
}

func (a ask) bytes() []byte {
	p := join(u32(0x25609513), u16(a.flags), u16(a.cmd))
	p = be.AppendUint64(be.AppendUint64(p, a.handle), a.off)
	return append(append(p, u32(a.n)...), a.data...)
}

func (c *client) send(all ...ask) {
	c.t.Helper()
	var p []byte
	for _, a := range all {
		p = append(p, a.bytes()...)
	}
	c.write(p)
}

// simple receives a simple reply's head.
func (c *client) simple() (handle uint64, code uint32) {
	c.t.Helper()
	p := c.read(16)
	if be.Uint32(p) != 0x67446698 {
		c.t.Fatalf("no simple reply: %x", p)
	}
	return be.Uint64(p[8:]), be.Uint32(p[4:])
}

// chunk is one of a structured reply.
type chunk struct {
	flags, kind uint16
	handle      uint64
	data        []byte
}

func (c *client) chunk() chunk {
	c.t.Helper()
	p := c.read(20)
	if be.Uint32(p) != 0x668e33ef {
		c.t.Fatalf("no structured reply: %x", p)
	}
	return chunk{be.Uint16(p[4:]), be.Uint16(p[6:]), be.Uint64(p[8:]), c.read(int(be.Uint32(p[16:])))}
}

// answer receives the reply to a request that carries no data, simple or structured, and is its error.
func (c *client) answer() (handle uint64, code uint32) {
	c.t.Helper()
	p := c.read(16)
	if be.Uint32(p) == 0x67446698 {
		return be.Uint64(p[8:]), be.Uint32(p[4:])
	}
	rest := c.read(int(be.Uint32(c.read(4))))
	if be.Uint32(p) != 0x668e33ef || be.Uint16(p[4:]) != 1 || be.Uint16(p[6:]) != 1<<15|1 {
		c.t.Fatalf("no error chunk: %x %x", p, rest)
	}
	return be.Uint64(p[8:]), be.Uint32(rest)
}

// expect sends a request and checks the error of its reply.
func (c *client) expect(a ask, code uint32) {
	c.t.Helper()
	c.send(a)
	if handle, got := c.answer(); got != code || handle != a.handle {
		c.t.Fatalf("%+v: error %d for handle %d, want %d", ask{a.cmd, a.flags, a.handle, a.off, a.n, nil}, got, handle, code)
	}
}

// reads sends a read in simple mode and is the data.
func (c *client) reads(off uint64, n uint32) []byte {
	c.t.Helper()
	c.expect(ask{cmd: cmdRead, handle: 77, off: off, n: n}, 0)
	return c.read(int(n))
}
