package qlog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hive/fsm"
)

// Config is what an owner needs to open a volume's log.
type Config struct {
	Volume     fsm.VolumeID
	Generation uint64       // of the attachment, at least 1
	Self       fsm.NodeID   // this node: it always keeps a copy, which counts when it is one of Replicas
	Replicas   []fsm.NodeID // 1 to 5 nodes, the same for the life of the log
	Store      *Store       // this node's
	Dial       func(ctx context.Context, node fsm.NodeID) (net.Conn, error)
	From       uint64 // first sequence that is not in the volume's checkpoint; 0 is 1
	// Clean says that no record from From on can ever have been synced: then copies that remember nothing count
	// too. Without it they count only for a log that nobody has written yet; else a node whose disk was replaced
	// could outvote the one that has the records.
	Clean bool
	Log   *slog.Logger
	Rand  io.Reader // nil: crypto/rand

	retry time.Duration // longest pause between two tries to reach a copy; 0: 1 s
}

func (c *Config) check() error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.retry == 0 {
		c.retry = time.Second
	}
	c.From = max(c.From, 1)
	sorted := slices.Sorted(slices.Values(c.Replicas))
	if c.Generation == 0 || c.Generation >= 1<<63 || c.Self == "" || c.Store == nil || len(sorted) == 0 || len(sorted) > 5 || len(slices.Compact(sorted)) != len(c.Replicas) {
		return fmt.Errorf("open the log of %s: needs a generation, this node, its store and 1 to 5 different replicas, not %d, %q and %q",
			c.Volume, c.Generation, c.Self, c.Replicas)
	}
	return nil
}

// Log is a volume's log as its owner has it. Its methods may be called concurrently.
type Log struct {
	cfg    Config
	r      *replica
	s      *session
	opened uint64 // sequence of the record that this owner opened the log with
	syncer *syncer
	links  []*link
	self   bool // this node's copy is one of the replicas

	ctx    context.Context // ends with Close, or when the log is lost
	cancel context.CancelFunc
	done   sync.WaitGroup
	lost   chan struct{}

	mending sync.Mutex // one record is fetched at a time

	flushedNow atomic.Uint64
	throttled  atomic.Int64 // bytes appended when the pace was last looked at

	mu      sync.Mutex // guards what is below, and the links' fields
	voting  voter      // this node's copy
	want    uint64     // highest sequence that somebody waits for
	flushed uint64     // a majority has synced up to here
	changed chan struct{}
	err     error
}

// voter is what an owner knows of one copy.
type voter struct {
	votes  bool // its syncs count
	member bool // durably: see report
	acked  uint64
}

const (
	lagLimit    = 64 << 20 // bytes that the majority of copies may be behind before appends are slowed
	lagPause    = 20 * time.Millisecond
	paceQuantum = 1 << 20
)

// Append adds a record and answers where it is: in this node's copy, unsynced, and on its way to the others. Data is not
// kept. It never waits for a sync; while most copies that can be reached are far behind, each call waits up to 20 ms.
// Errors: ErrFenced, ErrFailed, vfs.ErrNoSpace (nothing was added), ErrClosed.
func (l *Log) Append(kind Kind, off, length int64, data []byte) (Position, error) {
	if kind == opened || off < 0 || length < 0 || len(data) > MaxData || (len(data) > 0 && int64(len(data)) != length) {
		return Position{}, fmt.Errorf("append kind %d, %d bytes at %d with %d bytes of data: out of range", kind, length, off, len(data))
	}
	at, err := l.append(kind, off, length, data)
	if err != nil {
		return Position{}, err
	}
	for _, k := range l.links {
		k.nudge()
	}
	l.pace(int64(len(data)) + headerSize)
	return at, nil
}

func (l *Log) append(kind Kind, off, length int64, data []byte) (Position, error) {
	room := l.cfg.Store.pool.get()
	defer l.cfg.Store.pool.put(room)
	h := header{kind: kind, flushed: l.flushedNow.Load(), offset: off, length: length}
	at, err := l.r.appendOne(l.s, h, data, room[:])
	if err == nil {
		return at, nil
	}
	if errors.Is(err, ErrFailed) || errors.Is(err, ErrFenced) || errors.Is(err, ErrClosed) {
		l.lose(err)
		return Position{}, l.Err()
	}
	return Position{}, err
}

// ReadAt reads len(p) bytes of a record's data from skip on. Damage on this node's disk is mended from another copy.
// Errors: ErrCut, ErrCorrupt.
func (l *Log) ReadAt(p []byte, at Position, skip int64) error {
	err := l.r.readAt(p, at, skip, l.cfg.Store.pool)
	if !errors.Is(err, errHole) {
		return err
	}
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	if err := l.mend(ctx, at.Seq); err != nil {
		return err
	}
	return l.r.readAt(p, at, skip, l.cfg.Store.pool)
}

// Sync returns when a majority of the replicas has every record durable whose Append returned before the call. Many
// callers share one round. Errors: ctx's (with ErrNoQuorum), ErrFenced, ErrFailed, ErrClosed.
func (l *Log) Sync(ctx context.Context) error { return l.syncTo(ctx, l.r.end()-1) }

