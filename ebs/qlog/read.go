package qlog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
)

// buffers are pooled rooms for one block with its record's header and table.
type buffers struct{ pool sync.Pool }

const roomSize = headerSize + maxTable + blockSize

func newBuffers() *buffers {
	return &buffers{sync.Pool{New: func() any { return new([roomSize]byte) }}}
}

func (b *buffers) get() *[roomSize]byte  { return b.pool.Get().(*[roomSize]byte) }
func (b *buffers) put(v *[roomSize]byte) { b.pool.Put(v) }

// readAt reads len(p) bytes of a record's data from skip on, verified. It takes no lock. Errors: ErrCut, errHole.
func (r *replica) readAt(p []byte, at Position, skip int64, pool *buffers) error {
	if skip < 0 || skip+int64(len(p)) > int64(at.Length) {
		return fmt.Errorf("read %d bytes at %d of a record of %d bytes: out of range", len(p), skip, at.Length)
	}
	segs := *r.view.Load()
	i, ok := slices.BinarySearchFunc(segs, at.Segment, func(s *segment, n uint32) int { return cmp.Compare(s.number, n) })
	if !ok {
		return fmt.Errorf("record %d: %w", at.Seq, ErrCut)
	}
	room := pool.get()
	defer pool.put(room)
	err := segs[i].readData(p, at, skip, room[:])
	if errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("record %d: %w", at.Seq, ErrCut)
	}
	return err
}

func (s *segment) readData(p []byte, at Position, skip int64, room []byte) error {
	h := header{data: at.Length}
	head := room[:h.dataAt()]
	small := at.Length <= blockSize
	if small {
		head = room[:h.dataAt()+int(at.Length)] // header and data at once
	}
	if err := s.readFull(head, int64(at.Offset)); err != nil {
		return err
	}
	h, err := parse(head, s.nonce, at.Offset)
	if err != nil || h.seq != at.Seq || h.data != at.Length {
		return fmt.Errorf("record %d in segment %d at %d: %w", at.Seq, s.number, at.Offset, errHole)
	}
	if small {
		data, ok := h.dataOf(head)
		if !ok {
			return fmt.Errorf("data of record %d: %w", at.Seq, errHole)
		}
		copy(p, data[skip:])
		return nil
	}
	return s.readBlocks(p, &h, at, skip, room)
}

// readBlocks reads the blocks that p touches: whole ones straight into p, the others by way of room.
func (s *segment) readBlocks(p []byte, h *header, at Position, skip int64, room []byte) error {
	data := int64(at.Offset) + int64(h.dataAt())
	for len(p) > 0 {
		i := skip / blockSize
		start, end := i*blockSize, min((i+1)*blockSize, int64(h.data))
		n := int(min(end-skip, int64(len(p))))
		block := p[:n]
		if int64(n) < end-start {
			block = room[headerSize+maxTable:][:end-start]
		}
		if err := s.readFull(block, data+start); err != nil {
			return err
		}
		if !h.blockOK(room, int(i), block) {
			return fmt.Errorf("data of record %d: %w", at.Seq, errHole)
		}
		if int64(n) < end-start {
			copy(p[:n], block[skip-start:])
		}
		p, skip = p[n:], skip+int64(n)
	}
	return nil
}

// extent is where records lie that one read takes.
type extent struct {
	seg   *segment
	first uint64
	offs  []uint32
	end   uint32
}

// extent is the records from seq on, of one segment, up to about limit bytes and at least one.
func (r *replica) extent(seq, last uint64, limit int) (extent, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return extent{}, ErrClosed
	}
	if seq < r.base {
		return extent{}, fmt.Errorf("record %d: %w", seq, ErrCut)
	}
	s := r.find(seq)
	if s == nil || s.offs[seq-s.first] == 0 {
		return extent{}, fmt.Errorf("record %d: %w", seq, errHole)
	}
	i := int(seq - s.first)
	e := extent{seg: s, first: seq}
	for j := i; j < len(s.offs) && s.offs[j] != 0 && s.first+uint64(j) <= last; j++ {
		if j > i && int(s.offs[j]-s.offs[i]) > limit {
			break
		}
		e.offs = append(e.offs, s.offs[j])
	}
	e.end = s.until(i + len(e.offs))
	for _, h := range r.holes { // what follows may be damage, which is not the record's
		if h.first == e.first+uint64(len(e.offs)) && h.first < s.next() {
			e.end = min(e.end, max(h.at, e.offs[len(e.offs)-1]))
		}
	}
	return e, nil
}

