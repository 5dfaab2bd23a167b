package shard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"hive/fsm"
)

// repairs is what a node knows to be missing or rotten of its own shards, and of others'.
type repairs struct {
	mending sync.Mutex // held while what was queued is mended

	mu    sync.Mutex // guards what is below
	own   map[ID]Ref
	rot   map[slot]struct{}         // records of this node that were found to be rotten
	tell  map[fsm.NodeID]map[ID]Ref // what other nodes should look after
	state Progress
	wake  chan struct{} // has a token when there is something to do
}

// maxQueued bounds what is remembered; what is dropped is found again by the next read or scrub.
const maxQueued = 100_000

func (r *repairs) init() {
	r.own, r.tell, r.rot = map[ID]Ref{}, map[fsm.NodeID]map[ID]Ref{}, map[slot]struct{}{}
	r.wake = make(chan struct{}, 1)
}

func (r *repairs) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// add queues a blob of which this node's shard is to be looked after.
func (r *repairs) add(ref Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.own) < maxQueued {
		r.own[ref.ID] = ref
		r.poke()
	}
}

// addRotten queues a record of this node that was found to be rotten.
func (r *repairs) addRotten(s slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rot) < maxQueued {
		r.rot[s] = struct{}{}
		r.poke()
	}
}

// takeRotten removes and answers the rotten records.
func (r *repairs) takeRotten() map[slot]struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	rot := r.rot
	r.rot = map[slot]struct{}{}
	return rot
}

// take removes and answers what is queued.
func (r *repairs) take() (own []Ref, tell map[fsm.NodeID]map[ID]Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ref := range r.own {
		own = append(own, ref)
	}
	tell = r.tell
	r.own, r.tell = map[ID]Ref{}, map[fsm.NodeID]map[ID]Ref{}
	return own, tell
}

// reportMissing has a node look after its shard of a blob.
func (s *Store) reportMissing(node fsm.NodeID, ref Ref) {
	if node == s.cfg.Node {
		s.repair.add(ref)
		return
	}
	r := &s.repair
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tell[node] == nil {
		r.tell[node] = map[ID]Ref{}
	}
	if len(r.tell[node]) < maxQueued {
		r.tell[node][ref.ID] = ref
		r.poke()
	}
}

// Progress is how far a walk over this node's shards has come.
type Progress struct {
	What    string // "repair", "scrub", "" when none has run
	Running bool
	Done    int64 // shards looked at
	Total   int64 // to look at, as far as known
	Bytes   int64 // read or rebuilt
	Mended  int64
	Failed  int64 // could not be mended now; the next walk tries again
	Began   time.Time
	Rate    float64 // bytes per second
}

// Progress is the state of the repair or scrub that runs, or of the last one.
func (s *Store) Progress() Progress {
	s.repair.mu.Lock()
	defer s.repair.mu.Unlock()
	return s.repair.state
}

func (s *Store) progress(change func(*Progress)) {
	s.repair.mu.Lock()
	defer s.repair.mu.Unlock()
	change(&s.repair.state)
	p := &s.repair.state
	if took := s.cfg.Now().Sub(p.Began).Seconds(); took > 0 {
		p.Rate = float64(p.Bytes) / took
	}
}

// RepairBlob makes this node's shards of a blob whole again where they are missing or rotten, and
// tells whether it had to. Errors: ErrUnavailable while too few nodes answer, ErrLost.
func (s *Store) RepairBlob(ctx context.Context, ref Ref) (mended bool, err error) {
	if ref.Size == 0 {
		return false, nil
	}
	if err := checkRef(ref); err != nil {
		return false, err
	}
	p, err := s.partition(ref)
	if err != nil {
		return false, err
	}
	shard := slices.Index(p.nodes, s.cfg.Node)
	if shard < 0 {
		return false, nil
	}
	if h, ok := s.ownShard(ref, uint8(shard)); ok && !h.Hint {
		return false, nil
	}
	key, err := s.keyOf(ctx, ref, p)
	if err != nil {
		return false, err
	}
	return true, s.rebuildAdmitted(ctx, rebuilding{ref: ref, key: key, shard: uint8(shard), to: s.cfg.Node, kind: putRecord})
}

// ownShard is what this node has of a shard, and whether it is all of it.
func (s *Store) ownShard(ref Ref, shard uint8) (Held, bool) {
	h, _ := s.local.disk.shardHeld(ref.ID, shard)
	return h, h.Whole && h.Records == shapeOf(ref).groups()
}

// keyOf asks the nodes that have shards of a blob for the hash of its key.
func (s *Store) keyOf(ctx context.Context, ref Ref, p places) (keyHash, error) {
	errs := []error{fmt.Errorf("blob %v: %w", ref.ID, ErrNotFound)}
	for _, node := range p.everywhere() {
		if node != s.cfg.Node && !s.health.up(node) {
			errs = append(errs, fmt.Errorf("node %s: %w", node, ErrUnavailable))
			continue
		}
		answers, err := s.heldOn(ctx, node, []ID{ref.ID})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, h := range answers[0] {
			if h.Whole {
				return h.Key, nil
			}
		}
	}
	return keyHash{}, errors.Join(errs...)
}

