package ebs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hive/ebs/qlog"
	"hive/fsm"
)

// kindMark is a record of the log that freezes a snapshot: what is before it is the snapshot's content. Its data is the id.
const kindMark qlog.Kind = 16

const (
	// writeMax is the largest piece that is written under the volume's lock.
	writeMax = 1 << 20
	// recordCost is what a record adds to the log besides its data, for the accounts.
	recordCost = 72
	// spanShare makes many small records count as much as their spans' memory lets them: the limits are for records of 8 KiB and more.
	spanShare = 8192
)

// journal is a volume's log as its owner uses it. qlog.Log is one.
type journal interface {
	Append(kind qlog.Kind, off, length int64, data []byte) (qlog.Position, error)
	ReadAt(p []byte, at qlog.Position, skip int64) error
	Sync(ctx context.Context) error
	Cut(ctx context.Context, before uint64) error
	Lost() <-chan struct{}
	Err() error
	Close() error
}

// openJournal opens a volume's log under a generation, and replays what follows a checkpoint.
type openJournal func(ctx context.Context, v fsm.Volume, replay func(qlog.Record) error) (journal, error)

// shared is what all volumes of a node use together.
type shared struct {
	content *content
	cache   *cache
	pool    sync.Pool   // of *[fillMax]byte
	buffers chan []byte // of chunkMax bytes, for checkpoints: nil elements are still to be made
	cfg     *Config
}

// checkpointBuffers is how many chunks all checkpoints of a node have under way.
const checkpointBuffers = 8

func newShared(cfg *Config) *shared {
	s := &shared{
		content: newContent(cfg.Blobs, max(cfg.CacheBytes/8, 16<<20), cfg.Log),
		cache:   newCache(cfg.CacheBytes),
		buffers: make(chan []byte, checkpointBuffers),
		cfg:     cfg,
	}
	for range checkpointBuffers {
		s.buffers <- nil
	}
	return s
}

// volume is a volume that this node owns and has open. What a guest reads is, newest first: the layers, which lie in the log,
// and the map below them. The cache stands before both.
type volume struct {
	*shared
	id         fsm.VolumeID
	generation uint64
	lineage    string
	builder    fsm.SnapshotID // that is written through it; empty for a volume of its own
	size       int64          // bytes
	number     uint32
	log        journal
	slog       *slog.Logger

	failed atomic.Bool // err is set
	hurry  atomic.Bool // somebody waits for a checkpoint
	dirty  atomic.Int64
	ahead  atomic.Int64 // a read of this offset has reached what was read ahead; -1: nothing was
	wish   chan int64   // where to read ahead

	mu        sync.Mutex // guards what follows; held for an append, never for another wait
	layers    []*layer   // the newest last: that one takes writes, the others are frozen
	base      *root      // the map below the layers
	at        fsm.VolumeMap
	seq       uint64        // the last record, or the last that is in the map
	version   uint64        // counts the changes of base
	replacing chan struct{} // not nil while the control group may have a newer map; closed when that is installed
	fills     []*fill
	next      int64                   // where the last fill ended
	row       int                     // how many fills have followed each other
	marked    map[fsm.SnapshotID]bool // snapshots in the layers
	err       error                   // why nothing is served any more
	room      chan struct{}           // closed when a checkpoint has made room
	wrote     time.Time               // last write
	since     time.Time               // when the oldest record in the layers was written

	kick chan struct{} // wakes the checkpointer
	dead chan struct{} // closed once err is set

	checkpoints sync.Mutex // held by a checkpoint
	prepared    *prepared  // a map that is written and not yet the volume's; guarded by checkpoints
}

// snapshotMark is a snapshot that a layer ends with.
type snapshotMark = fsm.SnapshotID

// openVolume opens a volume under its record's generation.
func openVolume(ctx context.Context, s *shared, number uint32, rec fsm.Volume, pending func(fsm.SnapshotID) bool, open openJournal) (*volume, error) {
	base, err := s.content.root(ctx, rec.Map.Root)
	if err != nil {
		return nil, fmt.Errorf("map of %s: %w", rec.ID, err)
	}
	v := &volume{
		shared: s, id: rec.ID, generation: rec.Generation, lineage: rec.Lineage, builder: rec.Builder, size: rec.Size << 30, number: number,
		slog: s.cfg.Log.With("volume", rec.ID, "generation", rec.Generation),
		base: base, at: rec.Map, seq: rec.Map.Seq, layers: []*layer{{}}, marked: map[fsm.SnapshotID]bool{},
		room: make(chan struct{}), kick: make(chan struct{}, 1), dead: make(chan struct{}),
		wish: make(chan int64, 1), next: -1,
	}
	v.ahead.Store(-1)
	v.log, err = open(ctx, rec, func(r qlog.Record) error { return v.replay(r, pending) })
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", rec.ID, err)
	}
	v.account()
	return v, nil
}