func (l *Log) syncTo(ctx context.Context, seq uint64) error {
	l.mu.Lock()
	asks := seq > l.want
	l.want = max(l.want, seq)
	l.mu.Unlock()
	if asks {
		l.askAll(seq)
	}
	return l.await(ctx, func() bool { return l.flushed >= seq })
}

// askAll has every copy sync up to seq.
func (l *Log) askAll(seq uint64) {
	for _, k := range l.links {
		k.nudge()
	}
	if l.self {
		l.syncer.ask(seq)
	}
}

// await waits until ok, which is called under the lock.
func (l *Log) await(ctx context.Context, ok func() bool) error {
	for {
		l.mu.Lock()
		reached, err, changed := ok(), l.err, l.changed
		l.mu.Unlock()
		switch {
		case err != nil:
			return err
		case reached:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: volume %s, waiting for %s: %w", ErrNoQuorum, l.cfg.Volume, l.behind(), context.Cause(ctx))
		}
	}
}

// behind names the copies that have not synced what is waited for.
func (l *Log) behind() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []fsm.NodeID
	if l.self && l.voting.acked < l.want {
		names = append(names, l.cfg.Self)
	}
	for _, k := range l.links {
		if !k.votes || k.acked < l.want {
			names = append(names, k.node)
		}
	}
	return fmt.Sprint(names)
}

// Cut says that every record before the given sequence is in a checkpoint: this copy drops whole segments of them now, the
// others when they are told.
func (l *Log) Cut(ctx context.Context, before uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.r.cut(l.s, before); err != nil {
		return err
	}
	for _, k := range l.links {
		k.nudge()
	}
	return nil
}

// Flushed is the last sequence that a majority has synced.
func (l *Log) Flushed() uint64 { return l.flushedNow.Load() }

// Lost is closed when this owner can never append or sync again; Err says why. A majority out of reach is not that.
func (l *Log) Lost() <-chan struct{} { return l.lost }

// Err is why the log is lost, nil while it is not.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// lose ends this owner's work for good.
func (l *Log) lose(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.err = err
	if !errors.Is(err, ErrClosed) {
		l.cfg.Log.Warn("a volume's log is lost to this node", "volume", l.cfg.Volume, "generation", l.cfg.Generation, "err", err)
	}
	close(l.lost)
	l.cancel()
	l.broadcast()
}

// Close gives the log up. It syncs nothing.
func (l *Log) Close() error {
	l.lose(ErrClosed)
	l.done.Wait()
	return l.r.release(l.s)
}

func (l *Log) broadcast() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// localSynced is told by the syncer of this node's copy.
func (l *Log) localSynced(seq uint64, err error) {
	if err != nil {
		l.lose(err)
		return
	}
	l.mu.Lock()
	l.voting.acked = max(l.voting.acked, seq)
	l.count()
	admit := !l.voting.member && seq >= l.opened && seq >= l.flushed
	l.mu.Unlock()
	if !admit {
		return
	}
	if err := l.r.admit(l.s); err != nil {
		l.lose(err)
		return
	}
	l.mu.Lock()
	l.voting.member, l.voting.votes = true, true
	l.count()
	l.broadcast()
	l.mu.Unlock()
}

// count finds what a majority has synced, under the lock.
func (l *Log) count() {
	acked := make([]uint64, 0, 5)
	if l.self && l.voting.votes {
		acked = append(acked, l.voting.acked)
	}
	for _, k := range l.links {
		if k.votes {
			acked = append(acked, k.acked)
		}
	}
	slices.Sort(acked)
	at := len(acked) - majority(len(l.cfg.Replicas))
	if at < 0 || acked[at] <= l.flushed {
		return
	}
	l.flushed = acked[at]
	l.flushedNow.Store(l.flushed)
	l.broadcast()
}

// members is how many copies are known to be members, under the lock.
func (l *Log) members() (n int) {
	if l.self && l.voting.member {
		n++
	}
	for _, k := range l.links {
		if k.member {
			n++
		}
	}
	return n
}

// pace slows appends while the copies that make the majority, and can be reached, are far behind.
func (l *Log) pace(added int64) {
	if l.throttled.Add(added) < paceQuantum {
		return
	}
	l.throttled.Store(0)
	end := l.r.appendedBytes()
	l.mu.Lock()
	lag, changed := l.lag(end), l.changed
	l.mu.Unlock()
	if lag <= lagLimit {
		return
	}
	timer := time.NewTimer(lagPause)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-l.ctx.Done():
	}
}

// lag is how many bytes the majority's last copy is behind, of those that are connected.
func (l *Log) lag(end int64) int64 {
	behind := make([]int64, 0, 5)
	if l.self {
		behind = append(behind, 0)
	}
	for _, k := range l.links {
		if k.connected {
			behind = append(behind, end-k.sent)
		}
	}
	slices.Sort(behind)
	if need := majority(len(l.cfg.Replicas)); need <= len(behind) {
		return behind[need-1]
	}
	return 0
}