// Repair looks at every live blob and makes this node's shards whole: after its disk was lost or
// replaced. It goes on past blobs that cannot be mended now and answers an error that counts
// them. It can be stopped and started again: what is whole is passed over.
func (s *Store) Repair(ctx context.Context) error {
	if s.cfg.Live == nil {
		s.local.disk.mended()
		return nil
	}
	s.progress(func(p *Progress) { *p = Progress{What: "repair", Running: true, Began: s.cfg.Now()} })
	defer s.progress(func(p *Progress) { p.Running = false })
	limit := newThrottle(s.cfg.ScrubRate)
	var failed error
	err := s.cfg.Live(ctx, func(ref Ref) bool {
		mended, err := s.RepairBlob(ctx, ref)
		var bytes int64
		if mended && err == nil {
			bytes = shapeOf(ref).shardSize()
		}
		s.progress(func(p *Progress) {
			p.Done++
			p.Bytes += bytes
			if err != nil {
				p.Failed++
			} else if mended {
				p.Mended++
			}
		})
		if err != nil && failed == nil {
			failed = err
		}
		return limit.wait(ctx, bytes) && s.giveWay(ctx, err)
	})
	if err == nil {
		err = ctx.Err()
	}
	if n := s.Progress().Failed; failed != nil {
		err = errors.Join(err, fmt.Errorf("%d shards could not be mended now: %w", n, failed))
	}
	if err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	s.local.disk.mended()
	return nil
}

// giveWay waits a moment after an error, so that a node that is away is not asked for every blob.
func (s *Store) giveWay(ctx context.Context, err error) bool {
	return err == nil || !errors.Is(err, ErrUnavailable) || pause(ctx, 10*time.Millisecond)
}

// mended forgets the damage that a full repair has mended.
func (d *disk) mended() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.damage, d.fresh = nil, false
}

// wounded tells whether shards may be missing that nobody can name.
func (d *disk) wounded() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.damage) > 0 || d.fresh
}

// Damage is what was wrong with the segment files when the store was opened, until a repair has
// looked at everything.
func (s *Store) Damage() []Damage {
	s.local.disk.mu.RLock()
	defer s.local.disk.mu.RUnlock()
	return slices.Clone(s.local.disk.damage)
}

// mendQueued repairs what reads have found and tells other nodes what they should look after.
func (s *Store) mendQueued(ctx context.Context) {
	s.repair.mending.Lock()
	defer s.repair.mending.Unlock()
	s.identifyRotten()
	own, tell := s.repair.take()
	for _, ref := range own {
		mended, err := s.RepairBlob(ctx, ref)
		switch {
		case err != nil && ctx.Err() == nil:
			s.log.Warn("shard not mended: the next read or scrub tries again", "blob", ref.ID, "cause", err)
		case mended:
			s.log.Info("shard mended", "blob", ref.ID)
		}
	}
	for node, refs := range tell {
		if !s.health.up(node) {
			continue
		}
		batch := make([]Ref, 0, len(refs))
		for _, ref := range refs {
			batch = append(batch, ref)
		}
		for chunk := range slices.Chunk(batch, maxBatch) {
			limited, cancel := context.WithTimeout(ctx, s.cfg.WriteHedge)
			err := s.note(limited, node, s.cfg.Peers.Mend(limited, node, chunk))
			cancel()
			if err != nil {
				s.log.Info("node not told of missing shards: the next read tells it again", "node", node, "cause", err)
				break
			}
		}
	}
}

// identifyRotten finds the blobs that rotten records are of, by the header of their shard's last
// record. Where that is rotten too, the next read or scrub says which blob it is.
func (s *Store) identifyRotten() {
	table, err := s.tables.get()
	if err != nil {
		return
	}
	for rot := range s.repair.takeRotten() {
		if ref, ok := s.local.disk.refOf(rot, table.Count); ok {
			s.repair.add(ref)
		}
	}
}

// refOf reads from the last record of a shard which blob it is of.
func (d *disk) refOf(s slot, partitions uint16) (Ref, bool) {
	for seq := s.seq(); ; seq++ {
		p, ok := d.lookup(slotOf(s.id, s.shard(), seq))
		if !ok {
			return Ref{}, false
		}
		if !p.final() {
			continue
		}
		seg, ok := d.pin(p.segment)
		if !ok {
			return Ref{}, false
		}
		h, _, err := seg.readHeader(p.off, p.length(), make([]byte, recordRoom))
		err = errors.Join(err, seg.drop())
		ref := Ref{ID: h.id, Partition: h.key.partition(partitions), K: h.k, M: h.m, Size: h.size}
		return ref, err == nil && checkRef(ref) == nil
	}
}

// maxBatch is how many blobs are asked about or deleted at once.
const maxBatch = 512

// throttle spreads bytes over time.
type throttle struct {
	rate  int64
	spent time.Duration
	began time.Time
}

func newThrottle(rate int64) *throttle { return &throttle{rate: rate, began: time.Now()} }

// wait waits until n more bytes are within the rate, and answers false when ctx ends first.
func (t *throttle) wait(ctx context.Context, n int64) bool {
	t.spent += time.Duration(float64(n) / float64(t.rate) * float64(time.Second))
	if ahead := t.spent - time.Since(t.began); ahead > 50*time.Millisecond {
		return pause(ctx, ahead)
	}
	return ctx.Err() == nil
}
