package shard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"hive/fsm"
	"hive/internal/vfs"
)

// Config is what a Store needs. Fields without a default must be set.
type Config struct {
	Node    fsm.NodeID
	FS      vfs.FS
	Dir     string // of the segment files
	Control Viewer // the control group, which has the partition table
	Index   []Index
	Peers   Peers
	// Alive is gossip's opinion of a node; nil believes everyone alive.
	Alive func(fsm.NodeID) bool
	// Live goes over every blob that some record refers to, as of a moment after the call began:
	// for repair and garbage collection. Nil does without both.
	Live func(ctx context.Context, yield func(Ref) bool) error
	Now  func() time.Time
	Rand io.Reader
	Log  *slog.Logger

	SegmentSize int64         // bytes of a segment file; 128 MiB by default, at most 2 GiB
	Reserve     int64         // bytes of the disk that no write may use; by default 1 GiB, or 2 % if that is more, but at most 10 %
	Memory      int64         // bytes of buffers that all requests together may hold; 128 MiB by default
	WriteHedge  time.Duration // how long a write waits for a node after the others are done; 1.5 s
	ReadHedge   time.Duration // the longest that a read waits before it asks another node too; 150 ms
	// GarbageAfter is how long a blob that was given up stays readable for requests under way; 10 s.
	GarbageAfter time.Duration
	// OrphanAfter is how old a shard without a record must be to be deleted; 24 h. No write may
	// take longer.
	OrphanAfter time.Duration
	ScrubEvery  time.Duration // how often everything is read again; 7 days
	ScrubRate   int64         // bytes per second of scrub and repair; 64 MiB
}

// Index is an index group: where what is owed and what is garbage stands.
type Index interface {
	View(fn func(*fsm.View) error) error
	// ReadIndex returns when View sees every write acknowledged before the call.
	ReadIndex(ctx context.Context) error
	Propose(ctx context.Context, cmd fsm.Command) error
	// Leader tells whether this node leads the group: one node collects the garbage.
	Leader() bool
}

func (c *Config) setDefaults() error {
	if c.Node == "" || c.FS == nil || c.Dir == "" || c.Control == nil || c.Peers == nil || c.Now == nil || c.Rand == nil || c.Log == nil {
		return errors.New("shard: Config lacks a part that has no default")
	}
	if c.Alive == nil {
		c.Alive = func(fsm.NodeID) bool { return true }
	}
	c.SegmentSize = min(cmp.Or(c.SegmentSize, 128<<20), 2<<30)
	c.Memory = max(cmp.Or(c.Memory, 128<<20), maxShards*2*groupSize)
	c.WriteHedge = cmp.Or(c.WriteHedge, 1500*time.Millisecond)
	c.ReadHedge = cmp.Or(c.ReadHedge, 150*time.Millisecond)
	c.GarbageAfter = cmp.Or(c.GarbageAfter, 10*time.Second)
	c.OrphanAfter = cmp.Or(c.OrphanAfter, 24*time.Hour)
	c.ScrubEvery = cmp.Or(c.ScrubEvery, 7*24*time.Hour)
	c.ScrubRate = cmp.Or(c.ScrubRate, 64<<20)
	return nil
}

// reserve is how much of a disk stays free of writes.
func (c *Config) reserve(space vfs.Space) int64 {
	if c.Reserve > 0 {
		return c.Reserve
	}
	return min(max(1<<30, space.Total/50), space.Total/10)
}

// Store reads and writes blobs of the cluster, and keeps this node's shards.
type Store struct {
	cfg    Config
	log    *slog.Logger
	tables *tables
	coders *coders
	pools  *pools
	health *health
	pace   pace
	memory *semaphore.Weighted
	local  local
	repair repairs

	background sync.WaitGroup // clean-ups of requests that failed
	stop       context.CancelFunc
	stopped    context.Context // ends with Close, for what outlives its request
}

// Open opens the node's segments. Run does the background work; Close ends it all.
// A segment directory of another node, or of a newer version, is refused.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, log: cfg.Log, tables: &tables{control: cfg.Control}, coders: newCoders(), pools: &pools{},
		health: newHealth(cfg.Alive, cfg.Log), pace: newPace(cfg.ReadHedge),
		memory: semaphore.NewWeighted(cfg.Memory),
	}
	s.repair.init()
	disk, err := openDisk(diskConfig{
		fs: cfg.FS, dir: cfg.Dir, node: cfg.Node, pools: s.pools, segmentSize: uint32(cfg.SegmentSize),
		reserve: cfg.reserve, now: cfg.Now, rand: cfg.Rand, log: cfg.Log,
		rotted: s.repair.addRotten,
	})
	if err != nil {
		return nil, err
	}
	s.local = local{disk: disk, mend: s.repair.add}
	s.stopped, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	return s, nil
}

