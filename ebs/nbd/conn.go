package nbd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of one connection's memory: besides the buffers of waiting requests it has its input and at most three
// batches.
const (
	inFlight  = 64 << 20
	inputSize = 256 << 10
	batchSize = 80 << 10 // one answer of smallMax bytes, or some twenty small ones
	batches   = 3
)

// conn is one client's connection. Its reader, which is the goroutine of serve, receives requests and answers those
// that need no waiting; the others go to workers.
type conn struct {
	srv  *Server
	nc   net.Conn
	gone chan struct{} // closed when the connection has ended and all its requests have

	serving bool        // in the transmission phase; guarded by srv.mu
	ending  atomic.Bool // no more requests are received

	// Set by the handshake.
	export     Export
	quick      Quick        // nil if the device is none
	quickFlush QuickFlusher // likewise
	structured bool
	allocation bool // base:allocation was chosen

	in     input
	out    output
	batch  []byte      // the reader's answers that were not sent yet
	free   chan []byte // for the next batches; nil elements are still to be made
	budget budget
	slots  chan struct{} // has one element for each request in a worker
	work   sync.WaitGroup
	ctx    context.Context // of requests
	cancel context.CancelFunc
	failed atomic.Bool // the device has failed, and the log knows
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc, gone: make(chan struct{})}
	c.in = input{src: nc, before: c.flush, buf: make([]byte, 4<<10)}
	return c
}

// serve is the life of a connection, until ctx or its client ends it.
func (s *Server) serve(ctx context.Context, c *conn) {
	defer s.remove(c)
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		c.drain()
	})
	defer func() {
		if !stop() {
			<-ended
		}
	}()
	defer c.cancel() // ends drain's waiting
	err := c.handshake(ctx)
	if err != nil {
		if !errors.Is(err, errNoExport) {
			s.cfg.Log.Debug("nbd: no handshake", "error", err)
		}
		c.close()
		return
	}
	log := s.cfg.Log.With("export", c.export.Name)
	log.Info("nbd: client connected", "structured", c.structured)
	c.start()
	c.finish(c.transmit(), log)
}

// drain lets a connection end after Run's context has: nothing more is received, and time is short.
func (c *conn) drain() {
	now := time.Now()
	if err := errors.Join(c.nc.SetReadDeadline(now), c.nc.SetWriteDeadline(now.Add(c.srv.cfg.Drain))); err != nil {
		return // closed already
	}
	select {
	case <-time.After(c.srv.cfg.Drain):
		c.cancel()
	case <-c.ctx.Done():
	}
}

// start makes what the transmission phase needs and the handshake does not.
func (c *conn) start() {
	c.quick, _ = c.export.Device.(Quick)
	c.quickFlush, _ = c.export.Device.(QuickFlusher)
	big := make([]byte, inputSize)
	c.in.w = copy(big, c.in.buf[c.in.r:c.in.w])
	c.in.r, c.in.buf = 0, big
	c.free = make(chan []byte, batches)
	for range batches {
		c.free <- nil
	}
	c.newBatch()
	c.budget = budget{limit: inFlight, less: make(chan struct{}, 1)}
	c.slots = make(chan struct{}, c.srv.cfg.Workers)
	c.out = output{nc: c.nc, written: c.written, broken: c.broken}
}

func (c *conn) newBatch() {
	if c.batch = <-c.free; c.batch == nil {
		c.batch = make([]byte, 0, batchSize)
	}
}

// flush sends the batch.
func (c *conn) flush() {
	if len(c.batch) > 0 {
		c.send(reply{})
	}
}

// send sends what the reader has answered itself, and r after it.
func (c *conn) send(r reply) {
	r.batch = c.batch
	c.out.send(r)
	c.newBatch()
}

// written takes back what a reply held.
func (c *conn) written(r reply) {
	if r.buf != nil {
		c.put(r.buf)
	}
	if r.batch != nil {
		c.free <- r.batch[:0]
	}
}

// broken ends a connection that cannot be written to.
func (c *conn) broken(error) {
	c.cancel()
	c.close()
}

// close closes the connection; it may be closed already. What closing a socket can report, nobody can use.
func (c *conn) close() {
	if err := c.nc.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		c.srv.cfg.Log.Debug("nbd: closing", "error", err)
	}
}

// get takes a buffer for n bytes, waiting until the connection's budget has room. Only the reader calls it.
func (c *conn) get(n int) *buffer {
	b := c.srv.pool.get(n)
	if size := len(b.full); !c.budget.try(size) {
		c.flush()
		c.budget.take(size)
	}
	return b
}

func (c *conn) put(b *buffer) {
	size := len(b.full)
	c.srv.pool.put(b)
	c.budget.give(size)
}

// finish answers what is under way, unless the client is gone, and closes the connection. err is why no more requests
// are received.
func (c *conn) finish(err error, log *slog.Logger) {
	c.ending.Store(true)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && (!errors.Is(err, io.EOF) || closed(c.nc)) {
		c.cancel()
	}
	c.flush()
	c.work.Wait()
	c.close()
	switch {
	case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
		log.Info("nbd: client disconnected")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		log.Info("nbd: client gone")
	default:
		log.Info("nbd: client gone", "error", err)
	}
}

// tell logs the first error of the device on this connection: a device that fails, fails often.
func (c *conn) tell(r request, err error) {
	if c.ctx.Err() == nil && c.failed.CompareAndSwap(false, true) {
		c.srv.cfg.Log.Error("nbd: a request failed; further ones of this client are not logged", "export", c.export.Name,
			"command", r.Type, "offset", r.Offset, "length", r.Length, "error", err)
	}
}
