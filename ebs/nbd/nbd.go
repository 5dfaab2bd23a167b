// Package nbd serves block devices over the NBD protocol: fixed newstyle handshake, simple and structured replies,
// many requests at once on each connection. It is built on the protocol package of github.com/pojntfx/go-nbd. It
// never stores a byte, knows no volume, and decides nothing about who may connect: whoever can open the socket can.
package nbd

import (
	"context"
	"errors"
	"log/slog"
	"math/bits"
	"net"
	"sync"
	"syscall"
	"time"
)

// Device is what an export serves. All methods may be called at once from many goroutines. Offsets and lengths are
// in bytes, inside [0,Size) and multiples of 512: the server has checked. A context ends when the client is gone or
// when the server's time to end has passed; a method that returns early then has done no harm, because nothing was
// answered.
//
// Errors that are, by errors.As, syscall.Errno EIO, ENOSPC, EPERM, EINVAL or ESHUTDOWN reach the client as such, all
// others as EIO.
type Device interface {
	// Size is the device's length, a multiple of 512. It may grow.
	Size() int64
	ReadAt(ctx context.Context, p []byte, off int64) error
	// WriteAt does not keep p after its return. With fua the bytes are durable then.
	WriteAt(ctx context.Context, p []byte, off int64, fua bool) error
	// Zero makes n bytes read as zero. With punch they may become a hole: the client did not set NBD_CMD_FLAG_NO_HOLE.
	// It is fast whatever n is: the server tells clients so.
	Zero(ctx context.Context, off, n int64, fua, punch bool) error
	// Trim is a hint that n bytes are not needed any more; what they read as is up to the device.
	Trim(ctx context.Context, off, n int64, fua bool) error
	// Flush returns when every write that was answered before the call, on any connection, is durable.
	Flush(ctx context.Context) error
	// Extents tells of n bytes from off, in order and without a gap, which are holes and which read as zero, until
	// yield returns false. An extent may reach beyond off+n.
	Extents(ctx context.Context, off, n int64, yield func(length int64, hole, zero bool) bool) error
}

// Quick is implemented by devices that can sometimes answer from memory without waiting. TryRead and TryWrite answer
// false when they would have to wait, and have then done nothing that counts: the request goes to a worker.
type Quick interface {
	TryRead(p []byte, off int64) bool
	TryWrite(p []byte, off int64) bool
}

// QuickFlusher is implemented by devices that can know without waiting that everything answered is durable already.
// TryFlush answers false when that is not so; then Flush is called.
type QuickFlusher interface {
	TryFlush() bool
}

// Export is a device under its name.
type Export struct {
	Name, Description string // at most 4096 bytes each, UTF-8
	Device            Device
	ReadOnly          bool
	MinBlock          uint32 // alignment of offsets and lengths in bytes, a power of two from 512 on; 0 is 512
	PreferredBlock    uint32 // a power of two; 0 is 4096, or MinBlock if that is more
	MaxPayload        uint32 // bytes that one READ or WRITE carries at most; 0 is 32 MiB
}

// Config is what a Server is made of.
type Config struct {
	// Exports are those that clients may use now. It is asked anew by each client that lists or chooses.
	Exports func() []Export
	// Workers is how many requests of one connection may wait in the device at once; 0 is 128. Whatever needs no
	// waiting is answered without a worker.
	Workers int
	Log     *slog.Logger
	// MultiConn tells clients that they may spread requests over several connections. A device that keeps the
	// contract of Device.Flush is coherent: a flush on one connection covers the writes answered on all.
	MultiConn bool
	// Handshake is how long a client may take to choose its export; 0 is 30 s.
	Handshake time.Duration
	// Drain is how long, after Run's context has ended, requests under way may take and clients may take to read the
	// answers; 0 is 10 s.
	Drain time.Duration
}

// Server answers NBD clients.
type Server struct {
	cfg  Config
	pool pool

	mu    sync.Mutex // guards what follows
	conns map[*conn]struct{}
	idle  chan struct{} // closed while there is no connection
}

// New makes a server; it does nothing until Run.
func New(cfg Config) *Server {
	if cfg.Workers <= 0 {
		cfg.Workers = 128
	}
	if cfg.Handshake <= 0 {
		cfg.Handshake = 30 * time.Second
	}
	if cfg.Drain <= 0 {
		cfg.Drain = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, conns: map[*conn]struct{}{}, idle: make(chan struct{})}
	close(s.idle)
	return s
}

// Run accepts connections from l until ctx ends, then closes l, answers the requests that it has received, ends the
// connections and returns nil. It may run for several listeners at once. An error is one of accepting.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	closed := make(chan error, 1)
	defer func() {
		cancel()
		all.Wait()
	}()
	context.AfterFunc(ctx, func() { closed <- l.Close() })
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			c := s.open(nc)
			all.Go(func() { s.serve(ctx, c) })
		case ctx.Err() != nil:
			return <-closed
		case !passing(err):
			cancel()
			return errors.Join(err, <-closed)
		default:
			s.cfg.Log.Warn("nbd: cannot accept", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// passing says whether accepting may work later: the process or the system is short of something.
func passing(err error) bool {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Connections is how many clients are connected, those still in the handshake included. One whose client is gone
// counts until its last request has returned from the device.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Idle waits until there is no connection. Its error is that of ctx.
func (s *Server) Idle(ctx context.Context) error {
	s.mu.Lock()
	idle := s.idle
	s.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Server) open(nc net.Conn) *conn {
	c := newConn(s, nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) == 0 {
		s.idle = make(chan struct{})
	}
	s.conns[c] = struct{}{}
	return c
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	close(c.gone)
	if len(s.conns) == 0 {
		close(s.idle)
	}
}

// exports are those of the configuration, with defaults filled in.
func (s *Server) exports() []Export {
	all := s.cfg.Exports()
	out := make([]Export, len(all))
	for i, e := range all {
		e.MinBlock = max(e.MinBlock, sector)
		if bits.OnesCount32(e.MinBlock) != 1 {
			e.MinBlock = 1 << bits.Len32(e.MinBlock) // the next power of two is a multiple that is allowed
		}
		if e.PreferredBlock == 0 {
			e.PreferredBlock = 4096
		}
		e.PreferredBlock = max(e.PreferredBlock, e.MinBlock)
		if e.MaxPayload == 0 || e.MaxPayload > maxPayload {
			e.MaxPayload = maxPayload
		}
		e.MaxPayload = max(e.MaxPayload&^(e.MinBlock-1), e.MinBlock)
		out[i] = e
	}
	return out
}

// export finds an export by its exact name.
func (s *Server) export(name string) (Export, bool) {
	for _, e := range s.exports() {
		if e.Name == name {
			return e, true
		}
	}
	return Export{}, false
}

// afterPredecessors waits until connections to the same export whose clients have gone are gone themselves. Without
// it a request left over from a client that died could overwrite what its successor has been told is written.
func (s *Server) afterPredecessors(ctx context.Context, c *conn) error {
	s.mu.Lock()
	var wait []*conn
	for other := range s.conns {
		if other != c && other.serving && other.export.Name == c.export.Name && (other.ending.Load() || hungUp(other.nc)) {
			wait = append(wait, other)
		}
	}
	s.mu.Unlock()
	for _, other := range wait {
		select {
		case <-other.gone:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	c.serving = true
	s.mu.Unlock()
	return nil
}
