package shard

import (
	"errors"
	"fmt"
	"math"

	"hive/internal/vfs"
)

// replay makes the lookup from the segments, oldest first.
type replay struct {
	d     *disk
	dead  map[ID]struct{}
	tombs map[slot]uint64 // of single records: the highest sequence that they delete up to
}

func newReplay(d *disk) *replay {
	return &replay{d: d, dead: map[ID]struct{}{}, tombs: map[slot]uint64{}}
}

// errForeign is a segment that another node wrote.
var errForeign = errors.New("segment file belongs to another node: is this the right data directory?")

// segment reads one segment. What is wrong with the file is noted as damage; only what must stop
// the node is an error.
func (r *replay) segment(number uint32, last bool) error {
	d := r.d
	name := d.path(segmentName(number))
	f, err := d.cfg.fs.Open(name)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	s := &segment{f: f, tombs: map[[2]uint32]int64{}}
	s.refs.Store(1)
	size, err := f.Size()
	if err != nil {
		return errors.Join(fmt.Errorf("size of segment: %w", err), f.Close())
	}
	err = r.identify(s, number, size)
	switch {
	case errors.Is(err, ErrCorrupt) && last && size <= fileHeaderSize:
		d.cfg.log.Warn("segment was begun when power was lost: removed", "segment", number)
		return errors.Join(f.Close(), d.cfg.fs.Remove(name), d.cfg.fs.SyncDir(d.cfg.dir))
	case errors.Is(err, ErrCorrupt):
		d.harm(Damage{Segment: number, Cause: err.Error()})
		return f.Close()
	case err != nil:
		return errors.Join(err, f.Close())
	}
	d.segments[number] = s
	r.checkPrevious(s)
	return r.contents(s, size, last)
}

// identify reads the file's header and compares it with its name and this node.
func (r *replay) identify(s *segment, number uint32, size int64) (err error) {
	b := make([]byte, fileHeaderSize)
	if err := s.readFull(b, 0); err != nil {
		return err
	}
	if s.fileHeader, err = parseFileHeader(b); err != nil {
		return err
	}
	if s.node != r.d.cfg.node {
		return fmt.Errorf("segment %d is of node %s, this is %s: %w", number, s.node, r.d.cfg.node, errForeign)
	}
	if s.number != number {
		return fmt.Errorf("file of segment %d holds segment %d: %w", number, s.number, ErrCorrupt)
	}
	if size > math.MaxUint32 {
		return fmt.Errorf("segment of %d bytes: %w", size, ErrCorrupt)
	}
	return nil
}

// checkPrevious compares the length of the segment before, if it is still there.
func (r *replay) checkPrevious(s *segment) {
	prev := r.d.segments[s.prev]
	if prev == nil || prev.end.Load() >= s.prevLength {
		return
	}
	prev.hurt = true
	r.d.harm(Damage{
		Segment: s.prev, From: int64(prev.end.Load()), To: int64(s.prevLength), Cause: "the file has been cut short",
	})
}

// contents enters a segment's records in the lookup.
func (r *replay) contents(s *segment, size int64, last bool) error {
	entries, covered, err := r.d.readSidecar(s, size)
	if errors.Is(err, errCut) {
		s.hurt = true
		r.d.harm(Damage{Segment: s.number, From: size, To: int64(covered), Cause: errCut.Error()})
	}
	listed := err == nil && (last || int64(covered) == size)
	if !listed {
		entries, covered = nil, fileHeaderSize
		if err := r.disown(s); err != nil {
			return err
		}
	}
	records, gaps, err := newScanner(s, size).scan(int64(covered))
	if err != nil {
		return err
	}
	synced := size
	if last {
		synced = knownSynced(records, covered)
		if records, gaps, err = s.confirm(records, gaps, synced); err != nil {
			return err
		}
	}
	for i := range records {
		entries = append(entries, entryOf(&records[i].header, records[i].off))
	}
	for i := range entries {
		r.enter(s, &entries[i])
	}
	end := r.judge(s, gaps, size, synced)
	if end < size {
		if err := s.f.Truncate(end); err != nil {
			return fmt.Errorf("cut segment %d: %w", s.number, err)
		}
	}
	if last { // a killed process leaves records that are readable and not yet durable
		if err := s.f.Datasync(); err != nil {
			return fmt.Errorf("sync segment %d: %w", s.number, err)
		}
	}
	s.end.Store(uint32(align(int(end))))
	s.sync.advance(uint32(end))
	return r.sidecar(s, entries, last, listed)
}

