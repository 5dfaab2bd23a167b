package nbd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"hive/ebs/nbd"
	"hive/ebs/nbd/nbdtest"
)

// noise are n bytes that differ from place to place, the same in each run.
func noise(seed byte, n int) []byte {
	p := make([]byte, n)
	source := rand.NewChaCha8([32]byte{seed})
	if _, err := source.Read(p); err != nil {
		panic(err)
	}
	return p
}

func TestEveryBadRequestGetsItsErrorAndTheConnectionLives(t *testing.T) {
	devices := []nbd.Device{nbdtest.NewMemory(mib), newSlow(mib, nil)}
	huge := 40 << 20
	for _, d := range devices {
		s := serve(t, all(nbd.Export{Name: "disk", Device: d}, nbd.Export{Name: "ro", Device: d, ReadOnly: true}))
		for _, structured := range []bool{false, true} {
			df := uint32(0)
			if !structured {
				df = 22
			}
			c, ro := s.dial(t).enter("disk", structured), s.dial(t).enter("ro", structured)
			for i, bad := range []struct {
				c    *client
				a    ask
				code uint32
			}{
				{c, ask{cmd: 9}, 22},
				{c, ask{cmd: 65535, off: 1 << 63, n: 1<<32 - 1}, 22},
				{c, ask{cmd: cmdRead}, 22},
				{c, ask{cmd: cmdWrite}, 22},
				{c, ask{cmd: cmdTrim}, 22},
				{c, ask{cmd: cmdZero}, 22},
				{c, ask{cmd: cmdCache}, 22},
				{c, ask{cmd: cmdRead, off: 1, n: 512}, 22},
				{c, ask{cmd: cmdRead, n: 100}, 22},
				{c, ask{cmd: cmdWrite, off: 256, n: 512, data: make([]byte, 512)}, 22},
				{c, ask{cmd: cmdTrim, n: 513}, 22},
				{c, ask{cmd: cmdZero, off: 511, n: 1}, 22},
				{c, ask{cmd: cmdRead, off: mib, n: 512}, 22},
				{c, ask{cmd: cmdRead, off: mib - 512, n: 1024}, 22},
				{c, ask{cmd: cmdRead, off: 1<<64 - 512, n: 1024}, 22},
				{c, ask{cmd: cmdRead, off: 1 << 63, n: 512}, 22},
				{c, ask{cmd: cmdRead, n: 1<<32 - 512}, 22},
				{c, ask{cmd: cmdRead, n: 32<<20 + 512}, 22},
				{c, ask{cmd: cmdWrite, off: mib, n: 512, data: make([]byte, 512)}, 28},
				{c, ask{cmd: cmdWrite, n: 2 * mib, data: make([]byte, 2*mib)}, 28},
				{c, ask{cmd: cmdWrite, n: uint32(huge), data: make([]byte, huge)}, 22},
				{c, ask{cmd: cmdTrim, n: 2 * mib}, 22},
				{c, ask{cmd: cmdZero, n: 2 * mib}, 28},
				{c, ask{cmd: cmdFlush, off: 512}, 22},
				{c, ask{cmd: cmdFlush, n: 512}, 22},
				{c, ask{cmd: cmdRead, flags: flagNoHole, n: 512}, 22},
				{c, ask{cmd: cmdRead, flags: flagDF | 1<<15, n: 512}, 22},
				{c, ask{cmd: cmdWrite, flags: 1 << 5, n: 512, data: make([]byte, 512)}, 22},
				{c, ask{cmd: cmdTrim, flags: flagNoHole, n: 512}, 22},
				{c, ask{cmd: cmdZero, flags: flagOne, n: 512}, 22},
				{c, ask{cmd: cmdFlush, flags: flagDF}, 22},
				{c, ask{cmd: cmdStatus, off: mib, n: 512}, 22},
				{c, ask{cmd: cmdStatus, flags: flagFast, n: 512}, 22},
				{ro, ask{cmd: cmdWrite, n: 512, data: make([]byte, 512)}, 1},
				{ro, ask{cmd: cmdWrite, off: mib, n: 512, data: make([]byte, 512)}, 1},
				{ro, ask{cmd: cmdTrim, n: 512}, 1},
				{ro, ask{cmd: cmdZero, n: 512}, 1},
				{ro, ask{cmd: cmdFlush}, 0},
				{ro, ask{cmd: cmdCache, n: 512}, 0},
			} {
				bad.a.handle = uint64(i)<<32 | 0xabcd
				bad.c.expect(bad.a, bad.code)
				bad.c.expect(ask{cmd: cmdCache, flags: flagFUA, handle: 5, n: 4096}, 0)
			}
			if !structured {
				c.expect(ask{cmd: cmdRead, flags: flagDF, n: 512}, df)
				c.expect(ask{cmd: cmdStatus, n: 512}, 22)
			}
			for _, c := range []*client{c, ro} {
				c.send(ask{cmd: cmdDisc})
				c.closed()
			}
		}
		s.stop()
	}
}

