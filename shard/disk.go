package shard

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"hive/fsm"
	"hive/internal/vfs"
)

// disk is this node's segments and the lookup of what lies where. The lookup is a cache: it is
// made from the segments, or from the sidecar files beside them, whenever the disk is opened.
type disk struct {
	cfg diskConfig

	// appendMu orders appends, and whatever else must not happen between two of them.
	appendMu sync.Mutex
	active   *segment
	lsn      uint64
	failed   error     // why nothing is appended any more
	spare    int64     // bytes above the reserve, as of asked and what was appended since
	asked    time.Time // the file system for its room

	// mu guards what is below. It may be taken while appendMu is held, not the other way round.
	mu       sync.RWMutex
	segments map[uint32]*segment
	index    map[slot]place
	rotten   map[slot]struct{}
	// doubled tells that a compaction was cut short: some record stands twice, so that no
	// tombstone may be forgotten until the segments it left over are gone.
	doubled map[uint32]struct{}
	damage  []Damage
	fresh   bool
}

// diskConfig is what a disk needs.
type diskConfig struct {
	fs          vfs.FS
	dir         string
	node        fsm.NodeID
	pools       *pools
	segmentSize uint32 // bytes at which a segment is closed and the next begun
	reserve     func(vfs.Space) int64
	now         func() time.Time
	rand        io.Reader
	log         *slog.Logger
	rotted      func(slot) // is told of every record that turns out rotten; must not wait
}

// slot names one record of a shard of a blob.
type slot struct {
	id ID
	n  uint32 // shard<<24 | number of the record in the shard
}

const maxSeq = 1<<24 - 1

func slotOf(id ID, shard uint8, seq uint32) slot { return slot{id, uint32(shard)<<24 | seq} }

func (s slot) shard() uint8 { return uint8(s.n >> 24) }
func (s slot) seq() uint32  { return s.n & maxSeq }

// place is where a record lies. It has no pointers, so that the collector need not look at it.
type place struct {
	segment uint32
	off     uint32
	bits    uint32 // payload length and placeFlags
}

const (
	placeFinal  = 1 << 31
	placeHint   = 1 << 30
	placeLength = 1<<24 - 1
)

func (p place) length() uint32 { return p.bits & placeLength }
func (p place) final() bool    { return p.bits&placeFinal != 0 }
func (p place) hint() bool     { return p.bits&placeHint != 0 }

func (p place) span() int64 {
	h := header{length: p.length()}
	return int64(h.span())
}

func placeOf(h *header, number, off uint32) place {
	p := place{segment: number, off: off, bits: h.length}
	if h.final {
		p.bits |= placeFinal
	}
	if h.kind == hintRecord {
		p.bits |= placeHint
	}
	return p
}

// Damage is a stretch of a segment that cannot be read, or a segment that is not there.
type Damage struct {
	Segment  uint32
	From, To int64 // bytes; zero for the whole file
	Cause    string
}

// String is the damage as a log line shows it.
func (d Damage) String() string {
	if d.To == 0 {
		return fmt.Sprintf("segment %d: %s", d.Segment, d.Cause)
	}
	return fmt.Sprintf("segment %d, bytes %d to %d: %s", d.Segment, d.From, d.To, d.Cause)
}

// openDisk opens the segments in a directory, or begins the first one.
func openDisk(cfg diskConfig) (*disk, error) {
	d := &disk{
		cfg: cfg, segments: map[uint32]*segment{}, index: map[slot]place{},
		rotten: map[slot]struct{}{}, doubled: map[uint32]struct{}{},
	}
	if err := cfg.fs.MkdirAll(cfg.dir); err != nil {
		return nil, fmt.Errorf("shard directory: %w", err)
	}
	if err := d.load(); err != nil {
		return nil, errors.Join(err, d.closeSegments())
	}
	return d, nil
}

func (d *disk) path(name string) string { return d.cfg.dir + "/" + name }

// load reads what is there and opens the last segment for appending.
func (d *disk) load() error {
	names, err := d.cfg.fs.List(d.cfg.dir)
	if err != nil {
		return fmt.Errorf("shard directory: %w", err)
	}
	numbers, orphans := sortNames(names)
	for _, n := range orphans {
		d.harm(Damage{Segment: n, Cause: "segment file is missing, its lookup is there"})
	}
	r := newReplay(d)
	for i, n := range numbers {
		if err := r.segment(n, i == len(numbers)-1); err != nil {
			return err
		}
	}
	r.finish()
	d.fresh = len(numbers) == 0 && len(orphans) == 0
	if d.active == nil {
		return d.begin(lastOf(numbers, orphans)+1, nil)
	}
	return nil
}

func lastOf(lists ...[]uint32) (last uint32) {
	for _, l := range lists {
		for _, n := range l {
			last = max(last, n)
		}
	}
	return last
}

// sortNames are the numbers of the segment files in a directory, and those of sidecars without one.
func sortNames(names []string) (numbers, orphans []uint32) {
	have := map[uint32]bool{}
	for _, name := range names {
		if n, ok := segmentNumber(name, ".bin"); ok {
			numbers = append(numbers, n)
			have[n] = true
		}
	}
	for _, name := range names {
		if n, ok := segmentNumber(name, ".idx"); ok && !have[n] {
			orphans = append(orphans, n)
		}
	}
	slices.Sort(numbers)
	return numbers, orphans
}