// disown removes a sidecar that is not believed: it might seem right once the segment has grown.
func (r *replay) disown(s *segment) error {
	fs := r.d.cfg.fs
	err := fs.Remove(r.d.path(sidecarName(s.number)))
	if vfs.IsNotExist(err) {
		return nil
	}
	if err == nil {
		err = fs.SyncDir(r.d.cfg.dir)
	}
	if err != nil {
		return fmt.Errorf("remove sidecar: %w", err)
	}
	return nil
}

// sidecar keeps the list of the active segment, and writes that of another if it has none.
func (r *replay) sidecar(s *segment, entries []entry, last, listed bool) error {
	s.entries = entries
	if last {
		r.d.active = s
		return nil
	}
	var err error
	if !listed {
		err = r.d.writeSidecar(s)
	}
	s.entries = nil
	if errors.Is(err, vfs.ErrNoSpace) {
		return nil // a full disk must not keep the node from starting
	}
	return err
}

// knownSynced is up to where the last segment was certainly durable before it was opened.
func knownSynced(records []found, covered uint32) int64 {
	synced := int64(covered)
	for i := range records {
		synced = max(synced, int64(records[i].synced))
	}
	return synced
}

// confirm reads the payloads of the records that may not have been synced: those that are torn
// become gaps.
func (s *segment) confirm(records []found, gaps []gap, synced int64) ([]found, []gap, error) {
	room := make([]byte, verifyRoom)
	good := records[:0]
	for _, f := range records {
		if int64(f.off) >= synced {
			_, err := s.verify(f.off, f.length, room)
			if errors.Is(err, ErrCorrupt) {
				gaps = append(gaps, gap{int64(f.off), int64(f.off) + int64(f.span())})
				continue
			}
			if err != nil {
				return nil, nil, err
			}
		}
		good = append(good, f)
	}
	return good, gaps, nil
}

// judge tells torn bytes from corrupt ones and answers where the segment ends: behind its last
// record, unless what follows was synced once.
func (r *replay) judge(s *segment, gaps []gap, size, synced int64) int64 {
	end := size
	for again := true; again; { // a torn gap at the end may be several
		again = false
		for _, g := range gaps {
			if g.to == end && g.from >= synced && g.from < end {
				end, again = g.from, true
			}
		}
	}
	for _, g := range gaps {
		switch {
		case g.from < synced:
			s.hurt = true
			r.d.harm(Damage{Segment: s.number, From: g.from, To: g.to, Cause: "no record where one was"})
		case g.from >= end:
			r.d.cfg.log.Warn("torn end of a segment cut off: it was never acknowledged",
				"segment", s.number, "from", g.from, "to", g.to)
		default:
			s.hurt = true
			r.d.cfg.log.Warn("bytes that power loss left unwritten, between records that it kept",
				"segment", s.number, "from", g.from, "to", g.to)
		}
	}
	return end
}

// enter notes one record.
func (r *replay) enter(s *segment, e *entry) {
	d := r.d
	d.lsn = max(d.lsn, e.lsn)
	if e.kind == tombstone {
		s.tombs[[2]uint32{e.low, e.high}] += e.place(s.number).span()
		if e.slot.shard() == wholeBlob {
			r.dead[e.slot.id] = struct{}{}
		} else {
			r.tombs[e.slot] = max(r.tombs[e.slot], e.lsn)
		}
		return
	}
	if old, ok := d.index[e.slot]; ok {
		lsn, err := d.lsnAt(old)
		if err == nil && lsn > e.lsn {
			return
		}
		if err == nil && lsn == e.lsn {
			d.doubled[old.segment] = struct{}{}
		}
	}
	d.setLocked(e.slot, e.place(s.number))
}

// lsnAt is the sequence of the record at p.
func (d *disk) lsnAt(p place) (uint64, error) {
	s := d.segments[p.segment]
	h, _, err := s.readHeader(p.off, p.length(), make([]byte, recordRoom))
	return h.lsn, err
}

// finish applies the tombstones.
func (r *replay) finish() {
	d := r.d
	if len(r.dead) > 0 {
		for s := range d.index {
			if _, dead := r.dead[s.id]; dead {
				d.forgetLocked(s)
			}
		}
	}
	for s, upTo := range r.tombs {
		p, ok := d.index[s]
		if !ok {
			continue
		}
		if lsn, err := d.lsnAt(p); err == nil && lsn < upTo {
			d.forgetLocked(s)
		}
	}
}
