package shard

import (
	"errors"
	"fmt"
	"time"

	"hive/internal/vfs"
)

// record is one record on its way to this disk. Its header is written into its buffer.
type record = Put

// mark is up to where a segment must be durable for an append to be.
type mark struct {
	s   *segment
	pos uint32
}

// put appends a shard's record. It is in the lookup at once and durable after sync(mark). A
// record that is there already, and is not rotten, is not written again.
func (d *disk) put(r *record) (mark, error) {
	d.appendMu.Lock()
	defer d.appendMu.Unlock()
	s := slotOf(r.id, r.shard, r.seq)
	old, have := d.lookup(s)
	if have {
		if done, err := d.keep(s, old, r); done || err != nil {
			return mark{d.active, d.active.end.Load()}, err
		}
	}
	if err := d.room(int64(r.span())); err != nil {
		return mark{}, err
	}
	if have {
		if err := d.entombShard(r, old); err != nil {
			return mark{}, err
		}
	}
	p, err := d.append(r)
	if err != nil {
		return mark{}, err
	}
	d.mu.Lock()
	d.setLocked(s, p)
	d.mu.Unlock()
	return mark{d.active, d.active.end.Load()}, nil
}

// keep tells whether the record that is there already can stay instead of r. A hint that turns
// out to be the node's own is replaced, so that it is not dropped as one.
func (d *disk) keep(s slot, old place, r *record) (bool, error) {
	d.mu.RLock()
	_, bad := d.rotten[s]
	d.mu.RUnlock()
	if bad || old.length() != r.length || old.final() != r.final {
		return false, nil
	}
	if old.hint() && r.kind == putRecord {
		return false, nil
	}
	if old.segment == d.active.number {
		return true, nil
	}
	return true, d.failed // closed segments were synced before the next began
}

// room refuses a write that would leave less than the reserve. d.appendMu is held.
func (d *disk) room(n int64) error {
	now := d.cfg.now()
	if d.spare -= n; d.spare < asksAlways || now.Sub(d.asked) > asksEvery {
		space, err := d.cfg.fs.Space(d.cfg.dir)
		if err != nil {
			return fmt.Errorf("room on disk: %w", err)
		}
		d.spare, d.asked = space.Free-d.cfg.reserve(space)-n, now
	}
	if d.spare < 0 {
		return ErrDiskFull
	}
	return nil
}

// How often the file system is asked for its room: always when little is left, else now and then.
const (
	asksAlways = 256 << 20
	asksEvery  = 100 * time.Millisecond
)

// setLocked enters a record in the lookup, in place of another if there is one. d.mu is held.
func (d *disk) setLocked(s slot, p place) {
	d.forgetLocked(s)
	d.index[s] = p
	d.segments[p.segment].live += p.span()
}

// forgetLocked removes a record from the lookup. d.mu is held.
func (d *disk) forgetLocked(s slot) {
	if old, ok := d.index[s]; ok {
		if seg := d.segments[old.segment]; seg != nil {
			seg.live -= old.span()
		}
		delete(d.index, s)
		delete(d.rotten, s)
	}
}

// append stamps a record and writes it. d.appendMu is held.
func (d *disk) append(r *record) (place, error) {
	d.lsn++
	r.lsn, r.seconds = d.lsn, uint32(d.cfg.now().Unix())
	return d.write(r)
}

// write writes a record at the end of the active segment, or of a new one. d.appendMu is held.
func (d *disk) write(r *record) (place, error) {
	if d.failed != nil {
		return place{}, d.failed
	}
	if err := d.roll(r.span()); err != nil {
		return place{}, err
	}
	seg, off := d.active, d.active.end.Load()
	r.synced = seg.sync.position()
	b := r.buf.frame(&r.header)
	r.header.put(b, at{seg.nonce, seg.number, off}, r.sums)
	if _, err := seg.f.WriteAt(b, int64(off)); err != nil {
		return place{}, d.writeFailed(seg, err)
	}
	seg.end.Store(off + uint32(len(b)))
	seg.entries = append(seg.entries, entryOf(&r.header, off))
	return placeOf(&r.header, seg.number, off), nil
}

// writeFailed makes the file end where it did. Where that cannot be done, or the disk did more
// than fill up, nothing is written any more.
func (d *disk) writeFailed(seg *segment, err error) error {
	if !errors.Is(err, vfs.ErrNoSpace) {
		return d.fail(err)
	}
	if cut := seg.f.Truncate(int64(seg.end.Load())); cut != nil {
		return d.fail(errors.Join(err, cut))
	}
	return fmt.Errorf("%w: %w", ErrDiskFull, err)
}

// fail stops all appends. d.appendMu is held.
func (d *disk) fail(err error) error {
	if d.failed == nil {
		d.failed = fmt.Errorf("%w: %w", ErrFailed, err)
		d.cfg.log.Error("disk failed to write", "dir", d.cfg.dir, "cause", err)
	}
	return d.failed
}