func TestAbsurdWriteGetsItsErrorAndTheConnectionEnds(t *testing.T) {
	s := serve(t, one(nbdtest.NewMemory(mib)))
	c := s.dial(t).enter("disk", false)
	c.expect(ask{cmd: cmdWrite, handle: 3, n: 256<<20 + 1}, 22)
	c.closed()
	s.idle(t)
}

func TestGarbageInsteadOfARequestEndsTheConnection(t *testing.T) {
	s := serve(t, one(nbdtest.NewMemory(mib)))
	c := s.dial(t).enter("disk", false)
	c.send(ask{cmd: cmdRead, handle: 8, n: 512})
	c.write(bytes.Repeat([]byte("garbage!"), 8))
	if handle, code := c.simple(); handle != 8 || code != 0 { // what came before it is answered
		t.Fatal(handle, code)
	}
	c.read(512)
	c.closed()
	s.idle(t)
}

func TestWhatIsWrittenIsReadWithEverySizeAndWay(t *testing.T) {
	const size = 64 << 20
	for kind, d := range map[string]nbd.Device{"quick": nbdtest.NewMemory(size), "slow": newSlow(size, nil)} {
		s := serve(t, one(d))
		for _, n := range []int{512, 4096, 64 << 10, 64<<10 + 512, 1 << 20, 1<<20 + 512, 32 << 20} {
			c, structured := s.dial(t).enter("disk", false), s.dial(t).enter("disk", true)
			data := noise(byte(n>>9), n)
			off := uint64(size-n) / 1024 * 512
			c.expect(ask{cmd: cmdWrite, handle: 1, off: off, n: uint32(n), data: data}, 0)
			if !bytes.Equal(c.reads(off, uint32(n)), data) {
				t.Errorf("%s, %d bytes: other bytes came back", kind, n)
			}
			structured.send(ask{cmd: cmdRead, handle: 2, off: off, n: uint32(n), flags: flagDF})
			got := structured.chunk()
			if got.flags != 1 || got.kind != 1 || got.handle != 2 || be.Uint64(got.data) != off || !bytes.Equal(got.data[8:], data) {
				t.Errorf("%s, %d bytes: chunk of kind %d, flags %d, %d bytes", kind, n, got.kind, got.flags, len(got.data))
			}
		}
		s.stop()
	}
}