// replay takes a record of the log into the layers.
func (v *volume) replay(r qlog.Record, pending func(fsm.SnapshotID) bool) error {
	if r.Seq <= v.at.Seq {
		return nil
	}
	v.seq = r.Seq
	switch r.Kind {
	case kindMark:
		if id := fsm.SnapshotID(r.Data); pending(id) {
			v.markLocked(id)
		}
		return nil
	case qlog.Write, qlog.Zero, qlog.Trim:
	default:
		return nil
	}
	if r.Offset < 0 || r.Length <= 0 || r.Offset > v.size-r.Length || (r.Offset|r.Length)%sectorSize != 0 {
		return fmt.Errorf("record %d of %s is of %d bytes at %d: %w", r.Seq, v.id, r.Length, r.Offset, qlog.ErrCorrupt)
	}
	at := r.At
	if r.Kind != qlog.Write {
		at = qlog.Position{}
	}
	v.layLocked(r.Offset, r.Length, at)
	return nil
}

// layLocked notes a record in the newest layer.
func (v *volume) layLocked(off, n int64, at qlog.Position) {
	start := off / sectorSize
	active := v.layers[len(v.layers)-1]
	if v.dirtyLocked() == 0 {
		v.since = v.cfg.Clock()
	}
	active.put(span{start: start, end: start + n/sectorSize, first: start, at: at})
	active.bytes += int64(at.Length) + recordCost
}

func (v *volume) dirtyLocked() (n int64) {
	for _, l := range v.layers {
		n += max(l.bytes, int64(l.count)*spanShare)
	}
	return n
}

// account makes what the layers hold known to those who do not lock.
func (v *volume) account() { v.dirty.Store(v.dirtyLocked()) }

// rotateLocked freezes the newest layer, if it has anything to tell.
func (v *volume) rotateLocked() {
	if active := v.layers[len(v.layers)-1]; active.bytes > 0 || len(active.marks) > 0 {
		active.cut = v.seq
		v.layers = append(v.layers, &layer{})
	}
}

// markLocked ends the newest layer with a snapshot.
func (v *volume) markLocked(id fsm.SnapshotID) {
	active := v.layers[len(v.layers)-1]
	active.marks = append(active.marks, id)
	v.marked[id] = true
	v.rotateLocked()
}

// fail ends the service of the volume. The first cause stays.
func (v *volume) fail(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failLocked(err)
}

func (v *volume) failLocked(err error) {
	if v.err != nil {
		return
	}
	v.err = err
	v.failed.Store(true)
	close(v.dead)
	if !errors.Is(err, ErrClosed) {
		v.slog.Warn("volume is no longer served by this node", "cause", err)
	}
}

func (v *volume) failure() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

// check refuses ranges that the volume does not have.
func (v *volume) check(off, n int64) error {
	if off < 0 || n < 0 || off > v.size-n || (off|n)%sectorSize != 0 {
		return fmt.Errorf("%d bytes at %d of %s, which has %d: %w", n, off, v.id, v.size, ErrInvalid)
	}
	return nil
}

// change appends a record and makes it what is read. data is nil for zeroes.
func (v *volume) change(kind qlog.Kind, off, n int64, data []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil {
		return v.err
	}
	at, err := v.log.Append(kind, off, n, data)
	if err != nil {
		if errors.Is(err, qlog.ErrFenced) || errors.Is(err, qlog.ErrFailed) || errors.Is(err, qlog.ErrClosed) {
			v.failLocked(fencing(err))
		}
		return err
	}
	v.seq = at.Seq
	if kind != qlog.Write {
		at = qlog.Position{}
	}
	v.layLocked(off, n, at)
	for _, f := range v.fills {
		f.dead = f.dead || off < f.off+int64(len(f.buf)) && off+n > f.off
	}
	if data != nil {
		v.cache.write(v.number, data, off)
	} else {
		v.cache.forget(v.number, off, n)
	}
	v.wrote = v.cfg.Clock()
	v.account()
	return nil
}

// fencing says in this package's terms that a log was lost to a newer owner.
func fencing(err error) error {
	if errors.Is(err, qlog.ErrFenced) {
		return fmt.Errorf("%w: %w", ErrNotOwner, err)
	}
	return err
}