// roll closes the active segment when n more bytes would be too many. d.appendMu is held.
func (d *disk) roll(n int) error {
	full := d.active
	if int64(full.end.Load())+int64(n) <= int64(d.cfg.segmentSize) || full.end.Load() == fileHeaderSize {
		return nil
	}
	if err := d.flush(full); err != nil {
		return d.fail(err)
	}
	if err := d.begin(full.number+1, full); err != nil {
		if errors.Is(err, vfs.ErrNoSpace) {
			return fmt.Errorf("%w: %w", ErrDiskFull, err)
		}
		return err
	}
	if err := d.writeSidecar(full); err != nil {
		d.cfg.log.Warn("lookup of a segment not written: the next start reads the segment", "segment", full.number, "cause", err)
	}
	return nil
}

// flush syncs a segment up to its end.
func (d *disk) flush(s *segment) error {
	end := s.end.Load()
	if s.sync.position() >= end {
		return nil
	}
	if err := s.f.Datasync(); err != nil {
		return fmt.Errorf("sync segment %d: %w", s.number, err)
	}
	s.sync.advance(end)
	return nil
}

// sync returns once the marked append is durable.
func (d *disk) sync(m mark) error {
	err := m.s.sync.wait(m.pos, m.s.end.Load, m.s.f.Datasync)
	if err == nil {
		return nil
	}
	d.appendMu.Lock()
	defer d.appendMu.Unlock()
	if d.failed == nil || !errors.Is(d.failed, ErrClosed) {
		return d.fail(fmt.Errorf("sync segment %d: %w", m.s.number, err))
	}
	return d.failed
}

// reach is the segments that hold what a tombstone deletes.
type reach struct{ low, high uint32 }

func (r *reach) add(segment uint32) {
	if r.low == 0 || segment < r.low {
		r.low = segment
	}
	r.high = max(r.high, segment)
}

// entombShard writes that the record at old does not count any more, in front of the one that
// replaces it. d.appendMu is held.
func (d *disk) entombShard(r *record, old place) error {
	h := r.header
	h.kind, h.length, h.size, h.low, h.high = tombstone, 0, sizeUnknown, old.segment, old.segment
	return d.entomb(h)
}

// entomb appends a tombstone. d.appendMu is held.
func (d *disk) entomb(h header) error {
	p, err := d.append(&record{header: h, buf: newBuffer(0)})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	seg := d.segments[p.segment]
	seg.tombs[[2]uint32{h.low, h.high}] += p.span()
	return nil
}

// deletion is what to delete of a blob: a shard, or wholeBlob. k, m and size are as in its Ref,
// size sizeUnknown where nobody knows.
type deletion struct {
	id    ID
	shard uint8
	k, m  uint8
	size  int64
}

// delete appends tombstones for what is there of the blobs; what is not there needs none. They
// are durable after sync(mark).
func (d *disk) delete(dels []deletion) (mark, error) {
	d.appendMu.Lock()
	defer d.appendMu.Unlock()
	for _, del := range dels {
		victims, r := d.victims(del)
		if len(victims) == 0 {
			continue
		}
		if err := d.entombVictims(del, victims, r); err != nil {
			return mark{}, err
		}
	}
	return mark{d.active, d.active.end.Load()}, nil
}

// entombVictims writes one tombstone for a blob's records, or of a single shard one for each.
func (d *disk) entombVictims(del deletion, victims []slot, r reach) error {
	h := header{kind: tombstone, shard: del.shard, k: del.k, m: del.m, id: del.id, size: sizeUnknown, low: r.low, high: r.high}
	if del.shard == wholeBlob {
		if err := d.entomb(h); err != nil {
			return err
		}
	}
	for _, v := range victims {
		if del.shard != wholeBlob {
			p, _ := d.lookup(v)
			h.seq, h.low, h.high = v.seq(), p.segment, p.segment
			if err := d.entomb(h); err != nil {
				return err
			}
		}
		d.mu.Lock()
		d.forgetLocked(v)
		d.mu.Unlock()
	}
	return nil
}

// victims are the records that a deletion is about.
func (d *disk) victims(del deletion) (out []slot, r reach) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	first, last := del.shard, del.shard
	if del.shard == wholeBlob {
		first, last = 0, uint8(min(int(del.k)+int(del.m), maxShards))-1
	}
	for shard := int(first); shard <= int(last); shard++ {
		for seq, misses := uint32(0), 0; misses < seqGap(del); seq++ {
			s := slotOf(del.id, uint8(shard), seq)
			p, ok := d.index[s]
			if !ok {
				misses++
				continue
			}
			out = append(out, s)
			r.add(p.segment)
		}
	}
	return out, r
}

// seqGap is how many records may be missing before the search for a shard's next one ends: all,
// where the blob's size tells how many there are.
func seqGap(del deletion) int {
	if del.size >= 0 && del.k > 0 {
		return int(shape{k: int(del.k), size: del.size}.groups()) + 1
	}
	return 64
}
