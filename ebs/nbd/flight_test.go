package nbd_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hive/ebs/nbd"
	"hive/ebs/nbd/nbdtest"
)

// gate is a device's door: requests wait in it until it opens.
type gate struct {
	entered chan call
	open    chan struct{}
}

func newGate() *gate { return &gate{make(chan call, 10_000), make(chan struct{})} }

func (g *gate) wait(ctx context.Context, c call) error {
	g.entered <- c
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// await waits for n requests to be in the device.
func (g *gate) await(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-g.entered:
		case <-time.After(patience):
			t.Fatalf("too few requests reach the device\n%s", stacks())
		}
	}
}

// partly is quick below 1 MiB only.
type partly struct{ *slow }

func (d partly) TryRead(p []byte, off int64) bool  { return off < mib && d.mem.TryRead(p, off) }
func (d partly) TryWrite(p []byte, off int64) bool { return off < mib && d.mem.TryWrite(p, off) }

func TestRequestsThatWaitDoNotHoldUpTheOthers(t *testing.T) {
	g := newGate()
	s := serve(t, one(partly{newSlow(4*mib, g.wait)}))
	c := s.dial(t).enter("disk", false)
	const n = 100
	for i := range uint64(n) {
		c.send(ask{cmd: cmdRead, handle: i, off: mib + i*512, n: 512})
	}
	g.await(t, n) // all at once
	data := noise(3, 4096)
	c.expect(ask{cmd: cmdWrite, handle: n, n: 4096, data: data}, 0)
	if !bytes.Equal(c.reads(0, 4096), data) {
		t.Error("other bytes came back")
	}
	close(g.open)
	seen := map[uint64]bool{}
	for range n {
		handle, code := c.simple()
		if code != 0 || seen[handle] || handle >= n {
			t.Fatalf("handle %d: error %d", handle, code)
		}
		seen[handle] = true
		c.read(512)
	}
}

func TestWorkersAreBounded(t *testing.T) {
	g := newGate()
	var most, now atomic.Int64
	cfg := one(newSlow(mib, func(ctx context.Context, c call) error {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		return g.wait(ctx, c)
	}))
	cfg.Workers = 5
	s := serve(t, cfg)
	c := s.dial(t).enter("disk", false)
	for range 50 {
		c.send(ask{cmd: cmdFlush})
	}
	g.await(t, 5)
	close(g.open)
	for range 50 {
		c.simple()
	}
	if most.Load() != 5 {
		t.Errorf("%d requests were in the device at once", most.Load())
	}
}

