package qlog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path"
	"sync"
	"time"

	"hive/fsm"
	"hive/internal/vfs"
)

// StoreConfig is what a Store needs. Dir must be its own.
type StoreConfig struct {
	Dir         string
	FS          vfs.FS // nil: the operating system's
	Log         *slog.Logger
	SegmentSize int64         // bytes; 0: 64 MiB
	Settle      time.Duration // idle time after which a copy's mark is made durable; 0: 1 s
	Rand        io.Reader     // nil: crypto/rand
}

// Store is this node's copies of the logs of all volumes, for owners here and on other nodes.
type Store struct {
	cfg  StoreConfig
	pool *buffers

	scanning sync.Mutex // one log is read at a time: it takes a segment of memory

	mu       sync.Mutex // guards what is below
	replicas map[fsm.VolumeID]*replica
	conns    map[net.Conn]bool
	closed   bool
	serving  sync.WaitGroup
}

// maxSegment is what a position in a segment can say.
const maxSegment = 1 << 30

// OpenStore opens the copies in cfg.Dir, which it makes where it is missing. A copy is read when it is first asked for.
func OpenStore(cfg StoreConfig) (*Store, error) {
	if cfg.FS == nil {
		cfg.FS = vfs.OS{}
	}
	if cfg.SegmentSize == 0 {
		cfg.SegmentSize = 64 << 20
	}
	if cfg.Settle == 0 {
		cfg.Settle = time.Second
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dir == "" || cfg.SegmentSize < 4<<10 || cfg.SegmentSize > maxSegment {
		return nil, fmt.Errorf("a log store needs a directory and segments of 4 KiB to 1 GiB, not %q and %d", cfg.Dir, cfg.SegmentSize)
	}
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open the log store: %w", err)
	}
	return &Store{
		cfg: cfg, pool: newBuffers(), replicas: map[fsm.VolumeID]*replica{}, conns: map[net.Conn]bool{},
	}, nil
}

// replica is this node's copy of a volume's log, read from disk the first time.
func (s *Store) replica(v fsm.VolumeID) (*replica, error) {
	if !validVolume(v) {
		return nil, fmt.Errorf("%w: volume %q", errWire, v)
	}
	s.scanning.Lock()
	defer s.scanning.Unlock()
	s.mu.Lock()
	r, closed := s.replicas[v], s.closed
	s.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	if r != nil {
		return r, nil
	}
	r = &replica{
		volume: v, dir: path.Join(s.cfg.Dir, string(v)), fs: s.cfg.FS, log: s.cfg.Log, rand: s.cfg.Rand, size: s.cfg.SegmentSize,
	}
	if err := openReplica(r); err != nil {
		return nil, err
	}
	if len(r.holes) > 0 {
		s.cfg.Log.Warn("a log copy has damaged records", "volume", v, "first", r.holes[0].first, "places", len(r.holes))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.Join(ErrClosed, r.closeFiles())
	}
	s.replicas[v] = r
	return r, nil
}

// Volumes are those that have a copy here.
func (s *Store) Volumes() ([]fsm.VolumeID, error) {
	names, err := s.cfg.FS.List(s.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("list the logs: %w", err)
	}
	var out []fsm.VolumeID
	for _, name := range names {
		if v := fsm.VolumeID(name); validVolume(v) {
			if inside, err := s.cfg.FS.List(path.Join(s.cfg.Dir, name)); err == nil && len(inside) > 0 {
				out = append(out, v)
			}
		}
	}
	return out, nil
}

// Remove removes the copy of a volume that is gone. Its owner, if there still is one, loses it.
func (s *Store) Remove(v fsm.VolumeID) error {
	if !validVolume(v) {
		return fmt.Errorf("remove the log of %q: no volume's id", v)
	}
	s.scanning.Lock()
	defer s.scanning.Unlock()
	s.mu.Lock()
	r := s.replicas[v]
	delete(s.replicas, v)
	s.mu.Unlock()
	if r != nil {
		if err := r.close(); err != nil {
			s.cfg.Log.Warn("closing the log of a volume that is gone", "volume", v, "err", err)
		}
	}
	dir := path.Join(s.cfg.Dir, string(v))
	names, err := s.cfg.FS.List(dir)
	if vfs.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove the log of %s: %w", v, err)
	}
	for _, name := range names {
		if err := s.cfg.FS.Remove(path.Join(dir, name)); err != nil && !vfs.IsNotExist(err) {
			return fmt.Errorf("remove the log of %s: %w", v, err)
		}
	}
	if err := s.cfg.FS.Remove(dir); err != nil && !vfs.IsNotExist(err) {
		return fmt.Errorf("remove the log of %s: %w", v, err)
	}
	return s.cfg.FS.SyncDir(s.cfg.Dir)
}

// Serve answers owners' connections until ctx ends, the Store is closed or l fails.
func (s *Store) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { s.endServing(l) })
	defer stop()
	defer s.serving.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			s.endServing(l)
			if s.isClosed() || ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("serve volume logs: %w", err)
		}
		if !s.adopt(ctx, conn) {
			return conn.Close()
		}
		go func() {
			defer s.serving.Done()
			defer s.forget(conn)
			(&server{store: s, wire: &wire{conn: conn}}).run(ctx)
		}()
	}
}

func (s *Store) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// adopt counts a connection in; false when nothing more is served.
func (s *Store) adopt(ctx context.Context, conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || ctx.Err() != nil {
		return false
	}
	s.conns[conn] = true
	s.serving.Add(1)
	return true
}

func (s *Store) forget(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
	if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		s.cfg.Log.Debug("closing a log connection", "err", err)
	}
}

// endServing closes the listener and every connection.
func (s *Store) endServing(l io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.cfg.Log.Debug("closing a log connection", "err", err)
		}
	}
	if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		s.cfg.Log.Debug("closing the listener of volume logs", "err", err)
	}
}

type nothing struct{}

func (nothing) Close() error { return nil }

// Close ends every connection and closes the copies. Owners on this node lose theirs.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.endServing(nothing{})
	s.serving.Wait()
	s.scanning.Lock()
	defer s.scanning.Unlock()
	var errs []error
	for _, r := range s.replicas {
		errs = append(errs, r.close())
	}
	return errors.Join(errs...)
}
