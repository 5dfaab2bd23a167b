package nbd_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"hive/ebs/nbd"
	"hive/ebs/nbd/nbdtest"
)

// feed sends bytes and reads whatever comes until the server ends the connection, which it must.
func (c *client) feed(p []byte) {
	done := make(chan error, 1)
	go func() {
		_, err := c.Write(p)
		if err == nil {
			err = c.CloseWrite()
		}
		done <- err
	}()
	_, err := io.Copy(io.Discard, c)
	for _, err := range []error{err, <-done} {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.t.Fatalf("the server neither answers nor ends: %v", err)
		}
		if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.ENOTCONN) {
			c.t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		c.t.Fatal(err)
	}
}

func FuzzHandshake(f *testing.F) {
	s := serve(f, all(nbd.Export{Name: "disk", Description: "a disk", Device: nbdtest.NewMemory(mib)}, nbd.Export{Device: nbdtest.NewMemory(512)}))
	f.Add(u32(3))
	f.Add(join(u32(0), optionBytes(optExportName, []byte("disk")), ask{n: 512}.bytes()))
	f.Add(join(u32(3), optionBytes(optStructured, nil), optionBytes(optListMeta, join(str("disk"), u32(0))),
		optionBytes(optSetMeta, join(str("disk"), u32(2), str("base:"), str("base:allocation"))), optionBytes(optList, nil),
		optionBytes(optInfo, join(str(""), u16(3), u16(1), u16(2), u16(3))), optionBytes(optGo, join(str("disk"), u16(0))),
		ask{cmd: cmdStatus, n: mib}.bytes(), ask{cmd: cmdDisc}.bytes()))
	f.Add(join(u32(3), optionBytes(optStartTLS, nil), optionBytes(99, make([]byte, 20_000)), optionBytes(optAbort, nil)))
	f.Fuzz(func(t *testing.T, p []byte) {
		s.dial(t).feed(p)
		s.idle(t)
	})
}

func FuzzTransmission(f *testing.F) {
	slowly := newSlow(mib, nil)
	slowly.mem.TryWrite(make([]byte, 40<<10), 64<<10)
	s := serve(f, all(nbd.Export{Name: "quick", Device: nbdtest.NewMemory(mib)}, nbd.Export{Name: "slow", Device: slowly},
		nbd.Export{Name: "ro", Device: slowly, ReadOnly: true, MinBlock: 4096}))
	names := []string{"quick", "slow", "ro"}
	block := make([]byte, 4096)
	for i := range uint8(6) {
		var p []byte
		for cmd := range uint16(9) {
			a := ask{cmd: cmd, handle: uint64(cmd), off: 4096, n: 4096}
			switch cmd {
			case cmdWrite:
				a.data = block
			case cmdFlush:
				a.off, a.n = 0, 0
			case cmdDisc:
				continue
			}
			p = append(p, a.bytes()...)
		}
		f.Add(i, p)
		f.Add(i, join(p, ask{cmd: cmdRead, n: mib}.bytes(), ask{cmd: cmdZero, flags: 31, n: 1<<32 - 512}.bytes(), ask{cmd: cmdWrite, n: 1 << 30}.bytes()))
		f.Add(i, join(ask{cmd: cmdWrite, n: 200_000, data: bytes.Repeat(block, 50)}.bytes(), ask{cmd: cmdDisc}.bytes(), p))
	}
	f.Fuzz(func(t *testing.T, how uint8, p []byte) {
		s.dial(t).enter(names[how/2%3], how%2 == 1).feed(p)
		s.idle(t)
	})
}
