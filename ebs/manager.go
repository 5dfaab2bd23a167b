package ebs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hive/ebs/qlog"
	"hive/fsm"
)

// Manager is a node's volumes: those that it owns and has open, and its copies of the logs of others.
type Manager struct {
	cfg     Config
	shared  *shared
	logs    *qlog.Store
	journal openJournal

	started chan struct{} // closed once Run runs: life is set
	life    context.Context
	work    sync.WaitGroup

	mu     sync.Mutex // guards what follows
	open   map[fsm.VolumeID]*opened
	locks  map[fsm.VolumeID]chan struct{} // one for each volume that is being opened or closed, or was
	busy   map[string]bool                // background work under way, by name
	number uint32                         // of the last volume opened
	swept  map[string][sha256.Size]byte   // lineages in which a sweep found nothing, and their state then
	ended  bool
}

// opened is a volume that this node has open.
type opened struct {
	v       *volume
	export  *export            // nil: not served; guarded by the volume's lock
	leaving bool               // it is given up as soon as its map has all; guarded by the volume's lock
	served  atomic.Bool        // there is an export
	stop    context.CancelFunc // of its checkpointer
	done    chan struct{}      // closed when that has ended
}

// New opens the node's log copies. Run does the rest.
func New(cfg Config) (*Manager, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	logs, err := qlog.OpenStore(qlog.StoreConfig{Dir: cfg.Dir, FS: cfg.FS, Log: cfg.Log, SegmentSize: cfg.SegmentSize})
	if err != nil {
		return nil, err
	}
	m := &Manager{
		cfg: cfg, logs: logs, started: make(chan struct{}),
		open: map[fsm.VolumeID]*opened{}, locks: map[fsm.VolumeID]chan struct{}{}, busy: map[string]bool{},
	}
	m.shared = newShared(&m.cfg)
	m.journal = m.openLog
	return m, nil
}

// openLog opens a volume's quorum log.
func (m *Manager) openLog(ctx context.Context, x fsm.Volume, replay func(qlog.Record) error) (journal, error) {
	log, err := qlog.Open(ctx, qlog.Config{
		Volume: x.ID, Generation: x.Generation, Self: m.cfg.Node, Replicas: x.Replicas, Store: m.logs,
		Dial: func(ctx context.Context, node fsm.NodeID) (net.Conn, error) { return m.cfg.Dial(ctx, node, Proto) },
		From: x.Map.Seq + 1, Log: m.cfg.Log,
	}, replay)
	if err != nil {
		return nil, err // not a journal that holds a nil
	}
	return log, nil
}

// Serve answers other nodes' owners for the log copies here, until ctx ends.
func (m *Manager) Serve(ctx context.Context, l net.Listener) error { return m.logs.Serve(ctx, l) }

// shutdownTime is how long the end of Run waits for the last syncs.
const shutdownTime = 10 * time.Second

// Run keeps the volumes until ctx ends: checkpoints, settles, removes. Then it flushes and closes them all, and the logs.
func (m *Manager) Run(ctx context.Context) error {
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	m.life = life
	close(m.started)
	var loops sync.WaitGroup
	loops.Go(func() { m.watch(life) })
	loops.Go(func() { m.sweeps(life) })
	loops.Wait()
	cancel()
	m.mu.Lock()
	m.ended = true
	m.mu.Unlock()
	last, end := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer end()
	err := m.closeAll(last)
	m.work.Wait()
	return errors.Join(err, m.logs.Close())
}

func (m *Manager) closeAll(ctx context.Context) error {
	var all sync.WaitGroup
	for _, o := range m.opened() {
		all.Go(func() {
			unlock, err := m.lock(ctx, o.v.id)
			if err != nil {
				return
			}
			defer unlock()
			if m.find(o.v.id) != o {
				return
			}
			o.unexport()
			if err := o.v.sync(ctx); err != nil {
				o.v.slog.Warn("volume is closed without a last sync: what was not flushed may be lost", "cause", err)
			}
			m.shut(o)
		})
	}
	all.Wait()
	return nil
}