// Close writes the lookup and closes the files. Run must have returned.
func (s *Store) Close() error {
	s.stop()
	s.background.Wait()
	return s.local.disk.close()
}

// put sends a record to a node, which may be this one.
func (s *Store) put(ctx context.Context, node fsm.NodeID, p *Put) error {
	if node == s.cfg.Node {
		return s.local.put(p)
	}
	return s.note(ctx, node, s.cfg.Peers.Put(ctx, node, p))
}

func (s *Store) get(ctx context.Context, node fsm.NodeID, g Get) (Pieces, error) {
	if node == s.cfg.Node {
		return s.local.get(g)
	}
	r, err := s.cfg.Peers.Get(ctx, node, g)
	return r, s.note(ctx, node, err)
}

func (s *Store) deleteOn(ctx context.Context, node fsm.NodeID, dels []Deletion) error {
	if node == s.cfg.Node {
		return s.local.delete(dels)
	}
	return s.note(ctx, node, s.cfg.Peers.Delete(ctx, node, dels))
}

func (s *Store) heldOn(ctx context.Context, node fsm.NodeID, blobs []ID) ([][]Held, error) {
	if node == s.cfg.Node {
		return s.local.held(blobs), nil
	}
	h, err := s.cfg.Peers.Held(ctx, node, blobs)
	if err == nil && len(h) != len(blobs) {
		err = fmt.Errorf("node %s answered for %d of %d blobs: %w", node, len(h), len(blobs), ErrUnavailable)
	}
	return h, s.note(ctx, node, err)
}

// note trips a node that did not answer; what it answered itself, and our own giving up, do not
// count.
func (s *Store) note(ctx context.Context, node fsm.NodeID, err error) error {
	if err == nil || ctx.Err() != nil || answered(err) {
		return err
	}
	s.health.trip(node, err)
	return err
}

// answered tells whether an error came from a node's store, so that the node is there.
func answered(err error) bool {
	for _, cause := range []error{ErrDiskFull, ErrNotFound, ErrCorrupt, ErrFailed, fsm.ErrInvalid} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}

// partition is where a blob's shards lie.
func (s *Store) partition(ref Ref) (places, error) {
	table, err := s.tables.get()
	if err != nil {
		return places{}, err
	}
	return table.of(ref.Partition, int(ref.K)+int(ref.M))
}

// everywhere is all nodes that may hold shards of a blob, each once.
func (p places) everywhere(more ...fsm.NodeID) []fsm.NodeID {
	out := slices.Clone(p.nodes)
	for _, n := range slices.Concat(p.also, more) {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// Delete deletes a blob's shards on every node that may have some. It is done when all have
// answered; otherwise, and whenever err is not nil, it may be called again.
func (s *Store) Delete(ctx context.Context, ref Ref) (done bool, err error) {
	if ref.Size == 0 {
		return true, nil
	}
	p, err := s.partition(ref)
	if err != nil {
		return false, err
	}
	err = s.deleteEverywhere(ctx, p.everywhere(), []Deletion{{Ref: ref, Shard: WholeBlob}})
	return err == nil, err
}

// deleteEverywhere answers an error that wraps ErrUnavailable if some node did not answer.
func (s *Store) deleteEverywhere(ctx context.Context, nodes []fsm.NodeID, dels []Deletion) error {
	limited, cancel := context.WithTimeout(ctx, s.cfg.WriteHedge)
	defer cancel()
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, node := range nodes {
		if node != s.cfg.Node && !s.health.up(node) {
			errs[i] = fmt.Errorf("node %s: %w", node, ErrUnavailable)
			continue
		}
		wg.Go(func() {
			if err := s.deleteOn(limited, node, dels); err != nil {
				if ctx.Err() == nil && limited.Err() != nil {
					s.health.trip(node, limited.Err())
				}
				errs[i] = fmt.Errorf("node %s: %w: %w", node, ErrUnavailable, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Trouble is why this node's disk takes no writes now: ErrDiskFull, ErrFailed, or nil.
func (s *Store) Trouble() error {
	d := s.local.disk
	d.appendMu.Lock()
	defer d.appendMu.Unlock()
	if d.failed != nil {
		return d.failed
	}
	d.asked = time.Time{} // ask the file system, whatever is remembered
	return d.room(0)
}