// admit waits until the log has room for another write.
func (v *volume) admit(ctx context.Context) error {
	for v.dirty.Load() >= v.cfg.DirtyMax {
		v.mu.Lock()
		room, err := v.room, v.err
		v.mu.Unlock()
		if err != nil {
			return err
		}
		if v.dirty.Load() < v.cfg.DirtyMax {
			return nil
		}
		v.wake()
		select {
		case <-room:
		case <-v.dead:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// wake makes the checkpointer look.
func (v *volume) wake() {
	select {
	case v.kick <- struct{}{}:
	default:
	}
}

// write changes bytes. With fua a majority of the log's copies has them when it returns.
func (v *volume) write(ctx context.Context, p []byte, off int64, fua bool) error {
	if err := v.check(off, int64(len(p))); err != nil {
		return err
	}
	for len(p) > 0 {
		if err := v.admit(ctx); err != nil {
			return err
		}
		some := p[:min(len(p), writeMax)]
		if err := v.change(qlog.Write, off, int64(len(some)), some); err != nil {
			return err
		}
		p, off = p[len(some):], off+int64(len(some))
	}
	v.begin()
	if fua {
		return v.sync(ctx)
	}
	return nil
}

// zero makes a range read as zeroes, at the cost of one record.
func (v *volume) zero(ctx context.Context, kind qlog.Kind, off, n int64, fua bool) error {
	if err := v.check(off, n); err != nil || n == 0 {
		return err
	}
	if err := v.admit(ctx); err != nil {
		return err
	}
	if err := v.change(kind, off, n, nil); err != nil {
		return err
	}
	v.begin()
	if fua {
		return v.sync(ctx)
	}
	return nil
}

// begin wakes the checkpointer when there is enough for it to do.
func (v *volume) begin() {
	if v.dirty.Load() >= v.cfg.CheckpointAt {
		v.wake()
	}
}

// sync returns when a majority of the log's copies has all that was written before the call.
func (v *volume) sync(ctx context.Context) error {
	if err := v.failure(); err != nil {
		return err
	}
	err := v.log.Sync(ctx)
	if errors.Is(err, qlog.ErrFenced) || errors.Is(err, qlog.ErrFailed) {
		v.fail(fencing(err))
	}
	return err
}

// freeze decides the content of a snapshot: all that was written before the call. It is durable at return.
func (v *volume) freeze(ctx context.Context, id fsm.SnapshotID) error {
	if err := v.mark(id); err != nil {
		return err
	}
	if err := v.sync(ctx); err != nil {
		return err
	}
	v.wake()
	return nil
}

func (v *volume) mark(id fsm.SnapshotID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil {
		return v.err
	}
	if v.marked[id] {
		return nil
	}
	at, err := v.log.Append(kindMark, 0, int64(len(id)), []byte(id))
	if err != nil {
		return err
	}
	v.seq = at.Seq
	v.markLocked(id)
	return nil
}

// close ends the volume here. What was not flushed may be lost, as after a loss of power.
func (v *volume) close() error {
	v.fail(ErrClosed)
	v.checkpoints.Lock()
	defer v.checkpoints.Unlock()
	v.cache.close(v.number)
	return v.log.Close()
}

// VolumeStatus is what a volume that is open here uses.
type VolumeStatus struct {
	ID         fsm.VolumeID
	Generation uint64
	Size       int64 // bytes
	Exported   bool  // it is served over NBD
	Dirty      int64 // bytes of log that no map contains
	Memory     int64 // bytes of the maps' parts that are held for it alone
	Cached     int64 // bytes of it in the node's block cache
	Seq        uint64
	Map        uint64 // sequence up to which the volume's map has the log
	Err        error  // why it is no longer served
}

func (v *volume) status(cached map[uint32]int64) VolumeStatus {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := VolumeStatus{
		ID: v.id, Generation: v.generation, Size: v.size, Cached: cached[v.number], Seq: v.seq, Map: v.at.Seq, Err: v.err,
		Memory: v.base.memory(),
	}
	for _, l := range v.layers {
		s.Dirty += l.bytes
		s.Memory += l.memory()
	}
	return s
}

// marks are the snapshots that are frozen and not yet completed.
func (v *volume) marks() []fsm.SnapshotID {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []fsm.SnapshotID
	for _, l := range v.layers {
		out = slices.Concat(out, l.marks)
	}
	return out
}