// TestClientThatNeverReadsHoldsBoundedMemory: of a thousand reads of 1 MiB no more are begun than the budget has room
// for, and all of it is given back when the client goes.
func TestClientThatNeverReadsHoldsBoundedMemory(t *testing.T) {
	for name, quick := range map[string]bool{"slow": false, "quick": true} {
		t.Run(name, func(t *testing.T) {
			var begun atomic.Int64
			full := make(chan struct{})
			d := newSlow(4*mib, func(_ context.Context, c call) error {
				if c.op == "read" && begun.Add(1) == 64 {
					close(full)
				}
				return nil
			})
			d.mem.TryWrite(make([]byte, 4*mib), 0)
			cfg := one(d)
			if quick {
				cfg = one(d.mem)
			}
			s := serve(t, cfg)
			c := s.dial(t).enter("disk", true)
			c.write(bytes.Repeat(ask{cmd: cmdRead, n: mib}.bytes(), 1000))
			if !quick {
				<-full
			} else {
				c.read(1) // the first answer is on its way, and blocks
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			s.idle(t)
			if n := begun.Load(); n > 66 { // one freed by the last byte sent, one by the first error
				t.Errorf("%d reads were begun", n)
			}
		})
	}
}

func TestBigWritesOfManyRequestsPassThroughTheBudget(t *testing.T) {
	d := newSlow(64*mib, nil)
	s := serve(t, one(d))
	c := s.dial(t).enter("disk", false)
	data := noise(7, 24*mib)
	const n = 12
	go func() {
		for i := range uint64(n) {
			if _, err := c.Write(ask{cmd: cmdWrite, handle: i, off: i * mib, n: uint32(len(data)), data: data}.bytes()); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range n {
		if _, code := c.simple(); code != 0 {
			t.Fatal(code)
		}
	}
	if !bytes.Equal(c.reads(0, mib), data[:mib]) {
		t.Error("other bytes came back")
	}
}

func TestClientThatVanishesEndsItsRequestsAndLeavesNothing(t *testing.T) {
	g := newGate()
	s := serve(t, one(partly{newSlow(4*mib, g.wait)}))
	for _, half := range []ask{
		{cmd: cmdWrite, off: mib, n: 4096, data: make([]byte, 100)},     // in the middle of a payload
		{cmd: cmdWrite, off: mib, n: 1 << 20, data: make([]byte, 1000)}, // of a big one
		{cmd: cmdWrite, off: 1, n: 1 << 20, data: make([]byte, 1000)},   // of one that is refused
		{cmd: cmdRead, off: mib, n: 512},
	} {
		c := s.dial(t).enter("disk", true)
		c.send(ask{cmd: cmdRead, off: mib, n: 4096}, ask{cmd: cmdFlush}, ask{cmd: cmdTrim, n: 512}, half)
		g.await(t, 3)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		s.idle(t) // though the gate stays shut
	}
	c := s.dial(t).enter("disk", true)
	c.write(ask{cmd: cmdFlush}.bytes()[:13]) // in the middle of a request
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	s.idle(t)
}

func TestClientThatHasSentAllStillGetsItsAnswers(t *testing.T) {
	for _, disc := range []bool{true, false} {
		g := newGate()
		s := serve(t, one(newSlow(mib, g.wait)))
		c := s.dial(t).enter("disk", false)
		c.send(ask{cmd: cmdRead, handle: 1, n: 512}, ask{cmd: cmdFlush, handle: 2})
		if disc {
			c.send(ask{cmd: cmdDisc})
		} else if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		g.await(t, 2)
		close(g.open)
		for range 2 {
			handle, code := c.simple()
			if code != 0 {
				t.Fatal(handle, code)
			}
			if handle == 1 {
				c.read(512)
			}
		}
		c.closed()
		s.stop()
	}
}

// TestSuccessorWaitsForTheRequestsOfADeadClient: otherwise a write left over from a client that died could come after
// one that its successor was told is done.
func TestSuccessorWaitsForTheRequestsOfADeadClient(t *testing.T) {
	entered, open := make(chan struct{}), make(chan struct{})
	var returned atomic.Bool
	s := serve(t, one(newSlow(mib, func(_ context.Context, c call) error {
		if c.op == "write" {
			close(entered)
			<-open // it does not look at its context: the bytes are on their way
			returned.Store(true)
		}
		return nil
	})))
	dead, other := s.dial(t).enter("disk", false), s.dial(t).enter("disk", false)
	dead.send(ask{cmd: cmdWrite, n: 512, data: make([]byte, 512)})
	<-entered
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	next := s.haggle(t)
	next.option(optGo, str("disk"), u16(0))
	if err := next.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := next.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v: the successor was let in", n, err)
	}
	other.reads(0, 512) // who lives is not held up
	close(open)
	if err := next.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	next.wants(optGo, repInfo, repInfo, repAck)
	if !returned.Load() {
		t.Error("the successor was let in first")
	}
}

func TestServerThatEndsAnswersWhatIsUnderWay(t *testing.T) {
	g := newGate()
	s := serve(t, one(newSlow(mib, g.wait)))
	c := s.dial(t).enter("disk", false)
	c.send(ask{cmd: cmdFlush, handle: 4})
	g.await(t, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.stop()
	}()
	for { // until the server has stopped to listen
		if c, err := os.Stat(s.socket); c == nil && errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	close(g.open)
	if handle, code := c.simple(); handle != 4 || code != 0 {
		t.Fatal(handle, code)
	}
	c.closed()
	<-ended
}

func TestServerEndsThoughAClientReadsNothingOrTheDeviceHangs(t *testing.T) {
	g := newGate()
	d := newSlow(4*mib, func(ctx context.Context, c call) error {
		if c.op == "flush" {
			return g.wait(ctx, c)
		}
		return nil
	})
	cfg := one(partly{d})
	cfg.Drain = 50 * time.Millisecond
	s := serve(t, cfg)
	deaf, hanging := s.dial(t).enter("disk", false), s.dial(t).enter("disk", false)
	for range 100 {
		deaf.send(ask{cmd: cmdRead, n: mib})
	}
	hanging.send(ask{cmd: cmdFlush})
	g.await(t, 1)
	deaf.read(1)
	s.stop()
}

func TestGrownDeviceIsServedToItsNewEnd(t *testing.T) {
	d := &growing{Memory: nbdtest.NewMemory(2 * mib)}
	d.size.Store(mib)
	s := serve(t, one(d))
	c := s.dial(t).enter("disk", false)
	c.expect(ask{cmd: cmdRead, off: mib, n: 512}, 22)
	d.size.Store(2 * mib)
	c.reads(mib, 512)
	c = s.haggle(t)
	c.option(optGo, str("disk"), u16(0))
	if got := c.wants(optGo, repInfo, repInfo, repAck)[0]; be.Uint64(got[2:]) != 2*mib {
		t.Errorf("%x", got)
	}
}

type growing struct {
	*nbdtest.Memory
	size atomic.Int64
}

func (d *growing) Size() int64 { return d.size.Load() }

func TestIdleWaitsForTheLastConnection(t *testing.T) {
	s := serve(t, one(nbdtest.NewMemory(mib)))
	s.idle(t)
	a, b := s.dial(t).enter("disk", false), s.dial(t)
	if n := s.Connections(); n != 2 {
		t.Fatalf("%d connections", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Idle(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Idle: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	s.idle(t)
	if n := s.Connections(); n != 0 {
		t.Fatalf("%d connections", n)
	}
}

// faulty is a listener whose first Accepts fail.
type faulty struct {
	net.Listener
	errs []error
}

func (l *faulty) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

func TestAcceptingGoesOnAfterAShortageAndEndsWithAFault(t *testing.T) {
	dir, err := os.MkdirTemp("", "nbd")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}()
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := nbd.New(one(nbdtest.NewMemory(mib)))
	shortage := &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	ended := errors.New("the end")
	if err := s.Run(context.Background(), &faulty{l, []error{shortage, shortage, ended}}); !errors.Is(err, ended) {
		t.Errorf("Run: %v", err)
	}
	noGoroutines(t)
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is open: %v", err)
	}
}
