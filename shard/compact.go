package shard

import (
	"context"
	"errors"
	"fmt"
	"math"

	"hive/internal/vfs"
)

// Compaction gives the space of deleted records back: the records of a segment that still count
// are appended again, with their old sequence numbers, and synced; then the file is removed. A
// loss of power in between leaves records twice, which the next start tells by their equal
// sequence (disk.doubled). A tombstone is copied as long as one of the segments that held what it
// deleted is there.

// compactable is the closed segment that gives most back, of those at least half of which is
// dead, or that are hurt and whose records are all readable.
func (d *disk) compactable(mendedHurt bool) (uint32, bool) {
	d.appendMu.Lock()
	defer d.appendMu.Unlock()
	d.mu.RLock()
	defer d.mu.RUnlock()
	var best uint32
	most := int64(math.MinInt64)
	for n, s := range d.segments {
		if s == d.active {
			continue
		}
		size := int64(s.end.Load())
		dead := size - s.live - d.neededTombsLocked(s) - fileHeaderSize
		_, doubled := d.doubled[n]
		if dead*2 < size && !doubled && !(s.hurt && mendedHurt) {
			continue
		}
		if !d.rottenInLocked(n) && dead >= most {
			best, most = n, dead
		}
	}
	return best, best != 0
}

// neededTombsLocked is the bytes of tombstones that a compaction would copy. d.mu is held.
func (d *disk) neededTombsLocked(s *segment) (n int64) {
	for r, bytes := range s.tombs {
		if d.neededLocked(s.number, r[0], r[1]) {
			n += bytes
		}
	}
	return n
}

// neededLocked tells whether a tombstone in segment own, of records in segments low to high, may
// still be needed. d.mu is held.
func (d *disk) neededLocked(own, low, high uint32) bool {
	for n := range d.doubled {
		if n != own {
			return true
		}
	}
	if int64(high)-int64(low) > int64(len(d.segments)) {
		for n := range d.segments {
			if n != own && n >= low && n <= high {
				return true
			}
		}
		return false
	}
	for n := low; n <= high; n++ {
		if _, there := d.segments[n]; there && n != own {
			return true
		}
	}
	return false
}

func (d *disk) rottenInLocked(number uint32) bool {
	for s := range d.rotten {
		if d.index[s].segment == number {
			return true
		}
	}
	return false
}

// compact rewrites one closed segment. It stops, without harm, where a record turns out rotten:
// that one must be mended first.
func (d *disk) compact(ctx context.Context, number uint32) error {
	s, ok := d.pin(number)
	if !ok {
		return nil
	}
	err := d.copyLive(ctx, s)
	if err == nil {
		err = d.remove(s)
	}
	return errors.Join(err, s.drop())
}

// copyLive appends what counts in s again and syncs it.
func (d *disk) copyLive(ctx context.Context, s *segment) error {
	size := int64(s.end.Load())
	records, _, err := newScanner(s, size).scan(fileHeaderSize)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.doubled[s.number] = struct{}{} // until it is removed, however this ends
	d.mu.Unlock()
	buf := d.cfg.pools.get(groupSize)
	defer buf.release()
	for i := range records {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.copyRecord(s, &records[i], buf); err != nil {
			return fmt.Errorf("compact segment %d: %w", s.number, err)
		}
	}
	d.appendMu.Lock()
	m := mark{d.active, d.active.end.Load()}
	d.appendMu.Unlock()
	return d.sync(m)
}

// copyRecord appends one record again if it still counts.
func (d *disk) copyRecord(s *segment, f *found, buf *buffer) error {
	if f.kind == tombstone {
		return d.copyTombstone(s, f)
	}
	id := slotOf(f.id, f.shard, f.seq)
	old := placeOf(&f.header, s.number, f.off)
	if p, ok := d.lookup(id); !ok || p != old {
		return nil
	}
	b := buf.payload(int(f.length))
	if err := s.readFull(b, int64(f.off)+int64(f.payloadAt())); err != nil {
		return err
	}
	_, table, err := s.readHeader(f.off, f.length, make([]byte, recordRoom))
	if err != nil {
		return err
	}
	sums := make([]uint32, f.blocks())
	for i := range sums {
		sums[i] = blockSum(table, i)
		if checksum(b[i*blockSize:min(len(b), (i+1)*blockSize)]) != sums[i] {
			d.spoil(id, old, ErrCorrupt)
			return fmt.Errorf("record at %d: %w", f.off, ErrCorrupt)
		}
	}
	d.appendMu.Lock()
	defer d.appendMu.Unlock()
	if p, ok := d.lookup(id); !ok || p != old {
		return nil // deleted while it was read
	}
	p, err := d.write(&record{header: f.header, sums: sums, buf: buf})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setLocked(id, p)
	return nil
}

func (d *disk) copyTombstone(s *segment, f *found) error {
	d.appendMu.Lock()
	defer d.appendMu.Unlock()
	d.mu.RLock()
	needed := d.neededLocked(s.number, f.low, f.high)
	d.mu.RUnlock()
	if !needed {
		return nil
	}
	p, err := d.write(&record{header: f.header, buf: newBuffer(0)})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.segments[p.segment].tombs[[2]uint32{f.low, f.high}] += p.span()
	return nil
}

// remove deletes a segment's files: the sidecar first, so that one without a segment always means
// that the segment was lost.
func (d *disk) remove(s *segment) error {
	d.appendMu.Lock()
	defer d.appendMu.Unlock()
	if err := d.cfg.fs.Remove(d.path(sidecarName(s.number))); err != nil && !vfs.IsNotExist(err) {
		return fmt.Errorf("remove sidecar: %w", err)
	}
	if err := d.cfg.fs.SyncDir(d.cfg.dir); err != nil {
		return fmt.Errorf("remove sidecar: %w", err)
	}
	if err := d.cfg.fs.Remove(d.path(segmentName(s.number))); err != nil {
		return fmt.Errorf("remove segment: %w", err)
	}
	if err := d.cfg.fs.SyncDir(d.cfg.dir); err != nil {
		return fmt.Errorf("remove segment: %w", err)
	}
	d.mu.Lock()
	delete(d.segments, s.number)
	delete(d.doubled, s.number)
	d.mu.Unlock()
	return s.drop()
}