func TestDeviceSeesTheCommandsAndFlagsOfTheClient(t *testing.T) {
	var mu sync.Mutex
	var calls []call
	d := newSlow(1<<32, func(_ context.Context, c call) error {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, c)
		return nil
	})
	s := serve(t, one(d))
	c := s.dial(t).enter("disk", false)
	block := make([]byte, 512)
	for _, x := range []struct {
		ask  ask
		want call
	}{
		{ask{cmd: cmdWrite, n: 512, data: block}, call{op: "write", n: 512}},
		{ask{cmd: cmdWrite, flags: flagFUA, off: 1024, n: 512, data: block}, call{op: "write", off: 1024, n: 512, fua: true}},
		{ask{cmd: cmdTrim, off: 512, n: 1 << 31}, call{op: "trim", off: 512, n: 1 << 31}},
		{ask{cmd: cmdTrim, flags: flagFUA, n: 512}, call{op: "trim", n: 512, fua: true}},
		{ask{cmd: cmdZero, n: 1<<32 - 512}, call{op: "zero", n: 1<<32 - 512, punch: true}},
		{ask{cmd: cmdZero, flags: flagNoHole, n: 512}, call{op: "zero", n: 512}},
		{ask{cmd: cmdZero, flags: flagFUA | flagFast, n: 512}, call{op: "zero", n: 512, fua: true, punch: true}},
		{ask{cmd: cmdFlush}, call{op: "flush"}},
		{ask{cmd: cmdFlush, flags: flagFUA}, call{op: "flush"}},
		{ask{cmd: cmdCache, off: 4096, n: 4096}, call{op: "read", off: 4096, n: 4096}},
	} {
		c.expect(x.ask, 0)
		if last := calls[len(calls)-1]; last != x.want {
			t.Errorf("%+v became %+v", x.want, last)
		}
	}
	calls = nil
	c.expect(ask{cmd: cmdCache, n: 5 << 19}, 0)
	if len(calls) != 3 || calls[2].n != mib/2 {
		t.Errorf("2.5 MiB are cached by %+v", calls)
	}
}

func TestFUAIsNeverAnsweredFromMemoryAlone(t *testing.T) {
	d := &counting{Memory: nbdtest.NewMemory(mib)}
	s := serve(t, one(d))
	c := s.dial(t).enter("disk", false)
	for _, n := range []uint32{4096, 128 << 10} {
		c.expect(ask{cmd: cmdWrite, flags: flagFUA, n: n, data: make([]byte, n)}, 0)
	}
	if d.durable != 2 {
		t.Errorf("%d durable writes", d.durable)
	}
}

// counting counts the durable writes of one client.
type counting struct {
	*nbdtest.Memory
	durable int
}

func (d *counting) WriteAt(ctx context.Context, p []byte, off int64, fua bool) error {
	if fua {
		d.durable++
	}
	return d.Memory.WriteAt(ctx, p, off, fua)
}

func TestDeviceErrorsReachTheClient(t *testing.T) {
	var failure error
	d := newSlow(mib, func(context.Context, call) error { return failure })
	s := serve(t, one(d))
	for _, x := range []struct {
		err  error
		code uint32
	}{
		{syscall.EIO, 5}, {syscall.ENOSPC, 28}, {syscall.EPERM, 1}, {syscall.EINVAL, 22}, {syscall.ESHUTDOWN, 108},
		{syscall.EDQUOT, 28}, {syscall.EFBIG, 28}, {syscall.ENOENT, 5}, {errors.New("some fault"), 5}, {io.ErrUnexpectedEOF, 5},
		{fmt.Errorf("the log is full: %w", syscall.ENOSPC), 28},
	} {
		failure = x.err
		for _, structured := range []bool{false, true} {
			c := s.dial(t).enter("disk", structured)
			for cmd := range uint16(7) {
				if a := (ask{cmd: cmd, handle: 6, n: 512}); cmd != cmdDisc {
					if cmd == cmdFlush {
						a.n = 0
					}
					if cmd == cmdWrite {
						a.data = make([]byte, 512)
					}
					c.expect(a, x.code)
				}
			}
			if structured {
				c.expect(ask{cmd: cmdStatus, n: 512}, x.code)
				c.expect(ask{cmd: cmdRead, n: mib}, x.code) // which asks for the extents first
			}
		}
	}
}