// opened are the volumes that are open.
func (m *Manager) opened() []*opened {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*opened, 0, len(m.open))
	for _, o := range m.open {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b *opened) int { return int(int64(a.v.number) - int64(b.v.number)) })
	return out
}

func (m *Manager) find(id fsm.VolumeID) *opened {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open[id]
}

// lock makes the caller the only one to open or close a volume.
func (m *Manager) lock(ctx context.Context, id fsm.VolumeID) (unlock func(), err error) {
	m.mu.Lock()
	l, ok := m.locks[id]
	if !ok {
		l = make(chan struct{}, 1)
		m.locks[id] = l
	}
	m.mu.Unlock()
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// forgetLocks drops the locks of volumes that are gone, when nobody holds them.
func (m *Manager) forgetLocks(gone func(fsm.VolumeID) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, l := range m.locks {
		if m.open[id] == nil && gone(id) {
			select {
			case l <- struct{}{}: // whoever waits for it still can: it is given back, and is nobody's then
				delete(m.locks, id)
				<-l
			default:
			}
		}
	}
}

// wait waits until the manager runs, and refuses once it has ended.
func (m *Manager) wait(ctx context.Context) error {
	select {
	case <-m.started:
	case <-ctx.Done():
		return ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return ErrClosed
	}
	return nil
}

// record is a volume's record, which sees every write acknowledged before the call.
func (m *Manager) record(ctx context.Context, id fsm.VolumeID) (fsm.Volume, error) {
	if !validID(string(id), "vol-") {
		return fsm.Volume{}, fmt.Errorf("volume %q: %w", id, ErrInvalid)
	}
	if err := m.cfg.Control.ReadIndex(ctx); err != nil {
		return fsm.Volume{}, err
	}
	var x fsm.Volume
	err := m.cfg.Control.View(func(v *fsm.View) error {
		var ok bool
		if x, ok = fsm.Volumes.Get(v, id); !ok {
			return fmt.Errorf("volume %s: %w", id, ErrNotFound)
		}
		return nil
	})
	return x, err
}

// acquire opens a volume that this node owns, or has it open already. The caller holds the volume's lock.
func (m *Manager) acquire(ctx context.Context, id fsm.VolumeID, generation uint64) (*opened, error) {
	if o := m.find(id); o != nil {
		if o.v.generation == generation && !o.leaving && !o.v.failed.Load() {
			return o, nil
		}
		if o.v.generation > generation {
			return nil, fmt.Errorf("volume %s under generation %d, where %d is open: %w", id, generation, o.v.generation, ErrNotOwner)
		}
		m.shut(o)
	}
	x, err := m.record(ctx, id)
	if err != nil {
		return nil, err
	}
	if x.Generation != generation || x.Owner != m.cfg.Node {
		return nil, fmt.Errorf("volume %s under generation %d: it is %q's under %d: %w", id, generation, x.Owner, x.Generation, ErrNotOwner)
	}
	m.mu.Lock()
	m.number++
	number := m.number
	m.mu.Unlock()
	pending := func(s fsm.SnapshotID) bool {
		ok, err := isPending(m.cfg.Control, s)
		return ok || err != nil // then its completion finds out
	}
	v, err := openVolume(ctx, m.shared, number, x, pending, m.journal)
	if err != nil {
		return nil, err
	}
	v.slog.Info("volume is open", "replicas", x.Replicas, "map", x.Map.Seq, "log", v.seq)
	return m.adopt(v)
}

// adopt starts a volume's checkpointer.
func (m *Manager) adopt(v *volume) (*opened, error) {
	o := &opened{v: v}
	m.mu.Lock()
	if m.ended {
		m.mu.Unlock()
		return nil, errors.Join(ErrClosed, v.close())
	}
	m.open[v.id] = o
	m.begin(o, v.serve)
	m.mu.Unlock()
	v.wake() // what it has found in its log may be due
	m.sizeCache()
	return o, nil
}

// begin makes fn the volume's background work.
func (m *Manager) begin(o *opened, fn func(context.Context)) {
	ctx, stop := context.WithCancel(m.life)
	done := make(chan struct{})
	o.stop, o.done = stop, done
	m.work.Go(func() {
		defer close(done)
		defer stop()
		fn(ctx)
	})
}

// end ends the volume's background work.
func (o *opened) end() {
	o.stop()
	<-o.done
}

// shut closes a volume. The caller holds its lock.
func (m *Manager) shut(o *opened) {
	o.unexport()
	o.end()
	m.drop(o)
}

// drop closes a volume whose work has ended.
func (m *Manager) drop(o *opened) {
	if err := o.v.close(); err != nil {
		o.v.slog.Warn("closing a volume's log", "cause", err)
	}
	m.mu.Lock()
	if m.open[o.v.id] == o {
		delete(m.open, o.v.id)
	}
	m.mu.Unlock()
	m.sizeCache()
}

// sizeCache gives the block cache the size that fits what is open.
func (m *Manager) sizeCache() {
	var claims []CacheClaim
	open := m.opened()
	err := m.cfg.Control.View(func(v *fsm.View) error {
		for _, o := range open {
			claim := CacheClaim{Size: o.v.size}
			if x, ok := fsm.Volumes.Get(v, o.v.id); ok && x.Attachment != nil {
				if i, ok := fsm.Instances.Get(v, x.Attachment.Instance); ok {
					claim.Memory = i.Memory << 20
				}
			}
			claims = append(claims, claim)
		}
		return nil
	})
	if err != nil {
		return // the state is being closed: so are we
	}
	m.shared.cache.resize(CacheBytes(8*m.cfg.CacheBytes, claims))
}

// Attach opens a volume of which this node is the owner under generation, and serves it. It may be called again, also
// after a restart of the daemon: the socket is the same.
func (m *Manager) Attach(ctx context.Context, id fsm.VolumeID, generation uint64) (Export, error) {
	if err := m.wait(ctx); err != nil {
		return Export{}, err
	}
	if !validID(string(id), "vol-") {
		return Export{}, fmt.Errorf("volume %q: %w", id, ErrInvalid)
	}
	unlock, err := m.lock(ctx, id)
	if err != nil {
		return Export{}, err
	}
	defer unlock()
	o, err := m.acquire(ctx, id, generation)
	if err != nil {
		return Export{}, err
	}
	if o.export == nil {
		if o.export, err = m.newExport(o.v); err != nil {
			return Export{}, err
		}
		o.served.Store(true)
	}
	return o.export.Export, nil
}

// Detach waits until no client has the volume, makes all that was written durable, and gives the volume up: its checkpoint and
// release follow. One that is not open under that generation is passed over.
func (m *Manager) Detach(ctx context.Context, id fsm.VolumeID, generation uint64) error {
	if err := m.wait(ctx); err != nil {
		return err
	}
	unlock, err := m.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	o := m.find(id)
	if o == nil || o.v.generation != generation || o.leaving {
		return nil
	}
	if o.export != nil {
		if err := o.export.idle(ctx); err != nil {
			return fmt.Errorf("volume %s still has a client: %w", id, err)
		}
		o.unexport()
	}
	if err := o.v.sync(ctx); err != nil && !o.v.failed.Load() {
		return fmt.Errorf("last flush of %s: %w", id, err)
	}
	if o.v.failed.Load() {
		err := o.v.failure()
		m.shut(o)
		if errors.Is(err, ErrNotOwner) {
			return nil
		}
		return fmt.Errorf("volume %s had failed: %w", id, err)
	}
	m.leave(o)
	return nil
}

// leave begins to give a volume up. The caller holds its lock.
func (m *Manager) leave(o *opened) {
	o.end()
	o.leaving = true
	m.begin(o, func(ctx context.Context) {
		if err := o.v.settle(ctx); err != nil && ctx.Err() == nil {
			o.v.slog.Warn("volume is closed without its log in its map: its next owner does it", "cause", err)
		} else if err == nil {
			o.v.slog.Info("volume is settled and closed")
		}
		if ctx.Err() == nil {
			m.drop(o)
		}
	})
}

// Volumes is what is open here.
func (m *Manager) Volumes() []VolumeStatus {
	cached := m.shared.cache.held()
	var out []VolumeStatus
	for _, o := range m.opened() {
		s := o.v.status(cached)
		s.Exported = o.serves()
		out = append(out, s)
	}
	return out
}