// harm notes damage. A full repair mends what it hid.
func (d *disk) harm(damage Damage) {
	d.damage = append(d.damage, damage)
	d.cfg.log.Error("shard store is damaged: repair will look for what was there", "dir", d.cfg.dir, "damage", damage.String())
}

// begin makes the segment of that number the one that is appended to, after prev.
func (d *disk) begin(number uint32, prev *segment) error {
	s := &segment{fileHeader: fileHeader{at: at{number: number}, node: d.cfg.node}, tombs: map[[2]uint32]int64{}}
	if prev != nil {
		s.prev, s.prevLength = prev.number, prev.end.Load()
	}
	if _, err := io.ReadFull(d.cfg.rand, s.nonce[:]); err != nil {
		return fmt.Errorf("nonce of segment %d: %w", number, err)
	}
	b := make([]byte, fileHeaderSize)
	if err := s.put(b); err != nil {
		return err
	}
	f, err := d.cfg.fs.Create(d.path(segmentName(number)))
	if err != nil {
		return fmt.Errorf("begin segment %d: %w", number, err)
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Datasync()
	}
	if err == nil {
		err = d.cfg.fs.SyncDir(d.cfg.dir)
	}
	if err != nil {
		return fmt.Errorf("begin segment %d: %w", number, errors.Join(err, f.Close(), d.cfg.fs.Remove(d.path(segmentName(number)))))
	}
	s.f = f
	s.refs.Store(1)
	s.end.Store(fileHeaderSize)
	s.sync.advance(fileHeaderSize)
	d.mu.Lock()
	d.segments[number] = s
	d.mu.Unlock()
	d.active = s
	return nil
}

// close syncs, writes the lookup of the last segment and closes the files.
func (d *disk) close() error {
	d.appendMu.Lock()
	defer d.appendMu.Unlock()
	var err error
	if d.failed == nil {
		if err = d.flush(d.active); err == nil {
			err = d.writeSidecar(d.active)
		}
		d.failed = ErrClosed
	}
	return errors.Join(err, d.closeSegments())
}

func (d *disk) closeSegments() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, s := range d.segments {
		errs = append(errs, s.drop())
	}
	clear(d.segments)
	clear(d.index)
	return errors.Join(errs...)
}

// pin keeps a segment open until drop.
func (d *disk) pin(number uint32) (*segment, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s, ok := d.segments[number]
	if ok {
		s.refs.Add(1)
	}
	return s, ok
}

// each calls fn with every segment, oldest first, that is there when its turn comes.
func (d *disk) each(fn func(*segment) error) error {
	d.mu.RLock()
	numbers := slices.Sorted(maps.Keys(d.segments))
	d.mu.RUnlock()
	for _, n := range numbers {
		s, ok := d.pin(n)
		if !ok {
			continue
		}
		if err := errors.Join(fn(s), s.drop()); err != nil {
			return err
		}
	}
	return nil
}

// lookup is where a record lies.
func (d *disk) lookup(s slot) (place, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	p, ok := d.index[s]
	return p, ok
}

// holds are the shards that this node has of a blob.
func (d *disk) holds(id ID) (out []Held) {
	room := make([]byte, recordRoom)
	for shard := range uint8(maxShards) {
		h, first := d.shardHeld(id, shard)
		if h.Records == 0 {
			continue
		}
		h.Whole = h.Whole && d.durable(id, shard, h.Records)
		if s, ok := d.pin(first.segment); ok {
			head, _, err := s.readHeader(first.off, first.length(), room)
			if err != nil {
				d.spoil(slotOf(id, shard, 0), first, err)
				h.Whole = false
			}
			h.Key = head.key
			if err := s.drop(); err != nil {
				d.cfg.log.Error("close segment", "segment", first.segment, "cause", err)
			}
		}
		out = append(out, h)
	}
	return out
}

// shardHeld is what the lookup knows of a shard, whether synced or not, and where its first record
// lies.
func (d *disk) shardHeld(id ID, shard uint8) (h Held, first place) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	h.Shard = shard
	for seq := uint32(0); ; seq++ {
		s := slotOf(id, shard, seq)
		p, ok := d.index[s]
		if _, bad := d.rotten[s]; !ok || bad {
			return h, first
		}
		if seq == 0 {
			first = p
		}
		h.Records++
		h.Hint, h.Whole = p.hint(), p.final()
	}
}

// durable tells whether the first so many records of a shard have been synced.
func (d *disk) durable(id ID, shard uint8, records uint32) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for seq := range records {
		p, ok := d.index[slotOf(id, shard, seq)]
		s := d.segments[p.segment]
		if !ok || s == nil || int64(s.sync.position()) < int64(p.off)+p.span() {
			return false
		}
	}
	return true
}

// spoil marks a record as rotten: from now on it is missing.
func (d *disk) spoil(s slot, p place, cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.index[s] != p {
		return // replaced meanwhile
	}
	if _, known := d.rotten[s]; known {
		return
	}
	d.rotten[s] = struct{}{}
	d.cfg.log.Error("stored shard is rotten", "blob", s.id, "shard", s.shard(), "record", s.seq(),
		"segment", p.segment, "offset", p.off, "cause", cause)
	if d.cfg.rotted != nil {
		d.cfg.rotted(s)
	}
}

// usage sums up what the store holds.
type usage struct {
	segments, records, rotten int
	bytes, live               int64
}

func (d *disk) usage() (u usage) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	u.segments, u.records, u.rotten = len(d.segments), len(d.index), len(d.rotten)
	for _, s := range d.segments {
		u.bytes += int64(s.end.Load())
		u.live += s.live
	}
	return u
}