func TestHolesOfBigReadsAreSentAsHoles(t *testing.T) {
	d := newSlow(4*mib, nil)
	data := noise(1, 64<<10)
	d.mem.TryWrite(data, mib)
	s := serve(t, one(d))
	c := s.dial(t).enter("disk", true)
	c.send(ask{cmd: cmdRead, off: mib - 96<<10, n: 2 * mib, handle: 9})
	want := []struct {
		kind, flags uint16
		off, n      uint64
	}{{2, 0, mib - 96<<10, 96 << 10}, {1, 0, mib, 64 << 10}, {2, 1, mib + 64<<10, 2*mib - 160<<10}}
	for _, w := range want {
		got := c.chunk()
		if got.kind != w.kind || got.flags != w.flags || got.handle != 9 || be.Uint64(got.data) != w.off {
			t.Fatalf("chunk %d, flags %d, %x, want %+v", got.kind, got.flags, got.data[:8], w)
		}
		if got.kind == 2 && uint64(be.Uint32(got.data[8:])) != w.n || got.kind == 1 && !bytes.Equal(got.data[8:], data) {
			t.Fatalf("chunk %+v has other bytes", w)
		}
	}
	c.send(ask{cmd: cmdRead, off: mib, n: 2 * mib, flags: flagDF}) // not in pieces
	if got := c.chunk(); got.kind != 1 || len(got.data) != 8+2*mib || !bytes.Equal(got.data[8:8+64<<10], data) {
		t.Fatalf("chunk %d of %d bytes", got.kind, len(got.data))
	}
}

func TestBlockStatusJoinsExtentsAndStopsWhereAsked(t *testing.T) {
	d := nbdtest.NewMemory(1 << 30)
	d.TryWrite(make([]byte, 128<<10), mib)
	s := serve(t, one(d))
	c := s.dial(t).enter("disk", true)
	status := func(a ask) []uint32 {
		c.send(a)
		got := c.chunk()
		if got.kind != 5 || got.flags != 1 || be.Uint32(got.data) != 1 {
			t.Fatalf("%+v", got)
		}
		var all []uint32
		for p := got.data[4:]; len(p) > 0; p = p[4:] {
			all = append(all, be.Uint32(p))
		}
		return all
	}
	for _, x := range []struct {
		ask  ask
		want []uint32
	}{
		{ask{cmd: cmdStatus, n: 1 << 30}, []uint32{mib, 3, 128 << 10, 0, 1<<30 - mib - 128<<10, 3}},
		{ask{cmd: cmdStatus, n: 1 << 30, flags: flagOne}, []uint32{mib, 3}},
		{ask{cmd: cmdStatus, off: mib + 512, n: 1024}, []uint32{1024, 0}},
		{ask{cmd: cmdStatus, off: mib - 512, n: 1024, flags: flagFUA}, []uint32{512, 3, 512, 0}},
	} {
		if got := status(x.ask); fmt.Sprint(got) != fmt.Sprint(x.want) {
			t.Errorf("%+v: %v, want %v", x.ask, got, x.want)
		}
	}
	for page := int64(0); page < 20_000; page += 2 {
		d.TryWrite(make([]byte, 512), page*32<<10)
	}
	if got := status(ask{cmd: cmdStatus, n: 1 << 30}); len(got) != 2*4096 {
		t.Errorf("%d numbers in one answer", len(got))
	}
}

// TestRequestsSentInOneGoAreAllCarriedOut: they come in any pieces, and lie across the ends of the server's buffers.
func TestRequestsSentInOneGoAreAllCarriedOut(t *testing.T) {
	for _, d := range []nbd.Device{nbdtest.NewMemory(64 * mib), newSlow(64*mib, nil)} {
		s := serve(t, one(d))
		c := s.dial(t).enter("disk", false)
		data := noise(9, 16*mib)
		var asks []ask
		off := uint64(0)
		for i := 0; off+70_000 < uint64(len(data)); i++ {
			n := uint32(1+i*37%136) * 512 // up to 68 KiB
			asks = append(asks, ask{cmd: cmdWrite, handle: uint64(i), off: off, n: n, data: data[off : off+uint64(n)]})
			off += uint64(n)
		}
		go func() {
			var p []byte
			for _, a := range asks {
				p = append(p, a.bytes()...)
			}
			if _, err := c.Write(p); err != nil {
				t.Error(err)
			}
		}()
		seen := map[uint64]bool{}
		for range asks {
			handle, code := c.simple()
			if code != 0 || seen[handle] {
				t.Fatal(handle, code)
			}
			seen[handle] = true
		}
		if !bytes.Equal(c.reads(0, uint32(off)), data[:off]) {
			t.Error("other bytes came back")
		}
		s.stop()
	}
}