// chunk appends to b records from seq to last, as they go between nodes, and answers how many. It takes fewer than asked
// where limit or the segment ends. Where the first is damaged: errHole.
func (r *replica) chunk(b []byte, seq, last uint64, limit int) ([]byte, int, error) {
	e, err := r.extent(seq, last, limit)
	if err != nil {
		return b, 0, err
	}
	base := int(e.offs[0])
	start := len(b)
	b = slices.Grow(b, int(e.end)-base+8)
	raw := b[start : start+int(e.end)-base]
	n, err := e.seg.f.ReadAt(raw, int64(base))
	if n == 0 && err != nil && !errors.Is(err, fs.ErrClosed) {
		return b, 0, fmt.Errorf("read segment %d: %w", e.seg.number, err)
	} else if errors.Is(err, fs.ErrClosed) {
		return b, 0, fmt.Errorf("record %d: %w", seq, ErrCut)
	}
	out, count := start, 0
	for i, off := range e.offs {
		from := int(off) - base
		if from > n {
			break
		}
		rec := raw[from:n]
		h, err := parse(rec, e.seg.nonce, off)
		if err != nil || h.seq != e.first+uint64(i) {
			break
		}
		if _, whole := h.dataOf(rec); !whole {
			break
		}
		h.stamp(rec, 0, 0)
		span := h.span()
		copy(b[out:out+span], b[start+from:min(start+from+span, cap(b))])
		clear(b[out+h.dataAt()+int(h.data) : out+span])
		out, count = out+span, count+1
	}
	if count == 0 {
		return b[:start], 0, fmt.Errorf("record %d: %w", seq, errHole)
	}
	return b[:out], count, nil
}

// damage notes that a record, believed whole, cannot be read.
func (r *replica) damage(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.find(seq)
	if s == nil || s.offs[seq-s.first] == 0 {
		return
	}
	i := int(seq - s.first)
	g := gap{first: seq, last: seq, at: s.offs[i], to: s.until(i + 1)}
	s.offs[i] = 0
	at, _ := slices.BinarySearchFunc(r.holes, g, func(a, b gap) int { return cmp.Compare(a.first, b.first) })
	r.holes = slices.Insert(r.holes, at, g)
	r.log.Warn("a record of a log copy is damaged", "volume", r.volume, "seq", seq, "segment", s.number)
}

// fill puts records, as they go between nodes, into the log's damaged places. Records that are whole here are passed over.
func (r *replica) fill(s *session, b []byte) error {
	headers, err := parseAll(b)
	if err != nil {
		return err
	}
	r.syncMu.Lock()
	defer r.syncMu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.check(s); err != nil {
		return err
	}
	for i := range headers {
		span := headers[i].span()
		if err := r.fillOne(&headers[i], b[:span]); err != nil {
			return err
		}
		b = b[span:]
	}
	return nil
}

func (r *replica) fillOne(h *header, rec []byte) error {
	i := slices.IndexFunc(r.holes, func(g gap) bool { return g.first == h.seq })
	if i < 0 {
		return nil
	}
	g := &r.holes[i]
	s := r.find(h.seq)
	if s == nil {
		return fmt.Errorf("%w: no place for record %d", errWire, h.seq)
	}
	if err := r.revive(s); err != nil {
		return r.writeError(err)
	}
	end := g.at + uint32(h.span())
	if g.to != 0 && end > g.to {
		return fmt.Errorf("%w: record %d has %d bytes, its place %d", errWire, h.seq, h.span(), g.to-g.at)
	}
	h.stamp(rec, s.nonce, g.at)
	if _, err := s.f.WriteAt(rec, int64(g.at)); err != nil {
		return r.writeError(err)
	}
	s.edits++
	s.offs[h.seq-s.first] = g.at
	s.end = max(s.end, end)
	r.flushed = max(r.flushed, h.flushed)
	g.first, g.at = g.first+1, end
	if g.first > g.last {
		r.holes = slices.Delete(r.holes, i, i+1)
	}
	return nil
}

// revive gives a segment whose headers could not be read new ones.
func (r *replica) revive(s *segment) error {
	if !s.blank {
		return nil
	}
	nonce, err := r.nonce()
	if err != nil {
		return err
	}
	if err := s.f.Truncate(0); err != nil {
		return err
	}
	s.nonce = nonce // no reader: the segment had no whole record
	if _, err := s.f.WriteAt(s.fileHeader.bytes(), 0); err != nil {
		return err
	}
	s.blank, s.edits = false, s.edits+1
	return nil
}
